//! Operators of Inferrum's own, made by rewrites of the graph; no model file names them.

pub mod elementwise;
