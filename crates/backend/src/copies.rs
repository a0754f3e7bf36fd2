//! Operators that only move elements: which element goes where, for every device alike.

use std::any::TypeId;
use std::sync::LazyLock;

use inferrum_graph::Operator;
use inferrum_tensor::Shape;

use crate::{BoundNode, Decline, KernelRow, KernelTable, Loops, dense_strides};

/// Where the elements of an operand are: the first, and the steps along the loops, all counted in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The first element.
    pub start: isize,
    /// A step for each loop.
    pub strides: Vec<isize>,
}

/// A copy of elements from an input to an output, in loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position of the input.
    pub input: usize,
    /// Position of the output.
    pub output: usize,
    /// Extents of the loops, outermost first.
    pub dims: Vec<usize>,
    /// Where elements come from.
    pub source: Walk,
    /// Where they go, each to a place of its own.
    pub target: Walk,
}

/// All that an operator does: its copies together fill the outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The copies, in any order.
    pub parts: Vec<Part>,
    /// Inputs that are constants and say where elements go, but are none themselves.
    pub unread: &'static [usize],
}

impl Walk {
    /// Elements that lie one after the other.
    fn dense(dims: &[usize]) -> Walk {
        Walk { start: 0, strides: dense_strides(&Shape::from(dims)).to_vec() }
    }
}

impl Part {
    /// A copy that fills output 0, in its order, from input 0.
    fn gathered(dims: &[usize], start: isize, strides: &[isize]) -> Part {
        let source = Walk { start, strides: strides.to_vec() };
        Part { input: 0, output: 0, dims: dims.to_vec(), source, target: Walk::dense(dims) }
    }

    /// The loops, joined where that is possible: operand 0 is the source, operand 1 the target.
    ///
    /// # Errors
    /// Too many loops remain.
    pub fn loops(&self) -> Result<Loops, Decline> {
        Loops::new(&self.dims, &[&self.source.strides, &self.target.strides])
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Extents from which on tiles are worth it.
const LEAST_SIDE: usize = 8;

/// A copy with its loops: operand 0 is the source, operand 1 the target.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// The copy.
    pub part: &'a Part,
    /// Its loops, joined.
    pub loops: Loops,
}

impl<'a> Piece<'a> {
    /// The loops of a copy.
    ///
    /// # Errors
    /// Too many remain.
    pub fn of(part: &'a Part) -> Result<Piece<'a>, Decline> {
        Ok(Piece { part, loops: part.loops()? })
    }

    /// The first elements of source and target.
    pub fn starts(&self) -> [isize; 2] {
        [self.part.source.start, self.part.target.start]
    }

    /// Whether all runs and steps are multiples of `factor` elements.
    pub fn comes_in(&self, factor: usize) -> bool {
        let whole = |number: isize| number % factor as isize == 0;
        let rank = self.loops.dims().len();
        self.loops.inner().is_multiple_of(factor)
            && self.starts().into_iter().all(whole)
            && [0, 1].into_iter().all(|operand| {
                let strides = self.loops.strides(operand);
                strides[rank - 1] == 1 && strides[..rank - 1].iter().copied().all(whole)
            })
    }

    /// The loops over runs of `factor` elements, in which all comes.
    ///
    /// # Errors
    /// As [`Piece::of`].
    pub fn widened(&self, factor: usize) -> Result<Loops, Decline> {
        let mut dims = self.loops.dims().to_vec();
        let last = dims.len() - 1;
        dims[last] /= factor;
        let [source, target] = [0, 1].map(|operand| {
            let strides = self.loops.strides(operand).iter().enumerate();
            let narrow = |(axis, &stride)| if axis == last { stride } else { stride / factor as isize };
            strides.map(narrow).collect::<Vec<isize>>()
        });
        Loops::new(&dims, &[&source, &target])
    }

    /// The loop along which the source's neighbours lie, where the target's lie along the innermost one and both are long.
    pub fn across(&self) -> Option<usize> {
        let (dims, inner) = (self.loops.dims(), self.loops.dims().len() - 1);
        let along = |&axis: &usize| self.loops.strides(0)[axis] == 1 && dims[axis] >= LEAST_SIDE;
        (self.loops.inner_stride(1) == 1 && self.loops.inner_stride(0) != 1 && dims[inner] >= LEAST_SIDE)
            .then(|| (0..inner).find(along))?
    }
}

impl Parts {
    /// Whether the first output is the first input's elements under another shape.
    pub fn is_view(&self, bound: &BoundNode<'_>) -> bool {
        let [part @ Part { input: 0, output: 0, .. }] = &self.parts[..] else { return false };
        let elements = [bound.shape(0), bound.output_shape(0)].map(|shape| shape.map(|s| s.elements()).ok());
        let whole =
            elements == [Some(part.elements()); 2] && part.source.start == 0 && part.target.start == 0;
        whole && part.loops().is_ok_and(|loops| loops.is_dense(0) && loops.is_dense(1))
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Parts {
        Parts { parts: vec![part], unread: &[] }
    }
}

/// What makes the copies of an operator.
type Lower = fn(&dyn Operator, &BoundNode<'_>) -> Result<Parts, Decline>;

/// The table: `file: operator type, ...;`. The file's function `parts` makes the copies.
macro_rules! copies {
    ($($file:ident: $($op:ty),+;)*) => {
        $(pub mod $file;)*
        const ROWS: &[KernelRow<Lower>] = &[$($(KernelRow {
            operator: || TypeId::of::<$op>(),
            path: stringify!($op),
            room: stringify!($file),
            lower: |op, bound| match (op as &dyn std::any::Any).downcast_ref::<$op>() {
                Some(op) => $file::parts(op, bound),
                None => Err(Decline("another operator".into())),
            },
        }),+),*];
    };
}

copies! {
    concat: inferrum_ops::concat::Concat;
    crop: inferrum_ops::crop::Crop;
    depth_to_space: inferrum_ops::depth_to_space::DepthToSpace, inferrum_ops::depth_to_space::SpaceToDepth;
    expand: inferrum_ops::expand::Expand;
    gather: inferrum_ops::gather::Gather;
    slice: inferrum_ops::slice::Slice;
    split: inferrum_ops::split::Split;
    tile: inferrum_ops::tile::Tile;
    transpose: inferrum_ops::transpose::Transpose;
}

static TABLE: LazyLock<KernelTable<Lower>> = LazyLock::new(|| KernelTable::new(ROWS));

/// The copies that a node comes to.
///
/// # Errors
/// It does something else, at least with such inputs, or takes impossible ones.
pub fn parts(op: &dyn Operator, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let row = TABLE.find(op).ok_or_else(|| Decline(format!("{} does not only move elements", op.key())))?;
    (row.lower)(op, bound)
}
