//! `ReduceSum` and its kin over any axes: of floats, and of integers where the results are.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_tensor::{DType, Shape};

use crate::elementwise::FUNCTIONS;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, Work, c_type, float_type};
use crate::loops::{self, loop_operand};
use crate::rows::{Parts, Rows, width};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/reduce.cu");

pub(crate) fn lower(op: &Reduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let axes = lowering.has(1).then(|| lowering.ints(1)).transpose()?;
    let rank = lowering.shape(0)?.rank();
    let reduced = op.reduced(rank, axes.as_deref()).map_err(|error| Decline(error.to_string()))?;
    lower_fold(&Fold::of(op.reduction, lowering.dtype(0)?)?, &reduced, lowering)
}

/// How elements are combined, as expressions of C++.
pub(crate) struct Fold {
    /// The type of an element `x` that is read.
    number: &'static str,
    /// The type of totals, and its bytes.
    total: (&'static str, usize),
    /// What becomes of an element `x`.
    element: String,
    /// How two totals `a` and `b` are combined.
    join: &'static str,
    /// What changes nothing.
    neutral: String,
    /// The result of `total`, which is of `count` elements.
    finish: String,
}

impl Fold {
    /// The sum of an expression of `x`, a float.
    pub(crate) fn sum(element: impl Into<String>, finish: impl Into<String>) -> Fold {
        Fold {
            number: "float",
            total: ("float", 4),
            element: element.into(),
            join: "a + b",
            neutral: "0.0f".into(),
            finish: finish.into(),
        }
    }

    /// The mean of floats.
    pub(crate) fn mean() -> Fold {
        Fold::sum("x", "(total / float(count))")
    }

    /// The greatest of floats; any number beats NaN.
    pub(crate) fn greatest_number() -> Fold {
        Fold { join: "fmaxf(a, b)", neutral: "-infinity()".into(), ..Fold::sum("x", "total") }
    }

    fn of(reduction: Reduction, dtype: DType) -> Result<Fold, Decline> {
        if float_type(dtype).is_some() {
            return Ok(Fold::of_floats(reduction));
        }
        Fold::of_integers(reduction, dtype).ok_or_else(|| {
            Decline(format!("{reduction:?} of {dtype}, the kernel takes floats of 16 and 32 bits"))
        })
    }

    fn of_floats(reduction: Reduction) -> Fold {
        match reduction {
            Reduction::L1 => Fold::sum("fabsf(x)", "total"),
            Reduction::L2 => Fold::sum("x * x", "sqrtf(total)"),
            Reduction::LogSum => Fold::sum("x", "logf(total)"),
            Reduction::LogSumExp => Fold {
                total: ("Exponentials", 8),
                join: "joined(a, b)",
                neutral: "Exponentials{-infinity(), 0.0f}".into(),
                ..Fold::sum("Exponentials{x, 1.0f}", "(total.greatest + logf(total.sum))")
            },
            Reduction::Max => Fold { join: "expressions::maximum(a, b)", ..Fold::greatest_number() },
            Reduction::Mean => Fold::mean(),
            Reduction::Min => Fold {
                join: "expressions::minimum(a, b)",
                neutral: "infinity()".into(),
                ..Fold::sum("x", "total")
            },
            Reduction::Prod => Fold { join: "a * b", neutral: "1.0f".into(), ..Fold::sum("x", "total") },
            Reduction::Sum => Fold::sum("x", "total"),
            Reduction::SumSquare => Fold::sum("x * x", "total"),
        }
    }

