//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod accumulate;
mod axes;
mod body;
mod broadcast;
mod expression;
mod extents;
pub mod fused;
pub mod fused_activation;
mod index;
mod mersenne_twister;
mod moments;
mod number;
mod number_text;
mod pieces;
mod quantized;
pub mod recurrent;
mod registry;
pub mod scalar;
pub mod sdpa;
#[cfg(test)]
mod testing;
pub mod types;
pub mod window;

pub use broadcast::{Broadcast, Indices};
pub use expression::{Expression, FUNCTIONS, expression};
pub use registry::{OpEntry, Parse, find, operators, parse};

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    activation;
    attention;
    batch_norm;
    bernoulli;
    bias_gelu;
    binary;
    cast;
    causal_conv_with_state;
    center_crop_pad;
    clip;
    col2im;
    compress;
    concat;
    concat_from_sequence;
    constant_of_shape;
    conv;
    conv_integer;
    conv_transpose;
    crop;
    deform_conv;
    dropout;
    dynamic_quantize;
    dynamic_quantize_lstm;
    expand;
    eye_like;
    flatten;
    flex_attention;
    fused_matmul;
    gather;
    gather_elements;
    gather_nd;
    gemm;
    global_pool;
    group_norm;
    group_query_attention;
    gru;
    hardmax;
    identity;
    if_;
    image_scaler;
    instance_norm;
    is_inf;
    layer_norm;
    linear_attention;
    loop_;
    lp_norm;
    lrn;
    lstm;
    matmul;
    matmul_integer;
    matmul_nbits;
    max_unpool;
    mean_variance_norm;
    multi_head_attention;
    multinomial;
    non_zero;
    one_hot;
    optional;
    pad;
    pool;
    prelu;
    projected_attention;
    qgemm;
    qlinear_concat;
    qlinear_conv;
    qlinear_elementwise;
    qlinear_matmul;
    qlinear_pool;
    qlinear_softmax;
    quantize;
    random;
    range;
    reshape;
    resize;
    rnn;
    rotary_embedding;
    scan;
    scatter_elements;
    scatter_nd;
    select;
    sequence;
    sequence_map;
    shape;
    skip_layer_norm;
    slice;
    softmax;
    split;
    split_to_sequence;
    squeeze;
    swiglu;
    tensor_scatter;
    tile;
    transpose;
    trilu;
    unary;
    unsqueeze;
    variadic;
}
