//! A matrix product with what is done to it: a linear layer.

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::fused_activation::{self, FusedActivation};
use crate::fused_matmul::FusedMatMul;

/// `activation(alpha A B + bias + residual)`. Inputs: A and B as [`FusedMatMul`] has them; bias `[N]`, may be left out;
/// residual, of the product's shape, may be left out. Any float.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// The product.
    pub product: FusedMatMul,
    /// What is applied to the sum.
    pub activation: Option<FusedActivation>,
}

impl Linear {
    /// Position of the bias among the inputs.
    pub const BIAS: usize = 2;
    /// Position of the residual among the inputs.
    pub const RESIDUAL: usize = 3;
}

impl Operator for Linear {
    fn key(&self) -> OpKey {
        OpKey::fused("Linear")
    }

    fn label(&self) -> String {
        fused_activation::label("Linear", self.activation)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let operands = [inputs.get(0), inputs.get(1)];
        let mut outputs = self.product.infer(Facts(&operands))?;
        if let Some(bias) = inputs.optional(Linear::BIAS)?
            && bias.shape.rank().is_some_and(|rank| rank != 1)
        {
            return Err(OpError::shape(Linear::BIAS, "[N]", &bias.shape));
        }
        if inputs.has(Linear::RESIDUAL) {
            let residual = inputs.like(Linear::RESIDUAL)?;
            for output in &mut outputs {
                *output = output
                    .merge(&residual)
                    .ok_or_else(|| OpError::shape(Linear::RESIDUAL, output.to_string(), &residual))?;
            }
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let product = self.product.wide(inputs)?;
        let (shape, mut y) = product;
        if let Some(bias) = inputs.optional(Linear::BIAS)? {
            let bias = bias.to_f64()?;
            for row in y.chunks_exact_mut(bias.len().max(1)) {
                row.iter_mut().zip(&bias).for_each(|(y, bias)| *y += bias);
            }
        }
        if let Some(residual) = inputs.optional(Linear::RESIDUAL)? {
            y.iter_mut().zip(residual.to_f64()?).for_each(|(y, residual)| *y += residual);
        }
        if let Some(activation) = self.activation {
            y.iter_mut().for_each(|y| *y = activation.apply(*y));
        }
        Ok(vec![Tensor::from_f64(inputs.tensor(0)?.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        self.product.flops(inputs, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn bias_residual_and_activation_come_in_this_order() {
        let op = Linear {
            product: FusedMatMul { alpha: 2.0, ..FusedMatMul::default() },
            activation: Some(FusedActivation::Relu),
        };
        let matrix = |shape: [usize; 2], values: &[f32]| Tensor::from_vec(shape, values.to_vec()).unwrap();
        let a = matrix([2, 1], &[1.0, -1.0]);
        let b = matrix([1, 2], &[1.0, 3.0]);
        let bias = Tensor::vector(vec![0.5f32, -1.0]);
        let residual = matrix([2, 2], &[0.0, 0.0, 2.0, 0.0]);
        assert_eq!(run(&op, &[a, b, bias, residual])[0].as_slice::<f32>().unwrap(), [2.5, 5.0, 0.5, 0.0]);
    }
}
