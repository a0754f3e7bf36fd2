//! Scaled dot-product attention (<https://arxiv.org/abs/1706.03762>) that a model spells out as products and a softmax.

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::sdpa::{Bias, Mask, Reach, Sdpa};
use crate::types::FLOATS;

/// `softmax(scale Q Kᵀ + mask) V`.
///
/// Inputs, of one float type: queries, keys, values, each in its own [`Layout`]; then, optional, a mask that broadcasts
/// to `[batch, heads, queries, keys]`: of the same type it is added; of bool, a score where it is false becomes `fill`.
/// Heads of the queries are a multiple of those of keys and values. Output: `[batch, heads, queries, values]` in its
/// layout.
///
/// With three axes, which only [`Layout::HeadsFirst`] takes, there is one head: `[batch, length, width]`, and so for the
/// mask; with two axes one batch too. A key that the mask hides (minus infinity) does not matter, whatever it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// What the products are multiplied by.
    pub scale: f32,
    /// How queries, keys and values are stored.
    pub layouts: [Layout; 3],
    /// How the output is stored.
    pub output: Layout,
    /// The score of a key that a bool mask hides: minus infinity, or a negative number.
    pub fill: f32,
    /// Whether a query whose softmax is not a number (it sees no key) gives zeros instead.
    pub zero_nan: bool,
}

/// The order of the axes of a tensor whose last axis is the width of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `[batch, heads, length, width]`.
    #[default]
    HeadsFirst,
    /// `[batch, length, heads, width]`, as linear layers give it.
    LengthFirst,
    /// `[length, batch, heads, width]`.
    LengthOuter,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 3] = [Layout::HeadsFirst, Layout::LengthFirst, Layout::LengthOuter];

    /// Places of batch, heads, length and width in the tensor.
    pub fn axes(self) -> [usize; 4] {
        match self {
            Layout::HeadsFirst => [0, 1, 2, 3],
            Layout::LengthFirst => [0, 2, 1, 3],
            Layout::LengthOuter => [1, 2, 0, 3],
        }
    }

    /// Batch, heads, length and width of a tensor of two to four axes.
    pub fn extents<T: Clone>(self, dims: &[T], one: T) -> Option<[T; 4]> {
        match (self, dims) {
            (Layout::HeadsFirst, [length, width]) => Some([one.clone(), one, length.clone(), width.clone()]),
            (Layout::HeadsFirst, [batch, length, width]) => {
                Some([batch.clone(), one, length.clone(), width.clone()])
            }
            (_, [_, _, _, _]) => Some(self.axes().map(|axis| dims[axis].clone())),
            _ => None,
        }
    }

    /// The dimensions of a tensor of `rank` axes with this batch, heads, length and width.
    fn dims<T: Clone>(self, extents: &[T; 4], rank: usize) -> Vec<T> {
        let [batch, _, length, width] = extents;
        match rank {
            2 => vec![length.clone(), width.clone()],
            3 => vec![batch.clone(), length.clone(), width.clone()],
            _ => {
                let mut dims = extents.to_vec();
                for (extent, axis) in extents.iter().zip(self.axes()) {
                    dims[axis] = extent.clone();
                }
                dims
            }
        }
    }
}

impl Attention {
    /// Position of the mask among the inputs.
    pub const MASK: usize = 3;

