<<<<<<< HEAD
//! Operators that no file holds: Inferrum's own rewrites make them.

pub mod channels_last;
=======
//! Operators of Inferrum's own, made by rewrites of the graph; no model file names them.

pub mod elementwise;
>>>>>>> kernels
