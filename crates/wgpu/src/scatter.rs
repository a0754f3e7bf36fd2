//! `ScatterElements`, `ScatterND`. An update whose index is not on its axis goes nowhere and fails the run.

use std::any::Any;

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_graph::Operator;
use inferrum_ops::scatter_elements::{ScatterElements, ScatterReduction};
use inferrum_ops::scatter_nd::ScatterND;
use inferrum_tensor::DType;

use crate::copies::{self, copy_type, element_bytes, together};
use crate::index_tuples::Tuples;
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word, words};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/scatter.wgsl");

/// Where updates go.
struct Places {
    /// The function `place`.
    text: String,
    /// The words that it reads.
    params: Vec<u32>,
    /// Elements that go together.
    factor: usize,
    tuples: Option<Tuples>,
    /// Extents of the axes that indices go along.
    extents: Vec<usize>,
}

/// How updates are joined with what is there.
struct Combine {
    /// The function `combine`.
    text: String,
    /// Types of the updates and of the output's elements.
    update: &'static str,
    target: String,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let updates = lowering.shape(2)?.elements();
    if updates == 0 {
        return Ok(Lowered::View);
    }
    let element = element_bytes(lowering.dtype(0)?)?;
    let (reduction, places) = if let Some(op) = any.downcast_ref::<ScatterND>() {
        (op.reduction, slices(op.reduction, element, lowering)?)
    } else if let Some(op) = any.downcast_ref::<ScatterElements>() {
        (op.reduction, elements(op, lowering)?)
    } else {
        return Err(Decline("another operator".into()));
    };
    let Places { text, mut params, factor, tuples, extents } = places;
    let combine = combine(reduction, lowering.dtype(0)?)?;
    let (update, target) = match &combine {
        Some(combine) => (combine.update, combine.target.clone()),
        None => (copy_type(element * factor), copy_type(element * factor).to_owned()),
    };
    let count = params.len();
    params.push(word(updates / factor)?);
    let template = Template::new("scatter", SOURCE).params(params.len());
    let template = match &tuples {
        Some(tuples) => tuples.reading(template, lowering)?,
        None => indices::reading(template, 1, &extents, lowering)?,
    };
    let template = if combine.is_some() { template.including(FUNCTIONS) } else { template };
    let shader = template
        .with("type", update)
        .with("target", target)
        .with("place", text)
        .with("count", count)
        .switch("reduction", combine.is_some())
        .with("combine", combine.map_or(String::new(), |combine| combine.text))
        .build();
    let operands = [Operand::Input(1), Operand::Input(2), Operand::Output(0)];
    let operands: Vec<_> = operands.into_iter().chain(indices::fault(1, lowering)).collect();
    let mut dispatches = copies::whole(0, 0, lowering)?;
    dispatches.push(Dispatch::over(updates / factor, shader, &operands, params)?);
    Ok(Lowered::many("scatter", dispatches))
}

/// Each update is a slice.
fn slices(reduction: ScatterReduction, element: usize, lowering: &Lowering<'_>) -> Result<Places, Decline> {
    let tuples = Tuples::new(0, lowering)?;
    let alone = reduction != ScatterReduction::None;
    let factor = together(element, |factor| !alone && tuples.run.is_multiple_of(factor));
    let mut params = tuples.words.clone();
    let run = format!("param({}u)", params.len());
    params.push(word(tuples.run / factor)?);
    let text = format!(
        "fn place(index: u32) -> u32 {{\n    let slice = slice_of(index / {run});\n    \
         return select(slice * {run} + index % {run}, NOWHERE, slice == NOWHERE);\n}}"
    );
    Ok(Places { text, params, factor, tuples: Some(tuples), extents: Vec::new() })
}

/// Each update is an element.
fn elements(op: &ScatterElements, lowering: &Lowering<'_>) -> Result<Places, Decline> {
    let (data, indices) = (lowering.shape(0)?, lowering.shape(1)?);
    let axis = data.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let mut strides = dense_strides(&data);
    let stride = std::mem::replace(&mut strides[axis], 0) as usize;
    let loops = Loops::new(&indices, &[&strides])?;
    let mut params = words([data[axis], stride])?;
    let walk = offsets(loops.dims().len(), 1, params.len(), "index");
    params.extend(loop_words(&loops, &[0])?);
    let text = format!(
        "@group(0) @binding(1) var<storage, read> indices: array<Index>;\n\nfn place(index: u32) -> u32 {{\n    \
         let at = position(indices[index], param(0u));\n{walk}    \
         return select(offset0 + at * param(1u), NOWHERE, at == NOWHERE);\n}}"
    );
    Ok(Places { text, params, factor: 1, tuples: None, extents: vec![data[axis]] })
}

/// How updates are joined, where the order in which that happens does not matter.
fn combine(reduction: ScatterReduction, dtype: DType) -> Result<Option<Combine>, Decline> {
    let (integer, float) = match reduction {
        ScatterReduction::None => return Ok(None),
        ScatterReduction::Add => (Some("atomicAdd"), None),
        ScatterReduction::Max => (Some("atomicMax"), Some("maximum")),
        ScatterReduction::Min => (Some("atomicMin"), Some("minimum")),
        ScatterReduction::Mul => (None, None),
    };
    let update = storage::words(dtype).unwrap_or("u32");
    let combine = match (dtype, integer, float) {
        (DType::I32 | DType::U32, Some(join), _) => {
            let text = format!("fn combine(at: u32, update: T) {{ {join}(&output[at], update); }}");
            Some(Combine { text, update, target: format!("atomic<{update}>") })
        }
        (DType::F32, _, Some(join)) => {
            let text = format!(
                "fn combine(at: u32, update: T) {{\n    var old = atomicLoad(&output[at]);\n    loop {{\n        \
                 let joined = bitcast<u32>({join}(bitcast<f32>(old), update));\n        \
                 let result = atomicCompareExchangeWeak(&output[at], old, joined);\n        \
                 if (result.exchanged) {{ break; }}\n        old = result.old_value;\n    }}\n}}"
            );
            Some(Combine { text, update, target: "atomic<u32>".to_owned() })
        }
        _ => None,
    };
    let name = format!("{reduction:?}").to_lowercase();
    let reason = || {
        Decline(format!("reduction `{name}` of {dtype}: updates of one place would take effect in no order"))
    };
    combine.ok_or_else(reason).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, declined, fails, random_of, stored};
    use inferrum_backend::testing::scatter;
    use inferrum_tensor::Tensor;

    #[test]
    fn by_tuples() {
        agree_on(scatter::by_tuples(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn along_every_axis() {
        agree_on(scatter::along_every_axis(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn joined_in_one_place() {
        use ScatterReduction::{Add, Max, Min};
        for (dtype, reductions) in
            [(DType::I32, &[Add, Max, Min][..]), (DType::U32, &[Add, Max, Min]), (DType::F32, &[Max, Min])]
        {
            agree_on(scatter::joined_in_one_place(dtype, reductions), Tolerance::EXACT);
        }
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (op, inputs, shape, reason) in scatter::out_of_range() {
            let Some(told) = fails(op, &inputs, &[shape]) else { return };
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
    }

    #[test]
    fn sums_of_floats_are_declined() {
        let indices = Tensor::from_i64(DType::I64, [1, 1], &[0]).unwrap();
        let data = |seed| random_of(DType::F32, &[1], seed);
        let inputs = [(data(1), false), (indices, false), (data(2), false)];
        let Some(reason) = declined(ScatterND { reduction: ScatterReduction::Add }, &inputs) else { return };
        assert!(reason.contains("no order"), "{reason}");
    }
}
