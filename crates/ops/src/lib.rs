//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod accumulate;
pub mod fused_activation;
mod quantized;
mod axes;
mod broadcast;
mod extents;
pub mod fused;
mod index;
mod number;
mod registry;
pub mod sdpa;
#[cfg(test)]
mod testing;
pub mod window;

pub use broadcast::{Broadcast, Indices};
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
    attention;
    concat;
    expand;
    flatten;
    flex_attention;
    linear_attention;
    reshape;
    rotary_embedding;
    shape;
    slice;
    softmax;
    split;
    squeeze;
    tile;
    transpose;
    unsqueeze;
}
