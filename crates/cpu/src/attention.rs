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
    use super::*;
    use crate::testing::{Tolerance, agree_with, random, random_of};
    use inferrum_ops::attention::Attention;
    use inferrum_ops::sdpa::{Reach, Stage};
    use inferrum_tensor::Tensor;

    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 1e-5 };

    fn op() -> Fused {
        Fused {
            scale: 0.3,
            layouts: [Layout::HeadsFirst; 3],
            output: Layout::HeadsFirst,
            fill: f32::NEG_INFINITY,
            zero_nan: false,
        }
    }

    fn agrees(op: Fused, inputs: &[&Tensor]) {
        let inputs: Vec<_> = inputs.iter().map(|tensor| Some(((*tensor).clone(), false))).collect();
        agree_with(op, &inputs, 1, CLOSE);
    }

    /// Queries, keys and values: batch, heads of queries and keys, lengths, widths.
    fn operands([b, hq, h, s, t, d, dv]: [usize; 7], layout: Layout) -> [Tensor; 3] {
        let shape = |extents: [usize; 4]| {
            let mut dims = extents;
            layout.axes().into_iter().zip(extents).for_each(|(axis, extent)| dims[axis] = extent);
            dims
        };
        [random(&shape([b, hq, s, d]), 1), random(&shape([b, h, t, d]), 2), random(&shape([b, h, t, dv]), 3)]
    }

    const SIZES: &[[usize; 7]] = &[
        [1, 1, 1, 1, 1, 1, 1],
        [2, 3, 3, 3, 17, 5, 7],
        [1, 4, 2, 17, 127, 16, 33],
        [2, 2, 1, 1, 127, 64, 64],
        [1, 6, 2, 1, 600, 8, 3],
        [1, 1, 1, 127, 1100, 32, 17],
        [1, 8, 1, 3, 40, 20, 64],
        [1, 2, 2, 0, 5, 4, 4],
        [1, 2, 2, 5, 0, 4, 4],
        [1, 2, 2, 5, 3, 0, 4],
        [1, 2, 2, 5, 3, 4, 0],
        [0, 2, 2, 5, 3, 4, 4],
    ];

    #[test]
    fn all_sizes_and_layouts_agree() {
        for &size in SIZES {
            for layout in Layout::ALL {
                let [q, k, v] = operands(size, layout);
                agrees(Fused { layouts: [layout; 3], output: layout, ..op() }, &[&q, &k, &v]);
            }
        }
        let [q, _, _] = operands([2, 3, 3, 5, 9, 4, 6], Layout::LengthFirst);
        let [_, k, _] = operands([2, 3, 3, 5, 9, 4, 6], Layout::HeadsFirst);
        let [_, _, v] = operands([2, 3, 3, 5, 9, 4, 6], Layout::LengthOuter);
        let layouts = [Layout::LengthFirst, Layout::HeadsFirst, Layout::LengthOuter];
        agrees(Fused { layouts, output: Layout::LengthFirst, ..op() }, &[&q, &k, &v]);
    }

    #[test]
    fn fewer_axes_agree() {
        let tensors = [random(&[3, 17, 8], 1), random(&[3, 40, 8], 2), random(&[3, 40, 5], 3)];
        agrees(op(), &[&tensors[0], &tensors[1], &tensors[2], &random(&[3, 17, 40], 4)]);
        agrees(op(), &[&random(&[9, 8], 1), &random(&[40, 8], 2), &random(&[40, 5], 3), &random(&[40], 4)]);
    }

    /// A mask of zeros with some keys hidden by `value`: those after a query's own place, or every third one.
    fn hiding(shape: [usize; 4], value: f32, causal: bool) -> Tensor {
        let [_, _, rows, keys] = shape;
        let values = (0..shape.iter().product()).map(|i: usize| {
            let (row, key) = (i / keys % rows.max(1), i % keys);
            let hidden = if causal { key > row + keys.saturating_sub(rows) } else { (key + row) % 3 == 1 };
            if hidden { value } else { 0.0 }
        });
        Tensor::from_vec(shape, values.collect()).unwrap()
    }

    #[test]
    fn masks_of_every_kind_agree() {
        for &[b, hq, h, s, t, d, dv] in SIZES {
            let [q, k, v] = operands([b, hq, h, s, t, d, dv], Layout::HeadsFirst);
            for shape in
                [[b, hq, s, t], [1, 1, s, t], [b, 1, 1, t], [1, hq, s, 1], [1, 1, 1, 1], [1, hq, 1, t]]
            {
                agrees(op(), &[&q, &k, &v, &random(&shape, 4)]);
                for value in [f32::NEG_INFINITY, -1e4, f32::MIN] {
                    for causal in [false, true] {
                        // Scores of a row that is all hidden by 10,000 are held to 10^-3.
                        let close =
                            if value == -1e4 { Tolerance { relative: 1e-3, absolute: 1e-3 } } else { CLOSE };
                        let mask = hiding(shape, value, causal);
                        let inputs = [&q, &k, &v, &mask].map(|tensor| Some((tensor.clone(), false)));
                        agree_with(op(), &inputs, 1, close);
                    }
                }
                for fill in [f32::NEG_INFINITY, -5.0, -1e9] {
                    agrees(Fused { fill, ..op() }, &[&q, &k, &v, &random_of(DType::Bool, &shape, 4)]);
                }
            }
        }
    }

    #[test]
    fn large_scores_are_not_hidden_by_a_finite_mask() {
        let [q, k, v] = operands([1, 2, 2, 17, 40, 8, 4], Layout::HeadsFirst);
        for scale in [300.0, 3000.0] {
            let mask = hiding([1, 1, 17, 40], -1e4, true);
            let inputs: Vec<_> = [&q, &k, &v, &mask].map(|tensor| Some((tensor.clone(), false))).into();
            // A probability depends on the last bit of a score of thousands.
            let loose = Tolerance { relative: 0.05, absolute: 0.05 };
            agree_with(Fused { scale, ..op() }, &inputs, 1, loose);
        }
    }

    #[test]
    fn a_query_that_sees_nothing_agrees() {
        let [q, k, v] = operands([1, 2, 2, 70, 600, 8, 4], Layout::HeadsFirst);
        let hidden = |rows: usize| {
            let values =
                (0..70 * 600).map(|i| if i / 600 < rows { f32::NEG_INFINITY } else { 0.5 }).collect();
            Tensor::from_vec([70, 600], values).unwrap()
        };
        for zero_nan in [false, true] {
            for rows in [1, 69, 70] {
                agrees(Fused { zero_nan, ..op() }, &[&q, &k, &v, &hidden(rows)]);
            }
        }
        let mut values = q.to_f64().unwrap();
        values[3] = f64::NAN;
        let q = Tensor::from_f64(DType::F32, [1, 2, 70, 8], &values).unwrap();
        for zero_nan in [false, true] {
            agrees(Fused { zero_nan, ..op() }, &[&q, &k, &v]);
        }
    }

    fn onnx(outputs: usize, reach: Reach) -> Attention {
        Attention {
            q_heads: None,
            kv_heads: None,
            scale: None,
            softcap: 0.0,
            reach,
            softmax_precision: None,
            scores_at: Stage::Products,
            outputs,
        }
    }

    #[test]
    fn the_operator_of_onnx_agrees() {
        let given =
            |tensors: &[&Tensor]| -> Vec<_> { tensors.iter().map(|t| Some(((*t).clone(), false))).collect() };
        for &size in SIZES.iter().filter(|size| size[5] > 0) {
            let [b, _, h, s, t, d, dv] = size;
            let [q, k, v] = operands(size, Layout::HeadsFirst);
            for reach in [Reach::default(), Reach::CAUSAL, Reach { left: Some(2), right: Some(1) }] {
                agree_with(onnx(1, reach), &given(&[&q, &k, &v]), 1, CLOSE);
                agree_with(Attention { softcap: 2.0, ..onnx(3, reach) }, &given(&[&q, &k, &v]), 3, CLOSE);
                let mut inputs = given(&[&q, &k, &v]);
                inputs.push(None);
                inputs.extend(given(&[&random(&[b, h, 9, d], 5), &random(&[b, h, 9, dv], 6)]));
                agree_with(onnx(1, reach), &inputs, 1, CLOSE);
                agree_with(onnx(3, reach), &inputs, 3, CLOSE);
                // A mask that does not reach the last keys.
                inputs[3] = given(&[&random(&[s, t + 2], 7)]).remove(0);
                agree_with(onnx(1, reach), &inputs, 1, CLOSE);
                inputs[3] = given(&[&random_of(DType::Bool, &[b, 1, s, t + 9], 7)]).remove(0);
                agree_with(onnx(1, reach), &inputs, 1, CLOSE);
            }
        }
        let packed = Attention { q_heads: Some(4), kv_heads: Some(2), ..onnx(3, Reach::CAUSAL) };
        let inputs = given(&[&random(&[2, 17, 20], 1), &random(&[2, 17, 10], 2), &random(&[2, 17, 6], 3)]);
        agree_with(packed, &inputs, 3, CLOSE);
    }

    #[test]
    fn multi_head_attention_agrees() {
        let given =
            |tensors: &[&Tensor]| -> Vec<_> { tensors.iter().map(|t| Some(((*t).clone(), false))).collect() };
        for causal in [false, true] {
            let op = MultiHeadAttention { heads: 4, scale: None, mask_filter: -1e4, causal, outputs: 3 };
            let mut inputs =
                given(&[&random(&[2, 17, 20], 1), &random(&[2, 9, 20], 2), &random(&[2, 9, 12], 3)]);
            agree_with(op.clone(), &inputs, 3, CLOSE);
            inputs.extend([None, None]);
            inputs.extend(given(&[
                &random(&[1, 4, 17, 14], 4),
                &random(&[2, 4, 5, 5], 5),
                &random(&[2, 4, 5, 3], 6),
            ]));
            agree_with(op.clone(), &inputs, 3, CLOSE);
            let inputs =
                given(&[&random(&[2, 3, 20], 1), &random(&[2, 4, 9, 5], 2), &random(&[2, 4, 9, 3], 3)]);
            agree_with(op, &inputs, 3, CLOSE);
        }
    }
}
