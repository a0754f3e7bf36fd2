//! Operators that no file holds: Inferrum's own rewrites make them.

pub mod attention;
pub mod channels_last;
pub mod elementwise;
pub mod linear;
pub mod table;
