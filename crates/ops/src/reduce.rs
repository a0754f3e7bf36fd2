//! `ReduceSum`, `ReduceMean`, `ReduceMax`, ... (<https://onnx.ai/onnx/operators/onnx__ReduceSum.html>).
//!
//! Before opset 18 (13 for `ReduceSum`) the axes were an attribute. Opset 20 allowed `bool` for `ReduceMax` and `ReduceMin`;
//! opset 28 took integers from `ReduceLogSum` and `ReduceLogSumExp`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::axes::axes_input;
use crate::extents;
use crate::index::{PerAxis, check_index_list, offsets, strides};
use crate::number::{Number, with_number};
use crate::types::{NUMBERS, NUMBERS_AND_TRUTH};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("ReduceL1", 2, |def| Reduce::parse(def, Reduction::L1)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceL2", 2, |def| Reduce::parse(def, Reduction::L2)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceLogSum", 2, |def| Reduce::parse(def, Reduction::LogSum)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceLogSumExp", 2, |def| Reduce::parse(def, Reduction::LogSumExp)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceMax", 2, |def| Reduce::parse(def, Reduction::Max)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceMean", 2, |def| Reduce::parse(def, Reduction::Mean)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceMin", 2, |def| Reduce::parse(def, Reduction::Min)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceProd", 2, |def| Reduce::parse(def, Reduction::Prod)).before(&[(18, 1)]),
    OpEntry::onnx("ReduceSum", 2, |def| Reduce::parse(def, Reduction::Sum)).before(&[(13, 1)]),
    OpEntry::onnx("ReduceSumSquare", 2, |def| Reduce::parse(def, Reduction::SumSquare)).before(&[(18, 1)]),
];

/// All elements along some axes combined into one. Inputs: data of any float or integer type (`bool` too for the greatest
/// and least); optionally the axes, `[A]` int64.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    /// How they are combined.
    pub reduction: Reduction,
    /// Whether the axes stay, with extent 1.
    pub keep_dims: bool,
    /// What is meant when no axes are listed: none of them (each element is combined alone), or all.
    pub noop_with_empty_axes: bool,
}

/// How elements are combined; what comes of none stands in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum of magnitudes (0).
    L1,
    /// The square root of the sum of squares (0).
    L2,
    /// The logarithm of the sum (minus infinity).
    LogSum,
    /// The logarithm of the sum of exponentials (minus infinity).
    LogSumExp,
    /// The greatest; NaN if there is one (minus infinity, or the type's least).
    Max,
    /// The mean (NaN; of integers 0). Of integers it is truncated.
    Mean,
    /// The least; NaN if there is one (infinity, or the type's greatest).
    Min,
    /// The product (1).
    Prod,
    /// The sum (0).
    Sum,
    /// The sum of squares (0).
    SumSquare,
}

impl Reduce {
    fn parse(def: &mut NodeDef, reduction: Reduction) -> Result<Arc<dyn Operator>, OpError> {
        def.lift_ints("axes", 1)?;
        Ok(Arc::new(Reduce {
            reduction,
            keep_dims: def.flag("keepdims", true)?,
            noop_with_empty_axes: def.flag("noop_with_empty_axes", false)?,
        }))
    }

    /// Which of `rank` axes are combined.
    ///
    /// # Errors
    /// An axis is out of range or listed twice.
    pub fn reduced(&self, rank: usize, axes: Option<&[i64]>) -> Result<Vec<bool>, OpError> {
        match axes {
            None | Some([]) => Ok(vec![!self.noop_with_empty_axes; rank]),
            Some(axes) => {
                let mut reduced = vec![false; rank];
                axes_input(1, axes, rank)?.into_iter().for_each(|axis| reduced[axis] = true);
                Ok(reduced)
            }
        }
    }
}

/// Gives each element of `numbers`, of shape `shape`, to the `totals` of the elements it is combined with.
fn fold<N: Number>(totals: &mut [N], numbers: &[N], shape: &Shape, reduced: &[bool], f: impl Fn(N, N) -> N) {
    for (&number, to) in numbers.iter().zip(targets(shape, reduced)) {
        totals[to] = f(totals[to], number);
    }
}

