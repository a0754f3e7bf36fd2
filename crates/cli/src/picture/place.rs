//! Where everything stands: straight lines, short lines.
//!
//! Layer after layer, each vertex wants to stand at the weighted mean of its neighbours. The nearest places to these (in
//! the sense of least squares) that keep the order and the distances are found exactly, by pooling adjacent violators
//! (Ayer and others 1955). Then chains are drawn straight as far as there is room.

use super::diagram::Diagram;
use super::layers::{Layers, Vertex};

/// Between two boxes; a bend needs less.
const GAP: f64 = 26.0;
const BEND_GAP: f64 = 12.0;
/// Between two layers at least, and for each line between them that goes far sideways.
const LAYER_GAP: f64 = 30.0;
const LAYER_GAP_MOST: f64 = 90.0;
/// Sweeps down and up.
const SWEEPS: usize = 12;
/// How often all chains are straightened: one makes room for another.
const STRAIGHTENINGS: usize = 4;

/// The middle of each vertex, and the top and bottom of each layer.
pub(super) struct Places {
    pub(super) x: Vec<f64>,
    pub(super) top: Vec<f64>,
    pub(super) bottom: Vec<f64>,
}

/// Places everything; the leftmost box begins at 0.
pub(super) fn place(diagram: &Diagram, layers: &Layers) -> Places {
    let width = |vertex: usize| match layers.vertices[vertex] {
        Vertex::Box(index) => diagram.boxes[index].width,
        Vertex::Bend(_) => 0.0,
    };
    let mut x = vec![0.0; layers.vertices.len()];
    for layer in &layers.order {
        let offsets = offsets(layers, layer, &width);
        let middle = offsets.last().copied().unwrap_or(0.0) / 2.0;
        layer.iter().zip(&offsets).for_each(|(&vertex, offset)| x[vertex] = offset - middle);
    }
    let count = layers.order.len();
    for sweep in 0..=2 * SWEEPS {
        let (above, below) = match sweep {
            last if last == 2 * SWEEPS => (true, true),
            odd if odd % 2 == 1 => (false, true),
            _ => (true, false),
        };
        for step in 0..count {
            let level = if above { step } else { count - 1 - step };
            settle(layers, level, (above, below), &width, &mut x);
        }
    }
    let chains = chains(layers);
    for _ in 0..STRAIGHTENINGS {
        chains.iter().for_each(|chain| straighten(layers, chain, &width, &mut x));
    }
    let left = (0..x.len()).map(|vertex| x[vertex] - width(vertex) / 2.0).fold(f64::INFINITY, f64::min);
    x.iter_mut().for_each(|x| *x -= left);
    let (top, bottom) = heights(diagram, layers, &x);
    Places { x, top, bottom }
}

/// The least distance of each vertex of a layer from the first.
fn offsets(layers: &Layers, layer: &[usize], width: &impl Fn(usize) -> f64) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(layer.len());
    let mut at = 0.0;
    for (index, &vertex) in layer.iter().enumerate() {
        if index > 0 {
            at += distance(layers, layer[index - 1], vertex, width);
        }
        offsets.push(at);
    }
    offsets
}

/// The least distance of two neighbours.
fn distance(layers: &Layers, left: usize, right: usize, width: &impl Fn(usize) -> f64) -> f64 {
    let bend = |vertex: usize| matches!(layers.vertices[vertex], Vertex::Bend(_));
    let gap = if bend(left) && bend(right) { BEND_GAP } else { GAP };
    (width(left) + width(right)) / 2.0 + gap
}

/// Vertices that follow each other without a branch, and the bends of a net; the longest first.
fn chains(layers: &Layers) -> Vec<Vec<usize>> {
    let next = |vertex: usize| {
        let bend = |&&(lower, _): &&(usize, usize)| matches!(layers.vertices[lower], Vertex::Bend(_));
        match (layers.vertices[vertex], &layers.below[vertex][..]) {
            (Vertex::Bend(_), lines) => lines.iter().find(bend).map(|&(lower, _)| lower),
            (Vertex::Box(_), &[(lower, _)]) if layers.above[lower].len() == 1 => Some(lower),
            _ => None,
        }
    };
    let mut seen = vec![false; layers.vertices.len()];
    let mut chains = Vec::new();
    for start in layers.order.concat() {
        let mut chain = Vec::new();
        let mut at = Some(start).filter(|&start| !seen[start]);
        while let Some(vertex) = at {
            seen[vertex] = true;
            chain.push(vertex);
            at = next(vertex).filter(|&next| !seen[next]);
        }
        if chain.len() > 1 {
            chains.push(chain);
        }
    }
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.len()));
    chains
}

/// Puts the vertices of a chain at one place as far as their neighbours leave one; where they do not, the chain turns.
fn straighten(layers: &Layers, chain: &[usize], width: &impl Fn(usize) -> f64, x: &mut [f64]) {
    let mut start = 0;
    while start < chain.len() {
        let (mut low, mut high, mut end) = (f64::NEG_INFINITY, f64::INFINITY, start);
        while let Some(&vertex) = chain.get(end) {
            let (left, right) = room(layers, vertex, width, x);
            if low.max(left) > high.min(right) {
                break;
            }
            (low, high, end) = (low.max(left), high.min(right), end + 1);
        }
        // Rounding may leave no room even for one: it stays.
        end = end.max(start + 1);
        let part = &chain[start..end];
        let mean = part.iter().map(|&vertex| x[vertex]).sum::<f64>() / part.len() as f64;
        if low <= high && part.len() > 1 {
            part.iter().for_each(|&vertex| x[vertex] = mean.clamp(low, high));
        }
        start = end;
    }
}

