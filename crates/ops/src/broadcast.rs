//! NumPy broadcasting (<https://onnx.ai/onnx/repo-docs/Broadcasting.html>) of any number of operands.

use inferrum_graph::{Facts, OpError, ShapeFact};
use inferrum_tensor::{Shape, TensorError, collected};
use smallvec::SmallVec;

/// How operands of different shapes are read to give a tensor of their common shape.
///
/// Neighbouring axes that every operand walks alike are joined, so equal shapes are one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    shape: Shape,
    dims: SmallVec<[usize; 6]>,
    strides: SmallVec<[SmallVec<[usize; 6]>; 3]>,
}

impl Broadcast {
    /// The way through operands of these shapes.
    ///
    /// # Errors
    /// [`OpError::Shape`] naming the first operand that does not fit those before it.
    pub fn new(operands: &[&Shape]) -> Result<Broadcast, OpError> {
        let mut shape = Shape::scalar();
        for (index, operand) in operands.iter().enumerate() {
            shape = shape.broadcast(operand).ok_or_else(|| misfit(index, &shape, operand))?;
        }
        let strides = operands.iter().map(|operand| strides_in(operand, shape.rank())).collect();
        let mut broadcast = Broadcast { dims: shape.iter().copied().collect(), shape, strides };
        broadcast.join_axes();
        Ok(broadcast)
    }

    /// As [`Broadcast::new`], but the operands may not enlarge the first.
    ///
    /// # Errors
    /// [`OpError::Shape`].
    pub fn onto_first(operands: &[&Shape]) -> Result<Broadcast, OpError> {
        let broadcast = Broadcast::new(operands)?;
        match operands.first() {
            Some(first) if **first != broadcast.shape => {
                let rest: Vec<String> = operands[1..].iter().map(|shape| shape.to_string()).collect();
                Err(OpError::shape(1, format!("that broadcasts to {first}"), rest.join(", ")))
            }
            _ => Ok(broadcast),
        }
    }

    /// The common shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The extents of the joined axes, outermost first; empty for a single element.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// For each joined axis, how many elements of an operand lie between one index and the next; 0 where it repeats.
    ///
    /// # Panics
    /// There is no such operand.
    pub fn strides(&self, operand: usize) -> &[usize] {
        &self.strides[operand]
    }

    /// For each element of the common shape, row-major, the index of an operand's element.
    ///
    /// # Panics
    /// There is no such operand.
    pub fn indices(&self, operand: usize) -> Indices<'_> {
        Indices {
            dims: &self.dims,
            strides: &self.strides[operand],
            place: SmallVec::from_elem(0, self.dims.len()),
            index: 0,
            left: self.shape.elements(),
        }
    }

    /// An operand's elements repeated to the common shape.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`].
    pub(crate) fn expand<T: Clone>(&self, operand: usize, elements: &[T]) -> Result<Vec<T>, TensorError> {
        collected(self.shape.elements(), self.indices(operand).map(|i| elements[i].clone()))
    }

    /// `f` of the elements of operands 0 and 1, for each element of the common shape.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`].
    pub(crate) fn zip<A: Clone, B: Clone, R>(
        &self,
        a: &[A],
        b: &[B],
        mut f: impl FnMut(A, B) -> R,
    ) -> Result<Vec<R>, TensorError> {
        let pairs = self.indices(0).zip(self.indices(1));
        collected(self.shape.elements(), pairs.map(|(i, j)| f(a[i].clone(), b[j].clone())))
    }

    fn join_axes(&mut self) {
        // From the innermost axis outwards; `axis` is joined into the one kept last.
        let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
        let mut kept: SmallVec<[SmallVec<[usize; 6]>; 3]> =
            SmallVec::from_elem(SmallVec::new(), self.strides.len());
        for axis in (0..self.dims.len()).rev() {
            let extent = self.dims[axis];
            if extent == 1 {
                continue;
            }
            let joins = dims.last().is_some_and(|&inner| {
                self.strides.iter().zip(&kept).all(|(strides, kept)| {
                    kept.last().is_some_and(|&s| s.saturating_mul(inner) == strides[axis])
                })
            });
            match dims.last_mut() {
                Some(inner) if joins => *inner = inner.saturating_mul(extent),
                _ => {
                    dims.push(extent);
                    for (kept, strides) in kept.iter_mut().zip(&self.strides) {
                        kept.push(strides[axis]);
                    }
                }
            }
        }
        dims.reverse();
        kept.iter_mut().for_each(|strides| strides.reverse());
        (self.dims, self.strides) = (dims, kept);
    }
}

