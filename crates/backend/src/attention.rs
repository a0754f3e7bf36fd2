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

/// What a mask does to scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Masking {
    /// It is added.
    Added,
    /// Where it is false the score is this.
    Truths(f32),
    /// An int32, and where it is not positive this is added.
    Kept(f32),
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
    /// What it does.
    pub masking: Masking,
}

/// Queries, keys or values `[batch, heads, length, width]` within an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Position of the input.
    pub input: usize,
    /// The first element.
    pub start: usize,
    /// Distances of batches, heads and rows, in elements.
    pub strides: [usize; 3],
}

/// An attention with its place among inputs and outputs.
#[derive(Clone, Debug)]
pub struct Attended {
    /// Extents, scale, cap and reach.
    pub sdpa: Sdpa,
    /// Where queries, new keys and new values are.
    pub sides: [Side; 3],
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

impl Side {
    /// All of an input, in a layout.
    fn of(input: usize, layout: Layout, extents: [usize; 4]) -> Side {
        Side { input, start: 0, strides: strides(layout, extents) }
    }
}

/// Queries, keys and values that are inputs 0, 1 and 2; `cached` keys are not among them.
fn separate(sdpa: &Sdpa, layouts: [Layout; 3], cached: usize) -> Result<[Side; 3], Decline> {
    let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = *sdpa;
    let new = kv_len.checked_sub(cached).ok_or_else(|| Decline("a cache of another length".into()))?;
    Ok([
        Side::of(0, layouts[0], [batch, q_heads, q_len, head]),
        Side::of(1, layouts[1], [batch, kv_heads, new, head]),
        Side::of(2, layouts[2], [batch, kv_heads, new, v_head]),
    ])
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
    let sides = separate(&sdpa, op.layouts, 0)?;
    Ok(Attended { sdpa, sides, output: op.output, past: None, mask, blind })
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
    let sides = separate(&sdpa, [layout; 3], cached)?;
    Ok(Attended { sdpa, sides, output: layout, past, mask, blind })
}

fn multi_head(op: &MultiHeadAttention, bound: &BoundNode<'_>) -> Result<Attended, Decline> {
    const PADDING: usize = 4;
    const ADDED: usize = 5;
    const PAST: usize = 6;
    if [3, 8, 9].into_iter().any(|index| bound.has(index)) || bound.wants(3) {
        return Err(Decline("a bias or buffers, or scores as an output".into()));
    }
    let shape = |index: usize| bound.has(index).then(|| bound.shape(index)).transpose();
    let (q, k, v) = (bound.shape(0)?, shape(1)?, shape(2)?);
    let past = past(bound, PAST)?;
    let cached = past.map_or(0, |(_, cached)| cached);
    let sdpa = op.sdpa(&q, k.as_ref(), v.as_ref(), cached).map_err(declined)?;
    let Sdpa { batch, q_heads, q_len, kv_len, head, .. } = sdpa;
    let new = kv_len.checked_sub(cached).ok_or_else(|| Decline("a cache of another length".into()))?;
    let sides = match (q.rank(), k.as_ref().map(|k| k.rank())) {
        (5, _) => [0, 1, 2].map(|place| packed(0, place, 3, [q_heads, q_len, head])),
        (_, Some(5)) => {
            let q = Side::of(0, Layout::LengthFirst, [batch, q_heads, q_len, head]);
            [q, packed(1, 0, 2, [q_heads, new, head]), packed(1, 1, 2, [q_heads, new, head])]
        }
        (_, Some(4)) => {
            separate(&sdpa, [Layout::LengthFirst, Layout::HeadsFirst, Layout::HeadsFirst], cached)?
        }
        _ => separate(&sdpa, [Layout::LengthFirst; 3], cached)?,
    };
    let mask = match (Mask::padding(bound, PADDING, &sdpa, op.mask_filter)?, bound.has(ADDED)) {
        (Some(_), true) => return Err(Decline("padding, and something that is added besides".into())),
        (Some(mask), false) => Some(mask),
        (None, _) => Mask::added(bound, ADDED, &sdpa)?,
    };
    Ok(Attended { sdpa, sides, output: Layout::LengthFirst, past, mask, blind: Blind::ZeroIfHidden })
}

/// Rows `[batch, length, heads, parts, width]` of an input that has all of them: the part number `place`.
fn packed(input: usize, place: usize, parts: usize, [heads, length, width]: [usize; 3]) -> Side {
    let row = heads * parts * width;
    Side { input, start: place * width, strides: [length * row, parts * width, row] }
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

    /// An int32 `[batch, keys]` or `[batch, queries, keys]` that is positive for keys that are no padding; None if it is left out, or says
    /// nothing.
    ///
    /// # Errors
    /// It has another form.
    fn padding(
        bound: &BoundNode<'_>,
        input: usize,
        sdpa: &Sdpa,
        filter: f32,
    ) -> Result<Option<Mask>, Decline> {
        if !bound.has(input) {
            return Ok(None);
        }
        let Sdpa { batch, q_len, kv_len, .. } = *sdpa;
        let shape = bound.shape(input)?;
        let strides = match *shape.dims() {
            [b, t] if (b, t) == (batch, kv_len) => [kv_len, 0, 0],
            [b, 1] if b == batch || b == 1 => return Ok(None),
            [b, s, t] if (b, s, t) == (batch, q_len, kv_len) => [q_len * kv_len, 0, kv_len],
            _ => return Err(Decline(format!("padding of shape {shape}"))),
        };
        let masking = Masking::Kept(filter);
        Ok(Some(Mask { input, strides, columns: kv_len, constant: false, masking }))
    }

    fn new(
        bound: &BoundNode<'_>,
        input: usize,
        shape: &Shape,
        sdpa: &Sdpa,
        short: bool,
        fill: f32,
    ) -> Result<Mask, Decline> {
        let masking = match bound.dtype(input)? {
            DType::F16 | DType::BF16 | DType::F32 => Masking::Added,
            DType::Bool => Masking::Truths(fill),
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
        Ok(Mask { input, strides, columns, constant, masking })
    }
}
