//! Attention of f32, in every form that comes down to scaled dot products.

mod flash;
mod mask;
mod tile;

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::attention::Attention;
use inferrum_ops::fused::attention::{Attention as Fused, Layout};
use inferrum_ops::multi_head_attention::MultiHeadAttention;
use inferrum_ops::sdpa::Sdpa;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use flash::{Flash, Operands, Strides, Undefined};
use mask::{Given, MaskPlan};

/// Keys or values that follow those of a cache.
#[derive(Clone, Copy, Debug)]
struct Cached {
    /// Positions of the cached ones among the inputs, and of all of them among the outputs.
    past: Option<usize>,
    present: usize,
    /// Whether that output is needed.
    wanted: bool,
    /// Heads (of all batches), cached and new rows, width.
    extents: [usize; 4],
    /// Where new rows lie, and the heads of a batch.
    new: Strides,
    heads: usize,
}

/// An attention with its place among inputs and outputs.
struct Kernel {
    flash: Flash,
    /// The mask, and its position among the inputs.
    mask: Option<(usize, MaskPlan)>,
    /// What has to be done to keys and values first.
    cached: [Cached; 2],
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let op = op as &dyn Any;
    if let Some(op) = op.downcast_ref::<Fused>() {
        return fused(op, lowering);
    }
    if let Some(op) = op.downcast_ref::<Attention>() {
        return onnx(op, lowering);
    }
    match op.downcast_ref::<MultiHeadAttention>() {
        Some(op) => multi_head(op, lowering),
        None => Err(Decline("another operator".into())),
    }
}

fn fused(op: &Fused, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[Fused::MASK])?;
    let shapes = [lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?];
    let sdpa = op.sdpa([&shapes[0], &shapes[1], &shapes[2]]).map_err(declined)?;
    let mask = match lowering.has(Fused::MASK) {
        false => None,
        true => {
            let shape =
                op.mask_shape(&sdpa, shapes[0].rank(), &lowering.shape(Fused::MASK)?).map_err(declined)?;
            Some((Fused::MASK, mask_plan(lowering, Fused::MASK, &shape, &sdpa, false, op.fill)?))
        }
    };
    let undefined = if op.zero_nan { Undefined::Zero } else { Undefined::Nan };
    kernel(lowering, sdpa, (op.layouts, op.output), None, mask, undefined)
}

fn onnx(op: &Attention, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    const MASK: usize = 3;
    const PAST: usize = 4;
    const VALID_KEYS: usize = 6;
    if lowering.has(VALID_KEYS) || lowering.wants(3) {
        return Err(Decline("a number of valid keys, or scores as an output".into()));
    }
    lowering.require_dtype(DType::F32, &[MASK])?;
    let shapes = [lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?];
    let past = past(lowering, PAST)?;
    let sdpa = op.sdpa(&shapes[0], &shapes[1], &shapes[2], past.unwrap_or(0)).map_err(declined)?;
    let mask = match lowering.has(MASK) {
        false => None,
        true => {
            Some((MASK, mask_plan(lowering, MASK, &lowering.shape(MASK)?, &sdpa, true, f32::NEG_INFINITY)?))
        }
    };
    let layout = if shapes[0].rank() == 3 { Layout::LengthFirst } else { Layout::HeadsFirst };
    let past = past.map(|past| (PAST, past));
    kernel(lowering, sdpa, ([layout; 3], layout), past, mask, Undefined::ZeroIfHidden)
}

