//! Operators of Inferrum: attributes, shapes and reference semantics.
//!
//! One file, a *room*, makes an operator exist: `parse` (attributes, lifting old opsets), `infer` (types, shapes, and
//! elements where they are known), `reference` (slow, safe, obviously right). This file is the table, nothing else.

mod axes;
mod extents;
mod index;
mod number;
mod registry;
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
    center_crop_pad;
    compress;
    concat;
    constant_of_shape;
    crop;
    expand;
    eye_like;
    flatten;
    gather;
    gather_elements;
    gather_nd;
    non_zero;
    one_hot;
    pad;
    range;
    reshape;
    scatter_elements;
    scatter_nd;
    shape;
    slice;
    softmax;
    split;
    squeeze;
    tensor_scatter;
    tile;
    transpose;
    trilu;
    unsqueeze;
}
