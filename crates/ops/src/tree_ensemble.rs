//! `ai.onnx.ml.TreeEnsembleClassifier`, `ai.onnx.ml.TreeEnsembleRegressor`, `ai.onnx.ml.TreeEnsemble`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>).
//!
//! The first two are deprecated since version 5, which brought the third; version 3 allowed float64 attributes. Where
//! the specification is silent (which class, and how one score becomes two) they do as ONNX Runtime.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::class_labels::{Chosen, ClassLabels};
use crate::digest::Table;
use crate::features;
use crate::forest::{Aggregate, Float};
use crate::post_transform::PostTransform;
use crate::trees::{Finish, Numbers, Trees, Votes, parse_new, parse_old};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::ml("TreeEnsemble", 1, TreeEnsemble::parse),
    OpEntry::ml("TreeEnsembleClassifier", 1, TreeEnsembleClassifier::parse),
    OpEntry::ml("TreeEnsembleRegressor", 1, TreeEnsembleRegressor::parse),
];

/// The class of each example by the votes of trees. Input: `[N, F]` or `[F]`. Outputs: labels `[N]`, scores
/// `[N, classes]` in float32.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsembleClassifier {
    /// The trees; their targets are the classes.
    pub trees: Trees,
    /// The classes.
    pub labels: ClassLabels,
    /// Added to the scores.
    pub base_values: Table<f64>,
    /// What is done with the scores after the class is chosen.
    pub post_transform: PostTransform,
    /// Whether the trees vote for one of two classes only.
    pub one_of_two: bool,
    /// Whether no vote is negative.
    pub positive: bool,
}

/// The joined votes of trees. Input: `[N, F]` or `[F]`; output: `[N, targets]` in float32.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsembleRegressor {
    /// The trees and what becomes of their votes.
    pub regression: Regression,
}

/// As [`TreeEnsembleRegressor`], in another form in the file: input, output and attributes have one float type.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsemble {
    /// The trees and what becomes of their votes.
    pub regression: Regression,
    /// The element type.
    pub dtype: DType,
}

/// Trees and what becomes of their votes.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// The trees.
    pub trees: Trees,
    /// The number of outputs of an example.
    pub targets: usize,
    /// How votes are joined.
    pub aggregate: Aggregate,
    /// Added to the joined votes; empty, or one for each target.
    pub base_values: Table<f64>,
    /// What is done with two or more scores; of a single one only [`PostTransform::Probit`] is done.
    pub post_transform: PostTransform,
}

/// Targets at most: the file states them, and no tree need vote for them.
const MOST_TARGETS: usize = 1 << 24;

fn flops(trees: &Trees, inputs: Facts<'_>) -> u64 {
    // A comparison at each level; trees are seldom deeper than ten levels or so.
    let examples = features::infer(inputs, 0).ok().and_then(|(examples, _)| examples.known()).unwrap_or(0);
    (10 * trees.count() as u64).saturating_mul(examples as u64)
}

fn check_features(trees: &Trees, features: &SymDim) -> Result<(), OpError> {
    match features.known() {
        Some(known) if known < trees.features() => {
            Err(OpError::shape(0, format!("[N, {} or more]", trees.features()), format!("[N, {known}]")))
        }
        _ => Ok(()),
    }
}

impl TreeEnsembleClassifier {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let labels = ClassLabels::parse(def, "classlabels_int64s", "classlabels_strings")?;
        let votes = Votes::parse(def, "class")?;
        let base_values = Numbers::parse(def, "base_values")?.values;
        let classes = labels.len();
        let fits = base_values.len() <= classes
            && (classes <= 2 || base_values.is_empty() || base_values.len() == classes);
        if !fits {
            return Err(OpError::attribute(
                "base_values",
                format!("none or {classes}, as classes"),
                base_values.len(),
            ));
        }
        let first = votes.ids.first();
        Ok(Arc::new(TreeEnsembleClassifier {
            trees: parse_old(def, &votes, classes)?,
            base_values: base_values.into(),
            post_transform: PostTransform::parse(def)?,
            one_of_two: classes == 2 && first.is_some() && votes.ids.iter().all(|id| Some(id) == first),
            positive: votes.weights.values.iter().all(|&weight| weight >= 0.0),
            labels,
        }))
    }
}

