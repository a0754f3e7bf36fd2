//! `ai.onnx.ml.SVMClassifier`, `ai.onnx.ml.SVMRegressor`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html>), one version each; as ONNX Runtime has them.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::class_labels::{Chosen, ClassLabels, greatest};
use crate::digest::Table;
use crate::features;
use crate::post_transform::{PostTransform, logistic};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::ml("SVMClassifier", 1, SvmClassifier::parse),
    OpEntry::ml("SVMRegressor", 1, SvmRegressor::parse),
];

/// The similarity of two vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// The formula.
    pub kind: KernelKind,
    /// Scales the inner product or squared distance.
    pub gamma: f32,
    /// Added to the scaled inner product.
    pub coef0: f32,
    /// The power of [`KernelKind::Poly`].
    pub degree: f32,
}

/// The formula of a [`Kernel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// `a . b`.
    Linear,
    /// `(gamma a . b + coef0) ^ degree`.
    Poly,
    /// `exp(-gamma |a - b|^2)`.
    Rbf,
    /// `tanh(gamma a . b + coef0)`.
    Sigmoid,
}

impl Kernel {
    fn parse(def: &mut NodeDef) -> Result<Kernel, OpError> {
        let kind = match def.string_or("kernel_type", "LINEAR")?.as_str() {
            "LINEAR" => KernelKind::Linear,
            "POLY" => KernelKind::Poly,
            "RBF" => KernelKind::Rbf,
            "SIGMOID" => KernelKind::Sigmoid,
            other => return Err(OpError::attribute("kernel_type", "LINEAR, POLY, RBF or SIGMOID", other)),
        };
        match *def.floats("kernel_params")?.unwrap_or_default() {
            [] => Ok(Kernel { kind, gamma: 0.0, coef0: 0.0, degree: 0.0 }),
            [gamma, coef0, degree] => Ok(Kernel { kind, gamma, coef0, degree }),
            ref other => {
                Err(OpError::attribute("kernel_params", "gamma, coef0 and degree", format!("{other:?}")))
            }
        }
    }

    fn of(&self, a: &[f32], b: &[f32]) -> f64 {
        let scaled = || f64::from(self.gamma) * features::dot(a, b) + f64::from(self.coef0);
        match self.kind {
            KernelKind::Linear => features::dot(a, b),
            KernelKind::Poly => scaled().powf(f64::from(self.degree)),
            KernelKind::Sigmoid => scaled().tanh(),
            KernelKind::Rbf => {
                let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
                (-f64::from(self.gamma) * a.iter().zip(b).map(square).sum::<f64>()).exp()
            }
        }
    }
}

/// The class of each example by a support vector machine. Input: `[N, F]` or `[F]`. Outputs: labels `[N]`, scores in
/// float32: `[N, classes]`, or without `probabilities` one score for each pair of three or more classes.
#[derive(Debug, Clone, PartialEq)]
pub struct SvmClassifier {
    /// The classes.
    pub labels: ClassLabels,
    /// How vectors are compared.
    pub kernel: Kernel,
    /// The support vectors of each class; if there are none, `coefficients` are linear, `[classes, features]`.
    pub vectors_per_class: Vec<usize>,
    /// `[vectors, features]`.
    pub support_vectors: Table<f32>,
    /// `[classes - 1, vectors]`: for each vector a weight against each other class.
    pub coefficients: Table<f32>,
    /// One for each pair of classes.
    pub rho: Table<f32>,
    /// Factor and offset for each pair of classes, from which probabilities follow; or empty.
    pub probabilities: Table<(f32, f32)>,
    /// What is done with the scores.
    pub post_transform: PostTransform,
}

/// A weighted sum of similarities to support vectors. Input: `[N, F]` or `[F]`; output: `[N, 1]` in float32.
#[derive(Debug, Clone, PartialEq)]
pub struct SvmRegressor {
    /// How vectors are compared.
    pub kernel: Kernel,
    /// How many support vectors there are; if none, `coefficients` are linear, `[features]`.
    pub supports: usize,
    /// `[supports, features]`.
    pub support_vectors: Table<f32>,
    /// `[supports]`.
    pub coefficients: Table<f32>,
    /// Added to the sum.
    pub rho: f32,
    /// Whether the output is only a sign: 1 or -1.
    pub one_class: bool,
}

