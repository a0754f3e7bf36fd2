//! Attention of f32 with a running softmax, in every form that comes down to scaled dot products.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::attention::Attention;
use inferrum_ops::fused::attention::{Attention as Fused, Layout};
use inferrum_ops::multi_head_attention::MultiHeadAttention;
use inferrum_ops::sdpa::Sdpa;
use inferrum_tensor::{DType, Shape};

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Work, grid, word, words};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/attention.wgsl");
const APPEND: &str = include_str!("../../../shaders/append.wgsl");

/// Invocations of a workgroup, and keys that it looks at together.
const LANES: usize = 64;

/// Sums that an invocation keeps.
const MOST_TOTALS: usize = 64;

/// What a query that sees no key gives.
#[derive(Clone, Copy, PartialEq)]
enum Undefined {
    /// Not a number.
    Nan,
    /// Zeros.
    ZeroIfHidden,
    /// Zeros, also where the softmax is not a number for another reason.
    Zero,
}

/// A mask that broadcasts to `[batch, heads, queries, keys]`.
struct Mask {
    input: usize,
    strides: [usize; 3],
    columns: usize,
    /// Its one column holds for every key; else keys beyond its columns are hidden.
    constant: bool,
    /// The score of what a mask of truths hides.
    fill: Option<f32>,
}

/// An attention with its place among inputs and outputs.
struct Plan {
    sdpa: Sdpa,
    layouts: [Layout; 3],
    output: Layout,
    /// The input that holds cached keys (values come next), and how many.
    past: Option<(usize, usize)>,
    mask: Option<Mask>,
    undefined: Undefined,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let op = op as &dyn Any;
    let plan = if let Some(op) = op.downcast_ref::<Fused>() {
        fused(op, lowering)?
    } else if let Some(op) = op.downcast_ref::<Attention>() {
        onnx(op, lowering)?
    } else if let Some(op) = op.downcast_ref::<MultiHeadAttention>() {
        multi_head(op, lowering)?
    } else {
        return Err(Decline("another operator".into()));
    };
    plan.lower(lowering)
}

fn fused(op: &Fused, lowering: &Lowering<'_>) -> Result<Plan, Decline> {
    lowering.require_floats(&[Fused::MASK])?;
    let shapes = [lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?];
    let sdpa = op.sdpa([&shapes[0], &shapes[1], &shapes[2]]).map_err(declined)?;
    let mask = match lowering.has(Fused::MASK) {
        false => None,
        true => {
            let own = lowering.shape(Fused::MASK)?;
            let shape = op.mask_shape(&sdpa, shapes[0].rank(), &own).map_err(declined)?;
            Some(Mask::new(lowering, Fused::MASK, &shape, &sdpa, false, op.fill)?)
        }
    };
    let undefined = if op.zero_nan { Undefined::Zero } else { Undefined::Nan };
    Ok(Plan { sdpa, layouts: op.layouts, output: op.output, past: None, mask, undefined })
}

fn onnx(op: &Attention, lowering: &Lowering<'_>) -> Result<Plan, Decline> {
    const MASK: usize = 3;
    const PAST: usize = 4;
    const VALID_KEYS: usize = 6;
    if lowering.has(VALID_KEYS) || lowering.wants(3) {
        return Err(Decline("a number of valid keys, or scores as an output".into()));
    }
    lowering.require_floats(&[MASK])?;
    let shapes = [lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?];
    let past = past(lowering, PAST)?;
    let cached = past.map_or(0, |(_, cached)| cached);
    let sdpa = op.sdpa(&shapes[0], &shapes[1], &shapes[2], cached).map_err(declined)?;
    let mask = added(lowering, MASK, &sdpa)?;
    let layout = if shapes[0].rank() == 3 { Layout::LengthFirst } else { Layout::HeadsFirst };
    let undefined = Undefined::ZeroIfHidden;
    Ok(Plan { sdpa, layouts: [layout; 3], output: layout, past, mask, undefined })
}

