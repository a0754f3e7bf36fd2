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
    OpEntry::ml("TreeEnsemble", TreeEnsemble::parse),
    OpEntry::ml("TreeEnsembleClassifier", TreeEnsembleClassifier::parse),
    OpEntry::ml("TreeEnsembleRegressor", TreeEnsembleRegressor::parse),
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

fn flops(trees: &Trees, inputs: Facts<'_>) -> u64 {
    // A comparison at each level; trees are seldom deeper than ten levels or so.
    let examples = features::infer(inputs, 0).ok().and_then(|(examples, _)| examples.known()).unwrap_or(0);
    (trees.count() as u64).saturating_mul(10 * examples as u64)
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
        let fits = base_values.len() <= classes && (classes <= 2 || base_values.is_empty() || base_values.len() == classes);
        if !fits {
            return Err(OpError::attribute("base_values", format!("none or {classes}, as classes"), base_values.len()));
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
        let base = |class: usize| X::from_f64(self.op.base_values.get(class).copied().unwrap_or(0.0));
        let transform = self.op.post_transform;
        let chosen = match (scores, voted) {
            ([score], _) => {
                *score = score.plus(base(0));
                out[0] = transform.single(score.to_f64() as f32);
                self.op.flag(score.to_f64() > 0.0)
            }
            ([zero, one], &mut [zero_voted, one_voted]) => {
                let mut single = !one_voted;
                match self.op.base_values.len() {
                    2 if one_voted => {
                        *one = base(1).plus(*zero);
                        *zero = X::from_f64(-one.to_f64());
                    }
                    2 => {
                        single = false;
                        *one = one.plus(base(1));
                        *zero = zero.plus(base(0));
                    }
                    _ => *zero = zero.plus(base(0)),
                }
                let decisive = match (one_voted, zero_voted) {
                    (true, _) => one.to_f64(),
                    (false, true) => zero.to_f64(),
                    (false, false) => 0.0,
                };
                let (chosen, second) = self.op.of_two(decisive);
                let [zero, one] = [if_voted(*zero, zero_voted), if_voted(*one, one_voted)];
                match second {
                    _ if !single => {
                        out.copy_from_slice(&[zero, one]);
                        transform.apply(out);
                    }
                    Second::Complement => out.copy_from_slice(&transform.complementary(zero)),
                    Second::Opposite => out.copy_from_slice(&transform.opposite(zero)),
                }
                chosen
            }
            (scores, voted) => {
                let mut best: Option<usize> = None;
                for class in 0..classes {
                    if !self.op.base_values.is_empty() {
                        scores[class] = scores[class].plus(base(class));
                        voted[class] = true;
                    }
                    if voted[class] && best.is_none_or(|best| scores[class] > scores[best]) {
                        best = Some(class);
                    }
                }
                for ((out, &score), &voted) in out.iter_mut().zip(&*scores).zip(&*voted) {
                    *out = if_voted(score, voted);
                }
                transform.apply(out);
                Chosen::Class(best.unwrap_or(0))
            }
        };
        self.chosen.push(chosen);
    }
}

/// A score in float32; as in ONNX Runtime 0 without a vote, even where there is a base value.
fn if_voted<X: Float>(score: X, voted: bool) -> f32 {
    if voted { score.to_f64() as f32 } else { 0.0 }
}