    /// In 64 bits, of which the result's are the lowest.
    fn of_integers(reduction: Reduction, dtype: DType) -> Option<Fold> {
        let (least, greatest) = match dtype {
            DType::Bool => ("0", "1"),
            DType::I8 => ("-128", "127"),
            DType::U8 => ("0", "255"),
            DType::I16 => ("-32768", "32767"),
            DType::U16 => ("0", "65535"),
            DType::I32 => ("(-2147483647 - 1)", "2147483647"),
            DType::U32 => ("0", "4294967295u"),
            DType::I64 => ("INT_LEAST", "9223372036854775807ll"),
            DType::U64 => ("0", "18446744073709551615ull"),
            _ => return None,
        };
        let number = if dtype == DType::U64 { "u64" } else { "i64" };
        let extreme = matches!(reduction, Reduction::Max | Reduction::Min);
        if dtype == DType::Bool && !extreme {
            return None;
        }
        let square = "i64(u64(x) * u64(x))";
        let (element, join, neutral, finish) = match reduction {
            Reduction::L1 => ("(x < 0 ? 0 - x : x)", "a + b", "0", "total"),
            Reduction::Max => ("x", "expressions::maximum(a, b)", least, "total"),
            Reduction::Mean => ("x", "a + b", "0", "(count ? total / i64(count) : 0)"),
            Reduction::Min => ("x", "expressions::minimum(a, b)", greatest, "total"),
            Reduction::Prod => ("x", "TOTAL(u64(a) * u64(b))", "1", "total"),
            Reduction::Sum => ("x", "TOTAL(u64(a) + u64(b))", "0", "total"),
            Reduction::SumSquare => (square, "TOTAL(u64(a) + u64(b))", "0", "total"),
            Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp => return None,
        };
        if dtype == DType::U64 && reduction == Reduction::Mean {
            return None;
        }
        Some(Fold {
            number,
            total: (number, 8),
            element: element.into(),
            join,
            neutral: format!("{number}({neutral})"),
            finish: finish.into(),
        })
    }

    fn fill(&self, template: Template) -> Template {
        template
            .including(FUNCTIONS)
            .define("E", self.number)
            .define("TOTAL", self.total.0)
            .define("ELEMENT(x)", &self.element)
            .define("JOIN(a, b)", self.join)
            .define("NEUTRAL", &self.neutral)
            .define("FINISH(total, count)", &self.finish)
    }
}

/// A reduction over the axes of the first input that are `reduced`.
struct Geometry {
    /// Outputs, and elements of each.
    outputs: usize,
    count: usize,
    kept: Loops,
    reduced: Loops,
}

impl Geometry {
    fn of(shape: &Shape, reduced: &[bool]) -> Result<Geometry, Decline> {
        let strides = dense_strides(shape);
        let part = |of: bool| {
            let axes: Vec<usize> = (0..shape.rank()).filter(|&axis| reduced[axis] == of).collect();
            let dims: Shape = axes.iter().map(|&axis| shape[axis]).collect();
            let steps: Vec<isize> = axes.iter().map(|&axis| strides[axis]).collect();
            Ok::<_, Decline>((Loops::new(&dims, &[&steps])?, dims.elements()))
        };
        let ((kept, outputs), (reduced, count)) = (part(false)?, part(true)?);
        Ok(Geometry { outputs, count, kept, reduced })
    }

    /// Whether the elements of an output lie apart, and those of neighbouring ones side by side.
    fn is_across(&self) -> bool {
        self.reduced.inner_stride(0) != 1 && self.kept.inner_stride(0) == 1
    }

