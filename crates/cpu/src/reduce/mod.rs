//! `ReduceSum` and its kin over any axes.
//!
//! Neighbouring axes that are both reduced or both kept are one. If the last one is reduced, rows of neighbours are folded
//! by vectors; if it is kept, whole rows are folded onto each other.

pub(crate) mod fold;
mod rows;
mod typed;

use inferrum_backend::Decline;
use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Lowered, Lowering};
use crate::strided::Loops;

/// Which input elements make which output.
#[derive(Clone, Debug)]
struct Geometry {
    /// Over the output's elements; operand 0 is the input. Without the last axis if that is kept.
    kept: Loops,
    /// Over the elements that make one output. Without the last axis if that is reduced.
    reduced: Loops,
    /// The last axis: whether it is reduced, and its extent.
    reduces_last: bool,
    last: usize,
}

pub(crate) fn lower(op: &Reduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let order: Vec<usize> = (0..lowering.shape(0)?.rank()).collect();
    lower_in(op, &order, lowering)
}

/// As [`lower`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
pub(crate) fn lower_in(op: &Reduce, order: &[usize], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axes = lowering.has(1).then(|| lowering.ints(1)).transpose()?;
    let reduced = op.reduced(shape.rank(), axes.as_deref()).map_err(|error| Decline(error.to_string()))?;
    let reduced: Vec<bool> = order.iter().map(|&axis| reduced[axis]).collect();
    if shape.elements() == 0 {
        return Err(Decline("nothing to reduce".into()));
    }
    let geometry = Geometry::new(&shape, &reduced)?;
    let lowered = match (lowering.dtype(0)?, op.reduction) {
        (DType::F32, _) => rows::lower(op.reduction, geometry, lowering.isa),
        (dtype, Reduction::Max | Reduction::Min | Reduction::Sum | Reduction::Prod | Reduction::Mean) => {
            typed::lower(op.reduction, geometry, dtype)?
        }
        (dtype, reduction) => return Err(Decline(format!("{reduction:?} of {dtype}"))),
    };
    Ok(lowered.packed(&[1]))
}

impl Geometry {
    fn new(shape: &Shape, reduced: &[bool]) -> Result<Geometry, Decline> {
        let strides = shape.strides();
        // Extent, stride, and whether it is reduced, of each group of axes.
        let mut groups: Vec<(usize, isize, bool)> = Vec::new();
        for axis in (0..shape.rank()).filter(|&axis| shape[axis] != 1) {
            match groups.last_mut() {
                Some((extent, stride, same)) if *same == reduced[axis] => {
                    *extent = extent.saturating_mul(shape[axis]);
                    *stride = strides[axis] as isize;
                }
                _ => groups.push((shape[axis], strides[axis] as isize, reduced[axis])),
            }
        }
        let (last, _, reduces_last) = groups.pop().unwrap_or((1, 1, true));
        let loops = |of: bool| {
            let (mut dims, mut strides) = (Vec::new(), Vec::new());
            for &(extent, stride, _) in groups.iter().filter(|group| group.2 == of) {
                dims.push(extent);
                strides.push(stride);
            }
            Loops::new(&dims, &[&strides])
        };
        Ok(Geometry { kept: loops(false)?, reduced: loops(true)?, reduces_last, last })
    }

    /// Number of outputs.
    fn outputs(&self) -> usize {
        self.kept.elements() * if self.reduces_last { 1 } else { self.last }
    }

