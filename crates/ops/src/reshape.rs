//! `Reshape` (<https://onnx.ai/onnx/operators/onnx__Reshape.html>). Opset 1 to 4 had the shape as an attribute.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Reshape", 2, Reshape::parse).before(&[(5, 1)])];

/// The same elements under another shape. Inputs: data of any type, shape `[R]` int64, in which one entry may be -1
/// (what remains) and 0 takes the data's extent at that place.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// Whether 0 means an extent of zero.
    pub allow_zero: bool,
}

impl Reshape {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        def.lift_ints("shape", 1)?;
        Ok(Arc::new(Reshape { allow_zero: def.flag("allowzero", false)? }))
    }

    /// The output's shape for data of shape `input` and the asked-for `target`, as far as it is known.
    ///
    /// # Errors
    /// The element counts differ, or the target is no shape.
    pub fn output_shape(&self, input: &ShapeFact, target: &[i64]) -> Result<ShapeFact, OpError> {
        let mut dims = Vec::with_capacity(target.len());
        let mut rest = None;
        for (axis, &extent) in target.iter().enumerate() {
            dims.push(match extent {
                -1 if rest.replace(axis).is_some() => {
                    return Err(OpError::value(1, "at most one -1 may stand in a shape"));
                }
                -1 => SymDim::Unknown,
                0 if !self.allow_zero => match input.rank() {
                    Some(rank) if axis >= rank => {
                        return Err(OpError::value(
                            1,
                            format!("0 at place {axis} copies an extent, but the data is {input}"),
                        ));
                    }
                    _ => input.dim(axis),
                },
                _ => usize::try_from(extent)
                    .map(SymDim::Known)
                    .map_err(|_| OpError::value(1, format!("extents are -1 or more, got {extent}")))?,
            });
        }
        let Some(source) = input.concrete() else { return Ok(dims.into()) };
        let known = dims.iter().filter_map(SymDim::known).fold(1usize, usize::saturating_mul);
        let elements = source.elements();
        let fits = match rest {
            Some(axis) if known > 0 && elements.is_multiple_of(known) => {
                dims[axis] = SymDim::Known(elements / known);
                true
            }
            Some(_) => false,
            None => elements == known,
        };
        if fits {
            Ok(dims.into())
        } else {
            Err(OpError::value(1, format!("data of shape {source} does not fit {target:?}")))
        }
    }
}

impl Operator for Reshape {
    fn key(&self) -> OpKey {
        OpKey::onnx("Reshape")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = match inputs.ints(1)? {
            Some(target) => self.output_shape(&data.shape, &target)?,
            None => match inputs.shape(1)?.dims() {
                Some([SymDim::Known(rank)]) => ShapeFact::of_rank(*rank),
                Some([_]) | None => ShapeFact::unknown(),
                Some(_) => return Err(OpError::shape(1, "[R]", inputs.describe(1))),
            },
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = self.output_shape(&data.shape().into(), &inputs.ints(1)?)?;
        let shape: Shape =
            shape.concrete().ok_or_else(|| OpError::value(1, "the shape is not determined"))?;
        Ok(vec![data.reshape(shape)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_tensor::{DType, Tensor};

    fn reshaped(from: &[usize], to: &[i64]) -> Result<Vec<usize>, OpError> {
        let op = parse_at(14, "Reshape", &[]);
        let inputs = [Some(Tensor::zeros(DType::F32, from).unwrap()), Some(Tensor::vector(to.to_vec()))];
        try_run(&*op, &inputs).map(|outputs| outputs[0].shape().dims().to_vec())
    }

    #[test]
    fn minus_one_takes_what_remains_and_zero_copies() {
        assert_eq!(reshaped(&[2, 3, 4], &[0, -1]).unwrap(), [2, 12]);
        assert_eq!(reshaped(&[], &[1, 1]).unwrap(), [1, 1]);
        assert_eq!(reshaped(&[0, 3], &[3, -1]).unwrap(), [3, 0]);
    }

    #[test]
    fn impossible_shapes_are_errors() {
        assert!(reshaped(&[2, 3], &[4, -1]).is_err());
        assert!(reshaped(&[2, 3], &[-1, -1]).is_err());
        assert!(reshaped(&[2, 3], &[-2, 3]).is_err());
        assert!(reshaped(&[6], &[6, 0]).is_err());
        assert!(reshaped(&[6], &[i64::MAX, i64::MAX]).is_err());
    }
}
