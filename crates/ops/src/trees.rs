//! The attributes of tree ensembles, of the old form (`nodes_*`, `class_*`, `target_*`) and of that of `ai.onnx.ml` 5,
//! as a forest.

use std::collections::HashMap;
use std::fmt;

use inferrum_graph::{NodeDef, OpError};
use inferrum_tensor::{DType, Tensor};

use crate::digest::Table;
use crate::features;
use crate::forest::{Aggregate, Float, Forest, Mode, Next, Node, Scores, Vote};

/// Examples that walk through a tree before the next tree's turn.
const BLOCK: usize = 64;
/// Scores of a block at most.
const BLOCK_SCORES: usize = 1 << 16;

/// Decision trees with thresholds in the precision of the file.
#[derive(Clone, PartialEq)]
pub struct Trees(Precision);

#[derive(Clone, PartialEq)]
enum Precision {
    F32(Forest<f32>),
    F64(Forest<f64>),
}

/// What is done with the scores of each example.
pub(crate) trait Finish {
    /// Takes the scores of an example, and for which targets any tree voted.
    fn finish<X: Float>(&mut self, example: usize, scores: &mut [X], voted: &mut [bool]);
}

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A digest of all of it, as of any long table.
        let text = match &self.0 {
            Precision::F32(forest) => format!("{forest:?}"),
            Precision::F64(forest) => format!("{forest:?}"),
        };
        write!(f, "Trees({} trees, {:?})", self.count(), Table::from(text.into_bytes()))
    }
}

impl Trees {
    /// The number of trees.
    pub fn count(&self) -> usize {
        match &self.0 {
            Precision::F32(forest) => forest.trees(),
            Precision::F64(forest) => forest.trees(),
        }
    }

    /// How many features an example must have at least.
    pub fn features(&self) -> usize {
        match &self.0 {
            Precision::F32(forest) => forest.features(),
            Precision::F64(forest) => forest.features(),
        }
    }

    /// Scores the examples of `x`, in float64 where that or the thresholds have it, otherwise in float32.
    ///
    /// # Errors
    /// Too few features; memory.
    pub(crate) fn score(
        &self,
        x: &Tensor,
        targets: usize,
        aggregate: Aggregate,
        finish: &mut impl Finish,
    ) -> Result<(), OpError> {
        match (&self.0, x.dtype()) {
            (Precision::F32(forest), DType::F64) => {
                score(forest, x, x.as_slice::<f64>()?, targets, aggregate, finish)
            }
            (Precision::F32(forest), _) => score(forest, x, &features::f32s(x)?, targets, aggregate, finish),
            (Precision::F64(forest), _) => score(forest, x, &x.to_f64()?, targets, aggregate, finish),
        }
    }
}

fn score<T: Float, X: Float + From<T>>(
    forest: &Forest<T>,
    x: &Tensor,
    values: &[X],
    targets: usize,
    aggregate: Aggregate,
    finish: &mut impl Finish,
) -> Result<(), OpError> {
    let (examples, width) = features::extents(x)?;
    if width < forest.features() {
        return Err(OpError::shape(0, format!("of at least {} features", forest.features()), x.shape()));
    }
    let block = (BLOCK_SCORES / targets.max(1)).clamp(1, BLOCK).min(examples.max(1));
    let size = block.saturating_mul(targets);
    let mut scores = Scores { values: inferrum_tensor::zeroed(size)?, voted: Vec::new() };
    scores.voted.resize(size, false);
    for start in (0..examples).step_by(block) {
        let count = block.min(examples - start);
        scores.values.truncate(count * targets);
        scores.values.fill(X::default());
        scores.voted.truncate(count * targets);
        scores.voted.fill(false);
        let rows = &values[start * width..(start + count) * width];
        forest.score(rows, width, targets, aggregate, &mut scores);
        let examples = scores.values.chunks_exact_mut(targets).zip(scores.voted.chunks_exact_mut(targets));
        for (offset, (values, voted)) in examples.enumerate() {
            finish.finish(start + offset, values, voted);
        }
    }
    Ok(())
}

/// Numbers that a file may state in float32 or, as a tensor, in float64.
pub(crate) struct Numbers {
    pub(crate) values: Vec<f64>,
    double: bool,
}

