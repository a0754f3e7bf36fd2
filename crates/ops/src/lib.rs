//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod accumulate;
mod axes;
mod broadcast;
mod extents;
pub mod fused;
pub mod fused_activation;
mod index;
mod moments;
mod number;
mod quantized;
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
    attention;
    batch_norm;
    causal_conv_with_state;
    col2im;
    concat;
    conv;
    conv_integer;
    conv_transpose;
    deform_conv;
    expand;
    flatten;
    flex_attention;
    fused_matmul;
    gemm;
    global_pool;
    group_norm;
    hardmax;
    instance_norm;
    layer_norm;
    linear_attention;
    lp_norm;
    lrn;
    matmul;
    matmul_integer;
    matmul_nbits;
    max_unpool;
    mean_variance_norm;
    pool;
    qgemm;
    qlinear_conv;
    qlinear_matmul;
    reshape;
    rotary_embedding;
    shape;
    skip_layer_norm;
    slice;
    softmax;
    split;
    squeeze;
    tile;
    transpose;
    unsqueeze;
}