/// The length of each of `count` vectors that stand one after the other.
fn vector_length(values: &[f32], count: usize, name: &str) -> Result<usize, OpError> {
    if count > 0 && values.len().is_multiple_of(count) {
        return Ok(values.len() / count);
    }
    Err(OpError::attribute(
        name,
        format!("{count} vectors of one length"),
        format!("{} floats", values.len()),
    ))
}

fn required(def: &mut NodeDef, name: &str) -> Result<Vec<f32>, OpError> {
    let values = def.floats(name)?.filter(|values| !values.is_empty());
    values.ok_or_else(|| OpError::attribute(name, "floats", "nothing"))
}

impl SvmClassifier {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let labels = ClassLabels::parse(def, "classlabels_ints", "classlabels_strings")?;
        let vectors_per_class: Vec<usize> = def
            .ints("vectors_per_class")?
            .unwrap_or_default()
            .into_iter()
            .map(|count| {
                usize::try_from(count)
                    .map_err(|_| OpError::attribute("vectors_per_class", "0 or more", count))
            })
            .collect::<Result<_, _>>()?;
        let (factors, offsets) =
            (def.floats("prob_a")?.unwrap_or_default(), def.floats("prob_b")?.unwrap_or_default());
        if factors.len() != offsets.len() {
            return Err(OpError::attribute(
                "prob_b",
                format!("{} floats, as prob_a", factors.len()),
                offsets.len(),
            ));
        }
        let mut kernel = Kernel::parse(def)?;
        let vectors = vectors_per_class.iter().fold(0usize, |sum, &count| sum.saturating_add(count));
        if vectors == 0 {
            kernel.kind = KernelKind::Linear;
        }
        let op = SvmClassifier {
            labels,
            kernel,
            vectors_per_class,
            support_vectors: def.floats("support_vectors")?.unwrap_or_default().into(),
            coefficients: required(def, "coefficients")?.into(),
            rho: required(def, "rho")?.into(),
            probabilities: factors.into_iter().zip(offsets).collect::<Vec<_>>().into(),
            post_transform: PostTransform::parse(def)?,
        };
        op.check(vectors)?;
        Ok(Arc::new(op))
    }

    /// That every attribute is as long as the number of classes and vectors asks for.
    fn check(&self, vectors: usize) -> Result<(), OpError> {
        let classes = self.labels.len();
        if vectors == 0 {
            return vector_length(&self.coefficients, classes, "coefficients").map(drop);
        }
        vector_length(&self.support_vectors, vectors, "support_vectors")?;
        if classes < 2 || self.vectors_per_class.len() != classes {
            let got = self.vectors_per_class.len();
            return Err(OpError::attribute(
                "vectors_per_class",
                format!("a number for each of 2 or more ({classes}) classes"),
                got,
            ));
        }
        let pairs = self.pairs();
        for (name, got, expected) in [
            ("coefficients", self.coefficients.len(), (classes - 1).saturating_mul(vectors)),
            ("rho", self.rho.len(), pairs),
            ("prob_a", self.probabilities.len(), if self.probabilities.is_empty() { 0 } else { pairs }),
        ] {
            if got < expected {
                return Err(OpError::attribute(name, format!("{expected} floats"), got));
            }
        }
        Ok(())
    }

    fn is_linear(&self) -> bool {
        self.vectors_per_class.iter().all(|&count| count == 0)
    }

    fn pairs(&self) -> usize {
        let classes = self.labels.len();
        classes * classes.saturating_sub(1) / 2
    }

    fn features(&self) -> usize {
        let vectors: usize = self.vectors_per_class.iter().sum();
        match vectors {
            0 => self.coefficients.len() / self.labels.len(),
            _ => self.support_vectors.len() / vectors,
        }
    }

    /// Scores of an example.
    fn columns(&self) -> usize {
        let classes = self.labels.len();
        if self.is_linear() || !self.probabilities.is_empty() || classes <= 2 {
            classes
        } else {
            self.pairs()
        }
    }

    /// The classes' scores without support vectors, and the class.
    fn linear(&self, row: &[f32], scores: &mut [f32]) -> Chosen {
        for (score, weights) in scores.iter_mut().zip(self.coefficients.chunks_exact(row.len().max(1))) {
            *score = (features::dot(row, weights) + f64::from(self.rho[0])) as f32;
        }
        let best = greatest(scores);
        let threshold =
            if self.coefficients.iter().all(|&weight| weight >= 0.0) { 0.5 } else { f32::MIN_POSITIVE };
        let positive = scores.len() == 2 && self.probabilities.is_empty() && scores[best] >= threshold;
        self.post_transform.apply(if scores.len() > 1 { scores } else { &mut [] });
        if let [score] = scores {
            *score = self.post_transform.single(*score);
        }
        Chosen::Class(if positive { 1 } else { best })
    }

    /// A score for each pair of classes, and the class that wins most pairs.
    fn duels(&self, similarities: &[f32], duels: &mut [f32]) -> usize {
        let (classes, vectors) = (self.labels.len(), similarities.len());
        let mut votes = vec![0usize; classes];
        let mut starts = Vec::with_capacity(classes);
        let mut start = 0;
        for &count in &self.vectors_per_class {
            starts.push(start..start + count);
            start += count;
        }
        let mut duel = 0;
        for i in 0..classes {
            for j in i + 1..classes {
                // The weights of class i's vectors against class j stand in row j - 1, and the other way round in row i.
                let side = |row: usize, class: usize| -> f64 {
                    let range = starts[class].clone();
                    let weights = &self.coefficients[row * vectors..(row + 1) * vectors][range.clone()];
                    features::dot(weights, &similarities[range])
                };
                let sum = side(j - 1, i) + side(i, j) + f64::from(self.rho[duel]);
                duels[duel] = sum as f32;
                votes[if sum > 0.0 { i } else { j }] += 1;
                duel += 1;
            }
        }
        (0..classes).rev().max_by_key(|&class| votes[class]).unwrap_or(0)
    }

    fn finish(&self, duels: &mut [f32], scores: &mut [f32]) -> Result<(), OpError> {
        if !self.probabilities.is_empty() {
            let mut pairs = duels.iter().zip(self.probabilities.iter());
            let classes = self.labels.len();
            let mut beats = zeroed::<f32>(classes * classes)?;
            for i in 0..classes {
                for j in i + 1..classes {
                    let Some((&duel, &(factor, offset))) = pairs.next() else { break };
                    let chance = (1.0 - logistic(duel * factor + offset)).clamp(1e-7, 1.0 - 1e-7);
                    beats[i * classes + j] = chance;
                    beats[j * classes + i] = 1.0 - chance;
                }
            }
            coupled(&beats, scores)?;
            self.post_transform.apply(scores);
        } else if let ([duel], [_, _]) = (&*duels, &*scores) {
            let both = match self.post_transform {
                PostTransform::None => self.post_transform.opposite(*duel),
                _ => self.post_transform.complementary(*duel),
            };
            scores.copy_from_slice(&both);
        } else {
            scores.copy_from_slice(duels);
            self.post_transform.apply(scores);
        }
        Ok(())
    }
}