impl TreeEnsembleClassifier {
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
            PostTransform::None => out.iter_mut().zip(&*scores).for_each(|(out, score)| *out = score.to_f64()),
            _ => {
                let mut rounded: smallvec::SmallVec<[f32; 16]> = scores.iter().map(|score| score.to_f64() as f32).collect();
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
    let fits = usize::try_from(targets).ok().filter(|&targets| targets > 0);
    fits.ok_or_else(|| OpError::attribute("n_targets", "1 or more", targets))
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
                other => return Err(OpError::attribute("aggregate_function", "AVERAGE, SUM, MIN or MAX", other)),
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
        let regression = Regression { trees, targets, aggregate, base_values: Vec::new().into(), post_transform };
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
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn texts(texts: &[&str]) -> Attr {
        Attr::Strings(texts.iter().map(|s| s.as_bytes().to_vec()).collect())
    }

    /// Two stumps, each with two leaves that vote with `weights` for `ids`.
    fn stumps(prefix: &str, ids: &[i64], weights: &[f32], more: &[(&str, Attr)]) -> Vec<(String, Attr)> {
        let ints = |values: &[i64]| Attr::Ints(values.to_vec());
        let modes = texts(&["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]);
        let mut attrs: Vec<(String, Attr)> = vec![
            ("nodes_treeids".into(), ints(&[0, 0, 0, 1, 1, 1])),
            ("nodes_nodeids".into(), ints(&[0, 1, 2, 0, 1, 2])),
            ("nodes_featureids".into(), ints(&[0, 0, 0, 1, 0, 0])),
            ("nodes_values".into(), Attr::Floats(vec![0.5, 0.0, 0.0, 1.0, 0.0, 0.0])),
            ("nodes_modes".into(), modes),
            ("nodes_truenodeids".into(), ints(&[1, 0, 0, 1, 0, 0])),
            ("nodes_falsenodeids".into(), ints(&[2, 0, 0, 2, 0, 0])),
            (format!("{prefix}_treeids"), ints(&[0, 0, 1, 1])),
            (format!("{prefix}_nodeids"), ints(&[1, 2, 1, 2])),
            (format!("{prefix}_ids"), ints(ids)),
            (format!("{prefix}_weights"), Attr::Floats(weights.to_vec())),
        ];
        attrs.extend(more.iter().map(|(name, attr)| (name.to_string(), attr.clone())));
        attrs
    }

    fn op(op_type: &str, opset: i64, attrs: &[(String, Attr)]) -> Arc<dyn Operator> {
        let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(name, attr)| (name.as_str(), attr.clone())).collect();
        parse_in("ai.onnx.ml", opset, op_type, &attrs)
    }

    fn x() -> Tensor {
        Tensor::from_vec([3, 2], vec![-1f32, 0.5, 2.0, -1.0, 0.25, 3.0]).unwrap()
    }

    fn close(got: &Tensor, expected: &[f32]) {
        let got = got.to_f64().unwrap();
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(&a, &b)| (a - f64::from(b)).abs() < 1e-5), "{got:?} {expected:?}");
    }

    fn classified(ids: &[i64], weights: &[f32], more: &[(&str, Attr)]) -> (Vec<i64>, Tensor) {
        let mut y = run(&*op("TreeEnsembleClassifier", 1, &stumps("class", ids, weights, more)), &[x()]);
        (y[0].as_slice().unwrap().to_vec(), y.remove(1))
    }

    /// The expected numbers are ONNX Runtime's, here and below.
    #[test]
    fn the_class_of_most_votes_is_chosen() {
        let labels = ("classlabels_int64s", Attr::Ints(vec![10, 20, 30]));
        let softmax = ("post_transform", Attr::String(b"SOFTMAX".to_vec()));
        let (classes, scores) = classified(&[0, 1, 2, 1], &[0.5, 0.25, 0.125, 1.0], &[labels.clone(), softmax]);
        assert_eq!(classes, [10, 20, 20]);
        close(
            &scores,
            &[0.435_954, 0.264_419_47, 0.299_626_53, 0.292_639_5, 0.375_756_56, 0.331_604, 0.307_195_9, 0.506_480_4, 0.186_323_73],
        );
        let base = ("base_values", Attr::Floats(vec![0.1, 0.2, 2.0]));
        let (classes, scores) = classified(&[0, 1, 2, 1], &[0.5, 0.25, 0.125, 1.0], &[labels, base]);
        assert_eq!(classes, [30, 30, 30]);
        close(&scores, &[0.6, 0.2, 2.125, 0.1, 0.45, 2.125, 0.6, 1.2, 2.0]);
    }

    #[test]
    fn one_score_becomes_two_as_the_votes_signs_suggest() {
        let labels = ("classlabels_int64s", Attr::Ints(vec![10, 20]));
        let weights = [0.25, 0.5, 0.125, 0.75];
        let (classes, scores) = classified(&[0; 4], &weights, &[labels.clone()]);
        assert_eq!(classes, [10, 20, 20]);
        close(&scores, &[0.625, 0.375, 0.375, 0.625, 0.0, 1.0]);
        let (classes, scores) = classified(&[1; 4], &weights, &[labels.clone()]);
        assert_eq!(classes, [10, 20, 20]);
        close(&scores, &[0.0, 0.375, 0.0, 0.625, 0.0, 1.0]);
        let (classes, scores) = classified(&[0, 1, 0, 1], &weights, &[labels]);
        assert_eq!(classes, [1, 1, 1]);
        close(&scores, &[-0.375, 0.375, 0.125, 0.5, 0.25, 0.75]);
        let more = [("classlabels_strings", texts(&["n", "y"])), ("post_transform", Attr::String(b"LOGISTIC".to_vec()))];
        let op = op("TreeEnsembleClassifier", 3, &stumps("class", &[0; 4], &[-0.25, 0.5, 0.125, 0.75], &more));
        let y = run(&*op, &[x()]);
        assert_eq!(y[0].as_strings().unwrap(), ["n", "y", "y"]);
        close(&y[1], &[0.531_209_4, 0.468_790_6, 0.348_645_1, 0.651_354_9, 0.377_540_65, 0.622_459_35]);
    }