    /// Elements of `bytes` bytes that are read together, along the innermost axis.
    fn width(&self, bytes: usize) -> usize {
        let (along, other) =
            if self.is_across() { (&self.kept, &self.reduced) } else { (&self.reduced, &self.kept) };
        let inner = along.dims().len() - 1;
        if along.strides(0)[inner] != 1 {
            return 1;
        }
        width(bytes, |factor| {
            let fits = |stride: &isize| stride.unsigned_abs().is_multiple_of(factor);
            along.inner().is_multiple_of(factor)
                && along.strides(0)[..inner].iter().all(fits)
                && other.strides(0).iter().all(fits)
        })
    }
}

/// The kernels of a fold over the axes of the first input that are `reduced`.
pub(crate) fn lower_fold(fold: &Fold, reduced: &[bool], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    Operand::word(shape.elements())?;
    let geometry = Geometry::of(&shape, reduced)?;
    let across = geometry.is_across();
    let width = geometry.width(dtype.size());
    let (rows, parts) = if across {
        let packs = geometry.outputs / width;
        let rows = Rows::columns(packs, geometry.count, width, lowering.abilities);
        (rows, Parts::of(rows.blocks(), geometry.count, 1, rows.least_part(), lowering.abilities))
    } else {
        let rows = Rows::joined(geometry.outputs, geometry.count, width, lowering.abilities);
        let parts = Parts::of(rows.blocks(), geometry.count, width, Parts::LEAST, lowering.abilities);
        // A part keeps a block busy, and need not fit its registers.
        (if parts.is_some() { rows.of_block() } else { rows }, parts)
    };
    let element = c_type(dtype).ok_or_else(|| Decline(format!("reductions of {dtype}")))?;
    let output = lowering.output_dtype(0)?;
    let result = c_type(output).ok_or_else(|| Decline(format!("reductions to {output}")))?;
    let template = rows
        .fill(fold.fill(Template::new("reduce_axes", SOURCE).including(loops::SOURCE)))
        .define("X", element)
        .define("Y", if parts.is_some() { fold.total.0 } else { result })
        .define("KEPT", geometry.kept.dims().len())
        .define("REDUCED", geometry.reduced.dims().len())
        .switch("COLUMNS", across)
        .switch("PARTS", parts.is_some())
        .switch("FINISHING", false);
    let operands = [
        Operand::Input(0),
        if parts.is_some() { Operand::Scratch(0) } else { Operand::Output(0) },
        Operand::word(rows.count())?,
        Operand::word(geometry.count)?,
        loop_operand(&geometry.kept, &[0])?,
        loop_operand(&geometry.reduced, &[0])?,
        Operand::word(parts.map_or(0, |parts| parts.span))?,
    ];
    let mut kernel = rows.launch(template.build(), &operands)?;
    let Some(parts) = parts else { return Ok(Lowered::one("reduce", kernel)) };
    kernel.grid[1] = parts.count as u32;
    let second = finishing(fold, &geometry, parts, result, lowering)?;
    let bytes = geometry.outputs.saturating_mul(parts.count).saturating_mul(fold.total.1);
    Ok(Lowered::Work(Work {
        name: "reduce in parts".into(),
        kernels: vec![kernel, second],
        scratch: vec![bytes],
        library: None,
    }))
}

/// The launch that makes results of the totals of parts.
fn finishing(
    fold: &Fold,
    geometry: &Geometry,
    parts: Parts,
    result: &'static str,
    lowering: &Lowering<'_>,
) -> Result<Kernel, Decline> {
    let (outputs, step) = (geometry.outputs, if geometry.is_across() { geometry.outputs } else { 1 });
    // Of one output they lie side by side in any case.
    let rows = match step {
        1 => Rows::joined(outputs, parts.count, 1, lowering.abilities),
        _ => Rows::of(outputs, parts.count, step, fold.total.1, lowering.abilities),
    };
    let source = rows
        .fill(fold.fill(Template::new("finish", SOURCE).including(loops::SOURCE)))
        .define("Y", result)
        .switch("COLUMNS", false)
        .switch("PARTS", false)
        .switch("FINISHING", true)
        .build();
    let operands = [
        Operand::Scratch(0),
        Operand::Output(0),
        Operand::word(outputs)?,
        Operand::word(parts.count)?,
        Operand::word(step)?,
        Operand::word(geometry.count)?,
    ];
    rows.launch(source, &operands)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::reduce;

    const CLOSE: Tolerance = Tolerance { relative: 5e-5, absolute: 1e-4 };

    #[test]
    fn every_reduction_over_every_kind_of_axes() {
        agree_on(reduce::every_reduction_over_every_kind_of_axes(), CLOSE);
    }

    #[test]
    fn nan_and_infinities_spread() {
        agree_on(reduce::nan_and_infinities_spread(), CLOSE);
    }

    #[test]
    fn long_rows_and_columns() {
        agree_on(reduce::long_rows_and_columns(), Tolerance { relative: 5e-5, absolute: 2e-3 });
    }

    #[test]
    fn integers() {
        agree_on(reduce::integers(), Tolerance::EXACT);
    }
}
