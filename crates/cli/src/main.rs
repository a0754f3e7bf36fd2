//! The `inferrum` command.
fn main() {}
