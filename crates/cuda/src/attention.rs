//! Attention with a running softmax, in every form that comes down to scaled dot products.
//!
//! Keys and values stand by heads or side by side, with those of a cache before them, which a launch of its own joins. What then attends is
//! one of [`forms`], by shape and device.

mod append;
mod forms;
mod launch;

use inferrum_backend::Decline;
use inferrum_backend::attention::{Attended, Blind, Mask, Side, attended, strides};
use inferrum_graph::Operator;
use inferrum_ops::fused::attention::Layout;
use inferrum_ops::sdpa::Sdpa;

use crate::kernel::{Lowered, Lowering, Operand, Work};

/// A score for each head that takes part in the softmax without a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sinks {
    /// An input, one for each head.
    Input(usize),
    /// 0.
    Zero,
}

/// Rows by batches and heads: where they are, of what type, and the distances of batches, heads and rows.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) operand: Operand,
    pub(crate) element: &'static str,
    /// The first element.
    pub(crate) start: usize,
    pub(crate) strides: [usize; 3],
}

/// An attention of which everything is known.
pub(crate) struct Sources {
    pub(crate) sdpa: Sdpa,
    pub(crate) q: Rows,
    pub(crate) k: Rows,
    pub(crate) v: Rows,
    pub(crate) output: Layout,
    /// The place of the first query.
    pub(crate) first_place: usize,
    /// For each batch the place of its first query, and how many keys it has.
    pub(crate) lengths: Option<Operand>,
    pub(crate) sinks: Option<Sinks>,
    pub(crate) mask: Option<Mask>,
    pub(crate) blind: Blind,
}

impl Rows {
    /// Rows that lie in a layout; `extents` are those of batches, heads, rows and elements.
    pub(crate) fn of(operand: Operand, element: &'static str, layout: Layout, extents: [usize; 4]) -> Rows {
        Rows { operand, element, start: 0, strides: strides(layout, extents) }
    }

    /// Rows within an input.
    ///
    /// # Errors
    /// They are not of floats.
    fn of_side(side: Side, lowering: &Lowering<'_>) -> Result<Rows, Decline> {
        let Side { input, start, strides } = side;
        Ok(Rows { operand: Operand::Input(input), element: lowering.float(input)?, start, strides })
    }
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let attended = attended(op, lowering)?;
    let Attended { sdpa, sides, output, past, mask, blind } = &attended;
    lowering.require_floats(&mask.map_or(vec![], |mask| vec![mask.input]))?;
    let mut work = Work { name: "attention".into(), kernels: Vec::new(), scratch: Vec::new(), library: None };
    let k = append::side(&attended, 1, lowering, &mut work)?;
    let v = append::side(&attended, 2, lowering, &mut work)?;
    let sources = Sources {
        sdpa: sdpa.clone(),
        q: Rows::of_side(sides[0], lowering)?,
        k,
        v,
        output: *output,
        first_place: past.map_or(0, |(_, cached)| cached),
        lengths: None,
        sinks: None,
        mask: *mask,
        blind: *blind,
    };
    attend(sources, work, lowering)
}

/// The attention over what the launches of `work` have prepared.
///
/// # Errors
/// More elements than an index counts.
pub(crate) fn attend(sources: Sources, mut work: Work, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    launch::add(&sources, &mut work, lowering)?;
    Ok(Lowered::Work(work))
}

#[cfg(test)]
mod tests {
    use super::forms::{FORMS, Kind, forcing};
    use crate::testing::{Tolerance, agree_in};
    use inferrum_backend::testing::{Case, attention};
    use inferrum_tensor::DType;

    /// Weights of 16 bits are rounded before they are multiplied with values of up to 3, and may miss by half a unit each.
    fn tolerance(dtype: DType) -> Tolerance {
        match dtype {
            DType::F16 => Tolerance { relative: 1e-3, absolute: 1.5e-3 },
            DType::BF16 => Tolerance { relative: 8e-3, absolute: 1.2e-2 },
            _ => Tolerance { relative: 5e-5, absolute: 2e-5 },
        }
    }

    const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
    const SIZE: [usize; 7] = [2, 4, 2, 7, 70, 8, 5];
    /// Rows of 16 bytes and more, so that tensor cores take them.
    const WIDE: [usize; 7] = [1, 4, 2, 19, 150, 24, 40];

    /// In two types: the third is held to all forms.
    fn agree(cases: impl Fn() -> Vec<Case>) {
        TYPES[..2].iter().for_each(|&dtype| agree_in(dtype, cases(), tolerance(dtype)));
    }

    #[test]
    fn every_form_agrees() {
        let cases = || {
            let mut cases = attention::masks(WIDE);
            let masks = cases.len() / 10;
            cases = cases.into_iter().step_by(masks).collect();
            cases.extend(attention::caches_windows_and_caps(WIDE).into_iter().skip(24).step_by(7));
            cases.extend(attention::hidden_values([1, 4, 2, 17, 300, 24, 40]));
            cases
        };
        for form in FORMS {
            let types = match form.kind {
                Kind::Tensor { packed: true, .. } => &TYPES[1..],
                Kind::Tensor { .. } => &TYPES[1..2],
                Kind::Tile { rows: 32, .. } | Kind::Few { rows: 4 } => &TYPES[..2],
                _ => &TYPES[..1],
            };
            for &dtype in types {
                forcing(form.name, || agree_in(dtype, cases(), tolerance(dtype)));
            }
        }
    }

    #[test]
    fn all_sizes_and_layouts_agree() {
        agree(attention::sizes_and_layouts);
    }

    #[test]
    fn masks_of_every_kind_agree() {
        agree(|| attention::masks(SIZE));
    }

    #[test]
    fn large_scores_are_not_hidden_by_a_finite_mask() {
        agree(attention::large_scores);
    }

    #[test]
    fn a_query_that_sees_nothing_agrees() {
        agree(attention::blind_queries);
    }

    #[test]
    fn caches_windows_and_caps_agree() {
        agree(|| attention::caches_windows_and_caps(SIZE));
    }

    #[test]
    fn heads_side_by_side_agree() {
        agree(attention::packed_heads);
        agree(attention::packed_inputs_and_padding);
    }
}