    /// The attention for queries, keys and values of the given shapes.
    ///
    /// # Errors
    /// The shapes do not fit each other.
    pub fn sdpa(&self, shapes: [&Shape; 3]) -> Result<Sdpa, OpError> {
        let mut extents = [[0; 4]; 3];
        for (index, shape) in shapes.into_iter().enumerate() {
            extents[index] = self.layouts[index]
                .extents(shape.dims(), 1)
                .filter(|_| shape.rank() == shapes[0].rank())
                .ok_or_else(|| {
                    OpError::shape(index, format!("the axes of {:?}", self.layouts[index]), shape)
                })?;
        }
        let [[batch, q_heads, q_len, head], [k_batch, kv_heads, kv_len, k_head], v] = extents;
        if (k_batch, k_head) != (batch, head) {
            return Err(OpError::shape(
                1,
                format!("the batch and width of queries {}", shapes[0]),
                shapes[1],
            ));
        }
        if v[..3] != [batch, kv_heads, kv_len] {
            return Err(OpError::shape(
                2,
                format!("batch, heads and length of keys {}", shapes[1]),
                shapes[2],
            ));
        }
        let (scale, softcap, reach) = (f64::from(self.scale), 0.0, Reach::default());
        let sdpa =
            Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head: v[3], scale, softcap, reach };
        sdpa.check()?;
        Ok(sdpa)
    }

    /// The shape of a mask, with an axis for the heads that inputs of `rank` 3 do not have.
    ///
    /// # Errors
    /// It does not broadcast to the scores.
    pub fn mask_shape(&self, sdpa: &Sdpa, rank: usize, shape: &Shape) -> Result<Shape, OpError> {
        let mut dims = shape.dims().to_vec();
        if rank == 3 && dims.len() == 3 {
            dims.insert(1, 1);
        }
        let target = sdpa.scores_shape();
        let fits = dims.len() <= 4
            && shape.rank() <= rank
            && dims.iter().rev().zip(target.iter().rev()).all(|(&own, &target)| own == 1 || own == target);
        if !fits {
            return Err(OpError::shape(
                Attention::MASK,
                format!("a shape that broadcasts to {target}"),
                shape,
            ));
        }
        Ok(Shape::from(dims))
    }

    fn check(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let dtype = inputs.dtype(0)?;
        FLOATS.check(0, dtype)?;
        for index in 1..3 {
            if inputs.dtype(index)? != dtype {
                return Err(OpError::dtype(index, dtype.to_string(), inputs.dtype(index)?));
            }
        }
        if let Some(mask) = inputs.optional(Attention::MASK)?
            && mask.dtype != dtype
            && mask.dtype != DType::Bool
        {
            return Err(OpError::dtype(Attention::MASK, format!("bool or {dtype}"), mask.dtype));
        }
        if self.fill >= 0.0 || self.fill.is_nan() {
            return Err(OpError::Invalid(format!("a hidden score is negative, got {}", self.fill)));
        }
        let [Some(q), Some(k), Some(v)] =
            [0, 1, 2].map(|index| inputs.get(index).and_then(Fact::concrete_shape))
        else {
            return Ok(());
        };
        let sdpa = self.sdpa([&q, &k, &v])?;
        if let Some(mask) = inputs.get(Attention::MASK).and_then(Fact::concrete_shape) {
            self.mask_shape(&sdpa, q.rank(), &mask)?;
        }
        Ok(())
    }

    /// Adds the mask to the scores, or fills hidden ones.
    fn mask(&self, sdpa: &Sdpa, scores: &mut [f64], mask: &Tensor, rank: usize) -> Result<(), OpError> {
        let shape = self.mask_shape(sdpa, rank, mask.shape())?;
        let mut values = mask.to_f64()?;
        let bool = mask.dtype() == DType::Bool;
        if bool {
            values.iter_mut().for_each(|x| *x = if *x != 0.0 { 0.0 } else { f64::NEG_INFINITY });
        }
        let mut dims = shape.dims().to_vec();
        if let Some(last) = dims.last_mut().filter(|last| **last == 1) {
            *last = sdpa.kv_len;
            values = values.into_iter().flat_map(|x| std::iter::repeat_n(x, sdpa.kv_len)).collect();
        }
        let shape = Shape::from(dims);
        let biases = vec![Bias::new(Attention::MASK, sdpa, &shape, values)?];
        let mask = Mask { biases, ..Mask::default() };
        if !bool {
            sdpa.mask(scores, &mask);
            return Ok(());
        }
        let mut hidden: Vec<f64> = zeroed(scores.len())?;
        sdpa.mask(&mut hidden, &mask);
        let hidden = scores.iter_mut().zip(hidden).filter(|(_, hidden)| *hidden != 0.0);
        hidden.for_each(|(score, _)| *score = f64::from(self.fill));
        Ok(())
    }
}