/// The classes' probabilities from those of winning each pair (Wu, Lin and Weng 2004, second approach), in float32 and
/// with the stopping rule of LIBSVM and ONNX Runtime: where it stops shows in the third digit.
fn coupled(beats: &[f32], chances: &mut [f32]) -> Result<(), OpError> {
    let classes = chances.len();
    let mut q = zeroed::<f32>(classes * classes)?;
    let mut qp = zeroed::<f32>(classes)?;
    for i in 0..classes {
        for j in (0..classes).filter(|&j| j != i) {
            q[i * classes + i] += beats[j * classes + i] * beats[j * classes + i];
            q[i * classes + j] = -beats[j * classes + i] * beats[i * classes + j];
        }
    }
    chances.fill(1.0 / classes as f32);
    let close = 0.005 / classes as f32;
    for _ in 0..100 {
        let mut pqp = 0.0;
        for i in 0..classes {
            qp[i] = (0..classes).map(|j| q[i * classes + j] * chances[j]).sum();
            pqp += chances[i] * qp[i];
        }
        if qp.iter().map(|value| (value - pqp).abs()).fold(0.0, f32::max) < close {
            break;
        }
        for i in 0..classes {
            let own = q[i * classes + i];
            let step = (pqp - qp[i]) / own;
            chances[i] += step;
            pqp = (pqp + step * (step * own + 2.0 * qp[i])) / (1.0 + step) / (1.0 + step);
            for j in 0..classes {
                qp[j] = (qp[j] + step * q[i * classes + j]) / (1.0 + step);
                chances[j] /= 1.0 + step;
            }
        }
    }
    Ok(())
}