/// For each element of a tensor of `shape`, the position of the output element that it goes into.
fn targets(shape: &Shape, reduced: &[bool]) -> impl Iterator<Item = usize> {
    let kept: Shape =
        shape.iter().zip(reduced).map(|(&extent, &reduced)| if reduced { 1 } else { extent }).collect();
    let steps: PerAxis<isize> = strides(&kept)
        .iter()
        .zip(reduced)
        .map(|(&stride, &reduced)| if reduced { 0 } else { stride })
        .collect();
    offsets(shape, &steps, 0)
}

impl Reduction {
    /// Combines elements in f64 or i128: the totals of `count` elements each.
    fn combine<N: Number>(
        self,
        data: &Tensor,
        reduced: &[bool],
        outputs: usize,
        count: usize,
    ) -> Result<Vec<N>, OpError> {
        let numbers = N::read(data)?;
        let mut totals = zeroed::<N>(outputs)?;
        totals.fill(self.start(data.dtype())?);
        let fold = |totals: &mut [N], f: &dyn Fn(N, N) -> N| fold(totals, &numbers, data.shape(), reduced, f);
        match self {
            Reduction::Sum | Reduction::Mean | Reduction::LogSum => fold(&mut totals, &N::plus),
            Reduction::L1 => fold(&mut totals, &|total, x| total.plus(x.magnitude())),
            Reduction::L2 | Reduction::SumSquare => fold(&mut totals, &|total, x| total.plus(x.times(x))),
            Reduction::Prod => fold(&mut totals, &N::times),
            Reduction::Max | Reduction::LogSumExp => fold(&mut totals, &N::greater),
            Reduction::Min => fold(&mut totals, &N::lesser),
        }
        if self == Reduction::Mean {
            totals.iter_mut().for_each(|total| *total = total.over(N::count(count)));
        }
        Ok(totals)
    }

    /// What comes of no elements, or is combined with the first one.
    fn start<N: Number>(self, dtype: DType) -> Result<N, OpError> {
        let bound = |greatest: bool| match (dtype, greatest) {
            (DType::Bool, greatest) => Ok(N::count(greatest.into())),
            (_, greatest) => {
                let infinity = if greatest { f64::INFINITY } else { f64::NEG_INFINITY };
                // Conversion saturates at an integer's end.
                Ok(N::read(&Tensor::from_f64(dtype, [1], &[infinity])?)?.first().copied().unwrap_or(N::ZERO))
            }
        };
        match self {
            Reduction::Prod => Ok(N::ONE),
            Reduction::Max => bound(false),
            Reduction::LogSumExp => {
                Ok(N::read(&Tensor::scalar(f64::NEG_INFINITY))?.first().copied().unwrap_or(N::ZERO))
            }
            Reduction::Min => bound(true),
            _ => Ok(N::ZERO),
        }
    }

    /// As [`Reduction::combine`], with the steps that give no integers.
    fn combine_real(
        self,
        data: &Tensor,
        reduced: &[bool],
        outputs: usize,
        count: usize,
    ) -> Result<Vec<f64>, OpError> {
        let mut totals = self.combine::<f64>(data, reduced, outputs, count)?;
        match self {
            Reduction::L2 => totals.iter_mut().for_each(|total| *total = total.sqrt()),
            Reduction::LogSum => totals.iter_mut().for_each(|total| *total = total.ln()),
            Reduction::LogSumExp => {
                // The greatest is taken out of the sum, which then neither overflows nor vanishes.
                let greatest = totals;
                let mut sums = zeroed::<f64>(outputs)?;
                for (x, to) in data.to_f64()?.into_iter().zip(targets(data.shape(), reduced)) {
                    sums[to] += if x == greatest[to] { 1.0 } else { (x - greatest[to]).exp() };
                }
                totals = greatest.iter().zip(sums).map(|(&greatest, sum)| greatest + sum.ln()).collect();
                // NaN can come only from NaN here: infinities are their own greatest.
            }
            _ => {}
        }
        Ok(totals)
    }
}