    fn regressed(targets: i64, aggregate: &str, more: &[(&str, Attr)]) -> Tensor {
        let ids = if targets == 1 { [0; 4] } else { [0, 1, 0, 1] };
        let mut all = vec![
            ("n_targets", Attr::Int(targets)),
            ("aggregate_function", Attr::String(aggregate.as_bytes().to_vec())),
        ];
        all.extend(more.iter().cloned());
        let attrs = stumps("target", &ids, &[-0.25, 0.5, 0.125, 0.75], &all);
        run(&*op("TreeEnsembleRegressor", 1, &attrs), &[x()]).remove(0)
    }

    #[test]
    fn votes_are_joined_for_each_target() {
        let one = [("base_values", Attr::Floats(vec![10.0]))];
        let two = [("base_values", Attr::Floats(vec![10.0, 20.0]))];
        close(&regressed(1, "SUM", &one), &[9.875, 10.625, 10.5]);
        close(&regressed(2, "SUM", &two), &[9.875, 0.0, 10.125, 20.5, 9.75, 20.75]);
        close(&regressed(1, "AVERAGE", &one), &[9.9375, 10.3125, 10.25]);
        close(&regressed(2, "AVERAGE", &two), &[9.9375, 0.0, 10.0625, 20.25, 9.875, 20.375]);
        close(&regressed(1, "MIN", &one), &[9.75, 10.125, 9.75]);
        close(&regressed(2, "MAX", &two), &[10.125, 0.0, 10.125, 20.5, 9.75, 20.75]);
        let logistic = [("post_transform", Attr::String(b"LOGISTIC".to_vec()))];
        close(&regressed(2, "SUM", &logistic), &[0.468_790_6, 0.5, 0.531_209_4, 0.622_459_35, 0.437_823_47, 0.679_178_7]);
        close(&regressed(1, "SUM", &logistic), &[-0.125, 0.625, 0.5]);
    }

