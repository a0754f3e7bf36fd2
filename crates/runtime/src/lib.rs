//! Runs trained models fast, correctly and honestly on whatever hardware is there.

pub mod agreement;
