//! Decision trees as a flat array of nodes: made and checked once, walked without allocation.

use inferrum_graph::OpError;

/// A float type of thresholds, features and scores.
pub(crate) trait Float:
    Copy + PartialOrd + Default + std::fmt::Debug + bytemuck::Zeroable + Send + Sync + 'static
{
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// From the nearest.
    fn from_f64(value: f64) -> Self;
    /// Exactly.
    fn to_f64(self) -> f64;
}

macro_rules! float {
    ($($t:ty),*) => { $(
        impl Float for $t {
            fn plus(self, other: $t) -> $t { self + other }
            fn from_f64(value: f64) -> $t { value as $t }
            fn to_f64(self) -> f64 { f64::from(self) }
        }
    )* };
}
float!(f32, f64);

/// How a node compares a feature with its threshold; true goes to the first child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `<=`.
    LessOrEqual,
    /// `<`.
    Less,
    /// `>=`.
    GreaterOrEqual,
    /// `>`.
    Greater,
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// One of a set.
    Member,
}

/// Where a walk goes on: a node, or a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next(u32);

impl Next {
    const LEAF: u32 = 1 << 31;

    /// A node, if so many can be counted.
    pub(crate) fn node(index: usize) -> Option<Next> {
        u32::try_from(index).ok().filter(|&index| index < Next::LEAF).map(Next)
    }

    /// A leaf, if so many can be counted.
    pub(crate) fn leaf(index: usize) -> Option<Next> {
        Next::node(index).map(|next| Next(next.0 | Next::LEAF))
    }

    fn as_node(self) -> Option<usize> {
        (self.0 & Next::LEAF == 0).then_some(self.0 as usize)
    }

    /// The leaf, if it is one.
    pub(crate) fn as_leaf(self) -> Option<usize> {
        self.as_node().is_none().then_some(self.index())
    }

    fn index(self) -> usize {
        (self.0 & !Next::LEAF) as usize
    }
}

/// A decision. Twenty bytes with a threshold of float32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node<T> {
    /// What the feature is compared with; for [`Mode::Member`] the index of the set.
    pub(crate) threshold: T,
    /// The feature's place.
    pub(crate) feature: u32,
    /// The child where the comparison holds.
    pub(crate) yes: Next,
    /// The other child.
    pub(crate) no: Next,
    /// The comparison.
    pub(crate) mode: Mode,
    /// Whether a missing feature (NaN) goes to the first child.
    pub(crate) missing_is_yes: bool,
}

/// What a leaf adds to the score of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Vote<T> {
    pub(crate) target: u32,
    pub(crate) weight: T,
}

/// How the trees' votes for a target become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The sum over the number of trees.
    Average,
    /// The sum.
    Sum,
    /// The least vote.
    Min,
    /// The greatest vote.
    Max,
}

/// Trees that share their arrays. Children exist, features and targets are in range, and no walk returns to a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest<T> {
    nodes: Vec<Node<T>>,
    roots: Vec<Next>,
    /// The votes of leaf `i` are `votes[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    votes: Vec<Vote<T>>,
    /// Members in ascending order.
    sets: Vec<Vec<T>>,
    /// The number of features that an example must have at least.
    features: usize,
    /// The comparison of every node, if they are alike and none minds missing features.
    uniform: Option<Mode>,
}

/// Scores of a block of examples.
pub(crate) struct Scores<X> {
    /// `[examples, targets]`.
    pub(crate) values: Vec<X>,
    /// Whether any tree voted for the target of this example.
    pub(crate) voted: Vec<bool>,
}

