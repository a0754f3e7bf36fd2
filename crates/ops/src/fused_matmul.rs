//! `FusedMatMul` of `com.microsoft`, and `TransposeMatMul`, its older name
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::matmul::{MatMulGeometry, matrix_types, multiply, product_shape};
use crate::transpose::permuted;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("FusedMatMul", 2, FusedMatMul::parse),
    OpEntry::microsoft("TransposeMatMul", 2, FusedMatMul::parse),
];

/// `alpha` times the matrix product of two stacks of matrices, each perhaps stored with its axes in another order. Inputs
/// and output as those of [`crate::matmul::MatMul`], any float.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedMatMul {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether the last two axes of A are exchanged.
    pub trans_a: bool,
    /// Whether the last two axes of B are exchanged.
    pub trans_b: bool,
    /// Whether the last axis but one of A is stored first, before the leading axes.
    pub trans_batch_a: bool,
    /// Whether the last axis but one of B is stored first, before the leading axes.
    pub trans_batch_b: bool,
}

impl Default for FusedMatMul {
    /// The plain product.
    fn default() -> FusedMatMul {
        FusedMatMul { alpha: 1.0, trans_a: false, trans_b: false, trans_batch_a: false, trans_batch_b: false }
    }
}

impl FusedMatMul {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mut flag = |name: &str| def.int_or(name, 0).map(|value| value != 0);
        let (trans_a, trans_b) = (flag("transA")?, flag("transB")?);
        let (trans_batch_a, trans_batch_b) = match def.op_type.as_str() {
            "FusedMatMul" => (def.int_or("transBatchA", 0)? != 0, def.int_or("transBatchB", 0)? != 0),
            _ => (false, false),
        };
        let alpha = def.float_or("alpha", 1.0)?;
        Ok(Arc::new(FusedMatMul { alpha, trans_a, trans_b, trans_batch_a, trans_batch_b }))
    }

    /// For each axis of operand 0 or 1 as `MatMul` has it, which stored axis it is.
    pub fn axes(&self, operand: usize, rank: usize) -> Vec<usize> {
        let (trans, batch) = if operand == 0 {
            (self.trans_a, self.trans_batch_a)
        } else {
            (self.trans_b, self.trans_batch_b)
        };
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            if batch {
                axes[..rank - 1].rotate_left(1);
            }
            if trans {
                axes.swap(rank - 2, rank - 1);
            }
        }
        axes
    }

    /// The product of inputs 0 and 1 before it is rounded, and its shape.
    pub(crate) fn wide(&self, inputs: Inputs<'_>) -> Result<(Shape, Vec<f64>), OpError> {
        let (a, b) = (self.oriented(0, inputs.tensor(0)?)?, self.oriented(1, inputs.tensor(1)?)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        let mut y = multiply(&geometry, &a.to_f64()?, &b.to_f64()?)?;
        y.iter_mut().for_each(|y| *y *= f64::from(self.alpha));
        Ok((geometry.output, y))
    }

    fn oriented(&self, operand: usize, tensor: &Tensor) -> Result<Tensor, OpError> {
        let axes = self.axes(operand, tensor.shape().rank());
        let shape: Shape = axes.iter().map(|&axis| tensor.shape()[axis]).collect();
        permuted(tensor, tensor.shape(), &axes, shape)
    }
}

impl Operator for FusedMatMul {
    fn key(&self) -> OpKey {
        OpKey::microsoft("FusedMatMul")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = matrix_types(inputs, 2)?;
        if dtype.is_integer() {
            return Err(OpError::dtype(0, "a float type", dtype));
        }
        let oriented = |operand: usize| -> Result<ShapeFact, OpError> {
            let shape = inputs.shape(operand)?;
            let Some(dims) = shape.dims() else { return Ok(ShapeFact::unknown()) };
            Ok(self.axes(operand, dims.len()).into_iter().map(|axis| dims[axis].clone()).collect())
        };
        Ok(vec![Fact::tensor(dtype, product_shape(&oriented(0)?, &oriented(1)?, 1)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (shape, y) = self.wide(inputs)?;
        Ok(vec![Tensor::from_f64(inputs.tensor(0)?.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Each output element is a sum over K, which is one of A's last axes or its first.
        let (Some(a), Some(y)) = (inputs.get(0).and_then(Fact::concrete_shape), outputs.first()) else {
            return 0;
        };
        let k = self.axes(0, a.rank()).last().map_or(0, |&axis| a[axis]);
        let elements = y.concrete_shape().map_or(0, |shape| shape.elements() as u64);
        elements.saturating_mul(2).saturating_mul(k as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::MatMul;
    use crate::testing::{parse_in, run};
    use inferrum_graph::Attr;

    #[test]
    fn axes_are_put_back_in_order() {
        let attrs = ["transA", "transB", "transBatchA"].map(|name| (name, Attr::Int(1)));
        let op = parse_in("com.microsoft", 1, "FusedMatMul", &attrs);
        let fused = (&*op as &dyn std::any::Any).downcast_ref::<FusedMatMul>().unwrap();
        // Stored [K, batch, M]: rotated to [batch, K, M], then exchanged.
        assert_eq!(fused.axes(0, 3), [1, 2, 0]);
        assert_eq!(fused.axes(1, 3), [0, 2, 1]);
        assert_eq!(fused.axes(0, 1), [0]);
        let ramp = |shape: [usize; 3]| Tensor::from_vec(shape, (0..12).map(|x| x as f32).collect()).unwrap();
        let (a, b) = (ramp([3, 2, 2]), ramp([1, 4, 3]));
        let expected = run(&MatMul, &[fused.oriented(0, &a).unwrap(), fused.oriented(1, &b).unwrap()]);
        assert_eq!(expected[0].shape().dims(), [2, 2, 4]);
        assert_eq!(run(fused, &[a, b]), expected);
    }
}
