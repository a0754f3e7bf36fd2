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
mod fourier;
pub mod fused;
pub mod fused_activation;
mod index;
mod mersenne_twister;
mod moments;
mod number;
mod number_text;
mod pieces;
mod quantized;
mod registry;
pub mod scalar;
pub mod sdpa;
mod take;
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
    affine_grid;
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
    dft;
    dropout;
    dynamic_quantize;
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
    grid_sample;
    group_norm;
    group_query_attention;
    hardmax;
    identity;
    if_;
    image_decoder;
    image_scaler;
    instance_norm;
    is_inf;
    layer_norm;
    linear_attention;
    loop_;
    lp_norm;
    lrn;
    matmul;
    matmul_integer;
    matmul_nbits;
    max_roi_pool;
    max_unpool;
    mean_variance_norm;
    mel_weight_matrix;
    multi_head_attention;
    multinomial;
    negative_log_likelihood_loss;
    non_max_suppression;
    non_zero;
    one_hot;
    optional;
    pad;
    pool;
    prelu;
    projected_attention;
    qgemm;
    qlinear_conv;
    qlinear_matmul;
    quantize;
    random;
    range;
    reshape;
    resize;
    roi_align;
    rotary_embedding;
    scan;
    scatter_elements;
    scatter_nd;
    select;
    sequence;
    sequence_map;
    shape;
    signal_window;
    skip_layer_norm;
    slice;
    softmax;
    split;
    split_to_sequence;
    squeeze;
    stft;
    swiglu;
    tensor_scatter;
    tile;
    transpose;
    trilu;
    unary;
    unsqueeze;
    variadic;
}
