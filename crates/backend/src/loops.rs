//! Nested loops over several operands with strides: broadcasting, transposing and slicing all come to this.

use inferrum_tensor::Shape;
use smallvec::SmallVec;

use crate::Decline;

/// Loops that are left after joining may be nested so deep.
pub const MAX_RANK: usize = 8;
/// Most operands of one nest of loops.
pub const MAX_OPERANDS: usize = 16;

/// Loops in row-major order over an index space, and for each operand how its offset moves along each of them.
///
/// Neighbouring loops that every operand walks as one are joined; loops of one iteration vanish. At least one is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Loops {
    dims: SmallVec<[usize; MAX_RANK]>,
    strides: SmallVec<[[isize; MAX_RANK]; 4]>,
}

impl Loops {
    /// Loops of the extents `dims`; `strides[operand][axis]` counts in elements and may be negative.
    ///
    /// # Errors
    /// Too many loops remain, or there are too many operands.
    pub fn new(dims: &[usize], strides: &[&[isize]]) -> Result<Loops, Decline> {
        if strides.len() > MAX_OPERANDS {
            return Err(Decline(format!("{} operands, the kernel takes {MAX_OPERANDS}", strides.len())));
        }
        // From the innermost outwards; `kept` is reversed in the end.
        let mut kept: Vec<(usize, Vec<isize>)> = Vec::with_capacity(dims.len());
        for axis in (0..dims.len()).rev().filter(|&axis| dims[axis] != 1) {
            let steps: Vec<isize> = strides.iter().map(|strides| strides[axis]).collect();
            match kept.last_mut() {
                Some((inner, inner_steps)) if joins(*inner, inner_steps, &steps) => {
                    *inner = inner.saturating_mul(dims[axis]);
                }
                _ => kept.push((dims[axis], steps)),
            }
        }
        if kept.is_empty() {
            kept.push((1, vec![0; strides.len()]));
        }
        if kept.len() > MAX_RANK {
            return Err(Decline(format!("{} nested loops remain, the kernel takes {MAX_RANK}", kept.len())));
        }
        let mut loops =
            Loops { dims: SmallVec::new(), strides: SmallVec::from_elem([0; MAX_RANK], strides.len()) };
        for (axis, (extent, steps)) in kept.into_iter().rev().enumerate() {
            loops.dims.push(extent);
            for (strides, step) in loops.strides.iter_mut().zip(steps) {
                strides[axis] = step;
            }
        }
        Ok(loops)
    }

    /// Loops over `output`, to which every operand of `shapes` broadcasts.
    ///
    /// # Errors
    /// As [`Loops::new`]; an operand does not broadcast.
    pub fn broadcast(output: &Shape, shapes: &[&Shape]) -> Result<Loops, Decline> {
        let strides = shapes
            .iter()
            .map(|shape| {
                broadcast_strides(output, shape)
                    .ok_or_else(|| Decline(format!("{shape} does not broadcast to {output}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Loops::new(output, &strides.iter().map(|s| &s[..]).collect::<Vec<_>>())
    }

    /// Number of operands.
    pub fn operands(&self) -> usize {
        self.strides.len()
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Iterations of the innermost loop.
    pub fn inner(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    /// Strides of an operand along [`Loops::dims`].
    pub fn strides(&self, operand: usize) -> &[isize] {
        &self.strides[operand][..self.dims.len()]
    }

    /// The stride of an operand along the innermost loop.
    pub fn inner_stride(&self, operand: usize) -> isize {
        self.strides[operand][self.dims.len() - 1]
    }

    /// Whether the operand's elements are taken one after the other.
    pub fn is_dense(&self, operand: usize) -> bool {
        let mut expected = 1usize;
        self.dims.iter().zip(self.strides(operand)).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || usize::try_from(stride) == Ok(expected);
            expected = expected.saturating_mul(extent);
            fits
        })
    }

    /// Whether the operand is a single element.
    pub fn is_scalar(&self, operand: usize) -> bool {
        self.strides(operand).iter().all(|&stride| stride == 0)
    }

    /// The number of elements after which an operand starts over, if it never moves in the outer loops.
    pub fn period(&self, operand: usize) -> usize {
        let moving = self.strides(operand).iter().position(|&stride| stride != 0);
        moving.map_or(1, |axis| self.dims[axis..].iter().product())
    }
}

fn joins(inner: usize, inner_steps: &[isize], steps: &[isize]) -> bool {
    let inner = isize::try_from(inner).unwrap_or(isize::MAX);
    inner_steps.iter().zip(steps).all(|(&inner_step, &step)| inner_step.checked_mul(inner) == Some(step))
}

/// Strides of a dense tensor of `shape`.
pub fn dense_strides(shape: &Shape) -> SmallVec<[isize; 6]> {
    shape.strides().iter().map(|&stride| stride as isize).collect()
}

/// Strides of a dense tensor of `shape` along the axes of `output`, 0 where it repeats.
pub fn broadcast_strides(output: &Shape, shape: &Shape) -> Option<SmallVec<[isize; 6]>> {
    let lead = output.rank().checked_sub(shape.rank())?;
    let mut strides: SmallVec<[isize; 6]> = SmallVec::from_elem(0, lead);
    for ((&extent, &wanted), stride) in shape.iter().zip(&output[lead..]).zip(dense_strides(shape)) {
        if extent != wanted && extent != 1 {
            return None;
        }
        strides.push(if extent == 1 { 0 } else { stride });
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_walked_alike_are_joined() {
        let shape = Shape::from([2, 3, 4]);
        let loops = Loops::broadcast(&shape, &[&shape, &Shape::from([4]), &Shape::scalar()]).unwrap();
        assert_eq!(loops.dims(), [6, 4]);
        assert!(loops.is_dense(0) && !loops.is_dense(1) && loops.is_scalar(2));
        assert_eq!((loops.period(0), loops.period(1), loops.period(2)), (24, 4, 1));
        let loops = Loops::broadcast(&shape, &[&shape, &Shape::from([1, 1, 1])]).unwrap();
        assert_eq!(loops.dims(), [24]);
        assert_eq!(Loops::broadcast(&Shape::scalar(), &[&Shape::scalar()]).unwrap().dims(), [1]);
    }
}
