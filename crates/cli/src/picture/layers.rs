//! Layers: which box stands above which, and where the lines between them bend.
//!
//! The first step of Sugiyama's method (Sugiyama, Tagawa and Toda 1981). A net that crosses layers has one bend in each,
//! shared by all its ends below, so that a value with many uses is one line with branches.

use super::diagram::Diagram;

/// A place in a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Vertex {
    /// A box of the diagram.
    Box(usize),
    /// A bend of a net.
    Bend(usize),
}

/// Boxes and bends in layers, from the top.
pub(super) struct Layers {
    pub(super) vertices: Vec<Vertex>,
    /// The layer of each vertex.
    pub(super) layer: Vec<usize>,
    /// The vertices of each layer, from left to right.
    pub(super) order: Vec<Vec<usize>>,
    /// The place of each vertex in the order of its layer.
    pub(super) place: Vec<usize>,
    /// Lines from each vertex to the next layer: the lower vertex, and the net.
    pub(super) below: Vec<Vec<(usize, usize)>>,
    /// Lines to each vertex from the layer above.
    pub(super) above: Vec<Vec<(usize, usize)>>,
}

impl Layers {
    /// Layers of a diagram; `None` if there would be more than `most` vertices.
    pub(super) fn of(diagram: &Diagram, most: usize) -> Option<Layers> {
        let layer = assign(diagram);
        let mut layers = Layers {
            vertices: (0..diagram.boxes.len()).map(Vertex::Box).collect(),
            order: Vec::new(),
            place: Vec::new(),
            below: vec![Vec::new(); diagram.boxes.len()],
            above: vec![Vec::new(); diagram.boxes.len()],
            layer,
        };
        for (index, net) in diagram.nets.iter().enumerate() {
            let deepest = net.to.iter().map(|&to| layers.layer[to]).max().unwrap_or(0);
            let mut upper = net.from;
            for level in layers.layer[net.from] + 1..=deepest {
                for &to in &net.to {
                    if layers.layer[to] == level {
                        layers.connect(upper, to, index);
                    }
                }
                if level < deepest {
                    let bend = layers.vertices.len();
                    layers.vertices.push(Vertex::Bend(index));
                    layers.layer.push(level);
                    layers.below.push(Vec::new());
                    layers.above.push(Vec::new());
                    layers.connect(upper, bend, index);
                    upper = bend;
                }
            }
            if layers.vertices.len() > most {
                return None;
            }
        }
        layers.order = vec![Vec::new(); layers.layer.iter().max().map_or(0, |deepest| deepest + 1)];
        for vertex in 0..layers.vertices.len() {
            layers.order[layers.layer[vertex]].push(vertex);
        }
        layers.find_places();
        Some(layers)
    }

    /// Brings [`Layers::place`] up to date with [`Layers::order`].
    pub(super) fn find_places(&mut self) {
        self.place.resize(self.vertices.len(), 0);
        for layer in &self.order {
            layer.iter().enumerate().for_each(|(place, &vertex)| self.place[vertex] = place);
        }
    }

    fn connect(&mut self, upper: usize, lower: usize, net: usize) {
        self.below[upper].push((lower, net));
        self.above[lower].push((upper, net));
    }
}

/// The layer of each box: one below the deepest box that it takes from. What then could stand lower without taking
/// from anything that does, such as an input that is used late, goes down to the box that takes it.
fn assign(diagram: &Diagram) -> Vec<usize> {
    let count = diagram.boxes.len();
    let mut takers: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut givers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for net in &diagram.nets {
        for &to in &net.to {
            takers[net.from].push(to);
            givers[to].push(net.from);
        }
    }
    let mut waiting: Vec<usize> = givers.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..count).filter(|&index| waiting[index] == 0).collect();
    let mut layer = vec![0; count];
    let mut sorted = Vec::with_capacity(count);
    while let Some(index) = ready.pop() {
        sorted.push(index);
        for &to in &takers[index] {
            layer[to] = layer[to].max(layer[index] + 1);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    for &index in sorted.iter().rev() {
        // Going down shortens the lines below and lengthens those above.
        if givers[index].len() < takers[index].len()
            && let Some(highest) = takers[index].iter().map(|&to| layer[to]).min()
        {
            layer[index] = highest - 1;
        }
    }
    layer
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::diagram::{Box, Diagram, Net};
    use super::super::family;
    use super::*;

    /// A diagram of boxes that are 60 wide and 30 high.
    pub(in super::super) fn diagram(boxes: usize, nets: &[(usize, &[usize])]) -> Diagram {
        let one = |_| Box {
            title: "Add".into(),
            lines: Vec::new(),
            tooltip: String::new(),
            family: family::family("Add"),
            terminal: false,
            width: 60.0,
            height: 30.0,
        };
        let net = |&(from, to): &(usize, &[usize])| Net { from, to: to.to_vec(), tooltip: String::new() };
        Diagram { boxes: (0..boxes).map(one).collect(), nets: nets.iter().map(net).collect() }
    }

    #[test]
    fn every_line_goes_to_the_next_layer() {
        let diagram = diagram(5, &[(0, &[1, 3, 4]), (1, &[2]), (2, &[3]), (3, &[4])]);
        let layers = Layers::of(&diagram, 100).unwrap();
        assert_eq!(layers.layer[..5], [0, 1, 2, 3, 4]);
        // One line with branches: bends beside boxes 1, 2 and 3.
        assert_eq!(layers.vertices.len(), 5 + 3);
        for (upper, lines) in layers.below.iter().enumerate() {
            assert!(lines.iter().all(|&(lower, _)| layers.layer[lower] == layers.layer[upper] + 1));
        }
        assert!(Layers::of(&diagram, 6).is_none());
    }

    #[test]
    fn late_inputs_stand_low() {
        let diagram = diagram(5, &[(0, &[1]), (1, &[2]), (2, &[3]), (4, &[3, 3])]);
        assert_eq!(assign(&diagram), [0, 1, 2, 3, 2]);
    }
}