impl Operator for Attention {
    fn key(&self) -> OpKey {
        OpKey::fused("Attention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.check(inputs)?;
        let extents = |index: usize| -> Result<Option<([SymDim; 4], usize)>, OpError> {
            let dims = inputs.shape(index)?.dims();
            Ok(dims.and_then(|dims| Some((self.layouts[index].extents(dims, SymDim::Known(1))?, dims.len()))))
        };
        let dtype = inputs.dtype(0)?;
        let Some(([batch, heads, length, _], rank)) = extents(0)? else {
            return Ok(vec![Fact::tensor(dtype, ShapeFact::unknown())]);
        };
        let width = extents(2)?.map_or(SymDim::Unknown, |([_, _, _, width], _)| width);
        Ok(vec![Fact::tensor(dtype, self.output.dims(&[batch, heads, length, width], rank))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let tensors = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
        let rank = tensors[0].shape().rank();
        let sdpa = self.sdpa(tensors.map(Tensor::shape))?;
        let [q, k, v] = [0, 1, 2].map(|index| heads_first(tensors[index], self.layouts[index]));
        let mut scores = sdpa.products(&q?, &k?)?;
        if let Some(mask) = inputs.optional(Attention::MASK)? {
            self.mask(&sdpa, &mut scores, mask, rank)?;
        }
        // The softmax of nothing but minus infinities is not a number.
        let rows = || scores.chunks_exact(sdpa.kv_len.max(1));
        let hidden: Vec<bool> =
            rows().map(|row| row.iter().all(|score| *score == f64::NEG_INFINITY)).collect();
        sdpa.softmax(&mut scores, None);
        for (row, hidden) in scores.chunks_exact_mut(sdpa.kv_len.max(1)).zip(hidden) {
            if hidden && !self.zero_nan {
                row.fill(f64::NAN);
            }
            if self.zero_nan {
                row.iter_mut().filter(|p| p.is_nan()).for_each(|p| *p = 0.0);
            }
        }
        let y = sdpa.combine(&scores, &v?)?;
        let extents = [sdpa.batch, sdpa.q_heads, sdpa.q_len, sdpa.v_head];
        let dims = self.output.dims(&extents, rank);
        let y = if rank == 4 { from_heads_first(&y, extents, self.output)? } else { y };
        Ok(vec![Tensor::from_f64(tensors[0].dtype(), dims, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return 0 };
        self.sdpa([&q, &k, &v]).map_or(0, |sdpa| sdpa.flops())
    }
}

/// Elements as `[batch, heads, length, width]`.
fn heads_first(tensor: &Tensor, layout: Layout) -> Result<Vec<f64>, OpError> {
    let values = tensor.to_f64()?;
    let Some(extents) = layout.extents(tensor.shape().dims(), 1).filter(|_| layout != Layout::HeadsFirst)
    else {
        return Ok(values);
    };
    let strides = tensor.shape().strides();
    let mut out: Vec<f64> = zeroed(values.len())?;
    let axes = layout.axes();
    each_row(extents, |row, [batch, head, place]| {
        let from = batch * strides[axes[0]] + head * strides[axes[1]] + place * strides[axes[2]];
        out[row * extents[3]..][..extents[3]].copy_from_slice(&values[from..][..extents[3]]);
    });
    Ok(out)
}

/// Elements in a layout, of `[batch, heads, length, width]`.
fn from_heads_first(values: &[f64], extents: [usize; 4], layout: Layout) -> Result<Vec<f64>, OpError> {
    let strides = Shape::from(layout.dims(&extents, 4)).strides();
    let mut out: Vec<f64> = zeroed(values.len())?;
    let axes = layout.axes();
    each_row(extents, |row, [batch, head, place]| {
        let to = batch * strides[axes[0]] + head * strides[axes[1]] + place * strides[axes[2]];
        out[to..][..extents[3]].copy_from_slice(&values[row * extents[3]..][..extents[3]]);
    });
    Ok(out)
}

/// Calls `f` with the number and the place of each row of `[batch, heads, length, width]`, if rows have elements.
fn each_row([batch, heads, length, width]: [usize; 4], mut f: impl FnMut(usize, [usize; 3])) {
    let rows = if width == 0 { 0 } else { batch * heads * length };
    (0..rows).for_each(|row| f(row, [row / (heads * length), row / length % heads, row % length]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn attention() -> Attention {
        Attention {
            scale: 1.0,
            layouts: [Layout::HeadsFirst; 3],
            output: Layout::HeadsFirst,
            fill: f32::NEG_INFINITY,
            zero_nan: false,
        }
    }

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn every_layout_gives_the_same() {
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let extents = [[2, 4, 3, 5], [2, 2, 6, 5], [2, 2, 6, 1]];
        let first = extents.map(|e| tensor(&e, &values(e.iter().product())));
        let expected = run(&attention(), &first).remove(0);
        assert_eq!(expected.shape().dims(), [2, 4, 3, 1]);
        for layout in Layout::ALL {
            let stored = [0, 1, 2].map(|i| {
                let values = from_heads_first(&first[i].to_f64().unwrap(), extents[i], layout).unwrap();
                Tensor::from_f64(DType::F32, layout.dims(&extents[i], 4), &values).unwrap()
            });
            let op = Attention { layouts: [layout; 3], output: layout, ..attention() };
            let y = run(&op, &stored).remove(0);
            assert_eq!(heads_first(&y, layout).unwrap(), expected.to_f64().unwrap(), "{layout:?}");
        }
    }

    #[test]
    fn fewer_axes_have_one_head() {
        let q = tensor(&[2, 1, 1], &[0.0, 0.0]);
        let v = tensor(&[2, 2, 1], &[1.0, 3.0, 5.0, 9.0]);
        let mask = tensor(&[2, 1, 2], &[0.0, 0.0, 0.0, f32::NEG_INFINITY]);
        let y = run(&attention(), &[q, v.clone(), v, mask]).remove(0);
        assert_eq!((y.shape().dims(), y.to_f64().unwrap()), (&[2, 1, 1][..], vec![2.0, 5.0]));
        let y = run(
            &attention(),
            &[tensor(&[1, 1], &[0.0]), tensor(&[2, 1], &[1.0, 3.0]), tensor(&[2, 1], &[1.0, 3.0])],
        );
        assert_eq!((y[0].shape().dims(), y[0].to_f64().unwrap()), (&[1, 1][..], vec![2.0]));
    }

    #[test]
    fn a_query_that_sees_nothing() {
        let (q, v) = (tensor(&[1, 1, 1, 1], &[0.0]), tensor(&[1, 1, 2, 1], &[1.0, 3.0]));
        let hidden = Tensor::from_vec([2], vec![false; 2]).unwrap();
        let y = |op: Attention| {
            run(&op, &[q.clone(), v.clone(), v.clone(), hidden.clone()])[0].to_f64().unwrap()[0]
        };
        assert!(y(attention()).is_nan());
        assert_eq!(y(Attention { zero_nan: true, ..attention() }), 0.0);
        assert_eq!(y(Attention { fill: -1e9, ..attention() }), 2.0);
    }

    #[test]
    fn unfit_inputs_are_errors() {
        let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
        let good = [zeros(&[1, 2, 3, 4]), zeros(&[1, 2, 5, 4]), zeros(&[1, 2, 5, 6])];
        assert!(try_run(&attention(), &good).is_ok());
        for (index, shape) in
            [(0, &[1, 3, 3, 4][..]), (1, &[1, 2, 5, 3]), (2, &[1, 2, 4, 6]), (1, &[2, 5, 4])]
        {
            let mut inputs = good.clone();
            inputs[index] = zeros(shape);
            assert!(try_run(&attention(), &inputs).is_err(), "{index} {shape:?}");
        }
        let mut inputs = good.to_vec();
        inputs.push(zeros(&[3, 4]));
        assert!(try_run(&attention(), &inputs).is_err());
        assert!(try_run(&Attention { fill: 1.0, ..attention() }, &good).is_err());
    }
}