impl Operator for TreeEnsembleClassifier {
    fn key(&self) -> OpKey {
        OpKey::ml("TreeEnsembleClassifier")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (examples, features) = features::infer(inputs, 0)?;
        check_features(&self.trees, &features)?;
        Ok(vec![
            Fact::tensor(self.labels.dtype(), vec![examples.clone()]),
            Fact::tensor(DType::F32, features::matrix(examples, SymDim::Known(self.labels.len()))),
        ])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (examples, _) = features::extents(x)?;
        let classes = self.labels.len();
        let scores = zeroed::<f32>(examples.saturating_mul(classes))?;
        let mut classified = Classified { op: self, scores, chosen: Vec::new() };
        self.trees.score(x, classes, Aggregate::Sum, &mut classified)?;
        let labels = self.labels.tensor(&classified.chosen)?;
        Ok(vec![labels.into(), Tensor::from_vec([examples, classes], classified.scores)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(&self.trees, inputs)
    }
}

/// What a classifier finds.
struct Classified<'a> {
    op: &'a TreeEnsembleClassifier,
    scores: Vec<f32>,
    chosen: Vec<Chosen>,
}

/// How a single score becomes those of two classes.
#[derive(Clone, Copy)]
enum Second {
    Complement,
    Opposite,
}

impl Finish for Classified<'_> {
    fn finish<X: Float>(&mut self, example: usize, scores: &mut [X], voted: &mut [bool]) {
        let classes = scores.len();
        let out = &mut self.scores[example * classes..(example + 1) * classes];
        self.chosen.push(match (scores, voted) {
            ([score], _) => {
                *score = score.plus(self.op.base(0));
                out[0] = self.op.post_transform.single(score.to_f64() as f32);
                self.op.flag(score.to_f64() > 0.0)
            }
            ([zero, one], &mut [zero_voted, one_voted]) => {
                self.op.finish_two([*zero, *one], [zero_voted, one_voted], out)
            }
            (scores, voted) => self.op.finish_many(scores, voted, out),
        });
    }
}

/// A score in float32; as in ONNX Runtime 0 without a vote, even where there is a base value.
fn if_voted<X: Float>(score: X, voted: bool) -> f32 {
    if voted { score.to_f64() as f32 } else { 0.0 }
}

impl TreeEnsembleClassifier {
    /// What the votes for a class are added to.
    fn base<X: Float>(&self, class: usize) -> X {
        X::from_f64(self.base_values.get(class).copied().unwrap_or(0.0))
    }

    /// Two classes: often only one of them has votes, and the other's score follows from its.
    fn finish_two<X: Float>(
        &self,
        [mut zero, mut one]: [X; 2],
        [zero_voted, one_voted]: [bool; 2],
        out: &mut [f32],
    ) -> Chosen {
        let mut single = !one_voted;
        match self.base_values.len() {
            2 if one_voted => {
                one = self.base::<X>(1).plus(zero);
                zero = X::from_f64(-one.to_f64());
            }
            2 => {
                single = false;
                one = one.plus(self.base(1));
                zero = zero.plus(self.base(0));
            }
            _ => zero = zero.plus(self.base(0)),
        }
        let decisive = match (one_voted, zero_voted) {
            (true, _) => one.to_f64(),
            (false, true) => zero.to_f64(),
            (false, false) => 0.0,
        };
        let (chosen, second) = self.of_two(decisive);
        let [zero, one] = [if_voted(zero, zero_voted), if_voted(one, one_voted)];
        match second {
            _ if !single => {
                out.copy_from_slice(&[zero, one]);
                self.post_transform.apply(out);
            }
            Second::Complement => out.copy_from_slice(&self.post_transform.complementary(zero)),
            Second::Opposite => out.copy_from_slice(&self.post_transform.opposite(zero)),
        }
        chosen
    }