fn multi_head(op: &MultiHeadAttention, lowering: &Lowering<'_>) -> Result<Plan, Decline> {
    const ADDED: usize = 5;
    const PAST: usize = 6;
    if [3, 4, 8, 9].into_iter().any(|index| lowering.has(index)) || lowering.wants(3) {
        return Err(Decline("a bias, padding or buffers, or scores as an output".into()));
    }
    lowering.require_floats(&[ADDED])?;
    let (q, k, v) = (lowering.shape(0)?, lowering.shape(1)?, lowering.shape(2)?);
    let layout = match k.rank() {
        3 => Layout::LengthFirst,
        4 => Layout::HeadsFirst,
        _ => return Err(Decline("keys and values in one tensor".into())),
    };
    let past = past(lowering, PAST)?;
    let sdpa = op.sdpa(&q, Some(&k), Some(&v), past.map_or(0, |(_, cached)| cached)).map_err(declined)?;
    let mask = added(lowering, ADDED, &sdpa)?;
    let layouts = [Layout::LengthFirst, layout, layout];
    let undefined = Undefined::ZeroIfHidden;
    Ok(Plan { sdpa, layouts, output: Layout::LengthFirst, past, mask, undefined })
}

fn declined(error: OpError) -> Decline {
    Decline(error.to_string())
}

/// Where cached keys are and how many, if there is a cache.
fn past(lowering: &Lowering<'_>, index: usize) -> Result<Option<(usize, usize)>, Decline> {
    if !lowering.has(index) {
        return Ok(None);
    }
    let shape = lowering.shape(index)?;
    let len = shape.get(2).copied().ok_or_else(|| Decline("a cache without a length".into()))?;
    Ok(Some((index, len)))
}

/// A mask that is added, or whose false hides, and whose last extent may be short.
fn added(lowering: &Lowering<'_>, index: usize, sdpa: &Sdpa) -> Result<Option<Mask>, Decline> {
    let mask = || Mask::new(lowering, index, &lowering.shape(index)?, sdpa, true, f32::NEG_INFINITY);
    lowering.has(index).then(mask).transpose()
}

