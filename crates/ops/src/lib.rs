//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod axes;
mod body;
mod broadcast;
mod class_labels;
mod digest;
mod extents;
mod features;
mod forest;
pub mod fused;
mod index;
mod mapping;
mod number;
mod pieces;
mod post_transform;
mod re2;
mod registry;
pub mod sdpa;
#[cfg(test)]
mod testing;
mod trees;

pub use broadcast::{Broadcast, Indices};
pub use class_labels::ClassLabels;
pub use digest::Table;
pub use forest::Aggregate;
pub use post_transform::PostTransform;
pub use registry::{OpEntry, Parse, find, operators, parse};
pub use trees::Trees;

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    array_feature_extractor;
    attention;
    binarizer;
    concat;
    concat_from_sequence;
    expand;
    feature_vectorizer;
    flatten;
    flex_attention;
    if_;
    imputer;
    label_encoder;
    linear;
    linear_attention;
    loop_;
    map_to_tensor;
    normalizer;
    one_hot_encoder;
    optional;
    regex_full_match;
    reshape;
    rotary_embedding;
    scaler;
    scan;
    sequence;
    sequence_map;
    shape;
    slice;
    softmax;
    split;
    split_to_sequence;
    squeeze;
    string_concat;
    string_normalizer;
    string_split;
    svm;
    tfidf_vectorizer;
    tile;
    tokenizer;
    transpose;
    tree_ensemble;
    unsqueeze;
    zip_map;
}
