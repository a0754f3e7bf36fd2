//! `ai.onnx.ml.LinearClassifier`, `ai.onnx.ml.LinearRegressor`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html>), one version each.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::class_labels::{Chosen, ClassLabels, greatest};
use crate::digest::Table;
use crate::features;
use crate::post_transform::PostTransform;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::ml("LinearClassifier", 1, LinearClassifier::parse),
    OpEntry::ml("LinearRegressor", 1, LinearRegressor::parse),
];

/// `X * coefficients^T + intercepts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[targets, features]`, row-major; more may follow.
    pub coefficients: Table<f32>,
    /// `[targets]`, or empty.
    pub intercepts: Table<f32>,
    /// The number of targets, if it does not depend on the number of features.
    pub targets: Option<usize>,
}

/// The class of each example by linear scores. Input: `[N, F]` or `[F]`. Outputs: labels `[N]`, scores `[N, E]` in
/// float32; `E` is the number of classes, also where two classes have only one score.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearClassifier {
    /// The scores.
    pub linear: Linear,
    /// The classes.
    pub labels: ClassLabels,
    /// What is done with the scores after the class is chosen.
    pub post_transform: PostTransform,
}

/// Linear scores. Input: `[N, F]` or `[F]`; output: `[N, targets]` in float32.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearRegressor {
    /// The scores.
    pub linear: Linear,
    /// What is done with two or more scores; of a single one only [`PostTransform::Probit`] is done.
    pub post_transform: PostTransform,
}

impl Linear {
    /// The number of targets, if that is known when the number of features is (or is not).
    ///
    /// # Errors
    /// The coefficients are not as many as targets and features ask for.
    fn infer_targets(&self, features: &SymDim) -> Result<SymDim, OpError> {
        let count = self.coefficients.len();
        let wrong =
            |expected: String| OpError::attribute("coefficients", expected, format!("{count} coefficients"));
        match (self.targets, features.known()) {
            (Some(targets), None) => Ok(SymDim::Known(targets)),
            // More are passed over, as ONNX Runtime does; models with too few features exist.
            (Some(targets), Some(features))
                if targets.checked_mul(features).is_some_and(|used| used <= count) =>
            {
                Ok(SymDim::Known(targets))
            }
            (Some(targets), Some(features)) => Err(wrong(format!("{targets} rows of {features} features"))),
            (None, Some(features)) if features > 0 && count.is_multiple_of(features) => {
                Ok(SymDim::Known(count / features))
            }
            (None, Some(features)) => Err(wrong(format!("rows of {features} features"))),
            (None, None) => Ok(SymDim::Unknown),
        }
    }

    /// The scores `[N, targets]`, and the number of examples and targets.
    fn scores(&self, x: &Tensor) -> Result<(Vec<f32>, usize, usize), OpError> {
        let (examples, features) = features::extents(x)?;
        let targets = self.infer_targets(&SymDim::Known(features))?.known().unwrap_or(0);
        let values = features::f32s(x)?;
        let mut scores = zeroed::<f32>(examples.saturating_mul(targets))?;
        if targets > 0 {
            for (row, scores) in
                features::rows(&values, examples, features).zip(scores.chunks_exact_mut(targets))
            {
                for (target, score) in scores.iter_mut().enumerate() {
                    let weights = &self.coefficients[target * features..(target + 1) * features];
                    let intercept = self.intercepts.get(target).copied().unwrap_or(0.0);
                    *score = (features::dot(row, weights) + f64::from(intercept)) as f32;
                }
            }
        }
        Ok((scores, examples, targets))
    }
}

impl LinearClassifier {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        // One-versus-rest and multinomial models differ in how they were trained.
        def.ignore(&["multi_class"]);
        let labels = ClassLabels::parse(def, "classlabels_ints", "classlabels_strings")?;
        let coefficients = def.floats("coefficients")?;
        let coefficients =
            coefficients.ok_or_else(|| OpError::attribute("coefficients", "floats", "nothing"))?;
        let intercepts = def.floats("intercepts")?.unwrap_or_default();
        let targets = Some(intercepts.len()).filter(|&count| count > 0);
        let linear = Linear { coefficients: coefficients.into(), intercepts: intercepts.into(), targets };
        if targets.is_some_and(|targets| targets > 1 && targets > labels.len()) {
            return Err(OpError::attribute(
                "intercepts",
                format!("as many as {} classes", labels.len()),
                linear.intercepts.len(),
            ));
        }
        Ok(Arc::new(LinearClassifier { linear, labels, post_transform: PostTransform::parse(def)? }))
    }

    /// Whether one score stands for two classes.
    fn is_binary(&self, targets: usize) -> bool {
        targets == 1 && self.labels.len() == 2
    }
}