impl Operator for Reduce {
    fn key(&self) -> OpKey {
        OpKey::onnx(match self.reduction {
            Reduction::L1 => "ReduceL1",
            Reduction::L2 => "ReduceL2",
            Reduction::LogSum => "ReduceLogSum",
            Reduction::LogSumExp => "ReduceLogSumExp",
            Reduction::Max => "ReduceMax",
            Reduction::Mean => "ReduceMean",
            Reduction::Min => "ReduceMin",
            Reduction::Prod => "ReduceProd",
            Reduction::Sum => "ReduceSum",
            Reduction::SumSquare => "ReduceSumSquare",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let ordered = matches!(self.reduction, Reduction::Max | Reduction::Min);
        if ordered { NUMBERS_AND_TRUTH } else { NUMBERS }.check(0, data.dtype)?;
        check_index_list(inputs, 1)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let listed = inputs.optional(1)?.map(|axes| axes.shape.dim(0));
        let reduced = match (inputs.ints(1)?, listed) {
            (axes @ Some(_), _) => Some(self.reduced(dims.len(), axes.as_deref())?),
            (None, None | Some(SymDim::Known(0))) => Some(self.reduced(dims.len(), None)?),
            (None, Some(_)) => None,
        };
        let shape: ShapeFact = match (reduced, listed_count(inputs)) {
            (Some(reduced), _) => dims
                .iter()
                .zip(reduced)
                .filter(|(_, reduced)| self.keep_dims || !reduced)
                .map(|(dim, reduced)| if reduced { SymDim::Known(1) } else { dim.clone() })
                .collect(),
            (None, _) if self.keep_dims => ShapeFact::of_rank(dims.len()),
            (None, Some(count)) if count <= dims.len() => ShapeFact::of_rank(dims.len() - count),
            (None, _) => ShapeFact::unknown(),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let reduced = self.reduced(data.shape().rank(), inputs.optional_ints(1)?.as_deref())?;
        let along = data.shape().iter().zip(&reduced).filter(|(_, reduced)| **reduced);
        let count = along.map(|(&extent, _)| extent).collect::<Shape>().elements();
        let (outputs, dtype) = (shape.elements(), data.dtype());
        let has_real_steps =
            matches!(self.reduction, Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp);
        Ok(vec![if has_real_steps {
            Tensor::from_f64(dtype, shape, &self.reduction.combine_real(data, &reduced, outputs, count)?)?
                .into()
        } else {
            with_number!(dtype, N => {
                N::write(dtype, shape, &self.reduction.combine::<N>(data, &reduced, outputs, count)?)?.into()
            })
        }])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        inputs.get(0).and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64)
    }
}

/// How many axes are listed, if there is a list whose length is known.
fn listed_count(inputs: Facts<'_>) -> Option<usize> {
    inputs.get(1)?.as_tensor()?.shape.dim(0).known()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn whole(op_type: &str, data: Tensor) -> f64 {
        let op = parse_at(13, op_type, &[("keepdims", Attr::Int(0))]);
        let out = run(&*op, &[data]).remove(0);
        assert_eq!(out.shape().rank(), 0);
        out.to_f64().unwrap()[0]
    }

    #[test]
    fn rows_of_floats_and_integers() {
        let expected = [
            ("ReduceL1", 6.0, 6.0),
            ("ReduceL2", 14f64.sqrt(), 3.0),
            ("ReduceLogSum", 2f64.ln(), 0.0),
            ("ReduceLogSumExp", (1f64.exp() + (-2f64).exp() + 3f64.exp()).ln(), 3.0),
            ("ReduceMax", 3.0, 3.0),
            ("ReduceMean", 2.0 / 3.0, 0.0),
            ("ReduceMin", -2.0, -2.0),
            ("ReduceProd", -6.0, -6.0),
            ("ReduceSum", 2.0, 2.0),
            ("ReduceSumSquare", 14.0, 14.0),
        ];
        for (op_type, float, integer) in expected {
            let got = whole(op_type, Tensor::vector(vec![1f64, -2.0, 3.0]));
            assert!((got - float).abs() < 1e-12, "{op_type}: {got}");
            assert_eq!(whole(op_type, Tensor::vector(vec![1i32, -2, 3])), integer, "{op_type}");
        }
    }

    #[test]
    fn no_elements_give_the_neutral_one() {
        let expected = [
            ("ReduceL1", 0.0),
            ("ReduceL2", 0.0),
            ("ReduceLogSum", f64::NEG_INFINITY),
            ("ReduceLogSumExp", f64::NEG_INFINITY),
            ("ReduceMax", f64::NEG_INFINITY),
            ("ReduceMin", f64::INFINITY),
            ("ReduceProd", 1.0),
            ("ReduceSum", 0.0),
            ("ReduceSumSquare", 0.0),
        ];
        for (op_type, neutral) in expected {
            let op = parse_at(13, op_type, &[]);
            let out = run(&*op, &[Tensor::zeros(DType::F32, [2, 0, 3]).unwrap(), Tensor::vector(vec![1i64])]);
            assert_eq!(out[0], Tensor::from_vec([2, 1, 3], vec![neutral as f32; 6]).unwrap(), "{op_type}");
        }
        assert_eq!(whole("ReduceMax", Tensor::zeros(DType::I8, [0]).unwrap()), -128.0);
        assert_eq!(whole("ReduceMin", Tensor::zeros(DType::Bool, [0]).unwrap()), 1.0);
        assert_eq!(whole("ReduceMax", Tensor::zeros(DType::Bool, [0]).unwrap()), 0.0);
        assert!(whole("ReduceMean", Tensor::zeros(DType::F32, [0]).unwrap()).is_nan());
        assert_eq!(whole("ReduceMean", Tensor::zeros(DType::I32, [0]).unwrap()), 0.0);
    }

    #[test]
    fn infinities_and_nan_spread() {
        let row = |a: f64, b: f64| Tensor::vector(vec![a, b]);
        assert!(whole("ReduceMax", row(f64::NAN, 1.0)).is_nan());
        assert!(whole("ReduceMin", row(1.0, f64::NAN)).is_nan());
        assert_eq!(whole("ReduceLogSumExp", row(f64::INFINITY, 1.0)), f64::INFINITY);
        assert_eq!(whole("ReduceLogSumExp", row(f64::NEG_INFINITY, f64::NEG_INFINITY)), f64::NEG_INFINITY);
        assert_eq!(whole("ReduceLogSumExp", row(1000.0, f64::NEG_INFINITY)), 1000.0);
        assert!(whole("ReduceLogSumExp", row(f64::NAN, f64::INFINITY)).is_nan());
    }

    #[test]
    fn axes_may_be_listed_or_left_out() {
        let data = Tensor::from_vec([2, 1, 3], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let sum = |attrs: &[(&str, Attr)], axes: Option<Vec<i64>>| {
            let inputs = [Some(data.clone()), axes.map(Tensor::vector)];
            let out = try_run(&*parse_at(13, "ReduceSum", attrs), &inputs)?.remove(0);
            Ok::<_, OpError>((out.shape().dims().to_vec(), out.to_i64()?))
        };
        let flat = ("keepdims", Attr::Int(0));
        let noop = ("noop_with_empty_axes", Attr::Int(1));
        assert_eq!(sum(&[], Some(vec![-1])).unwrap(), (vec![2, 1, 1], vec![6, 15]));
        assert_eq!(sum(std::slice::from_ref(&flat), Some(vec![0, 1])).unwrap(), (vec![3], vec![5, 7, 9]));
        assert_eq!(sum(&[], None).unwrap(), (vec![1, 1, 1], vec![21]));
        assert_eq!(sum(std::slice::from_ref(&flat), Some(vec![])).unwrap(), (vec![], vec![21]));
        assert_eq!(sum(&[flat, noop.clone()], None).unwrap().0, [2, 1, 3]);
        assert_eq!(sum(&[noop], Some(vec![])).unwrap().1, [1, 2, 3, 4, 5, 6]);
        assert!(sum(&[], Some(vec![3])).is_err());
        assert!(sum(&[], Some(vec![0, -3])).is_err());
    }

    #[test]
    fn no_listed_axes_still_square() {
        let op = Reduce { reduction: Reduction::SumSquare, keep_dims: true, noop_with_empty_axes: true };
        assert_eq!(run(&op, &[Tensor::vector(vec![2f32, -3.0])])[0], Tensor::vector(vec![4f32, 9.0]));
    }

    #[test]
    fn shapes_are_known_as_far_as_they_can_be() {
        let n = SymDim::Symbol("n".into());
        let data = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(4)]);
        let axes = Fact::constant(Tensor::vector(vec![1i64]));
        let unknown = Fact::tensor(DType::I64, [1]);
        let op = |keep_dims| Reduce { reduction: Reduction::Mean, keep_dims, noop_with_empty_axes: false };
        let shape = |op: Reduce, axes: &Fact| {
            op.infer(Facts(&[Some(&data), Some(axes)])).unwrap()[0].as_tensor().unwrap().shape.clone()
        };
        assert_eq!(shape(op(true), &axes), vec![n.clone(), SymDim::Known(1)].into());
        assert_eq!(shape(op(false), &axes), vec![n].into());
        assert_eq!(shape(op(true), &unknown), ShapeFact::of_rank(2));
        assert_eq!(shape(op(false), &unknown), ShapeFact::of_rank(1));
    }
}