impl Numbers {
    /// Reads `name`, or `name_as_tensor`.
    ///
    /// # Errors
    /// Both are there, or the tensor is of another type.
    pub(crate) fn parse(def: &mut NodeDef, name: &str) -> Result<Numbers, OpError> {
        let floats = def.floats(name)?.unwrap_or_default();
        let other = format!("{name}_as_tensor");
        match def.tensor(&other)?.filter(|tensor| !tensor.is_empty()) {
            None => Ok(Numbers { values: floats.into_iter().map(f64::from).collect(), double: false }),
            Some(_) if !floats.is_empty() => {
                Err(OpError::attribute(&other, format!("nothing besides `{name}`"), "both"))
            }
            Some(tensor) if matches!(tensor.dtype(), DType::F32 | DType::F64) => {
                Ok(Numbers { values: tensor.to_f64()?, double: tensor.dtype() == DType::F64 })
            }
            Some(tensor) => Err(OpError::attribute(&other, "float32 or float64", tensor.dtype())),
        }
    }
}

/// The votes at the leaves of trees of the old form.
pub(crate) struct Votes {
    /// The target or class that each is for.
    pub(crate) ids: Vec<i64>,
    /// How much each is.
    pub(crate) weights: Numbers,
    trees: Vec<i64>,
    nodes: Vec<i64>,
}

impl Votes {
    /// Reads the attributes `class_*` or `target_*`.
    ///
    /// # Errors
    /// They differ in length.
    pub(crate) fn parse(def: &mut NodeDef, prefix: &str) -> Result<Votes, OpError> {
        let mut ints = |name: &str| def.ints(&format!("{prefix}_{name}")).map(Option::unwrap_or_default);
        let (ids, trees, nodes) = (ints("ids")?, ints("treeids")?, ints("nodeids")?);
        let weights = Numbers::parse(def, &format!("{prefix}_weights"))?;
        let count = ids.len();
        for (name, len) in
            [("treeids", trees.len()), ("nodeids", nodes.len()), ("weights", weights.values.len())]
        {
            same_length(&format!("{prefix}_{name}"), len, &format!("{prefix}_ids"), count)?;
        }
        Ok(Votes { ids, weights, trees, nodes })
    }
}

fn same_length(name: &str, got: usize, other: &str, expected: usize) -> Result<(), OpError> {
    if got == expected {
        return Ok(());
    }
    Err(OpError::attribute(name, format!("{expected} items, as `{other}`"), got))
}

/// The nodes of trees of the old form, as the file has them.
struct Nodes {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    yes: Vec<i64>,
    no: Vec<i64>,
    modes: Vec<Option<Mode>>,
    missing: Vec<i64>,
    thresholds: Numbers,
}

impl Nodes {
    fn parse(def: &mut NodeDef) -> Result<Nodes, OpError> {
        def.ignore(&["nodes_hitrates", "nodes_hitrates_as_tensor"]);
        let modes = def.strings("nodes_modes")?.unwrap_or_default();
        let mut ints = |name: &str| def.ints(name).map(Option::unwrap_or_default);
        let nodes = Nodes {
            trees: ints("nodes_treeids")?,
            nodes: ints("nodes_nodeids")?,
            features: ints("nodes_featureids")?,
            yes: ints("nodes_truenodeids")?,
            no: ints("nodes_falsenodeids")?,
            missing: ints("nodes_missing_value_tracks_true")?,
            modes: modes.iter().map(|mode| mode_of(mode)).collect::<Result<_, _>>()?,
            thresholds: Numbers::parse(def, "nodes_values")?,
        };
        let count = nodes.trees.len();
        for (name, len) in [
            ("nodes_nodeids", nodes.nodes.len()),
            ("nodes_featureids", nodes.features.len()),
            ("nodes_truenodeids", nodes.yes.len()),
            ("nodes_falsenodeids", nodes.no.len()),
            ("nodes_modes", nodes.modes.len()),
            ("nodes_values", nodes.thresholds.values.len()),
        ] {
            same_length(name, len, "nodes_treeids", count)?;
        }
        Ok(nodes)
    }
}

/// The comparison of a node; `None` for a leaf.
fn mode_of(name: &str) -> Result<Option<Mode>, OpError> {
    Ok(Some(match name {
        "LEAF" => return Ok(None),
        "BRANCH_LEQ" => Mode::LessOrEqual,
        "BRANCH_LT" => Mode::Less,
        "BRANCH_GTE" => Mode::GreaterOrEqual,
        "BRANCH_GT" => Mode::Greater,
        "BRANCH_EQ" => Mode::Equal,
        "BRANCH_NEQ" => Mode::NotEqual,
        other => {
            return Err(OpError::attribute(
                "nodes_modes",
                "LEAF or BRANCH_LEQ, _LT, _GTE, _GT, _EQ, _NEQ",
                other,
            ));
        }
    }))
}

