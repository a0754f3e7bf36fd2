//! Patterns of operators, written like the algebra they match.
//!
//! ```
//! use inferrum_optimize::pattern::{any, unary};
//! use inferrum_ops::unary::UnaryKind;
//!
//! // x * sigmoid(x), in either order.
//! let silu = any("x") * unary(UnaryKind::Sigmoid, any("x"));
//! ```

use std::any::Any;
use std::ops::{Add, Div, Mul, Sub};
use std::rc::Rc;

use inferrum_graph::{Graph, NodeId, Operator, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::unary::{Unary, UnaryKind};

use crate::Index;

/// What a value may be.
#[derive(Clone)]
pub struct Pattern(Rc<Kind>);

/// Whether an operator is the one that is meant.
type Accepts = Box<dyn Fn(&dyn Operator) -> bool>;

enum Kind {
    /// Any value; the same name is the same value.
    Any(&'static str),
    /// A constant of one element of this value.
    Scalar(f64),
    /// The first output of an operator.
    Op { accepts: Accepts, inputs: Vec<Pattern>, commutes: bool },
}

/// What a pattern was found to be.
#[derive(Clone, Debug, Default)]
pub struct Match {
    names: Vec<(&'static str, ValueId)>,
    nodes: Vec<NodeId>,
}

/// Any value, known as `name`.
pub fn any(name: &'static str) -> Pattern {
    Pattern(Rc::new(Kind::Any(name)))
}

/// A constant of one element.
pub fn scalar(value: f64) -> Pattern {
    Pattern(Rc::new(Kind::Scalar(value)))
}

/// An operator of type `T` that `accepts` takes, with exactly these inputs.
pub fn op<T: Operator>(accepts: impl Fn(&T) -> bool + 'static, inputs: Vec<Pattern>) -> Pattern {
    let accepts = move |op: &dyn Operator| (op as &dyn Any).downcast_ref::<T>().is_some_and(&accepts);
    Pattern(Rc::new(Kind::Op { accepts: Box::new(accepts), inputs, commutes: false }))
}

/// A function of one operand.
pub fn unary(kind: UnaryKind, x: Pattern) -> Pattern {
    op::<Unary>(move |op| op.kind == kind, vec![x])
}

/// A function of two operands.
pub fn binary(kind: BinaryKind, x: Pattern, y: Pattern) -> Pattern {
    let accepts = move |op: &dyn Operator| {
        (op as &dyn Any).downcast_ref::<Binary>().is_some_and(|op| op.kind == kind && op.axis.is_none())
    };
    let commutes = matches!(kind, BinaryKind::Add | BinaryKind::Mul);
    Pattern(Rc::new(Kind::Op { accepts: Box::new(accepts), inputs: vec![x, y], commutes }))
}

macro_rules! operators {
    ($($trait:ident $method:ident $kind:ident;)*) => { $(
        impl $trait for Pattern {
            type Output = Pattern;
            fn $method(self, other: Pattern) -> Pattern { binary(BinaryKind::$kind, self, other) }
        }
        impl $trait<f64> for Pattern {
            type Output = Pattern;
            fn $method(self, other: f64) -> Pattern { binary(BinaryKind::$kind, self, scalar(other)) }
        }
    )* };
}
operators! { Add add Add; Sub sub Sub; Mul mul Mul; Div div Div; }

impl Pattern {
    /// Matches the pattern against the node `root`; what lies between root and leaves serves no other purpose.
    pub fn find(&self, graph: &Graph, index: &Index, root: NodeId) -> Option<Match> {
        let mut found = Match::default();
        if !self.node(graph, index, root, &mut found) {
            return None;
        }
        let inner = found.nodes.iter().filter(|&&id| id != root);
        let private = |id: &NodeId| {
            graph.nodes()[id.0].outputs.iter().flatten().all(|&value| {
                !index.is_output(value)
                    && index.consumers(value).iter().all(|user| found.nodes.contains(user))
            })
        };
        inner.clone().all(private).then_some(found)
    }

    fn node(&self, graph: &Graph, index: &Index, id: NodeId, found: &mut Match) -> bool {
        let Kind::Op { accepts, inputs, commutes } = &*self.0 else { return false };
        let node = &graph.nodes()[id.0];
        if !accepts(node.op.as_ref()) || node.inputs.len() != inputs.len() {
            return false;
        }
        let mut attempt = |order: &[usize]| {
            let mut trial = found.clone();
            trial.nodes.push(id);
            let fits = order.iter().zip(inputs).all(|(&at, pattern)| {
                node.inputs[at].is_some_and(|value| pattern.value(graph, index, value, &mut trial))
            });
            if fits {
                *found = trial;
            }
            fits
        };
        let order: Vec<usize> = (0..inputs.len()).collect();
        attempt(&order) || (*commutes && attempt(&[1, 0]))
    }

    fn value(&self, graph: &Graph, index: &Index, value: ValueId, found: &mut Match) -> bool {
        match &*self.0 {
            Kind::Any(name) => match found.get(name) {
                Some(known) => known == value,
                None => {
                    found.names.push((name, value));
                    true
                }
            },
            Kind::Scalar(wanted) => {
                let got = scalar_constant(graph, value);
                // Exporters round constants to f32, or print them with six digits.
                got.is_some_and(|got| (got - wanted).abs() <= 1e-5 * wanted.abs())
            }
            Kind::Op { .. } => index.producer(value).is_some_and(|id| self.node(graph, index, id, found)),
        }
    }
}

impl Match {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<ValueId> {
        self.names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// The element of a constant that has exactly one.
pub fn scalar_constant(graph: &Graph, value: ValueId) -> Option<f64> {
    let constant = graph.constant(value).filter(|constant| constant.len() == 1)?;
    constant.to_f64().ok()?.first().copied()
}
