//! `ScatterElements`, `ScatterND`. An update whose index is not on its axis goes nowhere and fails the run.
//!
//! Updates of one place take effect in no order: sums and products of floats may differ in their last digits from run to run.

use std::any::Any;

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_graph::Operator;
use inferrum_ops::scatter_elements::{ScatterElements, ScatterReduction};
use inferrum_ops::scatter_nd::ScatterND;
use inferrum_tensor::DType;

use crate::copies::{self, copy_type, element_bytes, together};
use crate::elementwise::FUNCTIONS;
use crate::index_tuples::Tuples;
use crate::indices;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, Work, c_type, word, words};
use crate::loops::{self, loop_words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/scatter.cu");

/// Where updates go.
struct Places {
    /// The struct `Places` (scatter.cu).
    words: Vec<u32>,
    /// Elements that go together.
    factor: usize,
    tuples: Option<Tuples>,
    /// Extents of the axes that indices go along.
    extents: Vec<usize>,
    /// Loops that `words` walks.
    rank: usize,
}

/// How updates are joined with what is there.
struct Joined {
    /// The type of what is joined.
    wide: &'static str,
    /// Its bytes.
    bytes: usize,
    /// An expression of `x` and `y`.
    text: &'static str,
    /// The type in which the device adds by itself.
    added: Option<&'static str>,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (dtype, elements) = (lowering.dtype(0)?, lowering.shape(0)?.elements());
    let updates = lowering.shape(2)?.elements();
    if updates == 0 {
        return Ok(Lowered::View);
    }
    word(elements)?;
    let element = element_bytes(dtype)?;
    let (reduction, places) = if let Some(op) = any.downcast_ref::<ScatterND>() {
        (op.reduction, slices(op.reduction, element, lowering)?)
    } else if let Some(op) = any.downcast_ref::<ScatterElements>() {
        (op.reduction, along_axis(op, lowering)?)
    } else {
        return Err(Decline("another operator".into()));
    };
    let joined = joined(reduction, dtype)?;
    let stored = c_type(dtype).ok_or_else(|| Decline(format!("{dtype} has no form on a GPU")))?;
    let template = |entry: &'static str| {
        let template = Template::new(entry, SOURCE).including(loops::SOURCE);
        let template = match &places.tuples {
            Some(tuples) => tuples.reading(template, lowering)?,
            None => indices::reading(template, 1, &places.extents, lowering)?,
        };
        let template = template
            .switch("ELEMENTS", places.tuples.is_none())
            .switch("REDUCTION", joined.is_some())
            .define("RANK", places.rank);
        Ok::<_, Decline>(match &joined {
            None => {
                let ty = copy_type(element * places.factor);
                template.define("T", ty).define("A", ty).build()
            }
            Some(joined) => template
                .including(FUNCTIONS)
                .define("T", stored)
                .define("A", joined.wide)
                .define("JOIN", joined.text)
                .switch("ATOMIC_ADD", joined.added.is_some())
                .define("ADDED", joined.added.unwrap_or(joined.wide))
                .build(),
        })
    };
    let count = updates / places.factor;
    let scattered = |y: Operand| {
        let operands = [
            Operand::Input(1),
            Operand::Input(2),
            y,
            indices::fault(1, lowering),
            Operand::word(count)?,
            Operand::words(&places.words),
        ];
        Kernel::over(count, template("scatter")?, &operands)
    };
    let Some(joined) = joined.as_ref().filter(|joined| joined.wide != stored) else {
        let mut kernels = copies::whole(0, 0, lowering)?;
        kernels.push(scattered(Operand::Output(0))?);
        return Ok(Lowered::many("scatter", kernels));
    };
    // Narrow numbers are joined as wide ones, and rounded or wrapped once.
    let all =
        |entry, from, to| Kernel::over(elements, template(entry)?, &[from, to, Operand::word(elements)?]);
    let kernels = vec![
        all("widen", Operand::Input(0), Operand::Scratch(0))?,
        scattered(Operand::Scratch(0))?,
        all("narrow", Operand::Scratch(0), Operand::Output(0))?,
    ];
    Ok(Lowered::Work(Work {
        name: "scatter".into(),
        kernels,
        scratch: vec![elements * joined.bytes],
        library: None,
    }))
}

/// Each update is a slice.
fn slices(reduction: ScatterReduction, element: usize, lowering: &Lowering<'_>) -> Result<Places, Decline> {
    let tuples = Tuples::new(0, lowering)?;
    let alone = reduction != ScatterReduction::None;
    let factor = together(element, |factor| !alone && tuples.run.is_multiple_of(factor));
    let mut words = vec![word(tuples.run / factor)?];
    words.extend(&tuples.words);
    Ok(Places { words, factor, tuples: Some(tuples), extents: Vec::new(), rank: 1 })
}

/// Each update is an element.
fn along_axis(op: &ScatterElements, lowering: &Lowering<'_>) -> Result<Places, Decline> {
    let (data, indices) = (lowering.shape(0)?, lowering.shape(1)?);
    let axis = data.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let mut strides = dense_strides(&data);
    let stride = std::mem::replace(&mut strides[axis], 0) as usize;
    let loops = Loops::new(&indices, &[&strides])?;
    let mut words = words([data[axis], stride])?;
    words.extend(loop_words(&loops, &[0])?);
    Ok(Places { words, factor: 1, tuples: None, extents: vec![data[axis]], rank: loops.dims().len() })
}

/// How updates are joined; None if they replace what is there.
fn joined(reduction: ScatterReduction, dtype: DType) -> Result<Option<Joined>, Decline> {
    let real = dtype.is_float();
    let text = match reduction {
        ScatterReduction::None => return Ok(None),
        ScatterReduction::Add if real => "x + y",
        ScatterReduction::Add => "sum(x, y)",
        ScatterReduction::Mul if real => "x * y",
        ScatterReduction::Mul => "product(x, y)",
        ScatterReduction::Max => "maximum(x, y)",
        ScatterReduction::Min => "minimum(x, y)",
    };
    let (wide, bytes) = match dtype {
        DType::F32 | DType::F16 | DType::BF16 => ("float", 4),
        DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 => ("i32", 4),
        DType::U32 => ("u32", 4),
        DType::I64 => ("i64", 8),
        DType::U64 => ("u64", 8),
        DType::F64 => ("double", 8),
        other => return Err(Decline(format!("updates of {other} that are joined"))),
    };
    let added = if wide == "i64" { "u64" } else { wide };
    let added = (reduction == ScatterReduction::Add).then_some(added);
    Ok(Some(Joined { wide, bytes, text, added }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, fails, stored};
    use inferrum_backend::testing::scatter;

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
        use ScatterReduction::{Add, Max, Min, Mul};
        let close = Tolerance { relative: 2e-6, absolute: 2e-5 };
        for dtype in stored() {
            agree_on(scatter::joined_in_one_place(dtype, &[Add, Mul, Max, Min]), close);
        }
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (op, inputs, shape, reason) in scatter::out_of_range() {
            let told = fails(op, &inputs, &[shape]);
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
    }
}