impl<T: Float> Forest<T> {
    /// Trees of `nodes`, of leaves each with its votes (leaf, vote), in order of leaves, and of sets.
    ///
    /// # Errors
    /// A child, leaf, set or target does not exist; nodes lead back to themselves.
    pub(crate) fn new(
        nodes: Vec<Node<T>>,
        roots: Vec<Next>,
        leaves: usize,
        leaf_votes: &[(usize, Vote<T>)],
        sets: Vec<Vec<T>>,
        targets: usize,
    ) -> Result<Forest<T>, OpError> {
        let too_many = |_| OpError::Unsupported("a forest of more than 2^32 votes".into());
        let mut starts = Vec::with_capacity(leaves.saturating_add(1));
        let mut place = 0;
        for leaf in 0..=leaves {
            starts.push(u32::try_from(place).map_err(too_many)?);
            while leaf_votes.get(place).is_some_and(|&(of, _)| of == leaf) {
                place += 1;
            }
        }
        if place != leaf_votes.len() || leaf_votes.iter().any(|(leaf, _)| *leaf >= leaves) {
            return Err(OpError::Invalid("a vote belongs to no leaf".into()));
        }
        let votes: Vec<Vote<T>> = leaf_votes.iter().map(|&(_, vote)| vote).collect();
        if let Some(vote) = votes.iter().find(|vote| vote.target as usize >= targets) {
            return Err(OpError::Invalid(format!("a leaf votes for target {}, of {targets}", vote.target)));
        }
        // Sets are found by a number that float32 holds exactly.
        if sets.len() > 1 << f32::MANTISSA_DIGITS {
            return Err(OpError::Unsupported("more than 2^24 sets".into()));
        }
        let features = nodes.iter().map(|node| node.feature as usize + 1).max().unwrap_or(0);
        let first = nodes.first().map_or(Mode::LessOrEqual, |node| node.mode);
        let alike = nodes.iter().all(|node| node.mode == first && !node.missing_is_yes);
        let uniform = Some(first).filter(|_| alike);
        let forest = Forest { nodes, roots, starts, votes, sets, features, uniform };
        forest.check()?;
        Ok(forest)
    }

