//! Attention operators as one form, for every device alike: extents, layouts, cache and mask.

use std::any::Any;

use inferrum_graph::OpError;
use inferrum_ops::attention::Attention;
use inferrum_ops::fused::attention::{Attention as Fused, Layout};
use inferrum_ops::multi_head_attention::MultiHeadAttention;
use inferrum_ops::sdpa::Sdpa;
use inferrum_tensor::{DType, Shape};

use crate::{BoundNode, Decline};

/// What a query that sees no key gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blind {
    /// Not a number; zeros if there are no keys at all.
    Nan,
    /// Zeros, but not where the softmax is not a number for another reason.
    ZeroIfHidden,
    /// Zeros, also where the softmax is not a number for another reason.
    Zero,
}

/// A mask that broadcasts to `[batch, heads, queries, keys]`.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Position of the input.
    pub input: usize,
    /// Distances of batches, heads and queries, in elements.
    pub strides: [usize; 3],
    /// Its last extent.
    pub columns: usize,
    /// Its one column holds for every key; else keys beyond its columns are hidden.
    pub constant: bool,
    /// The score of what a mask of truths hides; else the mask is added.
    pub fill: Option<f32>,
}

/// An attention with its place among inputs and outputs. Queries, keys and values are inputs 0, 1 and 2.
#[derive(Clone, Debug)]
pub struct Attended {
    /// Extents, scale, cap and reach.
    pub sdpa: Sdpa,
    /// How queries, keys and values lie.
    pub layouts: [Layout; 3],
    /// How the output lies.
    pub output: Layout,
    /// The input that holds cached keys, by heads (values come next), and how many.
    pub past: Option<(usize, usize)>,
    /// The mask, if there is one.
    pub mask: Option<Mask>,
    /// What a query that sees no key gives.
    pub blind: Blind,
}

/// Distances of batches, heads and rows of a tensor of `[batch, heads, length, width]` in a layout, in elements.
pub fn strides(layout: Layout, extents: [usize; 4]) -> [usize; 3] {
    let axes = layout.axes();
    let after = |axis: usize| -> usize {
        axes.iter().zip(&extents).filter(|(other, _)| **other > axis).map(|(_, extent)| extent).product()
    };
    [after(axes[0]), after(axes[1]), after(axes[2])]
}

/// The attention of an operator. Outputs 1 and 2, where they are wanted, are keys and values with those of the cache.
///
/// # Errors
/// It is none, or of a form that is not told here: scores as an output, biases, padding, buffers.
pub fn attended(op: &dyn Any, bound: &BoundNode<'_>) -> Result<Attended, Decline> {
    if let Some(op) = op.downcast_ref::<Fused>() {
        fused(op, bound)
    } else if let Some(op) = op.downcast_ref::<Attention>() {
        onnx(op, bound)
    } else if let Some(op) = op.downcast_ref::<MultiHeadAttention>() {
        multi_head(op, bound)
    } else {
        Err(Decline("another operator".into()))
    }
}

fn fused(op: &Fused, bound: &BoundNode<'_>) -> Result<Attended, Decline> {
    let shapes = [bound.shape(0)?, bound.shape(1)?, bound.shape(2)?];
    let sdpa = op.sdpa([&shapes[0], &shapes[1], &shapes[2]]).map_err(declined)?;
    let mask = match bound.has(Fused::MASK) {
        false => None,
        true => {
            let own = bound.shape(Fused::MASK)?;
            let shape = op.mask_shape(&sdpa, shapes[0].rank(), &own).map_err(declined)?;
            Some(Mask::new(bound, Fused::MASK, &shape, &sdpa, false, op.fill)?)
        }
    };
    let blind = if op.zero_nan { Blind::Zero } else { Blind::Nan };
    Ok(Attended { sdpa, layouts: op.layouts, output: op.output, past: None, mask, blind })
}

