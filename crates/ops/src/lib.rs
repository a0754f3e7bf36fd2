//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod fourier;
mod registry;
pub mod sdpa;
mod take;
#[cfg(test)]
mod testing;

pub use registry::{OpEntry, Parse, find, operators, parse};

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    affine_grid;
    attention;
    dft;
    flex_attention;
    grid_sample;
    group_query_attention;
    linear_attention;
    max_roi_pool;
    mel_weight_matrix;
    multi_head_attention;
    negative_log_likelihood_loss;
    non_max_suppression;
    projected_attention;
    reshape;
    resize;
    roi_align;
    rotary_embedding;
    signal_window;
    softmax;
    stft;
}
