//! `QLinearConcat` of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::extents::{output_shape, sum};
use crate::qlinear_elementwise::check_scalar_parameters;
use crate::quantized::{Affine, byte_type};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("QLinearConcat", OpEntry::VARIADIC, QLinearConcat::parse)];

/// Quantised tensors behind each other along an axis, quantised anew. Inputs: scale and zero point of the output; then
/// for each part the part (int8 or uint8), its scale and its zero point. Scales and zero points are scalars. The output
/// has the type of its zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct QLinearConcat {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl QLinearConcat {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let axis = def.int("axis")?.ok_or_else(|| OpError::attribute("axis", "an axis", "nothing"))?;
        Ok(Arc::new(QLinearConcat { axis }))
    }
}

/// The places of the parts.
fn parts(inputs: usize) -> impl Iterator<Item = usize> + Clone {
    (2..inputs).step_by(3)
}

impl Operator for QLinearConcat {
    fn key(&self) -> OpKey {
        OpKey::microsoft("QLinearConcat")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = byte_type(inputs, 1)?;
        check_scalar_parameters(inputs, 0, 1)?;
        if inputs.len() < 5 || !(inputs.len() - 2).is_multiple_of(3) {
            let message = format!("three inputs for each part after the first two, got {}", inputs.len());
            return Err(OpError::Invalid(message));
        }
        let mut common = ShapeFact::unknown();
        let mut along = Vec::new();
        for index in parts(inputs.len()) {
            byte_type(inputs, index)?;
            check_scalar_parameters(inputs, index + 1, index)?;
            let shape = inputs.shape(index)?;
            let Some(dims) = shape.dims() else {
                along.push(SymDim::Unknown);
                continue;
            };
            let axis = axis_attr(self.axis, dims.len())?;
            along.push(dims[axis].clone());
            let others: ShapeFact = dims
                .iter()
                .enumerate()
                .map(|(i, d)| if i == axis { SymDim::Unknown } else { d.clone() })
                .collect();
            let unfit = || OpError::shape(index, format!("that fits {common} beside axis {axis}"), shape);
            common = common.merge(&others).ok_or_else(unfit)?;
        }
        let shape = match common.dims() {
            None => ShapeFact::unknown(),
            Some(dims) => {
                let axis = axis_attr(self.axis, dims.len())?;
                dims.iter()
                    .enumerate()
                    .map(|(i, d)| if i == axis { sum(&along) } else { d.clone() })
                    .collect()
            }
        };
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(1)?.dtype();
        let of_y = Affine::read(inputs, 0, 1)?;
        let shape = output_shape(self, inputs)?;
        let axis = axis_attr(self.axis, shape.rank())?;
        let row = |shape: &Shape| Shape::from(&shape[axis..]).elements();
        let whole = row(&shape);
        let mut y = zeroed::<i64>(shape.elements())?;
        let mut start = 0;
        for index in parts(inputs.len()) {
            let part = inputs.tensor(index)?;
            let of_part = Affine::read(inputs, index + 1, index + 2)?;
            let len = row(part.shape());
            let elements = part.to_i64()?;
            for (y, part) in y.chunks_exact_mut(whole.max(1)).zip(elements.chunks_exact(len.max(1))) {
                let written = y[start..][..len].iter_mut();
                written.zip(part).for_each(|(y, &q)| *y = of_y.quantize(of_part.real(q), dtype));
            }
            start += len;
        }
        Ok(vec![Tensor::from_i64(dtype, shape, &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn each_part_has_its_own_parameters() {
        let op = parse_in("com.microsoft", 1, "QLinearConcat", &[("axis", Attr::Int(-1))]);
        let inputs = [
            Tensor::scalar(0.5f32),
            Tensor::scalar(10u8),
            Tensor::from_vec([2, 1], vec![4u8, 200]).unwrap(),
            Tensor::scalar(1f32),
            Tensor::scalar(5u8),
            Tensor::from_vec([2, 2], vec![-2i8, 1, 2, 3]).unwrap(),
            Tensor::scalar(0.25f32),
            Tensor::scalar(0i8),
        ];
        let y = run(&*op, &inputs).remove(0);
        assert_eq!(y.shape().dims(), [2, 3]);
        assert_eq!(y.as_slice::<u8>().unwrap(), [8, 9, 10, 255, 11, 12]);
        let mut wrong: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
        assert!(try_run(&*op, &wrong[..7]).is_err());
        wrong[5] = Some(Tensor::from_vec([1, 4], vec![0i8; 4]).unwrap());
        assert!(try_run(&*op, &wrong).is_err());
    }
}