impl Operator for LinearClassifier {
    fn key(&self) -> OpKey {
        OpKey::ml("LinearClassifier")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (examples, features) = features::infer(inputs, 0)?;
        let targets = self.linear.infer_targets(&features)?;
        let scores = targets.map(|targets| if self.is_binary(targets) { 2 } else { targets });
        Ok(vec![
            Fact::tensor(self.labels.dtype(), vec![examples.clone()]),
            Fact::tensor(DType::F32, features::matrix(examples, scores)),
        ])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (mut scores, examples, targets) = self.linear.scores(inputs.tensor(0)?)?;
        let chosen: Vec<Chosen> = match targets {
            0 => vec![Chosen::Class(0); examples],
            1 if self.is_binary(1) => {
                scores.iter().map(|&score| Chosen::Class(usize::from(score > 0.0))).collect()
            }
            1 => scores.iter().map(|&score| Chosen::Flag(score > 0.0)).collect(),
            _ => scores.chunks_exact(targets).map(|scores| Chosen::Class(greatest(scores))).collect(),
        };
        let mut columns = targets;
        if self.is_binary(targets) {
            scores = scores.iter().flat_map(|&score| self.post_transform.complementary(score)).collect();
            columns = 2;
        } else if targets == 1 {
            scores.iter_mut().for_each(|score| *score = self.post_transform.single(*score));
        } else if targets > 1 {
            scores.chunks_exact_mut(targets).for_each(|scores| self.post_transform.apply(scores));
        }
        let scores = Tensor::from_vec([examples, columns], scores)?;
        Ok(vec![self.labels.tensor(&chosen)?.into(), scores.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(&self.linear, inputs)
    }
}

fn flops(linear: &Linear, inputs: Facts<'_>) -> u64 {
    let examples = features::infer(inputs, 0).ok().and_then(|(examples, _)| examples.known()).unwrap_or(0);
    (2 * linear.coefficients.len() as u64).saturating_mul(examples as u64)
}

impl LinearRegressor {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let coefficients = def.floats("coefficients")?.unwrap_or_default();
        let targets = def.int_or("targets", 1)?;
        let targets = usize::try_from(targets)
            .ok()
            .filter(|&targets| targets > 0 && coefficients.len().is_multiple_of(targets))
            .ok_or_else(|| {
                OpError::attribute(
                    "targets",
                    format!("a divisor of {} coefficients", coefficients.len()),
                    targets,
                )
            })?;
        let mut intercepts = def.floats("intercepts")?.unwrap_or_default();
        if intercepts.len() != targets {
            // ONNX Runtime passes over intercepts that do not fit.
            intercepts.clear();
        }
        let linear = Linear {
            coefficients: coefficients.into(),
            intercepts: intercepts.into(),
            targets: Some(targets),
        };
        Ok(Arc::new(LinearRegressor { linear, post_transform: PostTransform::parse(def)? }))
    }
}

impl Operator for LinearRegressor {
    fn key(&self) -> OpKey {
        OpKey::ml("LinearRegressor")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (examples, features) = features::infer(inputs, 0)?;
        let targets = self.linear.infer_targets(&features)?;
        Ok(vec![Fact::tensor(DType::F32, features::matrix(examples, targets))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (mut scores, examples, targets) = self.linear.scores(inputs.tensor(0)?)?;
        match targets {
            0 | 1 => scores.iter_mut().for_each(|score| *score = self.post_transform.single(*score)),
            _ => scores.chunks_exact_mut(targets).for_each(|scores| self.post_transform.apply(scores)),
        }
        Ok(vec![Tensor::from_vec([examples, targets], scores)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(&self.linear, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn op(op_type: &str, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
        parse_in("ai.onnx.ml", 1, op_type, attrs)
    }

    fn x() -> Tensor {
        Tensor::from_vec([2, 2], vec![0.1f32, 0.2, -1.0, 0.5]).unwrap()
    }

    fn close(got: &Tensor, expected: &[f32]) {
        let got = got.as_slice::<f32>().unwrap();
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
    }

    fn classifier(coefficients: &[f32], intercepts: &[f32], transform: &str) -> Arc<dyn Operator> {
        op(
            "LinearClassifier",
            &[
                ("coefficients", Attr::Floats(coefficients.to_vec())),
                ("intercepts", Attr::Floats(intercepts.to_vec())),
                ("classlabels_ints", Attr::Ints(vec![5, 7])),
                ("post_transform", Attr::String(transform.as_bytes().to_vec())),
                ("multi_class", Attr::Int(1)),
            ],
        )
    }

    /// The expected numbers are ONNX Runtime's.
    #[test]
    fn one_score_gives_two_classes() {
        let y = run(&*classifier(&[1.0, 2.0], &[0.1], "NONE"), &[x()]);
        assert_eq!(y[0].as_slice::<i64>().unwrap(), [7, 7]);
        close(&y[1], &[0.4, 0.6, 0.9, 0.1]);
        let y = run(&*classifier(&[1.0, 2.0], &[0.1], "LOGISTIC"), &[x()]);
        close(&y[1], &[0.354_343_7, 0.645_656_3, 0.475_020_83, 0.524_979_2]);
    }

    #[test]
    fn the_class_of_the_greatest_score_is_chosen() {
        let y = run(&*classifier(&[1.0, 2.0, 0.3, 0.4], &[0.1, -0.1], "SOFTMAX"), &[x()]);
        assert_eq!(y[0].as_slice::<i64>().unwrap(), [5, 5]);
        close(&y[1], &[0.643_365_14, 0.356_634_83, 0.574_442_5, 0.425_557_46]);
        let words = op(
            "LinearClassifier",
            &[
                ("coefficients", Attr::Floats(vec![1.0, 0.0, 0.0, 1.0])),
                ("classlabels_strings", Attr::Strings(vec![b"a".to_vec(), b"b".to_vec()])),
            ],
        );
        let y = run(&*words, &[Tensor::vector(vec![1i64, 2])]);
        assert_eq!(y[0].as_strings().unwrap(), ["b"]);
        close(&y[1], &[1.0, 2.0]);
        assert_eq!(run(&*words, &[Tensor::zeros(DType::F64, [0, 2]).unwrap()])[1].shape().dims(), [0, 2]);
    }

    #[test]
    fn a_regressor_transforms_two_or_more_targets() {
        let regressor = |coefficients: &[f32], targets: i64, transform: &str| {
            let op = op(
                "LinearRegressor",
                &[
                    ("coefficients", Attr::Floats(coefficients.to_vec())),
                    ("targets", Attr::Int(targets)),
                    ("post_transform", Attr::String(transform.as_bytes().to_vec())),
                ],
            );
            run(&*op, &[Tensor::from_vec([1, 2], vec![1f32, 1.0]).unwrap()]).remove(0)
        };
        close(&regressor(&[1.0, 2.0], 1, "LOGISTIC"), &[3.0]);
        close(&regressor(&[1.0, 2.0, 3.0, 4.0], 2, "LOGISTIC"), &[0.952_574_13, 0.999_088_94]);
        close(&regressor(&[0.1, 0.2], 1, "PROBIT"), &[-0.524_445_9]);
    }

    #[test]
    fn coefficients_must_fit_the_features() {
        let x = Some(Tensor::zeros(DType::F32, [1, 3]).unwrap());
        let narrow = Some(Tensor::vector(vec![3f32]));
        close(&try_run(&*classifier(&[1.0, 2.0], &[0.5], "NONE"), &[narrow]).unwrap()[1], &[-2.5, 3.5]);
        assert!(try_run(&*classifier(&[1.0, 2.0], &[0.1], "NONE"), std::slice::from_ref(&x)).is_err());
        assert!(try_run(&*classifier(&[1.0, 2.0], &[], "NONE"), &[x]).is_err());
        let cube = Some(Tensor::zeros(DType::F32, [1, 1, 2]).unwrap());
        assert!(try_run(&*classifier(&[1.0, 2.0], &[0.1], "NONE"), &[cube]).is_err());
    }

    #[test]
    fn a_long_row_is_summed_exactly() {
        let coefficients: Vec<f32> = (0..127).map(|i| i as f32).collect();
        let op = op("LinearRegressor", &[("coefficients", Attr::Floats(coefficients))]);
        close(&run(&*op, &[Tensor::from_vec([1, 127], vec![1f32; 127]).unwrap()])[0], &[8001.0]);
    }
}
