//! `QLinearAveragePool` and `QLinearGlobalAveragePool` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>). Nodes that lay images out channels
//! last become [`ChannelsLast`] around the operator.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::fused::channels_last::ChannelsLast;
use crate::global_pool::GlobalPool;
use crate::pool::AveragePool;
use crate::qlinear_elementwise::check_scalar_parameters;
use crate::quantized::{Affine, byte_type, one_scale, one_zero_point};
use crate::window::WindowSpec;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("QLinearAveragePool", 5, |def| {
        let count_include_pad = def.flag("count_include_pad", false)?;
        let pool = AveragePool { window: WindowSpec::parse_pool(def)?, count_include_pad };
        QLinearPool::parse(def, QLinearPool::Window(pool))
    }),
    OpEntry::microsoft("QLinearGlobalAveragePool", 5, |def| QLinearPool::parse(def, QLinearPool::Global)),
];

/// The mean of each window, or of each channel, of a quantised image, quantised. Inputs: X `[N, C, D1, ...]` (int8 or
/// uint8), its scale and zero point; scale and zero point of the output. Scales and zero points are scalars; a zero point
/// that is left out is 0.
#[derive(Debug, Clone, PartialEq)]
pub enum QLinearPool {
    /// Windows of the image.
    Window(AveragePool),
    /// The whole image.
    Global,
}

impl QLinearPool {
    fn parse(def: &mut NodeDef, pool: QLinearPool) -> Result<Arc<dyn Operator>, OpError> {
        Ok(if def.int_or("channels_last", 0)? != 0 {
            Arc::new(ChannelsLast { inner: Arc::new(pool), images: vec![0] })
        } else {
            Arc::new(pool)
        })
    }

    /// The integer of scale and zero point `of_y` that is nearest to a mean in steps of `x_scale`.
    pub fn quantized(mean: f64, x_scale: f32, of_y: (f32, i64), dtype: DType) -> i64 {
        let of_y = Affine { scale: f64::from(of_y.0), zero_point: of_y.1 };
        of_y.quantize(mean * f64::from(x_scale), dtype)
    }

    /// The operator on floats.
    pub fn on_floats(&self) -> &dyn Operator {
        match self {
            QLinearPool::Window(pool) => pool,
            QLinearPool::Global => &GlobalPool::Average,
        }
    }
}

impl Operator for QLinearPool {
    fn key(&self) -> OpKey {
        OpKey::microsoft(match self {
            QLinearPool::Window(_) => "QLinearAveragePool",
            QLinearPool::Global => "QLinearGlobalAveragePool",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = byte_type(inputs, 0)?;
        check_scalar_parameters(inputs, 1, 0)?;
        check_scalar_parameters(inputs, 3, 0)?;
        let float = Fact::tensor(DType::F64, inputs.shape(0)?.clone());
        let outputs = self.on_floats().infer(Facts(&[Some(&float)]))?;
        let shape = |fact: &Fact| fact.as_tensor().map(|tensor| tensor.shape.clone()).unwrap_or_default();
        Ok(outputs.iter().map(|fact| Fact::tensor(dtype, shape(fact))).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (x_scale, x_zero) = (one_scale(inputs, 1)?, one_zero_point(inputs, 2)?);
        let (y_scale, y_zero) = (one_scale(inputs, 3)?, one_zero_point(inputs, 4)?);
        // Sums of integers are exact.
        let mut steps = zeroed::<f64>(x.len())?;
        steps.iter_mut().zip(x.to_i64()?).for_each(|(steps, q)| *steps = (q - x_zero) as f64);
        let steps = Value::Tensor(Tensor::from_f64(DType::F64, x.shape().clone(), &steps)?);
        let means = self.on_floats().reference(Inputs(&[Some(&steps)]))?;
        let means: Vec<Option<&Value>> = means.iter().map(Some).collect();
        let means = Inputs(&means).tensor(0)?;
        let mut y = zeroed::<i64>(means.len())?;
        y.iter_mut().zip(means.to_f64()?).for_each(|(y, mean)| {
            *y = QLinearPool::quantized(mean, x_scale, (y_scale, y_zero), x.dtype());
        });
        Ok(vec![Tensor::from_i64(x.dtype(), means.shape().clone(), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        self.on_floats().flops(inputs, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run};
    use inferrum_graph::Attr;

    fn inputs(shape: [usize; 4]) -> [Tensor; 5] {
        [
            Tensor::from_vec(shape, vec![10u8, 20, 31, 40, 50, 60, 7, 8]).unwrap(),
            Tensor::scalar(0.5f32),
            Tensor::scalar(10u8),
            Tensor::scalar(0.25f32),
            Tensor::scalar(1u8),
        ]
    }

    #[test]
    fn means_are_quantised_anew() {
        let attrs = [("kernel_shape", Attr::Ints(vec![1, 2])), ("strides", Attr::Ints(vec![1, 2]))];
        let y = run(&*parse_in("com.microsoft", 1, "QLinearAveragePool", &attrs), &inputs([1, 1, 2, 4]))
            .remove(0);
        // (0 + 5) / 2 = 2.5 -> 10 + 1; (10.5 + 15) / 2 = 12.75 -> 51 + 1; 22.5 -> 90 + 1; -1.25 -> -5 + 1, saturated.
        assert_eq!(y.as_slice::<u8>().unwrap(), [11, 52, 91, 0]);
    }

    #[test]
    fn channels_may_come_last() {
        let op = |last: i64| {
            parse_in("com.microsoft", 1, "QLinearGlobalAveragePool", &[("channels_last", Attr::Int(last))])
        };
        let y = run(&*op(0), &inputs([1, 2, 2, 2])).remove(0);
        assert_eq!((y.shape().dims(), y.as_slice::<u8>().unwrap()), (&[1, 2, 1, 1][..], &[31u8, 43][..]));
        let y = run(&*op(1), &inputs([1, 2, 2, 2])).remove(0);
        assert_eq!((y.shape().dims(), y.as_slice::<u8>().unwrap()), (&[1, 1, 1, 2][..], &[30u8, 45][..]));
    }
}
