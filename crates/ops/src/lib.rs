//! Operators of Inferrum: attributes, shapes and reference semantics.
