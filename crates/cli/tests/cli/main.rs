//! The `inferrum` command on the project's own model.

mod bench;
mod command;
mod compare;
mod drivers;
mod errors;
mod help;
mod inspect;
mod plans;
mod proto;
mod run;
mod sound;
mod suite;