fn onnx(op: &Attention, bound: &BoundNode<'_>) -> Result<Attended, Decline> {
    const MASK: usize = 3;
    const PAST: usize = 4;
    const VALID_KEYS: usize = 6;
    if bound.has(VALID_KEYS) || bound.wants(3) {
        return Err(Decline("a number of valid keys, or scores as an output".into()));
    }
    let shapes = [bound.shape(0)?, bound.shape(1)?, bound.shape(2)?];
    let past = past(bound, PAST)?;
    let cached = past.map_or(0, |(_, cached)| cached);
    let sdpa = op.sdpa(&shapes[0], &shapes[1], &shapes[2], cached).map_err(declined)?;
    let mask = Mask::added(bound, MASK, &sdpa)?;
    let layout = if shapes[0].rank() == 3 { Layout::LengthFirst } else { Layout::HeadsFirst };
    let blind = Blind::ZeroIfHidden;
    Ok(Attended { sdpa, layouts: [layout; 3], output: layout, past, mask, blind })
}

fn multi_head(op: &MultiHeadAttention, bound: &BoundNode<'_>) -> Result<Attended, Decline> {
    const ADDED: usize = 5;
    const PAST: usize = 6;
    if [3, 4, 8, 9].into_iter().any(|index| bound.has(index)) || bound.wants(3) {
        return Err(Decline("a bias, padding or buffers, or scores as an output".into()));
    }
    let (q, k, v) = (bound.shape(0)?, bound.shape(1)?, bound.shape(2)?);
    let layout = match k.rank() {
        3 => Layout::LengthFirst,
        4 => Layout::HeadsFirst,
        _ => return Err(Decline("keys and values in one tensor".into())),
    };
    let past = past(bound, PAST)?;
    let sdpa = op.sdpa(&q, Some(&k), Some(&v), past.map_or(0, |(_, cached)| cached)).map_err(declined)?;
    let mask = Mask::added(bound, ADDED, &sdpa)?;
    let layouts = [Layout::LengthFirst, layout, layout];
    Ok(Attended { sdpa, layouts, output: Layout::LengthFirst, past, mask, blind: Blind::ZeroIfHidden })
}

fn declined(error: OpError) -> Decline {
    Decline(error.to_string())
}

/// Where cached keys are and how many, if there is a cache.
fn past(bound: &BoundNode<'_>, index: usize) -> Result<Option<(usize, usize)>, Decline> {
    if !bound.has(index) {
        return Ok(None);
    }
    let shape = bound.shape(index)?;
    let len = shape.get(2).copied().ok_or_else(|| Decline("a cache without a length".into()))?;
    Ok(Some((index, len)))
}

impl Mask {
    /// An input that is added, or whose false hides, and whose last extent may be short; None if it is left out.
    ///
    /// # Errors
    /// It does not broadcast, or is neither of floats nor of truths.
    pub fn added(bound: &BoundNode<'_>, index: usize, sdpa: &Sdpa) -> Result<Option<Mask>, Decline> {
        let mask = || Mask::new(bound, index, &bound.shape(index)?, sdpa, true, f32::NEG_INFINITY);
        bound.has(index).then(mask).transpose()
    }

    fn new(
        bound: &BoundNode<'_>,
        input: usize,
        shape: &Shape,
        sdpa: &Sdpa,
        short: bool,
        fill: f32,
    ) -> Result<Mask, Decline> {
        let fill = match bound.dtype(input)? {
            DType::F16 | DType::BF16 | DType::F32 => None,
            DType::Bool => Some(fill),
            other => return Err(Decline(format!("a mask of {other}"))),
        };
        let wanted = [sdpa.batch, sdpa.q_heads, sdpa.q_len];
        let fits = |(extent, wanted): (&usize, &usize)| *extent == 1 || extent == wanted;
        let leading = shape.dims().split_last().map_or(&[][..], |(_, leading)| leading);
        if leading.len() > 3 || !leading.iter().rev().zip(wanted.iter().rev()).all(fits) {
            return Err(Decline(format!("a mask of shape {shape}")));
        }
        let own = shape.strides();
        let mut strides = [0; 3];
        for (axis, place) in (3 - leading.len()..3).enumerate() {
            strides[place] = if shape[axis] == 1 { 0 } else { own[axis] };
        }
        let columns = shape.last().copied().unwrap_or(1);
        let constant = columns == 1 && sdpa.kv_len != 1 && !short;
        Ok(Mask { input, strides, columns, constant, fill })
    }
}
