//! `QLinearSoftmax` of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::qlinear_elementwise::check_scalar_parameters;
use crate::quantized::{Affine, byte_type};
use crate::softmax::Softmax;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::microsoft("QLinearSoftmax", 5, QLinearSoftmax::parse)];

/// [`Softmax`] of a quantised tensor, quantised. Inputs: X (int8 or uint8), its scale and zero point; scale and zero point
/// of the output. Scales and zero points are scalars; a zero point that is left out is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct QLinearSoftmax {
    /// The operator on floats.
    pub softmax: Softmax,
}

impl QLinearSoftmax {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let opset = def.int("opset")?.ok_or_else(|| {
            OpError::attribute("opset", "the version of `Softmax` that the node stands for", "nothing")
        })?;
        let softmax = Softmax { axis: def.int_or("axis", -1)?, flatten: opset < 13, log: false };
        Ok(Arc::new(QLinearSoftmax { softmax }))
    }
}

impl Operator for QLinearSoftmax {
    fn key(&self) -> OpKey {
        OpKey::microsoft("QLinearSoftmax")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        byte_type(inputs, 0)?;
        check_scalar_parameters(inputs, 1, 0)?;
        check_scalar_parameters(inputs, 3, 0)?;
        if let Some(shape) = inputs.shape(0)?.concrete() {
            self.softmax.extents(&shape)?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (of_x, of_y) = (Affine::read(inputs, 1, 2)?, Affine::read(inputs, 3, 4)?);
        let mut real = zeroed::<f64>(x.len())?;
        real.iter_mut().zip(x.to_i64()?).for_each(|(real, q)| *real = of_x.real(q));
        let real = Value::Tensor(Tensor::from_f64(DType::F64, x.shape().clone(), &real)?);
        let outputs = self.softmax.reference(Inputs(&[Some(&real)]))?;
        let outputs: Vec<Option<&Value>> = outputs.iter().map(Some).collect();
        let mut y = zeroed::<i64>(x.len())?;
        let probabilities = Inputs(&outputs).tensor(0)?.to_f64()?;
        y.iter_mut().zip(probabilities).for_each(|(y, p)| *y = of_y.quantize(p, x.dtype()));
        Ok(vec![Tensor::from_i64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        self.softmax.flops(inputs, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run};
    use inferrum_graph::Attr;

    #[test]
    fn probabilities_are_quantised() {
        let x = Tensor::from_vec([2, 2], vec![10u8, 20, 0, 255]).unwrap();
        let parameters = |scale: f32, zero: u8| [Tensor::scalar(scale), Tensor::scalar(zero)];
        let inputs = [&[x][..], &parameters(0.1, 20), &parameters(0.01, 3)].concat();
        let attrs = [("axis", Attr::Int(-1)), ("opset", Attr::Int(13))];
        let y = run(&*parse_in("com.microsoft", 1, "QLinearSoftmax", &attrs), &inputs).remove(0);
        assert_eq!(y.as_slice::<u8>().unwrap(), [30, 76, 3, 103]);
        let attrs = [("axis", Attr::Int(0)), ("opset", Attr::Int(12))];
        let y = run(&*parse_in("com.microsoft", 1, "QLinearSoftmax", &attrs), &inputs).remove(0);
        assert_eq!(y.as_slice::<u8>().unwrap(), [3, 3, 3, 103]);
    }
}
