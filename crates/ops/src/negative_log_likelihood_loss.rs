//! `NegativeLogLikelihoodLoss` (<https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>) and
//! `SoftmaxCrossEntropyLoss` (<https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html>), which takes the
//! logarithms of the softmax first.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("NegativeLogLikelihoodLoss", 3, |def| NegativeLogLikelihoodLoss::parse(def, false)),
    OpEntry::onnx("SoftmaxCrossEntropyLoss", 3, |def| NegativeLogLikelihoodLoss::parse(def, true)),
];

/// Minus the logarithm of the probability of each right class.
///
/// Inputs: logarithms (or scores, with `softmax`) `[N, C, ...]` of floats, classes `[N, ...]` of int32 or int64, weights of
/// the classes `[C]` (optional). Outputs: `[N, ...]` or, reduced, a scalar; with `softmax` optionally the logarithms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeLogLikelihoodLoss {
    /// Whether the inputs are scores, of whose softmax the logarithms are taken.
    pub softmax: bool,
    /// How the losses become one.
    pub reduction: Reduction,
    /// A class that counts nothing.
    pub ignored: Option<i64>,
    /// How many outputs the node has.
    pub outputs: usize,
}

/// How losses become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Not at all.
    None,
    /// Their sum.
    Sum,
    /// Their sum over the sum of the weights that count.
    Mean,
}

impl NegativeLogLikelihoodLoss {
    fn parse(def: &mut NodeDef, softmax: bool) -> Result<Arc<dyn Operator>, OpError> {
        let reduction = match def.string_or("reduction", "mean")?.as_str() {
            "none" => Reduction::None,
            "sum" => Reduction::Sum,
            "mean" => Reduction::Mean,
            other => return Err(OpError::attribute("reduction", "`none`, `sum` or `mean`", other)),
        };
        let outputs = if softmax { def.outputs.len().clamp(1, 2) } else { 1 };
        Ok(Arc::new(NegativeLogLikelihoodLoss {
            softmax,
            reduction,
            ignored: def.int("ignore_index")?,
            outputs,
        }))
    }

