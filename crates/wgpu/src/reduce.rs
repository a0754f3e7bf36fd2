//! `ReduceSum` and its kin of f32 over any axes.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_tensor::Shape;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::{FUNCTIONS, Template};
use crate::strides::offset_function;

const SOURCE: &str = include_str!("../../../shaders/reduce.wgsl");

pub(crate) fn lower(op: &Reduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let axes = lowering.has(1).then(|| lowering.ints(1)).transpose()?;
    let rank = lowering.shape(0)?.rank();
    let reduced = op.reduced(rank, axes.as_deref()).map_err(|error| Decline(error.to_string()))?;
    lower_fold(&Fold::of(op.reduction), &reduced, lowering)
}

/// How two numbers become one.
#[derive(Clone, Copy)]
pub(crate) enum Join {
    Sum,
    Product,
    Greatest,
    /// Any number beats NaN.
    GreatestNumber,
    Least,
}

impl Join {
    /// `a` and `b` combined.
    fn two(self) -> &'static str {
        match self {
            Join::Sum => "a + b",
            Join::Product => "a * b",
            Join::Greatest => "maximum(a, b)",
            Join::GreatestNumber => "select(select(max(a, b), a, is_nan(b)), b, is_nan(a))",
            Join::Least => "minimum(a, b)",
        }
    }

    /// What changes nothing.
    fn neutral(self) -> &'static str {
        match self {
            Join::Sum => "0.0",
            Join::Product => "1.0",
            Join::Greatest | Join::GreatestNumber => "-infinity()",
            Join::Least => "infinity()",
        }
    }

    /// `value` of all invocations of a subgroup; NaN spreads, which a driver's extremes leave open.
    fn across(self) -> &'static str {
        match self {
            Join::Sum => "subgroupAdd(value)",
            Join::Product => "subgroupMul(value)",
            Join::Greatest => "select(subgroupMax(value), nan(), subgroupAny(is_nan(value)))",
            Join::GreatestNumber => "subgroupMax(select(value, -infinity(), is_nan(value)))",
            Join::Least => "select(subgroupMin(value), nan(), subgroupAny(is_nan(value)))",
        }
    }
}

/// How elements are combined, as expressions of WGSL.
pub(crate) struct Fold {
    /// What becomes of an element `x`; `shift` is the greatest if that is asked for.
    pub(crate) element: String,
    /// How two of them are combined.
    pub(crate) join: Join,
    /// The result of `total`, which is of `count` elements.
    pub(crate) finish: String,
    /// Whether the greatest element is wanted first.
    pub(crate) shifted: bool,
}

impl Fold {
    /// The sum of an expression of `x`.
    pub(crate) fn sum(element: impl Into<String>, finish: impl Into<String>) -> Fold {
        Fold { element: element.into(), join: Join::Sum, finish: finish.into(), shifted: false }
    }

    /// All elements combined.
    pub(crate) fn all(join: Join) -> Fold {
        Fold { join, ..Fold::sum("x", "total") }
    }

    fn of(reduction: Reduction) -> Fold {
        match reduction {
            Reduction::L1 => Fold::sum("abs(x)", "total"),
            Reduction::L2 => Fold::sum("x * x", "sqrt(total)"),
            Reduction::LogSum => Fold::sum("x", "log(total)"),
            Reduction::LogSumExp => Fold {
                shifted: true,
                // By bits: both may be infinite, for which compilers with fast arithmetic hold no comparison.
                ..Fold::sum(
                    "select(exp(x - shift), 1.0, bitcast<u32>(x) == bitcast<u32>(shift))",
                    "shift + log(total)",
                )
            },
            Reduction::Max => Fold::all(Join::Greatest),
            Reduction::Mean => Fold::sum("x", "total / count"),
            Reduction::Min => Fold::all(Join::Least),
            Reduction::Prod => Fold::all(Join::Product),
            Reduction::Sum => Fold::sum("x", "total"),
            Reduction::SumSquare => Fold::sum("x * x", "total"),
        }
    }
}

/// The kernel of a fold over the axes of the first input that are `reduced`.
pub(crate) fn lower_fold(fold: &Fold, reduced: &[bool], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let strides = dense_strides(&shape);
    let part = |of: bool| {
        let axes: Vec<usize> = (0..shape.rank()).filter(|&axis| reduced[axis] == of).collect();
        let dims: Shape = axes.iter().map(|&axis| shape[axis]).collect();
        let steps: Vec<isize> = axes.iter().map(|&axis| strides[axis]).collect();
        Ok::<_, Decline>((Loops::new(&dims, &[&steps])?, dims.elements()))
    };
    let ((kept, outputs), (along, count)) = (part(false)?, part(true)?);
    let mut params = words([outputs, count])?;
    let mut functions = offset_function("kept", &kept, 0, &mut params)?;
    functions.push_str(&offset_function("reduced", &along, 0, &mut params)?);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let rows = Rows::of(outputs, count, along.inner_stride(0) == 1);
    let template = Template::new("reduce", SOURCE).including(FUNCTIONS).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .with("functions", functions)
        .with("element", &fold.element)
        .with("join", fold.join.two())
        .with("neutral", fold.join.neutral())
        .with("across", fold.join.across())
        .with("finish", &fold.finish)
        .switch("shifted", fold.shifted)
        .build();
    Ok(Lowered::one("reduce", rows.dispatch(shader, bindings.operands(), params)?))
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
}