/// The operand's strides along the axes of a shape of `rank`; 0 where it repeats.
fn strides_in(operand: &Shape, rank: usize) -> SmallVec<[usize; 6]> {
    let mut strides: SmallVec<[usize; 6]> = SmallVec::from_elem(0, rank - operand.rank());
    strides.extend(operand.strides().iter().zip(operand.iter()).map(|(&s, &n)| if n == 1 { 0 } else { s }));
    strides
}

fn misfit(index: usize, common: &Shape, operand: &Shape) -> OpError {
    OpError::shape(index, format!("that broadcasts with {common}"), operand)
}

/// The common shape of inputs `0..count`, as far as it is known.
///
/// # Errors
/// [`OpError::Shape`] naming the first input that does not fit, [`OpError::Kind`], [`OpError::MissingInput`].
pub(crate) fn broadcast_facts(inputs: Facts<'_>, count: usize) -> Result<ShapeFact, OpError> {
    let mut common = ShapeFact::from([]);
    for index in 0..count {
        let shape = inputs.shape(index)?;
        common = common
            .broadcast(shape)
            .ok_or_else(|| OpError::shape(index, format!("that broadcasts with {common}"), shape))?;
    }
    Ok(common)
}

/// See [`Broadcast::indices`].
#[derive(Clone, Debug)]
pub struct Indices<'a> {
    dims: &'a [usize],
    strides: &'a [usize],
    place: SmallVec<[usize; 6]>,
    index: usize,
    left: usize,
}

impl Iterator for Indices<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let index = self.index;
        for axis in (0..self.dims.len()).rev() {
            self.place[axis] += 1;
            self.index += self.strides[axis];
            if self.place[axis] < self.dims[axis] {
                break;
            }
            self.index -= self.strides[axis] * self.dims[axis];
            self.place[axis] = 0;
        }
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Indices<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(shapes: &[&[usize]]) -> Vec<Vec<usize>> {
        let shapes: Vec<Shape> = shapes.iter().map(|&dims| Shape::from(dims)).collect();
        let broadcast = Broadcast::new(&shapes.iter().collect::<Vec<_>>()).unwrap();
        (0..shapes.len()).map(|operand| broadcast.indices(operand).collect()).collect()
    }

    #[test]
    fn operands_repeat_along_axes_of_extent_one() {
        assert_eq!(indices(&[&[2, 1], &[3]]), [vec![0, 0, 0, 1, 1, 1], vec![0, 1, 2, 0, 1, 2]]);
        assert_eq!(indices(&[&[], &[2, 2], &[1, 2]]), [vec![0; 4], vec![0, 1, 2, 3], vec![0, 1, 0, 1]]);
        assert_eq!(indices(&[&[2, 1, 2], &[3, 1]])[0], [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]);
        assert_eq!(indices(&[&[], &[]]), [[0], [0]]);
        assert_eq!(indices(&[&[0, 2], &[1]]), [vec![0usize; 0], vec![]]);
    }

    #[test]
    fn axes_walked_alike_are_joined() {
        let (a, b) = (Shape::from([2, 3, 4, 5]), Shape::from([4, 5]));
        let broadcast = Broadcast::new(&[&a, &b]).unwrap();
        assert_eq!(broadcast.dims(), [6, 20]);
        assert_eq!((broadcast.strides(0), broadcast.strides(1)), (&[20, 1][..], &[0, 1][..]));
        assert_eq!(Broadcast::new(&[&a, &a]).unwrap().dims(), [120]);
    }

    #[test]
    fn every_element_matches_index_arithmetic_by_hand() {
        let (a, b) = (Shape::from([3, 1, 2, 1]), Shape::from([4, 1, 5]));
        let broadcast = Broadcast::new(&[&a, &b]).unwrap();
        let mut expected = (Vec::new(), Vec::new());
        for i in 0..3 {
            for j in 0..4 {
                for k in 0..2 {
                    for l in 0..5 {
                        expected.0.push(i * 2 + k);
                        expected.1.push(j * 5 + l);
                    }
                }
            }
        }
        let got: (Vec<_>, Vec<_>) = (broadcast.indices(0).collect(), broadcast.indices(1).collect());
        assert_eq!(got, expected);
    }

    #[test]
    fn misfits_name_the_operand() {
        let (a, b) = (Shape::from([2, 3]), Shape::from([4]));
        assert!(matches!(Broadcast::new(&[&a, &a, &b]), Err(OpError::Shape { index: 2, .. })));
        assert!(Broadcast::onto_first(&[&b, &Shape::from([2, 1])]).is_err());
        assert!(Broadcast::onto_first(&[&a, &Shape::from([2, 1])]).is_ok());
    }
}