    /// Elements that make one output.
    fn count(&self) -> usize {
        self.reduced.elements() * if self.reduces_last { self.last } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::Tensor;

    const ALL: [Reduction; 10] = [
        Reduction::L1,
        Reduction::L2,
        Reduction::LogSum,
        Reduction::LogSumExp,
        Reduction::Max,
        Reduction::Mean,
        Reduction::Min,
        Reduction::Prod,
        Reduction::Sum,
        Reduction::SumSquare,
    ];

    fn check(reduction: Reduction, data: Tensor, axes: &[i64], tolerance: Tolerance) {
        for keep_dims in [false, true] {
            let op = Reduce { reduction, keep_dims, noop_with_empty_axes: true };
            let inputs = [Some((data.clone(), false)), Some((Tensor::vector(axes.to_vec()), true))];
            agree_with(op, &inputs, 1, tolerance);
        }
    }

    const SHAPES: &[(&[usize], &[i64])] = &[
        (&[], &[]),
        (&[1], &[0]),
        (&[17], &[0]),
        (&[5, 127], &[1]),
        (&[5, 127], &[0]),
        (&[5, 127], &[0, 1]),
        (&[5, 127], &[]),
        (&[3, 4, 5, 6], &[0, 2]),
        (&[3, 4, 5, 6], &[1, -1]),
        (&[2, 3, 20, 30], &[2, 3]),
        (&[2, 20, 30, 67], &[1, 2]),
        (&[7, 3, 9], &[0, 2]),
        (&[3, 1, 2], &[-1]),
        (&[2, 700, 3], &[1]),
        (&[300, 300], &[1]),
        (&[300, 300], &[0]),
    ];

    #[test]
    fn every_reduction_over_any_axes() {
        for &(shape, axes) in SHAPES {
            for reduction in ALL {
                // Positive, so that logarithms exist, and near 1, so that products stay.
                let data = random_of(DType::F32, shape, 5).to_f64().unwrap();
                let data: Vec<f64> = data.iter().map(|x| 1.0 + x / 100.0).collect();
                let data = Tensor::from_f64(DType::F32, shape, &data).unwrap();
                check(reduction, data, axes, Tolerance { relative: 2e-5, absolute: 1e-6 });
            }
            for reduction in [Reduction::L1, Reduction::Max, Reduction::Min, Reduction::LogSumExp] {
                let data = random_of(DType::F32, shape, 6);
                check(reduction, data, axes, Tolerance { relative: 2e-6, absolute: 1e-6 });
            }
        }
    }

    #[test]
    fn other_types() {
        for &(shape, axes) in SHAPES {
            for reduction in
                [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::Mean, Reduction::Prod]
            {
                for dtype in [DType::I64, DType::I32, DType::F64] {
                    let tolerance = if dtype == DType::F64 {
                        Tolerance { relative: 1e-12, absolute: 1e-12 }
                    } else {
                        Tolerance::EXACT
                    };
                    check(reduction, random_of(dtype, shape, 3), axes, tolerance);
                }
            }
            for reduction in [Reduction::Max, Reduction::Min] {
                check(reduction, random_of(DType::Bool, shape, 3), axes, Tolerance::EXACT);
                check(reduction, random_of(DType::U8, shape, 3), axes, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn long_sums_stay_exact() {
        let ones = Tensor::from_vec([3_000_000], vec![0.1f32; 3_000_000]).unwrap();
        check(Reduction::Sum, ones.clone(), &[0], Tolerance { relative: 1e-6, absolute: 0.0 });
        let column = ones.reshape([1_000_000, 3]).unwrap();
        check(Reduction::Mean, column, &[0], Tolerance { relative: 3e-6, absolute: 0.0 });
    }

    #[test]
    fn nan_and_infinity() {
        for shape in [&[2, 40][..], &[40, 2]] {
            for (at, value) in [(3, f32::NAN), (79, f32::NAN), (20, f32::INFINITY), (20, f32::NEG_INFINITY)] {
                let mut data = random_of(DType::F32, shape, 1).as_slice::<f32>().unwrap().to_vec();
                data[at] = value;
                let data = Tensor::from_vec(shape, data).unwrap();
                for reduction in [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::LogSumExp] {
                    for axis in [0, 1] {
                        check(reduction, data.clone(), &[axis], Tolerance { relative: 1e-5, absolute: 1e-5 });
                    }
                }
            }
        }
    }

    #[test]
    fn what_has_no_kernel_is_declined() {
        let geometry = Geometry::new(&Shape::from([2, 3]), &[true, false]).unwrap();
        assert!(typed::lower(Reduction::Sum, geometry, DType::BF16).is_err());
    }
}