fn too_many() -> OpError {
    OpError::Unsupported("a forest of more than 2^31 nodes".into())
}

fn feature(id: i64) -> Result<u32, OpError> {
    u32::try_from(id).map_err(|_| OpError::attribute("nodes_featureids", "features of 0 or more", id))
}

/// Reads trees of the old form, `votes` at their leaves; votes elsewhere count for nothing, as in ONNX Runtime.
///
/// # Errors
/// Attributes that are no trees.
pub(crate) fn parse_old(def: &mut NodeDef, votes: &Votes, targets: usize) -> Result<Trees, OpError> {
    let nodes = Nodes::parse(def)?;
    Ok(Trees(if nodes.thresholds.double || votes.weights.double {
        Precision::F64(old_forest(&nodes, votes, targets)?)
    } else {
        Precision::F32(old_forest(&nodes, votes, targets)?)
    }))
}

fn old_forest<T: Float>(file: &Nodes, votes: &Votes, targets: usize) -> Result<Forest<T>, OpError> {
    let mut places: HashMap<(i64, i64), Next> = HashMap::with_capacity(file.trees.len());
    let (mut branches, mut leaves) = (0usize, 0usize);
    let mut roots = Vec::new();
    for (index, mode) in file.modes.iter().enumerate() {
        let counter = if mode.is_some() { &mut branches } else { &mut leaves };
        let place =
            if mode.is_some() { Next::node(*counter) } else { Next::leaf(*counter) }.ok_or_else(too_many)?;
        *counter += 1;
        let (tree, node) = (file.trees[index], file.nodes[index]);
        if places.insert((tree, node), place).is_some() {
            return Err(OpError::Invalid(format!("node {node} of tree {tree} stands twice")));
        }
        if index == 0 || file.trees[index - 1] != tree {
            roots.push(place);
        }
    }
    let find = |tree: i64, node: i64| {
        let place = places.get(&(tree, node)).copied();
        place.ok_or_else(|| OpError::Invalid(format!("tree {tree} has no node {node}")))
    };
    let mut nodes = Vec::with_capacity(branches);
    for (index, mode) in file.modes.iter().enumerate() {
        let Some(mode) = *mode else { continue };
        nodes.push(Node {
            threshold: T::from_f64(file.thresholds.values[index]),
            feature: feature(file.features[index])?,
            yes: find(file.trees[index], file.yes[index])?,
            no: find(file.trees[index], file.no[index])?,
            mode,
            missing_is_yes: file.missing.get(index) == Some(&1),
        });
    }
    let mut leaf_votes = Vec::with_capacity(votes.ids.len());
    for (index, &id) in votes.ids.iter().enumerate() {
        let target =
            u32::try_from(id).map_err(|_| OpError::Invalid(format!("a leaf votes for target {id}")))?;
        let vote = Vote { target, weight: T::from_f64(votes.weights.values[index]) };
        if let Some(leaf) = find(votes.trees[index], votes.nodes[index])?.as_leaf() {
            leaf_votes.push((leaf, vote));
        }
    }
    leaf_votes.sort_by_key(|&(leaf, _)| leaf);
    if targets == 1 {
        // Of the votes of a leaf for the only target, the first counts, as in ONNX Runtime: scikit-learn's converter
        // writes that of the leaf's number once for each class when it exports decision paths.
        leaf_votes.dedup_by_key(|&mut (leaf, _)| leaf);
    }
    Forest::new(nodes, roots, leaves, &leaf_votes, Vec::new(), targets)
}