/// Between what a vertex may move.
fn room(layers: &Layers, vertex: usize, width: &impl Fn(usize) -> f64, x: &[f64]) -> (f64, f64) {
    let layer = &layers.order[layers.layer[vertex]];
    let place = layers.place[vertex];
    let left = place.checked_sub(1).map(|place| layer[place]);
    let right = layer.get(place + 1).copied();
    (
        left.map_or(f64::NEG_INFINITY, |left| x[left] + distance(layers, left, vertex, width)),
        right.map_or(f64::INFINITY, |right| x[right] - distance(layers, vertex, right, width)),
    )
}

/// How much a line wants to be straight: long ones most.
fn weight(a: Vertex, b: Vertex) -> f64 {
    match (a, b) {
        (Vertex::Bend(_), Vertex::Bend(_)) => 8.0,
        (Vertex::Box(_), Vertex::Box(_)) => 1.0,
        _ => 2.0,
    }
}

/// Moves the vertices of a layer to where their neighbours above, below or both want them.
fn settle(
    layers: &Layers,
    level: usize,
    (above, below): (bool, bool),
    width: &impl Fn(usize) -> f64,
    x: &mut [f64],
) {
    let layer = &layers.order[level];
    let offsets = offsets(layers, layer, width);
    let mut wanted = Vec::with_capacity(layer.len());
    for (&vertex, offset) in layer.iter().zip(&offsets) {
        // A little of its own place, so that a vertex without neighbours has one.
        let (mut sum, mut total) = (x[vertex] * 0.01, 0.01);
        let upper = layers.above[vertex].iter().filter(|_| above);
        for &(other, _) in upper.chain(layers.below[vertex].iter().filter(|_| below)) {
            let weight = weight(layers.vertices[vertex], layers.vertices[other]);
            sum += weight * x[other];
            total += weight;
        }
        wanted.push((sum / total - offset, total));
    }
    for ((&vertex, offset), place) in layer.iter().zip(&offsets).zip(rising(&wanted)) {
        x[vertex] = place + offset;
    }
}

/// The rising sequence nearest to `wanted` (values and weights).
fn rising(wanted: &[(f64, f64)]) -> Vec<f64> {
    // Blocks of equal value: value, weight, length.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::with_capacity(wanted.len());
    for &(value, weight) in wanted {
        let mut block = (value, weight, 1);
        while let Some(&(before, its, length)) = blocks.last().filter(|&&(before, ..)| before > block.0) {
            let total = its + block.1;
            block = ((before * its + block.0 * block.1) / total, total, length + block.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.iter().flat_map(|&(value, _, length)| std::iter::repeat_n(value, length)).collect()
}

/// Top and bottom of each layer: as high as its highest box, and further from the next one the further lines between
/// them go sideways, so that they are not flat.
fn heights(diagram: &Diagram, layers: &Layers, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut top, mut bottom) = (Vec::new(), Vec::new());
    let mut y = 0.0;
    for layer in &layers.order {
        top.push(y);
        let height = layer.iter().map(|&vertex| match layers.vertices[vertex] {
            Vertex::Box(index) => diagram.boxes[index].height,
            Vertex::Bend(_) => 0.0,
        });
        y += height.fold(0.0, f64::max);
        bottom.push(y);
        let lines = layer
            .iter()
            .flat_map(|&vertex| layers.below[vertex].iter().map(move |&(lower, _)| (vertex, lower)));
        let aside = lines.map(|(upper, lower)| (x[upper] - x[lower]).abs()).fold(0.0, f64::max);
        y += (LAYER_GAP + aside / 12.0).min(LAYER_GAP_MOST);
    }
    (top, bottom)
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::diagram;
    use super::super::order;
    use super::*;

    #[test]
    fn the_nearest_rising_sequence_pools_violators() {
        assert_eq!(rising(&[(1.0, 1.0), (3.0, 1.0), (2.0, 1.0), (5.0, 1.0)]), [1.0, 2.5, 2.5, 5.0]);
        assert_eq!(rising(&[(3.0, 3.0), (1.0, 1.0)]), [2.5, 2.5]);
        assert!(rising(&[]).is_empty());
    }

    #[test]
    fn boxes_do_not_overlap_and_chains_are_straight() {
        let diagram = diagram(
            9,
            &[
                (0, &[1, 2, 3, 8]),
                (1, &[4]),
                (2, &[4]),
                (3, &[5]),
                (4, &[6]),
                (5, &[6]),
                (6, &[7]),
                (7, &[8]),
            ],
        );
        let mut layers = Layers::of(&diagram, 100).unwrap();
        order::arrange(&mut layers);
        let places = place(&diagram, &layers);
        for layer in &layers.order {
            for pair in layer.windows(2) {
                let boxed = |v: usize| if matches!(layers.vertices[v], Vertex::Box(_)) { 30.0 } else { 0.0 };
                let room = places.x[pair[1]] - places.x[pair[0]] - boxed(pair[0]) - boxed(pair[1]);
                assert!(room > 11.9, "{room}");
            }
        }
        // The line from 0 to 8 passes five layers without a turn.
        let bends: Vec<f64> = (9..layers.vertices.len()).map(|vertex| places.x[vertex]).collect();
        assert!(
            bends.len() >= 3 && bends.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 6.0),
            "{bends:?}"
        );
        assert!(places.x.iter().all(|x| *x >= 0.0));
        assert!(places.top.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
