//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod accumulate;
pub mod fused_activation;
mod quantized;
mod registry;
#[cfg(test)]
mod testing;
pub mod window;

pub use registry::{OpEntry, Parse, find, operators, parse};

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    causal_conv_with_state;
    col2im;
    conv;
    conv_integer;
    conv_transpose;
    deform_conv;
    global_pool;
    max_unpool;
    pool;
    qlinear_conv;
    reshape;
    softmax;
}
