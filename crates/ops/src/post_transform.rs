//! The `post_transform` of the models of `ai.onnx.ml`, exactly as ONNX Runtime understands it.

use inferrum_graph::{NodeDef, OpError};

/// What is done with the scores of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostTransform {
    /// Nothing.
    None,
    /// `exp(s) / sum(exp(s))`.
    Softmax,
    /// `1 / (1 + exp(-s))`.
    Logistic,
    /// [`PostTransform::Softmax`] over the scores that are not zero; those that are stay so.
    SoftmaxZero,
    /// The quantile of the normal distribution, approximated.
    Probit,
}

impl PostTransform {
    /// Reads the attribute.
    ///
    /// # Errors
    /// It names no transform.
    pub(crate) fn parse(def: &mut NodeDef) -> Result<PostTransform, OpError> {
        match def.string_or("post_transform", "NONE")?.as_str() {
            "NONE" => Ok(PostTransform::None),
            "SOFTMAX" => Ok(PostTransform::Softmax),
            "LOGISTIC" => Ok(PostTransform::Logistic),
            "SOFTMAX_ZERO" => Ok(PostTransform::SoftmaxZero),
            "PROBIT" => Ok(PostTransform::Probit),
            other => Err(OpError::attribute(
                "post_transform",
                "NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT",
                other,
            )),
        }
    }

    /// Transforms the scores of an example that has two or more.
    pub(crate) fn apply(self, scores: &mut [f32]) {
        match self {
            PostTransform::None => {}
            PostTransform::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            PostTransform::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
            PostTransform::Softmax => softmax(scores),
            PostTransform::SoftmaxZero => softmax_zero(scores),
        }
    }

    /// The only score of an example, which nothing but [`PostTransform::Probit`] changes.
    pub(crate) fn single(self, score: f32) -> f32 {
        if self == PostTransform::Probit { probit(score) } else { score }
    }

    /// The scores of the negative and the positive class from one score, where that is a probability.
    pub(crate) fn complementary(self, score: f32) -> [f32; 2] {
        match self {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            PostTransform::Probit => [probit(score), 0.0],
            _ => [1.0 - score, score],
        }
    }

    /// The scores of the negative and the positive class from one score, where that is of either sign.
    pub(crate) fn opposite(self, score: f32) -> [f32; 2] {
        match self {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            // ONNX Runtime leaves the second score of this combination undefined.
            PostTransform::Probit => [probit(score), 0.0],
            _ => [-score, score],
        }
    }
}

pub(crate) fn logistic(x: f32) -> f32 {
    let positive = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - positive } else { positive }
}

/// `sqrt(2) erfinv(2 x - 1)`, with the approximation of `erfinv` by S. Winitzki that ONNX Runtime uses (a = 0.147).
fn probit(x: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * x - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    std::f32::consts::SQRT_2 * sign * ((half * half - log / A).sqrt() - half).sqrt()
}

fn softmax(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn softmax_zero(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - greatest).exp();
            sum += *score;
        } else {
            *score *= (-greatest).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f32], expected: &[f32]) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
    }

    /// The expected numbers are ONNX Runtime's (`LinearClassifier`, scores 0.6 and 0.01).
    #[test]
    fn transforms_are_those_of_onnx_runtime() {
        let transformed = |transform: PostTransform| {
            let mut scores = [0.6, 0.01];
            transform.apply(&mut scores);
            scores
        };
        close(&transformed(PostTransform::None), &[0.6, 0.01]);
        close(&transformed(PostTransform::Logistic), &[0.645_656_3, 0.502_5]);
        close(&transformed(PostTransform::Softmax), &[0.643_365_14, 0.356_634_83]);
        close(&transformed(PostTransform::SoftmaxZero), &[0.643_365_14, 0.356_634_83]);
        close(&transformed(PostTransform::Probit), &[0.253_353_5, -2.324_09]);
        close(&PostTransform::Logistic.complementary(0.6), &[0.354_343_7, 0.645_656_3]);
        close(&PostTransform::Softmax.complementary(0.6), &[0.4, 0.6]);
        close(&PostTransform::None.opposite(0.6), &[-0.6, 0.6]);
    }

    #[test]
    fn zeros_stay_zero() {
        let mut scores = [0.0, 1.0, 1.0];
        PostTransform::SoftmaxZero.apply(&mut scores);
        close(&scores, &[0.0, 0.5, 0.5]);
    }
}