impl Operator for SvmClassifier {
    fn key(&self) -> OpKey {
        OpKey::ml("SVMClassifier")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (examples, features) = features::infer(inputs, 0)?;
        features::check_count(&features, self.features())?;
        Ok(vec![
            Fact::tensor(self.labels.dtype(), vec![examples.clone()]),
            Fact::tensor(DType::F32, features::matrix(examples, SymDim::Known(self.columns()))),
        ])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (examples, features) = features::extents(x)?;
        features::check_count(&SymDim::Known(features), self.features())?;
        let values = features::f32s(x)?;
        let columns = self.columns();
        let mut scores = zeroed::<f32>(examples.saturating_mul(columns))?;
        let mut similarities = zeroed::<f32>(self.vectors_per_class.iter().sum())?;
        let mut duels = zeroed::<f32>(self.pairs())?;
        let mut chosen = Vec::new();
        for (row, scores) in features::rows(&values, examples, features).zip(scores.chunks_exact_mut(columns))
        {
            if self.is_linear() {
                chosen.push(self.linear(row, scores));
                continue;
            }
            for (place, similarity) in similarities.iter_mut().enumerate() {
                *similarity =
                    self.kernel.of(row, &self.support_vectors[place * features..(place + 1) * features])
                        as f32;
            }
            chosen.push(Chosen::Class(self.duels(&similarities, &mut duels)));
            self.finish(&mut duels, scores)?;
        }
        let scores = Tensor::from_vec([examples, columns], scores)?;
        Ok(vec![self.labels.tensor(&chosen)?.into(), scores.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(inputs, self.support_vectors.len().max(self.coefficients.len()))
    }
}

fn flops(inputs: Facts<'_>, weights: usize) -> u64 {
    let examples = features::infer(inputs, 0).ok().and_then(|(examples, _)| examples.known()).unwrap_or(0);
    (2 * weights as u64).saturating_mul(examples as u64)
}

impl SvmRegressor {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        // ONNX Runtime does nothing with it either; an unknown one is an error all the same.
        PostTransform::parse(def)?;
        let supports = def.int_or("n_supports", 0)?;
        let supports =
            usize::try_from(supports).map_err(|_| OpError::attribute("n_supports", "0 or more", supports))?;
        let mut kernel = Kernel::parse(def)?;
        let support_vectors = def.floats("support_vectors")?.unwrap_or_default();
        let coefficients = required(def, "coefficients")?;
        let rho = required(def, "rho")?[0];
        if supports == 0 {
            kernel.kind = KernelKind::Linear;
        } else {
            vector_length(&support_vectors, supports, "support_vectors")?;
            if coefficients.len() < supports {
                return Err(OpError::attribute(
                    "coefficients",
                    format!("{supports} floats"),
                    coefficients.len(),
                ));
            }
        }
        Ok(Arc::new(SvmRegressor {
            kernel,
            supports,
            support_vectors: support_vectors.into(),
            coefficients: coefficients.into(),
            rho,
            one_class: def.int_or("one_class", 0)? != 0,
        }))
    }

    fn features(&self) -> usize {
        self.support_vectors.len().checked_div(self.supports).unwrap_or(self.coefficients.len())
    }

    fn score(&self, row: &[f32]) -> f32 {
        let sum: f64 = if self.supports == 0 {
            features::dot(row, &self.coefficients)
        } else {
            let features = row.len();
            let term = |(place, &weight): (usize, &f32)| {
                f64::from(weight)
                    * self.kernel.of(row, &self.support_vectors[place * features..(place + 1) * features])
            };
            self.coefficients[..self.supports].iter().enumerate().map(term).sum()
        };
        let score = (sum + f64::from(self.rho)) as f32;
        match self.one_class {
            false => score,
            true if score > 0.0 => 1.0,
            true => -1.0,
        }
    }
}

impl Operator for SvmRegressor {
    fn key(&self) -> OpKey {
        OpKey::ml("SVMRegressor")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (examples, features) = features::infer(inputs, 0)?;
        features::check_count(&features, self.features())?;
        Ok(vec![Fact::tensor(DType::F32, features::matrix(examples, SymDim::Known(1)))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (examples, features) = features::extents(x)?;
        features::check_count(&SymDim::Known(features), self.features())?;
        let values = features::f32s(x)?;
        let mut scores = zeroed::<f32>(examples)?;
        for (row, score) in features::rows(&values, examples, features).zip(&mut scores) {
            *score = self.score(row);
        }
        Ok(vec![Tensor::from_vec([examples, 1], scores)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(inputs, self.support_vectors.len().max(self.coefficients.len()))
    }
}

#[cfg(test)]
mod tests;
