//! Shapes of which some extents are not known before a run.

use std::fmt;
use std::sync::Arc;

use inferrum_tensor::Shape;
use smallvec::SmallVec;

/// The extent of one axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SymDim {
    /// A number.
    Known(usize),
    /// A name; equal names mean equal extents within one graph.
    Symbol(Arc<str>),
    /// Nothing is known.
    Unknown,
}

impl SymDim {
    /// The number, if known.
    pub fn known(&self) -> Option<usize> {
        match self {
            SymDim::Known(n) => Some(*n),
            _ => None,
        }
    }

    /// `f` of a known number; anything else becomes unknown.
    pub fn map(&self, f: impl FnOnce(usize) -> usize) -> SymDim {
        self.known().map_or(SymDim::Unknown, |n| SymDim::Known(f(n)))
    }

    /// Whether both are certainly the same extent.
    pub fn same(&self, other: &SymDim) -> bool {
        !matches!(self, SymDim::Unknown) && self == other
    }

    /// What is known when both describe one axis; `None` when they contradict each other.
    pub fn merge(&self, other: &SymDim) -> Option<SymDim> {
        match (self, other) {
            (SymDim::Known(a), SymDim::Known(b)) if a != b => None,
            (SymDim::Known(_), _) | (SymDim::Symbol(_), SymDim::Symbol(_) | SymDim::Unknown) => {
                Some(self.clone())
            }
            _ => Some(other.clone()),
        }
    }
}

impl From<usize> for SymDim {
    fn from(n: usize) -> SymDim {
        SymDim::Known(n)
    }
}

impl fmt::Display for SymDim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymDim::Known(n) => write!(f, "{n}"),
            SymDim::Symbol(name) => f.write_str(name),
            SymDim::Unknown => f.write_str("?"),
        }
    }
}

/// What is known of a shape: nothing, the rank, or also extents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShapeFact(Option<SmallVec<[SymDim; 6]>>);

impl ShapeFact {
    /// Nothing is known, not even the rank.
    pub fn unknown() -> ShapeFact {
        ShapeFact(None)
    }

    /// Only the rank is known.
    pub fn of_rank(rank: usize) -> ShapeFact {
        ShapeFact(Some(SmallVec::from_elem(SymDim::Unknown, rank)))
    }

    /// The extents, if the rank is known.
    pub fn dims(&self) -> Option<&[SymDim]> {
        self.0.as_deref()
    }

    /// The rank, if known.
    pub fn rank(&self) -> Option<usize> {
        self.0.as_ref().map(|dims| dims.len())
    }

    /// The extent of an axis below the rank, if the rank is known.
    pub fn dim(&self, axis: usize) -> SymDim {
        self.dims().and_then(|dims| dims.get(axis)).cloned().unwrap_or(SymDim::Unknown)
    }

    /// The shape, if every extent is a number.
    pub fn concrete(&self) -> Option<Shape> {
        self.dims()?.iter().map(SymDim::known).collect()
    }

    /// The common shape under NumPy's broadcasting, as far as it is known; `None` when the two cannot fit.
    pub fn broadcast(&self, other: &ShapeFact) -> Option<ShapeFact> {
        let (Some(a), Some(b)) = (self.dims(), other.dims()) else { return Some(ShapeFact::unknown()) };
        let rank = a.len().max(b.len());
        let at = |dims: &[SymDim], i: usize| {
            (i + dims.len()).checked_sub(rank).map_or(SymDim::Known(1), |i| dims[i].clone())
        };
        (0..rank)
            .map(|i| broadcast_dim(at(a, i), at(b, i)))
            .collect::<Option<_>>()
            .map(|dims| ShapeFact(Some(dims)))
    }

    /// What is known when both describe one value; `None` when they contradict each other.
    pub fn merge(&self, other: &ShapeFact) -> Option<ShapeFact> {
        match (self.dims(), other.dims()) {
            (None, _) => Some(other.clone()),
            (_, None) => Some(self.clone()),
            (Some(a), Some(b)) if a.len() != b.len() => None,
            (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| a.merge(b)).collect::<Option<ShapeFact>>(),
        }
    }
}

fn broadcast_dim(a: SymDim, b: SymDim) -> Option<SymDim> {
    use SymDim::{Known, Unknown};
    Some(match (a, b) {
        (Known(1), dim) | (dim, Known(1)) => dim,
        (Known(a), Known(b)) => return (a == b).then_some(Known(a)),
        // A number other than 1 wins: the other side is either 1 or that number.
        (Known(a), _) | (_, Known(a)) => Known(a),
        (a, b) if a.same(&b) => a,
        _ => Unknown,
    })
}

impl From<&Shape> for ShapeFact {
    fn from(shape: &Shape) -> ShapeFact {
        shape.iter().map(|&n| SymDim::Known(n)).collect()
    }
}

impl From<Shape> for ShapeFact {
    fn from(shape: Shape) -> ShapeFact {
        ShapeFact::from(&shape)
    }
}

impl<const N: usize> From<[usize; N]> for ShapeFact {
    fn from(dims: [usize; N]) -> ShapeFact {
        dims.into_iter().map(SymDim::Known).collect()
    }
}

impl From<Vec<SymDim>> for ShapeFact {
    fn from(dims: Vec<SymDim>) -> ShapeFact {
        dims.into_iter().collect()
    }
}

impl FromIterator<SymDim> for ShapeFact {
    fn from_iter<I: IntoIterator<Item = SymDim>>(dims: I) -> ShapeFact {
        ShapeFact(Some(dims.into_iter().collect()))
    }
}

impl fmt::Display for ShapeFact {
    /// `1x3xHxW`; `scalar`; `?` when nothing is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dims() {
            None => f.write_str("?"),
            Some([]) => f.write_str("scalar"),
            Some(dims) => {
                let text: Vec<String> = dims.iter().map(SymDim::to_string).collect();
                f.write_str(&text.join("x"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_keeps_what_is_certain() {
        let n = SymDim::Symbol("n".into());
        let a = ShapeFact::from(vec![n.clone(), SymDim::Known(1)]);
        assert_eq!(a.broadcast(&ShapeFact::from([5])), Some(vec![n.clone(), SymDim::Known(5)].into()));
        assert_eq!(a.broadcast(&a), Some(a.clone()));
        assert_eq!(a.broadcast(&ShapeFact::from([7, 3])), Some(ShapeFact::from([7, 3])));
        assert_eq!(ShapeFact::from([2]).broadcast(&ShapeFact::from([3])), None);
        assert_eq!(a.broadcast(&ShapeFact::unknown()), Some(ShapeFact::unknown()));
    }
}
