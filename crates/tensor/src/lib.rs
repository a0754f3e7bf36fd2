//! Element types, shapes and host tensors of Inferrum.