fn multi_head(op: &MultiHeadAttention, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    const ADDED: usize = 5;
    const PAST: usize = 6;
    if [3, 4, 8, 9].into_iter().any(|index| lowering.has(index)) || lowering.wants(3) {
        return Err(Decline("a bias, padding or buffers, or scores as an output".into()));
    }
    lowering.require_dtype(DType::F32, &[])?;
    let shapes = [lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?];
    let layout = match shapes[1].rank() {
        3 => Layout::LengthFirst,
        4 => Layout::HeadsFirst,
        _ => return Err(Decline("keys and values in one tensor".into())),
    };
    let past = past(lowering, PAST)?;
    let [q, k, v] = &shapes;
    let sdpa = op.sdpa(q, Some(k), Some(v), past.unwrap_or(0)).map_err(declined)?;
    let mask = match lowering.has(ADDED) {
        false => None,
        true => Some((
            ADDED,
            mask_plan(lowering, ADDED, &lowering.shape(ADDED)?, &sdpa, true, f32::NEG_INFINITY)?,
        )),
    };
    let layouts = ([Layout::LengthFirst, layout, layout], Layout::LengthFirst);
    let past = past.map(|past| (PAST, past));
    kernel(lowering, sdpa, layouts, past, mask, Undefined::ZeroIfHidden)
}

fn declined(error: OpError) -> Decline {
    Decline(error.to_string())
}

/// The number of cached keys, if there is a cache; its values come next among the inputs.
fn past(lowering: &Lowering<'_>, index: usize) -> Result<Option<usize>, Decline> {
    if !lowering.has(index) {
        return Ok(None);
    }
    lowering.shape(index)?.get(2).copied().map(Some).ok_or_else(|| Decline("a cache without a length".into()))
}

fn mask_plan(
    lowering: &Lowering<'_>,
    index: usize,
    shape: &Shape,
    sdpa: &Sdpa,
    short: bool,
    fill: f32,
) -> Result<MaskPlan, Decline> {
    let bool_fill = match lowering.dtype(index)? {
        DType::F32 => None,
        DType::Bool => Some(fill),
        other => return Err(Decline(format!("a mask of {other}"))),
    };
    let target = [sdpa.batch, sdpa.q_heads, sdpa.q_len];
    let fits = |(extent, target): (&usize, &usize)| *extent == 1 || extent == target;
    let leading = shape.dims().split_last().map_or(&[][..], |(_, leading)| leading);
    if leading.len() > 3 || !leading.iter().rev().zip(target.iter().rev()).all(fits) {
        return Err(Decline(format!("a mask of shape {shape}")));
    }
    u32::try_from(sdpa.kv_len).map_err(|_| Decline("more keys than 32 bits count".into()))?;
    Ok(MaskPlan::new(shape, sdpa.kv_len, short, bool_fill))
}

/// The kernel for `sdpa`, of which `past` are the position and the number of cached keys.
fn kernel(
    lowering: &Lowering<'_>,
    sdpa: Sdpa,
    (layouts, output): ([Layout; 3], Layout),
    past: Option<(usize, usize)>,
    mask: Option<(usize, MaskPlan)>,
    undefined: Undefined,
) -> Result<Lowered, Decline> {
    let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = sdpa;
    let cached_len = past.map_or(0, |(_, len)| len);
    let side = |index: usize, width: usize| {
        let new = Strides::dense(layouts[index], [batch, kv_heads, kv_len - cached_len, width]);
        let past = past.map(|(input, _)| input + index - 1);
        let extents = [batch * kv_heads, cached_len, kv_len - cached_len, width];
        Cached { past, present: index, wanted: lowering.wants(index), extents, new, heads: kv_heads }
    };
    let cached = [side(1, head), side(2, v_head)];
    let strides = |index: usize, side: &Cached, width: usize| match side.past {
        None => Strides::dense(layouts[index], [batch, kv_heads, kv_len, width]),
        Some(_) => Strides::dense(Layout::HeadsFirst, [batch, kv_heads, kv_len, width]),
    };
    let strides = [
        Strides::dense(layouts[0], [batch, q_heads, q_len, head]),
        strides(1, &cached[0], head),
        strides(2, &cached[1], v_head),
        Strides::dense(output, [batch, q_heads, q_len, v_head]),
    ];
    let floats = cached.iter().map(Cached::scratch).sum::<usize>();
    let words = floats + mask.as_ref().map_or(0, |(_, mask)| mask.scratch());
    let name = format!(
        "{} {}",
        if q_len == 1 { "attention of one query" } else { "flash attention" },
        lowering.isa.name()
    );
    let flash = Flash::new(lowering.isa, sdpa, strides, cached_len, undefined);
    Ok(Lowered::new(name, Kernel { flash, mask, cached }).scratch(words * size_of::<u32>()))
}

