//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod body;
mod pieces;
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

pub use broadcast::{Broadcast, Indices};
pub use registry::{OpEntry, Parse, find, operators, parse};

macro_rules! rooms {
    ($($(#[$attr:meta])* $room:ident;)*) => {
        $($(#[$attr])* pub mod $room;)*
        pub(crate) const ROOMS: &[(&str, &[OpEntry])] = &[$((stringify!($room), $room::OPERATORS)),*];
    };
}

rooms! {
    concat_from_sequence;
    if_;
    loop_;
    optional;
    reshape;
    scan;
    sequence;
    sequence_map;
    softmax;
    split_to_sequence;
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