    /// Any other number of classes: the first of the greatest scores among those that have votes or a base value.
    fn finish_many<X: Float>(&self, scores: &mut [X], voted: &mut [bool], out: &mut [f32]) -> Chosen {
        let mut best: Option<usize> = None;
        for class in 0..scores.len() {
            if !self.base_values.is_empty() {
                scores[class] = scores[class].plus(self.base(class));
                voted[class] = true;
            }
            if voted[class] && best.is_none_or(|best| scores[class] > scores[best]) {
                best = Some(class);
            }
        }
        for ((out, &score), &voted) in out.iter_mut().zip(&*scores).zip(&*voted) {
            *out = if_voted(score, voted);
        }
        self.post_transform.apply(out);
        Chosen::Class(best.unwrap_or(0))
    }

    /// The class where no vote tells the two apart: ONNX Runtime gives the numbers 1 and 0, whatever the labels.
    fn flag(&self, flag: bool) -> Chosen {
        match &self.labels {
            ClassLabels::Int(_) => Chosen::Flag(flag),
            ClassLabels::String(labels) => Chosen::Class(usize::from(flag).min(labels.len() - 1)),
        }
    }

    /// The class by a decisive score, and how a single score becomes two.
    fn of_two(&self, decisive: f64) -> (Chosen, Second) {
        match (self.one_of_two, self.positive) {
            (true, true) => (Chosen::Class(usize::from(decisive > 0.5)), Second::Complement),
            (true, false) => (Chosen::Class(usize::from(decisive > 0.0)), Second::Opposite),
            (false, _) => (self.flag(decisive > 0.0), Second::Opposite),
        }
    }
}

impl Regression {
    fn check(self) -> Result<Regression, OpError> {
        let given = self.base_values.len();
        if given == 0 || given == self.targets {
            return Ok(self);
        }
        Err(OpError::attribute("base_values", format!("none or {}, as targets", self.targets), given))
    }

    /// The scores of the examples, `[N, targets]`.
    fn scores(&self, x: &Tensor, dtype: DType) -> Result<Tensor, OpError> {
        let (examples, _) = features::extents(x)?;
        let scores = zeroed::<f64>(examples.saturating_mul(self.targets))?;
        let mut regressed = Regressed { op: self, scores };
        self.trees.score(x, self.targets, self.aggregate, &mut regressed)?;
        Ok(Tensor::from_f64(dtype, [examples, self.targets], &regressed.scores)?)
    }

    fn fact(&self, inputs: Facts<'_>, dtype: DType) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0)?;
        let (examples, features) = match shape.dims() {
            None => (SymDim::Unknown, SymDim::Unknown),
            Some([features]) => (SymDim::Known(1), features.clone()),
            Some([examples, features]) => (examples.clone(), features.clone()),
            Some(_) => return Err(OpError::shape(0, "[N, F] or [F]", shape)),
        };
        check_features(&self.trees, &features)?;
        Ok(vec![Fact::tensor(dtype, features::matrix(examples, SymDim::Known(self.targets)))])
    }
}

/// What a regressor finds.
struct Regressed<'a> {
    op: &'a Regression,
    scores: Vec<f64>,
}