/// Reads trees of the form of `ai.onnx.ml` 5, and gives the element type of their thresholds, which is that of the
/// input.
///
/// # Errors
/// Attributes that are no trees.
pub(crate) fn parse_new(def: &mut NodeDef, targets: usize) -> Result<(Trees, DType), OpError> {
    def.ignore(&["nodes_hitrates"]);
    let mut tensor =
        |name: &str| def.tensor(name)?.ok_or_else(|| OpError::attribute(name, "a tensor", "nothing"));
    let (splits, modes, weights) = (tensor("nodes_splits")?, tensor("nodes_modes")?, tensor("leaf_weights")?);
    let dtype = weights.dtype();
    if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16) || splits.dtype() != dtype {
        let got = format!("{} and {dtype}", splits.dtype());
        return Err(OpError::attribute("nodes_splits", "a float type, that of leaf_weights too", got));
    }
    let members =
        def.tensor("membership_values")?.map(|members| members.to_f64()).transpose()?.unwrap_or_default();
    let file =
        NewTrees { splits: splits.to_f64()?, modes: modes.to_i64()?, weights: weights.to_f64()?, members };
    let trees = if dtype == DType::F64 {
        Precision::F64(file.forest(def, targets)?)
    } else {
        Precision::F32(file.forest(def, targets)?)
    };
    Ok((Trees(trees), dtype))
}

/// The tensors of trees of the new form.
struct NewTrees {
    splits: Vec<f64>,
    modes: Vec<i64>,
    weights: Vec<f64>,
    members: Vec<f64>,
}

impl NewTrees {
    fn forest<T: Float>(&self, def: &mut NodeDef, targets: usize) -> Result<Forest<T>, OpError> {
        let mut ints = |name: &str| def.ints(name).map(Option::unwrap_or_default);
        let (yes, yes_leaf) = (ints("nodes_truenodeids")?, ints("nodes_trueleafs")?);
        let (no, no_leaf) = (ints("nodes_falsenodeids")?, ints("nodes_falseleafs")?);
        let (features, ids) = (ints("nodes_featureids")?, ints("leaf_targetids")?);
        let (missing, roots) = (ints("nodes_missing_value_tracks_true")?, ints("tree_roots")?);
        let count = self.modes.len();
        for (name, len) in [
            ("nodes_splits", self.splits.len()),
            ("nodes_truenodeids", yes.len()),
            ("nodes_trueleafs", yes_leaf.len()),
            ("nodes_falsenodeids", no.len()),
            ("nodes_falseleafs", no_leaf.len()),
            ("nodes_featureids", features.len()),
        ] {
            same_length(name, len, "nodes_modes", count)?;
        }
        same_length("leaf_targetids", ids.len(), "leaf_weights", self.weights.len())?;
        let next = |index: i64, leaf: i64| {
            let index = usize::try_from(index).ok();
            let next = index.and_then(|index| if leaf != 0 { Next::leaf(index) } else { Next::node(index) });
            next.ok_or_else(|| OpError::Invalid("a tree leads to a node or leaf that does not exist".into()))
        };
        let mut sets = Vec::new();
        let mut nodes = Vec::with_capacity(count);
        let mut members = self.members.split(|member| member.is_nan());
        for index in 0..count {
            let mode = new_mode(self.modes[index])?;
            let mut threshold = self.splits[index];
            if mode == Mode::Member {
                threshold = sets.len() as f64;
                sets.push(sorted(members.next().unwrap_or(&[])));
            }
            nodes.push(Node {
                threshold: T::from_f64(threshold),
                feature: feature(features[index])?,
                yes: next(yes[index], yes_leaf[index])?,
                no: next(no[index], no_leaf[index])?,
                mode,
                missing_is_yes: missing.get(index) == Some(&1),
            });
        }
        let roots = roots.into_iter().map(|root| next(root, 0)).collect::<Result<_, _>>()?;
        let votes = ids
            .iter()
            .zip(&self.weights)
            .enumerate()
            .map(|(leaf, (&id, &weight))| {
                let target = u32::try_from(id)
                    .map_err(|_| OpError::Invalid(format!("a leaf votes for target {id}")))?;
                Ok((leaf, Vote { target, weight: T::from_f64(weight) }))
            })
            .collect::<Result<Vec<_>, OpError>>()?;
        Forest::new(nodes, roots, votes.len(), &votes, sets, targets)
    }
}

fn new_mode(mode: i64) -> Result<Mode, OpError> {
    Ok(match mode {
        0 => Mode::LessOrEqual,
        1 => Mode::Less,
        2 => Mode::GreaterOrEqual,
        3 => Mode::Greater,
        4 => Mode::Equal,
        5 => Mode::NotEqual,
        6 => Mode::Member,
        other => return Err(OpError::attribute("nodes_modes", "0 to 6", other)),
    })
}

/// Members in ascending order; none is NaN.
fn sorted<T: Float>(members: &[f64]) -> Vec<T> {
    let mut members: Vec<T> = members.iter().map(|&member| T::from_f64(member)).collect();
    members.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    members
}
