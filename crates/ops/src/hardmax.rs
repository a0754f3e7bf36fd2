//! `Hardmax` (<https://onnx.ai/onnx/operators/onnx__Hardmax.html>). Before opset 13 the input was flattened to two
//! dimensions at `axis` (default 1); since then one axis is compared (default -1).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::same_float_types;
use crate::softmax::Softmax;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Hardmax", 1, Hardmax::parse)];

/// 1 at the first greatest element along an axis, 0 elsewhere. Input and output: any shape, any float.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardmax {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether all axes from `axis` on are compared together.
    pub flatten: bool,
}

impl Hardmax {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let flatten = def.opset < 13;
        Ok(Arc::new(Hardmax { axis: def.int_or("axis", if flatten { 1 } else { -1 })?, flatten }))
    }

    /// Rows, elements of a row, and elements between two neighbours of a row, as `Softmax` has them.
    fn extents(&self, shape: &inferrum_tensor::Shape) -> Result<(usize, usize, usize), OpError> {
        Softmax { axis: self.axis, flatten: self.flatten, log: false }.extents(shape)
    }
}

impl Operator for Hardmax {
    fn key(&self) -> OpKey {
        OpKey::onnx("Hardmax")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 1)?;
        if let Some(shape) = inputs.shape(0)?.concrete() {
            self.extents(&shape)?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (outer, extent, inner) = self.extents(x.shape())?;
        let elements = x.to_f64()?;
        let mut y = zeroed::<f64>(x.len())?;
        for row in if x.is_empty() { 0..0 } else { 0..outer } {
            for column in 0..inner {
                let at = |i: usize| (row * extent + i) * inner + column;
                let first_greatest =
                    (0..extent).reduce(|a, b| if elements[at(b)] > elements[at(a)] { b } else { a });
                if let Some(i) = first_greatest {
                    y[at(i)] = 1.0;
                }
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn the_first_of_equals_wins() {
        let x = Tensor::from_vec([2, 2, 2], vec![1f32, 3., 3., 2., -1., -1., -1., 0.]).unwrap();
        let y = |opset: i64, axis: i64| {
            let op = parse_at(opset, "Hardmax", &[("axis", Attr::Int(axis))]);
            run(&*op, std::slice::from_ref(&x))[0].as_slice::<f32>().unwrap().to_vec()
        };
        assert_eq!(y(13, -1), [0., 1., 1., 0., 1., 0., 0., 1.]);
        assert_eq!(y(13, 1), [0., 1., 1., 0., 1., 0., 0., 1.]);
        assert_eq!(y(11, 1), [0., 1., 0., 0., 0., 0., 0., 1.]);
        assert_eq!(y(11, 0), [0., 1., 0., 0., 0., 0., 0., 0.]);
    }
}
