//! The most probable classes of an output.

use inferrum::Tensor;
use serde_json::{Value as Json, json};

use crate::labels::Labels;

/// Classes by probability, for each sample of a batch.
pub(crate) struct Ranking {
    /// The best classes of each sample, best first.
    pub(crate) samples: Vec<Vec<Class>>,
    /// What the numbers are.
    pub(crate) scale: Scale,
    /// Samples of which a score is NaN.
    nan: usize,
}

/// A class with its probability.
pub(crate) struct Class {
    /// Its index.
    pub(crate) index: usize,
    /// Its name, if there are labels.
    pub(crate) label: Option<String>,
    /// Its probability, or score.
    pub(crate) probability: f64,
}

/// What the output's numbers are taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Some are NaN.
    NotNumbers,
    /// They sum to 1.
    Probabilities,
    /// Each is from 0 to 1; they do not exclude each other.
    Scores,
    /// Anything: softmax makes them probabilities.
    Logits,
}

impl Scale {
    /// For the user, if there is something to say.
    fn note(self) -> Option<&'static str> {
        match self {
            Scale::Probabilities | Scale::NotNumbers => None,
            Scale::Scores => Some("from 0 to 1 each, not summing to 1"),
            Scale::Logits => Some("softmax applied: the output does not sum to 1"),
        }
    }
}

/// Samples and classes, if an output is such: `[classes]` or `[samples, classes]`, perhaps with axes of 1 after them.
fn samples(tensor: &Tensor) -> Option<(usize, usize)> {
    let mut dims = tensor.shape().dims();
    while let [rest @ .., 1] = dims {
        dims = rest;
    }
    let scores = tensor.dtype().is_float() && !tensor.is_empty();
    match dims {
        [classes] => Some((1, *classes)),
        [samples, classes] => Some((*samples, *classes)),
        _ => None,
    }
    .filter(|_| scores)
}

/// The number of classes, if an output is scores of classes.
pub(crate) fn classes(tensor: &Tensor) -> Option<usize> {
    samples(tensor).map(|(_, classes)| classes).filter(|&classes| classes > 1)
}

/// The `count` best classes of each sample; `None` if the output is no scores of classes.
pub(crate) fn rank(tensor: &Tensor, count: usize, labels: Option<&Labels>) -> Option<Ranking> {
    let (_, classes) = samples(tensor).filter(|&(_, classes)| classes > 1)?;
    let values = tensor.to_f64().ok()?;
    let rows: Vec<&[f64]> = values.chunks_exact(classes).collect();
    let scale = rows.iter().map(|row| scale(row)).max_by_key(|&scale| scale as u8)?;
    let is_nan = |row: &[f64]| row.iter().any(|x| x.is_nan());
    let rank = |row: &&[f64]| {
        let row = if scale == Scale::Logits && !is_nan(row) { softmax(row) } else { row.to_vec() };
        let mut order: Vec<usize> = (0..classes).collect();
        let key = |class: usize| if row[class].is_nan() { f64::NEG_INFINITY } else { row[class] };
        order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
        let class = |&index: &usize| Class {
            index,
            label: labels.and_then(|labels| labels.get(index)).map(str::to_owned),
            probability: row[index],
        };
        order.iter().take(count).map(class).collect()
    };
    let nan = rows.iter().filter(|row| is_nan(row)).count();
    Some(Ranking { samples: rows.iter().map(rank).collect(), scale, nan })
}

fn scale(row: &[f64]) -> Scale {
    if row.iter().any(|x| x.is_nan()) {
        return Scale::NotNumbers;
    }
    let within = row.iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x));
    match within {
        true if (row.iter().sum::<f64>() - 1.0).abs() < 1e-2 => Scale::Probabilities,
        true => Scale::Scores,
        false => Scale::Logits,
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Infinity less itself is NaN: an infinite score takes all.
    let power = |&x: &f64| if x == greatest { 1.0 } else { (x - greatest).exp() };
    let powers: Vec<f64> = row.iter().map(power).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

impl Ranking {
    /// For the user, what there is to say of the numbers.
    pub(crate) fn notes(&self) -> Vec<String> {
        let nan = match (self.nan, self.samples.len()) {
            (0, _) => None,
            (1, 1) => Some("some scores are NaN".to_owned()),
            (nan, samples) => Some(format!("some scores are NaN in {nan} of {samples} samples")),
        };
        self.scale.note().map(str::to_owned).into_iter().chain(nan).collect()
    }

    /// For each sample a list of `{"class", "label", "probability"}`.
    pub(crate) fn json(&self) -> Json {
        let class = |class: &Class| json!({ "class": class.index, "label": class.label, "probability": class.probability });
        self.samples.iter().map(|sample| sample.iter().map(class).collect::<Json>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(values: Vec<f32>, shape: &[usize]) -> Option<Ranking> {
        rank(&Tensor::from_vec(shape, values).unwrap(), 2, None)
    }

    #[test]
    fn the_best_come_first() {
        let ranking = ranked(vec![0.1, 0.7, 0.2, 0.5, 0.25, 0.25], &[2, 3]).unwrap();
        let order = |i: usize| ranking.samples[i].iter().map(|class| class.index).collect::<Vec<_>>();
        assert_eq!((order(0), order(1)), (vec![1, 2], vec![0, 1]));
        assert_eq!(ranking.scale, Scale::Probabilities);
    }

    #[test]
    fn logits_become_probabilities() {
        let ranking = ranked(vec![1.0, 3.0, -2.0], &[1, 3, 1, 1]).unwrap();
        assert_eq!(ranking.scale, Scale::Logits);
        let want = 1.0 / (1.0 + (-2.0f64).exp() + (-5.0f64).exp());
        assert!((ranking.samples[0][0].probability - want).abs() < 1e-12);
        let scores = ranked(vec![0.9, 0.8], &[2]).unwrap();
        assert_eq!((scores.scale, scores.samples[0][0].probability as f32), (Scale::Scores, 0.9));
    }

    #[test]
    fn other_outputs_have_no_classes() {
        assert!(ranked(vec![0.0; 8], &[2, 2, 2]).is_none());
        assert!(ranked(vec![0.0], &[1, 1]).is_none());
        assert!(rank(&Tensor::vector(vec![1i64, 2]), 1, None).is_none());
        assert!(rank(&Tensor::zeros(inferrum::DType::F32, [0, 3]).unwrap(), 1, None).is_none());
    }

    #[test]
    fn nan_is_said_and_ranked_last() {
        let ranking = ranked(vec![f32::NAN, 1.0, 2.0], &[3]).unwrap();
        let order: Vec<usize> = ranking.samples[0].iter().map(|class| class.index).collect();
        assert_eq!(order, [2, 1]);
        assert_eq!(ranking.notes(), ["some scores are NaN"], "no softmax is applied");
        let ranking = ranked(vec![f32::NAN, 1.0, 0.25, 0.75], &[2, 2]).unwrap();
        assert_eq!(ranking.scale, Scale::Probabilities);
        assert_eq!(ranking.notes(), ["some scores are NaN in 1 of 2 samples"]);
    }

    #[test]
    fn an_infinite_score_takes_all() {
        let ranking = ranked(vec![3.0, f32::INFINITY, f32::NEG_INFINITY], &[3]).unwrap();
        let best = &ranking.samples[0][0];
        assert_eq!((best.index, best.probability), (1, 1.0));
    }
}
