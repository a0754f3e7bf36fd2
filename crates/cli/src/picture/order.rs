//! The order within layers: few crossings.
//!
//! Sweeps down and up; each layer is sorted by the mean place of the neighbours in the layer before (the barycentre
//! method), then neighbours are swapped where that removes crossings. The best order seen stays.

use super::layers::Layers;

/// Sweeps at most.
const SWEEPS: usize = 24;
/// Sweeps without gain after which it ends.
const PATIENCE: usize = 6;

/// Orders every layer.
pub(super) fn arrange(layers: &mut Layers) {
    first_order(layers);
    let mut best = (crossings(layers), layers.order.clone());
    let mut patience = PATIENCE;
    for sweep in 0..SWEEPS {
        if best.0 == 0 || patience == 0 {
            break;
        }
        let down = sweep % 2 == 0;
        let count = layers.order.len();
        for step in 1..count {
            let level = if down { step } else { count - 1 - step };
            sort_by_neighbours(layers, level, down);
        }
        swap_neighbours(layers);
        let now = crossings(layers);
        if now < best.0 {
            best = (now, layers.order.clone());
            patience = PATIENCE;
        } else {
            patience -= 1;
        }
    }
    layers.order = best.1;
    layers.find_places();
}

/// The order of a walk from the top along lines: what belongs together stands together.
fn first_order(layers: &mut Layers) {
    let mut seen = vec![false; layers.vertices.len()];
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); layers.order.len()];
    for start in layers.order.concat() {
        let mut stack = vec![start];
        while let Some(vertex) = stack.pop() {
            if !std::mem::replace(&mut seen[vertex], true) {
                order[layers.layer[vertex]].push(vertex);
                stack.extend(layers.below[vertex].iter().rev().map(|&(lower, _)| lower));
            }
        }
    }
    layers.order = order;
    layers.find_places();
}

fn sort_by_neighbours(layers: &mut Layers, level: usize, down: bool) {
    let neighbours = if down { &layers.above } else { &layers.below };
    let mut keyed: Vec<(f64, usize)> = Vec::with_capacity(layers.order[level].len());
    for (index, &vertex) in layers.order[level].iter().enumerate() {
        let lines = &neighbours[vertex];
        let mean =
            lines.iter().map(|&(other, _)| layers.place[other] as f64).sum::<f64>() / lines.len() as f64;
        // A vertex without neighbours stays about where it is.
        keyed.push((if lines.is_empty() { index as f64 } else { mean }, vertex));
    }
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, vertex)) in keyed.into_iter().enumerate() {
        layers.order[level][place] = vertex;
        layers.place[vertex] = place;
    }
}

/// Swaps neighbours where that removes crossings, once through all layers.
fn swap_neighbours(layers: &mut Layers) {
    for level in 0..layers.order.len() {
        for index in 1..layers.order[level].len() {
            let (left, right) = (layers.order[level][index - 1], layers.order[level][index]);
            let between = |a: usize, b: usize| {
                pair_crossings(&layers.above[a], &layers.above[b], &layers.place)
                    + pair_crossings(&layers.below[a], &layers.below[b], &layers.place)
            };
            if between(right, left) < between(left, right) {
                layers.order[level].swap(index - 1, index);
                layers.place.swap(left, right);
            }
        }
    }
}

/// Crossings of the lines of two vertices of which the first stands to the left.
fn pair_crossings(left: &[(usize, usize)], right: &[(usize, usize)], places: &[usize]) -> usize {
    let crossed = |&(a, _): &(usize, usize)| right.iter().filter(|&&(b, _)| places[b] < places[a]).count();
    left.iter().map(crossed).sum()
}

/// Crossings between all layers: inversions among the lower ends, in the order of the upper ones, counted in a Fenwick
/// tree (Barth, Mutzel and Jünger 2004).
pub(super) fn crossings(layers: &Layers) -> usize {
    let mut total = 0;
    for (level, layer) in layers.order.iter().enumerate() {
        let Some(next) = layers.order.get(level + 1) else { break };
        let mut tree = vec![0usize; next.len() + 1];
        let mut drawn = 0;
        for &vertex in layer {
            let mut ends: Vec<usize> =
                layers.below[vertex].iter().map(|&(lower, _)| layers.place[lower]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let mut index = end + 1;
                let mut left = 0;
                while index > 0 {
                    left += tree[index];
                    index &= index - 1;
                }
                total += drawn - left;
            }
            for end in ends {
                let mut index = end + 1;
                while index < tree.len() {
                    tree[index] += 1;
                    index += index & index.wrapping_neg();
                }
                drawn += 1;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::diagram;
    use super::*;

    #[test]
    fn crossings_are_counted() {
        let diagram = diagram(4, &[(0, &[3]), (1, &[2])]);
        let mut layers = Layers::of(&diagram, 100).unwrap();
        assert_eq!(crossings(&layers), 1);
        arrange(&mut layers);
        assert_eq!(crossings(&layers), 0);
    }

    #[test]
    fn a_planar_graph_is_drawn_without_crossings() {
        // Two diamonds side by side, given in a confusing order.
        let diagram = diagram(8, &[(0, &[7, 4]), (1, &[6, 5]), (7, &[2]), (4, &[2]), (6, &[3]), (5, &[3])]);
        let mut layers = Layers::of(&diagram, 100).unwrap();
        arrange(&mut layers);
        assert_eq!(crossings(&layers), 0);
        let mut all = layers.order.concat();
        all.sort_unstable();
        assert_eq!(all, (0..layers.vertices.len()).collect::<Vec<_>>());
    }
}