    /// Replaces scores `[batch, classes, inner]` by the logarithms of their softmax.
    fn log_softmax(values: &mut [f64], classes: usize, inner: usize) {
        for place in 0..values.len() / classes.max(1) {
            let (batch, i) = (place / inner, place % inner);
            let at = |class: usize| (batch * classes + class) * inner + i;
            let greatest = (0..classes).map(|class| values[at(class)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..classes).map(|class| (values[at(class)] - greatest).exp()).sum();
            for class in 0..classes {
                values[at(class)] -= greatest + sum.ln();
            }
        }
    }
}

impl Operator for NegativeLogLikelihoodLoss {
    fn key(&self) -> OpKey {
        OpKey::onnx(if self.softmax { "SoftmaxCrossEntropyLoss" } else { "NegativeLogLikelihoodLoss" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, target) = (inputs.tensor(0)?, inputs.tensor(1)?);
        FLOATS.check(0, x.dtype)?;
        if !matches!(target.dtype, DType::I32 | DType::I64) {
            return Err(OpError::dtype(1, "int32 or int64", target.dtype));
        }
        let mut shape = target.shape.clone();
        if let Some(dims) = x.shape.dims() {
            if dims.len() < 2 {
                return Err(OpError::shape(0, "[N, C, ...]", &x.shape));
            }
            let places: ShapeFact = dims[..1].iter().chain(&dims[2..]).cloned().collect();
            shape =
                shape.merge(&places).ok_or_else(|| OpError::shape(1, places.to_string(), &target.shape))?;
        }
        if let Some(weight) = inputs.optional(2)? {
            if weight.dtype != x.dtype {
                return Err(OpError::dtype(2, x.dtype.to_string(), weight.dtype));
            }
            let expected: ShapeFact = vec![x.shape.rank().map_or(SymDim::Unknown, |_| x.shape.dim(1))].into();
            if weight.shape.merge(&expected).is_none() {
                return Err(OpError::shape(2, format!("[{expected}]"), &weight.shape));
            }
        }
        let loss = if self.reduction == Reduction::None { shape } else { Shape::scalar().into() };
        let mut facts = vec![Fact::tensor(x.dtype, loss), inputs.like(0)?];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, targets) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (_, classes, inner) = x.shape().split_at_axis(1);
        let mut values = x.to_f64()?;
        if self.softmax {
            NegativeLogLikelihoodLoss::log_softmax(&mut values, classes, inner);
        }
        let weights = inputs.optional(2)?.map(Tensor::to_f64).transpose()?;
        let mut losses: Vec<f64> = zeroed(targets.len())?;
        let mut counted = 0.0;
        for (place, (loss, &target)) in losses.iter_mut().zip(&targets.to_i64()?).enumerate() {
            if self.ignored == Some(target) {
                continue;
            }
            let class = usize::try_from(target).ok().filter(|&class| class < classes).ok_or_else(|| {
                OpError::value(1, format!("classes are 0 to {}, got {target}", classes as i64 - 1))
            })?;
            let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
            *loss = -weight * values[(place / inner * classes + class) * inner + place % inner];
            counted += weight;
        }
        let sum: f64 = losses.iter().sum();
        let loss = match self.reduction {
            Reduction::None => Tensor::from_f64(x.dtype(), targets.shape().clone(), &losses)?,
            Reduction::Sum => Tensor::from_f64(x.dtype(), Shape::scalar(), &[sum])?,
            Reduction::Mean => Tensor::from_f64(x.dtype(), Shape::scalar(), &[sum / counted])?,
        };
        let mut outputs = vec![loss.into()];
        if self.outputs > 1 {
            outputs.push(Tensor::from_f64(x.dtype(), x.shape().clone(), &values)?.into());
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn loss(op_type: &str, reduction: &str, targets: &[i64], weights: bool) -> Result<Vec<Tensor>, OpError> {
        let attrs = [("reduction", Attr::String(reduction.into())), ("ignore_index", Attr::Int(-1))];
        let op = parse_node("", 13, op_type, &attrs, if op_type.starts_with('S') { 2 } else { 1 });
        let x = Tensor::from_vec([1, 2, 3], vec![-1f32, -2.0, -3.0, -4.0, -5.0, -6.0]).unwrap();
        let targets = Tensor::from_vec([1, targets.len()], targets.to_vec()).unwrap();
        let weights = weights.then(|| Tensor::vector(vec![1f32, 3.0]));
        try_run(&*op, &[Some(x), Some(targets), weights])
    }

    #[test]
    fn losses_are_picked_weighted_and_reduced() {
        let nll = |reduction, weights| {
            loss("NegativeLogLikelihoodLoss", reduction, &[0, 1, -1], weights).unwrap()[0].to_f64().unwrap()
        };
        assert_eq!(nll("none", false), [1.0, 5.0, 0.0]);
        assert_eq!(nll("sum", true), [16.0]);
        assert_eq!(nll("mean", true), [4.0]);
        assert_eq!(nll("mean", false), [3.0]);
    }

    #[test]
    fn scores_are_normalised_first() {
        let outputs = loss("SoftmaxCrossEntropyLoss", "none", &[0, 1, -1], false).unwrap();
        let expected = (1.0 + (-3f64).exp()).ln();
        let y = outputs[0].to_f64().unwrap();
        assert!((y[0] - expected).abs() < 1e-6 && (y[1] - expected - 3.0).abs() < 1e-6 && y[2] == 0.0);
        assert!((outputs[1].to_f64().unwrap()[3] + 3.0 + expected).abs() < 1e-6);
    }

    #[test]
    fn classes_out_of_range_are_errors() {
        assert!(loss("NegativeLogLikelihoodLoss", "none", &[0, 2, 0], false).is_err());
        assert!(loss("NegativeLogLikelihoodLoss", "none", &[0, -2, 0], true).is_err());
        assert!(loss("NegativeLogLikelihoodLoss", "none", &[0, 0], false).is_err());
    }
}