impl Mask {
    fn new(
        lowering: &Lowering<'_>,
        input: usize,
        shape: &Shape,
        sdpa: &Sdpa,
        short: bool,
        fill: f32,
    ) -> Result<Mask, Decline> {
        let fill = match lowering.dtype(input)? {
            DType::F16 | DType::F32 => None,
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

/// A score for each head that takes part in the softmax without a value.
#[derive(Clone, Copy)]
pub(crate) enum Sinks {
    /// An input, one for each head.
    Input(usize),
    /// 0.
    Zero,
}

/// What is before an attention over a cache whose batches have lengths of their own: rows by heads.
pub(crate) struct Prepared {
    /// Queries, of f32.
    pub(crate) q: Operand,
    /// Keys and values, of `element`.
    pub(crate) k: Operand,
    pub(crate) v: Operand,
    pub(crate) element: &'static str,
    /// For each batch the place of its first query, and how many keys it has.
    pub(crate) lengths: Operand,
    pub(crate) sinks: Option<Sinks>,
    /// The dispatches that give these.
    pub(crate) work: Work,
}

/// The attention over what is prepared; `mask` is an input that is added to the scores, and may be short.
///
/// # Errors
/// A shape or type that the kernel does not take.
pub(crate) fn lower_prepared(
    sdpa: Sdpa,
    prepared: Prepared,
    mask: Option<usize>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = sdpa;
    let Prepared { q, k, v, element, lengths, sinks, work } = prepared;
    let first = Layout::HeadsFirst;
    let sources = Sources {
        q: (q, "f32", strides(first, [batch, q_heads, q_len, head])),
        k: (k, element, strides(first, [batch, kv_heads, kv_len, head])),
        v: (v, element, strides(first, [batch, kv_heads, kv_len, v_head])),
        lengths: Some(lengths),
        sinks,
        work,
    };
    let mask = mask.map(|input| added(lowering, input, &sdpa)).transpose()?.flatten();
    let (layouts, output, undefined) = ([first; 3], Layout::LengthFirst, Undefined::ZeroIfHidden);
    Plan { sdpa, layouts, output, past: None, mask, undefined }.attend(sources, lowering)
}

/// Where queries, keys and values are: buffer, element type, distances of batches, heads and rows.
struct Sources {
    q: Source,
    k: Source,
    v: Source,
    lengths: Option<Operand>,
    sinks: Option<Sinks>,
    work: Work,
}

type Source = (Operand, &'static str, [usize; 3]);

/// Distances of batches, heads and rows of a tensor in a layout.
fn strides(layout: Layout, extents: [usize; 4]) -> [usize; 3] {
    let axes = layout.axes();
    let after = |axis: usize| -> usize {
        axes.iter().zip(&extents).filter(|(other, _)| **other > axis).map(|(_, extent)| extent).product()
    };
    [after(axes[0]), after(axes[1]), after(axes[2])]
}

impl Plan {
    fn lower(self, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        let Sdpa { batch, q_heads, q_len, head, v_head, .. } = self.sdpa;
        let mut work = Work { name: "attention".into(), dispatches: Vec::new(), scratch: Vec::new() };
        let k = self.side(1, head, lowering, &mut work)?;
        let v = self.side(2, v_head, lowering, &mut work)?;
        let q = (Operand::Input(0), strides(self.layouts[0], [batch, q_heads, q_len, head]));
        let element = |input| lowering.float(input);
        let sources = Sources {
            q: (q.0, element(0)?, q.1),
            k: (k.0, element(1)?, k.1),
            v: (v.0, element(2)?, v.1),
            lengths: None,
            sinks: None,
            work,
        };
        self.attend(sources, lowering)
    }

    /// The attention, after what comes before it.
    fn attend(&self, sources: Sources, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = self.sdpa;
        let Sources { q, k, v, lengths, sinks, mut work } = sources;
        let rows = self.rows(lowering)?;
        let columns = v_head.div_ceil(LANES).max(1);
        let mut params =
            words([q_len, kv_len, head, v_head, q_heads, q_heads.checked_div(kv_heads).unwrap_or(1)])?;
        params.extend([self.sdpa.scale as f32, self.sdpa.softcap as f32].map(f32::to_bits));
        let y_strides = strides(self.output, [batch, q_heads, q_len, v_head]);
        for of in [q.2, k.2, v.2, y_strides] {
            params.extend(words(of)?);
        }
        let mask = self.mask.as_ref();
        params.extend(words(mask.map_or([0; 3], |mask| mask.strides))?);
        params.push(word(mask.map_or(0, |mask| mask.columns))?);
        let bounded = |keys: Option<usize>| {
            keys.map_or(i32::MAX as u32 / 2, |keys| keys.min(i32::MAX as usize / 2) as u32)
        };
        params.push(word(self.past.map_or(0, |(_, cached)| cached))?);
        params.extend([bounded(self.sdpa.reach.left), bounded(self.sdpa.reach.right)]);
        params.push(mask.and_then(|mask| mask.fill).unwrap_or(0.0).to_bits());

        let mut bindings = Bindings::default();
        for (name, (operand, element, _)) in [("q", q), ("k", k), ("v", v)] {
            match operand.is_written() {
                true => bindings.write(name, element, operand),
                false => bindings.read(name, element, operand),
            }
        }
        if let Some(lengths) = &lengths {
            bindings.read("lengths", "vec2<u32>", lengths.clone());
        }
        if let Some(Sinks::Input(input)) = sinks {
            bindings.read("sinks", lowering.float(input)?, Operand::Input(input));
        }
        if let Some(mask) = mask {
            let element = if mask.fill.is_some() { "u32" } else { lowering.float(mask.input)? };
            bindings.read("mask", element, Operand::Input(mask.input));
        }
        bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
        let hidden = if self.undefined == Undefined::Nan && kv_len > 0 { "nan()" } else { "0.0" };
        let reach = self.sdpa.reach;
        let shader = Template::new("attention", SOURCE)
            .including(FUNCTIONS)
            .subgroups(lowering.abilities.subgroups)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .with("rows", rows)
            .with("columns", columns)
            .with("query_tile", (rows * head).max(1))
            .with("score_tile", rows * LANES)
            .with("totals", rows * columns)
            .with("hidden", hidden)
            .with("given", if mask.is_some_and(|mask| mask.fill.is_some()) { "u32" } else { "f32" })
            .with("fill", "bitcast<f32>(param(27u))")
            .with("sink", if matches!(sinks, Some(Sinks::Input(_))) { "f32(sinks[head])" } else { "0.0" })
            .switch("lengths", lengths.is_some())
            .switch("sinks", sinks.is_some())
            .switch("softcap", self.sdpa.softcap != 0.0)
            .switch("reach", reach.left.is_some() || reach.right.is_some())
            .switch("mask", mask.is_some())
            .switch("constant_mask", mask.is_some_and(|mask| mask.constant))
            .switch("truths", mask.is_some_and(|mask| mask.fill.is_some()))
            .switch("zero_nan", self.undefined == Undefined::Zero)
            .build();
        let groups = grid([q_len.div_ceil(rows), q_heads, batch])?;
        let operands = bindings.operands().iter().cloned().collect();
        work.dispatches.push(Dispatch { shader, operands, params, groups });
        Ok(Lowered::Work(work))
    }

    /// Keys or values with those of the cache: where they are, and how they lie there.
    fn side(
        &self,
        index: usize,
        width: usize,
        lowering: &Lowering<'_>,
        work: &mut Work,
    ) -> Result<(Operand, [usize; 3]), Decline> {
        let Sdpa { batch, kv_heads, kv_len, .. } = self.sdpa;
        let cached = self.past.map_or(0, |(_, cached)| cached);
        let new_len =
            kv_len.checked_sub(cached).ok_or_else(|| Decline("a cache of another length".into()))?;
        let new = strides(self.layouts[index], [batch, kv_heads, new_len, width]);
        let wanted = lowering.wants(index);
        if self.past.is_none() && !wanted {
            return Ok((Operand::Input(index), new));
        }
        let elements = batch.saturating_mul(kv_heads).saturating_mul(kv_len).saturating_mul(width);
        let written = if wanted {
            Operand::Output(index)
        } else {
            work.scratch.push(elements.saturating_mul(storage::element_bytes(lowering.dtype(index)?)));
            Operand::Scratch(work.scratch.len() - 1)
        };
        let mut params = words([elements, kv_len, cached, width, kv_heads])?;
        params.extend(words(new)?);
        let mut bindings = Bindings::default();
        let element = lowering.float(index)?;
        bindings.read("new_rows", element, Operand::Input(index));
        if let Some((input, _)) = self.past {
            if lowering.float(input + index - 1)? != element {
                return Err(Decline("a cache of another type".into()));
            }
            bindings.read("past_rows", element, Operand::Input(input + index - 1));
        }
        bindings.write("all_rows", element, written.clone());
        let shader = Template::new("append", APPEND)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .switch("past", self.past.is_some())
            .build();
        work.dispatches.push(Dispatch::over(elements, shader, bindings.operands(), params)?);
        let read = match written {
            Operand::Scratch(place) => Operand::ReadScratch(place),
            other => other,
        };
        Ok((read, strides(Layout::HeadsFirst, [batch, kv_heads, kv_len, width])))
    }

    /// Queries of a workgroup: as many as its memory and registers take.
    fn rows(&self, lowering: &Lowering<'_>) -> Result<usize, Decline> {
        let columns = self.sdpa.v_head.div_ceil(LANES).max(1);
        let memory = lowering.abilities.limits.max_compute_workgroup_storage_size as usize;
        // Scores, and what subgroups have of them.
        let tiles = if lowering.abilities.subgroups { 2 * LANES } else { LANES };
        let fits = |rows: usize| {
            let floats = rows.saturating_mul(self.sdpa.head.saturating_add(tiles + 3));
            floats.saturating_mul(size_of::<f32>()) <= memory && rows * columns <= MOST_TOTALS
        };
        let most = self.sdpa.q_len.next_power_of_two();
        [8, 4, 2, 1].into_iter().find(|&rows| rows <= most && fits(rows)).ok_or_else(|| {
            Decline(format!(
                "heads of {} and {} elements are wider than the kernel takes",
                self.sdpa.head, self.sdpa.v_head
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::attention;

    const CLOSE: Tolerance = Tolerance { relative: 5e-5, absolute: 2e-5 };
    const SIZE: [usize; 7] = [2, 4, 2, 7, 70, 8, 5];

    #[test]
    fn all_sizes_and_layouts_agree() {
        agree_on(attention::sizes_and_layouts(), CLOSE);
    }

    #[test]
    fn masks_of_every_kind_agree() {
        agree_on(attention::masks(SIZE), CLOSE);
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
        agree_on(attention::caches_windows_and_caps(SIZE), CLOSE);
    }

    #[test]
    fn heads_side_by_side_agree() {
        agree_on(attention::packed_heads(), CLOSE);
    }
}