impl NodeKernel for Kernel {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let mut scratch: &mut [u32] = io.scratch()?;
        let q = io.input(0)?;
        let mut sides: [&[f32]; 2] = [&[]; 2];
        for (side, cached) in sides.iter_mut().zip(&self.cached) {
            let (own, rest) =
                std::mem::take(&mut scratch).split_at_mut_checked(cached.scratch()).ok_or_else(misfit)?;
            scratch = rest;
            *side = cached.all(&mut io, bytemuck::cast_slice_mut(own))?;
        }
        let mask = match &self.mask {
            None => None,
            Some((index, plan)) => {
                let given = match plan.bool_fill {
                    None => Given::Added(io.input(*index)?),
                    Some(_) => Given::Truths(io.input(*index)?),
                };
                Some(plan.bind(self.flash.isa(), io.threads, given, scratch)?)
            }
        };
        let [k, v] = sides;
        self.flash.run(io.threads, &Operands { q, k, v, mask }, io.output(0)?);
        Ok(())
    }
}

fn misfit() -> OpError {
    OpError::Invalid("a buffer does not fit its shape".into())
}

impl Cached {
    /// Floats of scratch memory: cached and new rows one after the other, unless that is an output.
    fn scratch(&self) -> usize {
        let [heads, past, new, width] = self.extents;
        if self.past.is_some() && !self.wanted { heads * (past + new) * width } else { 0 }
    }

    /// All rows, of which the new ones are input `present`; written to the output if that is needed.
    fn all<'a>(&self, io: &mut Io<'a>, scratch: &'a mut [f32]) -> Result<&'a [f32], OpError> {
        let new: &[f32] = io.input(self.present)?;
        let to = match self.wanted {
            true => io.output::<f32>(self.present)?,
            false if self.past.is_some() => scratch,
            false => return Ok(new),
        };
        let past: &[f32] = self.past.map(|index| io.input(index)).transpose()?.unwrap_or(&[]);
        let [heads, past_len, new_len, width] = self.extents;
        let row = (past_len + new_len) * width;
        if to.len() != heads * row
            || past.len() != heads * past_len * width
            || new.len() != heads * new_len * width
        {
            return Err(misfit());
        }
        if row > 0 {
            io.threads.par_chunks_mut(to, row, |head, to| {
                let (old, fresh) = to.split_at_mut(past_len * width);
                old.copy_from_slice(&past[head * old.len()..][..old.len()]);
                for (i, fresh) in fresh.chunks_exact_mut(width).enumerate() {
                    let from = self.new.at(head / self.heads, head % self.heads, i);
                    fresh.copy_from_slice(&new[from..][..width]);
                }
            });
        }
        // Without a cache the input is as good, and the strides are its own.
        Ok(if self.past.is_some() { to } else { new })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::attention;

    // Scores go up to a hundred, and rounding them shows in every weight.
    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 3e-5 };

    #[test]
    fn all_sizes_and_layouts_agree() {
        agree_on(attention::sizes_and_layouts(), CLOSE);
    }

    #[test]
    fn masks_of_every_kind_agree() {
        agree_on(attention::SIZES.iter().flat_map(|&size| attention::masks(size)), CLOSE);
    }

    #[test]
    fn large_scores_are_not_hidden_by_a_finite_mask() {
        agree_on(attention::large_scores(), CLOSE);
    }

    #[test]
    fn a_query_that_sees_nothing_agrees() {
        agree_on(attention::blind_queries(), CLOSE);
    }

    #[test]
    fn caches_windows_and_caps_agree() {
        agree_on(
            attention::SIZES
                .iter()
                .filter(|size| size[5] > 0)
                .flat_map(|&size| attention::caches_windows_and_caps(size)),
            CLOSE,
        );
    }

    #[test]
    fn heads_side_by_side_agree() {
        agree_on(attention::packed_heads(), CLOSE);
    }
}