    #[test]
    fn many_examples_of_any_type_are_scored_alike() {
        let attrs = stumps("target", &[0; 4], &[1.0, 2.0, 3.0, 4.0], &[]);
        let op = op("TreeEnsembleRegressor", 1, &attrs);
        let rows: Vec<i64> = (0..2 * 127).map(|i| i % 5 - 2).collect();
        for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
            let y = run(&*op, &[Tensor::from_i64(dtype, [127, 2], &rows).unwrap()]).remove(0);
            let expected: Vec<f32> = rows
                .chunks(2)
                .map(|x| (if x[0] <= 0 { 1.0 } else { 2.0 }) + (if x[1] < 1 { 3.0 } else { 4.0 }))
                .collect();
            close(&y, &expected);
        }
        assert!(run(&*op, &[Tensor::zeros(DType::F32, [0, 2]).unwrap()])[0].is_empty());
        close(&run(&*op, &[Tensor::vector(vec![0f32, 0.0])])[0], &[4.0]);
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::F32, [1, 1]).unwrap())]).is_err());
    }

    #[test]
    fn thresholds_may_be_of_double_precision() {
        let close_to_half = 0.5 + 1e-12;
        let doubles = |values: Vec<f64>| Attr::Tensor(Tensor::vector(values));
        let mut attrs = stumps("target", &[0; 4], &[], &[
            ("nodes_values_as_tensor", doubles(vec![0.5, 0.0, 0.0, 1.0, 0.0, 0.0])),
            ("target_weights_as_tensor", doubles(vec![1.0, 2.0, 0.0, 0.0])),
        ]);
        attrs.retain(|(name, _)| name != "nodes_values" && name != "target_weights");
        let op = op("TreeEnsembleRegressor", 3, &attrs);
        let x = Tensor::from_vec([2, 2], vec![0.5, 0.0, close_to_half, 0.0]).unwrap();
        close(&run(&*op, &[x])[0], &[1.0, 2.0]);
    }

    fn ensemble(dtype: DType, post_transform: i64) -> Arc<dyn Operator> {
        let floats = |values: &[f64]| Attr::Tensor(Tensor::from_f64(dtype, [values.len()], values).unwrap());
        let ints = |values: &[i64]| Attr::Ints(values.to_vec());
        // x0 in {1, 3} ? leaf 0 : (x1 >= 0 ? leaf 1 : leaf 2), and one tree more that begins at that second node.
        parse_in("ai.onnx.ml", 5, "TreeEnsemble", &[
            ("n_targets", Attr::Int(2)),
            ("post_transform", Attr::Int(post_transform)),
            ("tree_roots", ints(&[0, 1])),
            ("nodes_modes", Attr::Tensor(Tensor::vector(vec![6u8, 2]))),
            ("nodes_splits", floats(&[0.0, 0.0])),
            ("nodes_featureids", ints(&[0, 1])),
            ("nodes_truenodeids", ints(&[0, 1])),
            ("nodes_trueleafs", ints(&[1, 1])),
            ("nodes_falsenodeids", ints(&[1, 2])),
            ("nodes_falseleafs", ints(&[0, 1])),
            ("leaf_targetids", ints(&[0, 1, 0])),
            ("leaf_weights", floats(&[1.0, 2.0, 4.0])),
            ("membership_values", floats(&[3.0, 1.0])),
        ])
    }

    #[test]
    fn the_new_form_shares_nodes_and_knows_sets() {
        let x = |dtype| Tensor::from_f64(dtype, [3, 2], &[3.0, 0.0, 2.0, 0.0, 2.0, -1.0]).unwrap();
        for dtype in [DType::F32, DType::F64, DType::F16] {
            let y = run(&*ensemble(dtype, 0), &[x(dtype)]).remove(0);
            assert_eq!(y.dtype(), dtype);
            close(&y, &[1.0, 2.0, 0.0, 4.0, 8.0, 0.0]);
        }
        let logistic = run(&*ensemble(DType::F32, 2), &[x(DType::F32)]).remove(0);
        close(&logistic, &[0.731_058_6, 0.880_797_1, 0.5, 0.982_013_8, 0.999_664_6, 0.5]);
        assert!(try_run(&*ensemble(DType::F32, 0), &[Some(x(DType::F64))]).is_err());
    }

    #[test]
    fn what_is_no_tree_is_an_error() {
        let parse = |name: &str, attr: Attr| {
            let labels = ("classlabels_int64s", Attr::Ints(vec![1, 2]));
            let mut attrs: std::collections::BTreeMap<String, Attr> =
                stumps("class", &[0, 1, 0, 1], &[1.0; 4], &[labels]).into_iter().collect();
            attrs.insert(name.to_owned(), attr);
            TreeEnsembleClassifier::parse(&mut NodeDef::new("TreeEnsembleClassifier", 1, attrs))
        };
        let ints = |values: &[i64]| Attr::Ints(values.to_vec());
        assert!(parse("post_transform", Attr::String(b"NONE".to_vec())).is_ok());
        assert!(parse("nodes_truenodeids", ints(&[0, 0, 0, 1, 0, 0])).is_err());
        assert!(parse("nodes_truenodeids", ints(&[7, 0, 0, 1, 0, 0])).is_err());
        assert!(parse("nodes_truenodeids", ints(&[1])).is_err());
        assert!(parse("nodes_nodeids", ints(&[0, 1, 1, 0, 1, 2])).is_err());
        assert!(parse("nodes_featureids", ints(&[-1, 0, 0, 1, 0, 0])).is_err());
        assert!(parse("class_ids", ints(&[0, 2, 0, 1])).is_err());
        assert!(parse("class_ids", ints(&[0, -1, 0, 1])).is_err());
        assert!(parse("class_nodeids", ints(&[1, 9, 1, 2])).is_err());
        assert!(parse("class_weights", Attr::Floats(vec![1.0])).is_err());
        assert!(parse("base_values", Attr::Floats(vec![0.0; 3])).is_err());
        assert!(parse("nodes_modes", texts(&["LEAF"; 7])).is_err());
        assert!(parse("classlabels_int64s", ints(&[])).is_err());
    }

    #[test]
    fn debug_texts_tell_trees_apart() {
        let text = |weight: f32| {
            let attrs = stumps("target", &[0; 4], &[1.0, 2.0, 3.0, weight], &[]);
            format!("{:?}", op("TreeEnsembleRegressor", 1, &attrs))
        };
        assert_eq!(text(1.0), text(1.0));
        assert_ne!(text(1.0), text(1.5));
        assert!(text(1.0).len() < 300, "{}", text(1.0));
    }
}
