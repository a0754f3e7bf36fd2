//! Sums of products over named axes, two operands at a time.

use inferrum_graph::OpError;
use inferrum_tensor::{Shape, zeroed};

use crate::index::{PerAxis, offsets};
use crate::number::Number;

/// An operand: numbers, each axis of which is named once.
#[derive(Debug)]
pub(super) struct Term<N> {
    axes: Vec<usize>,
    strides: Vec<isize>,
    numbers: Vec<N>,
}

impl<N: Number> Term<N> {
    /// The elements of a tensor of `shape` whose axes are `axes`. One that is named twice becomes its diagonal, and one
    /// of extent 1 is repeated as often as wanted.
    pub(super) fn new(shape: &Shape, axes: &[usize], numbers: Vec<N>) -> Term<N> {
        let mut term = Term { axes: Vec::new(), strides: Vec::new(), numbers };
        for ((&axis, &extent), &stride) in axes.iter().zip(shape.iter()).zip(&shape.strides()) {
            let stride = if extent == 1 { 0 } else { isize::try_from(stride).unwrap_or(isize::MAX) };
            match term.axes.iter().position(|&known| known == axis) {
                Some(known) => term.strides[known] = term.strides[known].saturating_add(stride),
                None => {
                    term.axes.push(axis);
                    term.strides.push(stride);
                }
            }
        }
        term
    }

    /// From one index of each of `axes` to the next; 0 for an axis that the operand does not have.
    fn strides(&self, axes: &[usize]) -> PerAxis<isize> {
        let stride = |axis| self.axes.iter().position(|&own| own == axis).map_or(0, |own| self.strides[own]);
        axes.iter().map(|&axis| stride(axis)).collect()
    }
}

/// The sums of the products of `terms`, one for each index of the axes `output`; `extents` holds that of each axis.
///
/// # Errors
/// Memory.
pub(super) fn contract_all<N: Number>(
    terms: Vec<Term<N>>,
    extents: &[usize],
    output: &[usize],
) -> Result<Vec<N>, OpError> {
    let mut product = Term { axes: Vec::new(), strides: Vec::new(), numbers: vec![N::ONE] };
    let mut terms: Vec<Term<N>> = terms;
    terms.reverse();
    while let Some(term) = terms.pop() {
        // What neither the output nor a later operand has is summed up before the product grows by it.
        let later = |axis: &usize| output.contains(axis) || terms.iter().any(|term| term.axes.contains(axis));
        let own: Vec<usize> =
            term.axes.iter().copied().filter(|axis| later(axis) || product.axes.contains(axis)).collect();
        let term = contract(&term, &unit(), extents, own)?;
        let mut kept: Vec<usize> =
            product.axes.iter().chain(&term.axes).copied().filter(|axis| later(axis)).collect();
        kept.sort_unstable();
        kept.dedup();
        product = contract(&product, &term, extents, kept)?;
    }
    Ok(contract(&product, &unit(), extents, output.to_vec())?.numbers)
}

fn unit<N: Number>() -> Term<N> {
    Term { axes: Vec::new(), strides: Vec::new(), numbers: vec![N::ONE] }
}

/// The product of two operands, dense over the axes `kept` and summed over their others.
fn contract<N: Number>(
    a: &Term<N>,
    b: &Term<N>,
    extents: &[usize],
    kept: Vec<usize>,
) -> Result<Term<N>, OpError> {
    let mut summed: Vec<usize> =
        a.axes.iter().chain(&b.axes).copied().filter(|axis| !kept.contains(axis)).collect();
    summed.sort_unstable();
    summed.dedup();
    let extents_of = |axes: &[usize]| axes.iter().map(|&axis| extents[axis]).collect::<Shape>();
    let (outer, inner) = (extents_of(&kept), extents_of(&summed));
    let mut numbers = zeroed::<N>(outer.elements())?;
    let (a_inner, b_inner) = (a.strides(&summed), b.strides(&summed));
    let starts = offsets(&outer, &a.strides(&kept), 0).zip(offsets(&outer, &b.strides(&kept), 0));
    for (number, (a_start, b_start)) in numbers.iter_mut().zip(starts) {
        let pairs = offsets(&inner, &a_inner, a_start).zip(offsets(&inner, &b_inner, b_start));
        *number = pairs.fold(N::ZERO, |sum, (i, j)| sum.plus(a.numbers[i].times(b.numbers[j])));
    }
    let strides = outer.strides().iter().map(|&stride| stride as isize).collect();
    Ok(Term { axes: kept, strides, numbers })
}
