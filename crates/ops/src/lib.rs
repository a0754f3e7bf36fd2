//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod axes;
mod body;
mod broadcast;
mod digest;
mod extents;
pub mod fused;
mod index;
mod number;
mod pieces;
mod re2;
mod registry;
pub mod sdpa;
#[cfg(test)]
mod testing;

pub use broadcast::{Broadcast, Indices};
pub use digest::Table;
pub use registry::{OpEntry, Parse, find, operators, parse};

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    attention;
    concat;
    concat_from_sequence;
    expand;
    flatten;
    flex_attention;
    if_;
    linear_attention;
    loop_;
    optional;
    regex_full_match;
    reshape;
    rotary_embedding;
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
    tfidf_vectorizer;
    tile;
    tokenizer;
    transpose;
    unsqueeze;
}
