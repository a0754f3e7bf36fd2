//! `ImageScaler`, experimental in ONNX until opset 10.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ImageScaler", 1, ImageScaler::parse)];

/// `scale * x + bias` of the channel. Input and output: `[N, C, H, W]`, a float type.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageScaler {
    /// The factor.
    pub scale: f32,
    /// For each channel, what is added.
    pub bias: Vec<f32>,
}

impl ImageScaler {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let bias = def
            .floats("bias")?
            .ok_or_else(|| OpError::attribute("bias", "a float for each channel", "nothing"))?;
        Ok(Arc::new(ImageScaler { scale: def.float_or("scale", 1.0)?, bias }))
    }
}

impl Operator for ImageScaler {
    fn key(&self) -> OpKey {
        OpKey::onnx("ImageScaler")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        FLOATS.check(0, input.dtype)?;
        let channels = SymDim::Known(self.bias.len());
        if input.shape.dims().is_some_and(|dims| dims.len() != 4 || dims[1].merge(&channels).is_none()) {
            return Err(OpError::shape(0, format!("[N, {channels}, H, W]"), &input.shape));
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let plane = x.shape()[2..].iter().product::<usize>().max(1);
        let mut y = x.to_f64()?;
        for (pixels, bias) in y.chunks_mut(plane).zip(self.bias.iter().cycle()) {
            pixels.iter_mut().for_each(|x| *x = f64::from(self.scale) * *x + f64::from(*bias));
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        2 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    #[test]
    fn each_channel_has_its_bias() {
        let op = parse_at(
            1,
            "ImageScaler",
            &[("scale", Attr::Float(2.0)), ("bias", Attr::Floats(vec![1.0, -1.0]))],
        );
        let x = Tensor::from_f64(DType::F32, [2, 2, 1, 2], &[0., 1., 2., 3., 4., 5., 6., 7.]).unwrap();
        assert_eq!(run(&*op, &[x])[0].to_f64().unwrap(), [1., 3., 3., 5., 9., 11., 11., 13.]);
        assert!(run(&*op, &[Tensor::zeros(DType::F32, [0, 2, 3, 0]).unwrap()])[0].is_empty());
        for wrong in [&[2, 3, 1, 1][..], &[2, 2]] {
            assert!(try_run(&*op, &[Some(Tensor::zeros(DType::F32, wrong).unwrap())]).is_err());
        }
    }
}