    /// That every walk ends at a leaf.
    fn check(&self) -> Result<(), OpError> {
        let exists = |next: Next| match next.as_node() {
            Some(node) => node < self.nodes.len(),
            None => next.index() + 1 < self.starts.len(),
        };
        let children = self.nodes.iter().flat_map(|node| [node.yes, node.no]);
        if !self.roots.iter().copied().chain(children).all(exists) {
            return Err(OpError::Invalid("a tree leads to a node or leaf that does not exist".into()));
        }
        let set_of = |node: &Node<T>| node.threshold.to_f64() as usize;
        if self.nodes.iter().any(|node| node.mode == Mode::Member && set_of(node) >= self.sets.len()) {
            return Err(OpError::Invalid("a node compares with a set that does not exist".into()));
        }
        // A node is done when both children are; one that is met again before that leads back to itself.
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; self.nodes.len()];
        let mut stack: Vec<usize> = Vec::new();
        for root in self.roots.iter().filter_map(|root| root.as_node()) {
            stack.push(root);
            while let Some(&index) = stack.last() {
                if state[index] == DONE {
                    stack.pop();
                    continue;
                }
                let opened = state[index] == OPEN;
                state[index] = if opened { DONE } else { OPEN };
                if opened {
                    stack.pop();
                    continue;
                }
                for child in
                    [self.nodes[index].yes, self.nodes[index].no].into_iter().filter_map(Next::as_node)
                {
                    match state[child] {
                        OPEN => {
                            return Err(OpError::Invalid("a tree's nodes lead back to themselves".into()));
                        }
                        NEW => stack.push(child),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of trees.
    pub(crate) fn trees(&self) -> usize {
        self.roots.len()
    }

    /// How many features an example must have at least.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Adds the votes of every tree for the examples `rows`, of `width` features each (at least as many as
    /// [`Forest::features`]), to their scores, which must be zero and hold as many examples.
    pub(crate) fn score<X: Float + From<T>>(
        &self,
        rows: &[X],
        width: usize,
        targets: usize,
        aggregate: Aggregate,
        scores: &mut Scores<X>,
    ) {
        match aggregate {
            Aggregate::Sum | Aggregate::Average => {
                self.add(rows, width, targets, scores, |a, b, _| a.plus(b))
            }
            Aggregate::Min => {
                self.add(rows, width, targets, scores, |a, b, voted| if voted && a < b { a } else { b })
            }
            Aggregate::Max => {
                self.add(rows, width, targets, scores, |a, b, voted| if voted && a > b { a } else { b })
            }
        }
    }

    fn add<X: Float + From<T>>(
        &self,
        rows: &[X],
        width: usize,
        targets: usize,
        scores: &mut Scores<X>,
        join: impl Fn(X, X, bool) -> X + Copy,
    ) {
        match self.uniform {
            Some(Mode::LessOrEqual) => {
                self.add_by(rows, width, targets, scores, join, |node, x| x <= node.threshold.into())
            }
            Some(Mode::Less) => {
                self.add_by(rows, width, targets, scores, join, |node, x| x < node.threshold.into())
            }
            _ => self.add_by(rows, width, targets, scores, join, |node, x| self.holds(node, x)),
        }
    }

    /// Trees are the outer loop, so that one stays in the cache for all rows.
    fn add_by<X: Float + From<T>>(
        &self,
        rows: &[X],
        width: usize,
        targets: usize,
        scores: &mut Scores<X>,
        join: impl Fn(X, X, bool) -> X,
        holds: impl Fn(&Node<T>, X) -> bool,
    ) {
        for &root in &self.roots {
            let examples =
                scores.values.chunks_exact_mut(targets).zip(scores.voted.chunks_exact_mut(targets));
            for (example, (values, voted)) in examples.enumerate() {
                let row = rows.get(example * width..(example + 1) * width).unwrap_or(&[]);
                let mut next = root;
                while let Some(index) = next.as_node() {
                    let node = &self.nodes[index];
                    next = if holds(node, row[node.feature as usize]) { node.yes } else { node.no };
                }
                let leaf = next.index();
                for vote in &self.votes[self.starts[leaf] as usize..self.starts[leaf + 1] as usize] {
                    let target = vote.target as usize;
                    values[target] = join(values[target], vote.weight.into(), voted[target]);
                    voted[target] = true;
                }
            }
        }
    }

    fn holds<X: Float + From<T>>(&self, node: &Node<T>, x: X) -> bool {
        let threshold: X = node.threshold.into();
        let holds = match node.mode {
            Mode::LessOrEqual => x <= threshold,
            Mode::Less => x < threshold,
            Mode::GreaterOrEqual => x >= threshold,
            Mode::Greater => x > threshold,
            Mode::Equal => x == threshold,
            Mode::NotEqual => x != threshold,
            Mode::Member => {
                let members = &self.sets[threshold.to_f64() as usize];
                let place = members.partition_point(|&member| X::from(member) < x);
                members.get(place).is_some_and(|&member| X::from(member) == x)
            }
        };
        // Only NaN is not equal to itself.
        #[allow(clippy::eq_op)]
        let missing = x != x;
        holds || (node.missing_is_yes && missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(feature: u32, threshold: f32, yes: Next, no: Next) -> Node<f32> {
        Node { threshold, feature, yes, no, mode: Mode::LessOrEqual, missing_is_yes: false }
    }

    fn next(index: usize) -> Next {
        Next::node(index).unwrap()
    }

    fn leaf(index: usize) -> Next {
        Next::leaf(index).unwrap()
    }

    fn votes(weights: &[f32]) -> Vec<(usize, Vote<f32>)> {
        weights.iter().enumerate().map(|(leaf, &weight)| (leaf, Vote { target: 0, weight })).collect()
    }

    fn forest(nodes: Vec<Node<f32>>, leaves: &[f32], sets: Vec<Vec<f32>>) -> Result<Forest<f32>, OpError> {
        let roots = vec![next(0); usize::from(!nodes.is_empty())];
        Forest::new(nodes, roots, leaves.len(), &votes(leaves), sets, 1)
    }

    fn score(forest: &Forest<f32>, rows: &[f32], aggregate: Aggregate) -> Vec<f32> {
        let examples = rows.len();
        let mut scores = Scores { values: vec![0.0; examples], voted: vec![false; examples] };
        forest.score(rows, 1, 1, aggregate, &mut scores);
        scores.values
    }

    #[test]
    fn every_comparison_and_missing_features() {
        let rows = [1.0, 2.0, 3.0, f32::NAN];
        for (mode, expected) in [
            (Mode::LessOrEqual, [1.0, 1.0, 0.0, 0.0]),
            (Mode::Less, [1.0, 0.0, 0.0, 0.0]),
            (Mode::GreaterOrEqual, [0.0, 1.0, 1.0, 0.0]),
            (Mode::Greater, [0.0, 0.0, 1.0, 0.0]),
            (Mode::Equal, [0.0, 1.0, 0.0, 0.0]),
            (Mode::NotEqual, [1.0, 0.0, 1.0, 1.0]),
        ] {
            let mut only = Node { mode, ..node(0, 2.0, leaf(1), leaf(0)) };
            assert_eq!(
                score(&forest(vec![only], &[0.0, 1.0], vec![]).unwrap(), &rows, Aggregate::Sum),
                expected
            );
            only.missing_is_yes = true;
            let told = score(&forest(vec![only], &[0.0, 1.0], vec![]).unwrap(), &rows, Aggregate::Sum);
            assert_eq!((&told[..3], told[3]), (&expected[..3], 1.0));
        }
        let member = Node { mode: Mode::Member, ..node(0, 0.0, leaf(1), leaf(0)) };
        let members = forest(vec![member], &[0.0, 1.0], vec![vec![-1.0, 1.0, 3.0]]).unwrap();
        assert_eq!(score(&members, &rows, Aggregate::Sum), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn votes_of_trees_are_joined() {
        let stump = |yes, no| node(0, 0.0, leaf(yes), leaf(no));
        let nodes = vec![stump(0, 1), stump(2, 3)];
        let leaf_votes = votes(&[1.0, -2.0, 5.0, 3.0]);
        let forest = Forest::new(nodes, vec![next(0), next(1)], 4, &leaf_votes, vec![], 1).unwrap();
        let rows = [-1.0, 1.0];
        assert_eq!(score(&forest, &rows, Aggregate::Sum), [6.0, 1.0]);
        assert_eq!(score(&forest, &rows, Aggregate::Min), [1.0, -2.0]);
        assert_eq!(score(&forest, &rows, Aggregate::Max), [5.0, 3.0]);
    }

    #[test]
    fn trees_that_lead_nowhere_are_errors() {
        let stump = |yes, no| node(0, 0.0, yes, no);
        assert!(forest(vec![stump(next(0), leaf(0))], &[0.0], vec![]).is_err());
        assert!(forest(vec![stump(next(1), leaf(0)), stump(leaf(0), next(0))], &[0.0], vec![]).is_err());
        assert!(forest(vec![stump(next(1), leaf(0))], &[0.0], vec![]).is_err());
        assert!(forest(vec![stump(leaf(0), leaf(1))], &[0.0], vec![]).is_err());
        let member = Node { mode: Mode::Member, ..stump(leaf(0), leaf(0)) };
        assert!(forest(vec![member], &[0.0], vec![]).is_err());
        let vote = [(0, Vote { target: 1, weight: 0.0 })];
        assert!(Forest::<f32>::new(vec![], vec![leaf(0)], 1, &vote, vec![], 1).is_err());
        assert!(Forest::<f32>::new(vec![], vec![leaf(1)], 1, &[], vec![], 1).is_err());
        assert!(Forest::new(vec![], vec![], 1, &votes(&[0.0, 0.0]), vec![], 1).is_err());
    }

    #[test]
    fn nodes_may_be_shared_and_trees_deep() {
        // Chains of `==` that share their end stand in models of LightGBM.
        let shared = vec![
            node(0, 0.0, next(2), next(1)),
            node(0, 1.0, next(2), leaf(0)),
            node(0, 2.0, leaf(1), leaf(0)),
        ];
        assert_eq!(
            score(&forest(shared, &[3.0, 4.0], vec![]).unwrap(), &[0.5, 9.0], Aggregate::Sum),
            [4.0, 3.0]
        );
        let deep: Vec<_> = (0..100_000)
            .map(|i| node(0, i as f32, leaf(0), if i < 99_999 { next(i + 1) } else { leaf(1) }))
            .collect();
        assert_eq!(score(&forest(deep, &[3.0, 4.0], vec![]).unwrap(), &[1e9], Aggregate::Sum), [4.0]);
    }
}