impl Finish for Regressed<'_> {
    fn finish<X: Float>(&mut self, example: usize, scores: &mut [X], voted: &mut [bool]) {
        let (targets, transform) = (scores.len(), self.op.post_transform);
        for (target, score) in scores.iter_mut().enumerate() {
            if self.op.aggregate == Aggregate::Average {
                *score = X::from_f64(score.to_f64() / self.op.trees.count() as f64);
            }
            *score = score.plus(X::from_f64(self.op.base_values.get(target).copied().unwrap_or(0.0)));
            // As in ONNX Runtime the base value of one of several targets needs a vote.
            if targets > 1 && !voted[target] {
                *score = X::default();
            }
        }
        let out = &mut self.scores[example * targets..(example + 1) * targets];
        match transform {
            PostTransform::None => {
                out.iter_mut().zip(&*scores).for_each(|(out, score)| *out = score.to_f64())
            }
            _ => {
                let mut rounded: smallvec::SmallVec<[f32; 16]> =
                    scores.iter().map(|score| score.to_f64() as f32).collect();
                match rounded.as_mut_slice() {
                    [score] => *score = transform.single(*score),
                    scores => transform.apply(scores),
                }
                out.iter_mut().zip(rounded).for_each(|(out, score)| *out = f64::from(score));
            }
        }
    }
}

fn targets(def: &mut NodeDef) -> Result<usize, OpError> {
    let targets = def.int_or("n_targets", 1)?;
    let fits = usize::try_from(targets).ok().filter(|&targets| targets > 0 && targets <= MOST_TARGETS);
    fits.ok_or_else(|| OpError::attribute("n_targets", format!("1 to {MOST_TARGETS}"), targets))
}

impl TreeEnsembleRegressor {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let targets = targets(def)?;
        let votes = Votes::parse(def, "target")?;
        let regression = Regression {
            trees: parse_old(def, &votes, targets)?,
            targets,
            aggregate: match def.string_or("aggregate_function", "SUM")?.as_str() {
                "AVERAGE" => Aggregate::Average,
                "SUM" => Aggregate::Sum,
                "MIN" => Aggregate::Min,
                "MAX" => Aggregate::Max,
                other => {
                    return Err(OpError::attribute("aggregate_function", "AVERAGE, SUM, MIN or MAX", other));
                }
            },
            base_values: Numbers::parse(def, "base_values")?.values.into(),
            post_transform: PostTransform::parse(def)?,
        };
        Ok(Arc::new(TreeEnsembleRegressor { regression: regression.check()? }))
    }
}

impl Operator for TreeEnsembleRegressor {
    fn key(&self) -> OpKey {
        OpKey::ml("TreeEnsembleRegressor")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        features::check_type(inputs, 0)?;
        self.regression.fact(inputs, DType::F32)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![self.regression.scores(inputs.tensor(0)?, DType::F32)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(&self.regression.trees, inputs)
    }
}

impl TreeEnsemble {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let targets = targets(def)?;
        let (trees, dtype) = parse_new(def, targets)?;
        let aggregate = match def.int_or("aggregate_function", 1)? {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            other => return Err(OpError::attribute("aggregate_function", "0 to 3", other)),
        };
        // The specification's numbers; ONNX Runtime 1.31 has 1 and 2 the other way round.
        let post_transform = match def.int_or("post_transform", 0)? {
            0 => PostTransform::None,
            1 => PostTransform::Softmax,
            2 => PostTransform::Logistic,
            3 => PostTransform::SoftmaxZero,
            4 => PostTransform::Probit,
            other => return Err(OpError::attribute("post_transform", "0 to 4", other)),
        };
        let regression =
            Regression { trees, targets, aggregate, base_values: Vec::new().into(), post_transform };
        Ok(Arc::new(TreeEnsemble { regression, dtype }))
    }
}

impl Operator for TreeEnsemble {
    fn key(&self) -> OpKey {
        OpKey::ml("TreeEnsemble")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        match inputs.dtype(0)? {
            dtype if dtype == self.dtype => self.regression.fact(inputs, dtype),
            other => Err(OpError::dtype(0, format!("{}, as the thresholds", self.dtype), other)),
        }
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![self.regression.scores(inputs.tensor(0)?, self.dtype)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        flops(&self.regression.trees, inputs)
    }
}

#[cfg(test)]
mod tests;
