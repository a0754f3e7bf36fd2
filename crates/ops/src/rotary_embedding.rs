//! `RotaryEmbedding` (<https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>), since opset 23, and the older operator
//! of the same name in `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::attention::heads;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("RotaryEmbedding", 4, |def| RotaryEmbedding::parse(def, Form::Onnx)),
    OpEntry::microsoft("RotaryEmbedding", 4, |def| RotaryEmbedding::parse(def, Form::Microsoft)),
];

/// Rotates pairs of elements by angles that grow with the position (<https://arxiv.org/abs/2104.09864>).
///
/// Data `[B, N, S, H]` or `[B, S, N*H]`, tables of cosines and sines, positions int64; see [`Form`] for their order. With
/// positions, the tables are `[P, R/2]` and looked up; without, `[B, S, R/2]`. The output is like the data.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryEmbedding {
    /// Which operator this is.
    pub form: Form,
    /// Heads, for data of three axes.
    pub heads: Option<usize>,
    /// Elements at the start of each head that are rotated; all of them when `None`.
    pub rotated: Option<usize>,
    /// Whether a pair is two neighbours; else it is an element of the first half and one of the second.
    pub interleaved: bool,
}

/// The two operators of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Inputs: data, cosines, sines, positions `[B, S]` (optional).
    Onnx,
    /// Inputs: data, positions `[B, S]` or `[1]` (that of the first element of every row), cosines, sines.
    Microsoft,
}

/// The extents of one call, however the data lies in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Extents {
    /// Independent sequences.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Positions.
    pub len: usize,
    /// Elements of a head.
    pub head: usize,
    /// Elements at the start of each head that are rotated.
    pub rotated: usize,
    /// Whether the data is `[B, N, S, H]`; else `[B, S, N*H]`.
    pub heads_first: bool,
}

impl RotaryEmbedding {
    fn parse(def: &mut NodeDef, form: Form) -> Result<Arc<dyn Operator>, OpError> {
        // Both attributes use 0 for "not given".
        let count = |def: &mut NodeDef, name: &str| match def.int(name)? {
            Some(0) | None => Ok(None),
            Some(n) => usize::try_from(n).map(Some).map_err(|_| OpError::attribute(name, "0 or more", n)),
        };
        let rotated = count(def, "rotary_embedding_dim")?;
        let num_heads = match form {
            Form::Onnx => heads(def, "num_heads")?,
            Form::Microsoft => count(def, "num_heads")?,
        };
        if form == Form::Microsoft {
            // ONNX Runtime reads a scale and does not use it; packed batches only relax a check.
            def.ignore(&["scale", "is_packed_batching"]);
        }
        if rotated.is_some_and(|rotated| rotated % 2 == 1) {
            return Err(OpError::attribute("rotary_embedding_dim", "an even number", rotated.unwrap_or(0)));
        }
        Ok(Arc::new(RotaryEmbedding {
            form,
            heads: num_heads,
            rotated,
            interleaved: def.flag("interleaved", false)?,
        }))
    }

    /// Places of cosines, sines and positions among the inputs.
    pub fn places(&self) -> (usize, usize, usize) {
        match self.form {
            Form::Onnx => (1, 2, 3),
            Form::Microsoft => (2, 3, 1),
        }
    }

    /// The extents for data of shape `data`, when the tables' last extent is `half`.
    ///
    /// # Errors
    /// Shapes and attributes do not fit each other.
    pub fn extents(&self, data: &Shape, half: usize) -> Result<Extents, OpError> {
        let (batch, heads, len, head, heads_first) = match (data.dims(), self.heads) {
            (&[batch, heads, len, head], _) => (batch, heads, len, head, true),
            (&[batch, len, hidden], Some(heads)) if hidden.is_multiple_of(heads) => {
                (batch, heads, len, hidden / heads, false)
            }
            // The contributed operator derives the head size from the tables.
            (&[batch, len, hidden], None) if self.form == Form::Microsoft => {
                let head = half.saturating_mul(2);
                if head == 0 || !hidden.is_multiple_of(head) {
                    return Err(OpError::shape(0, format!("[B, S, a multiple of {head}]"), data));
                }
                (batch, hidden / head, len, head, false)
            }
            (&[_, _, _], None) => {
                return Err(OpError::attribute(
                    "num_heads",
                    "the number of heads, as the data has three axes",
                    "nothing",
                ));
            }
            (&[_, _, _], Some(heads)) => {
                return Err(OpError::shape(0, format!("[B, S, a multiple of {heads}]"), data));
            }
            _ => return Err(OpError::shape(0, "[B, N, S, H] or [B, S, N*H]", data)),
        };
        let rotated = self.rotated.unwrap_or(head);
        if rotated > head || rotated % 2 == 1 {
            return Err(OpError::attribute(
                "rotary_embedding_dim",
                format!("an even number up to the head size {head}"),
                rotated,
            ));
        }
        if rotated / 2 != half {
            let expected = format!("a last extent of {}, half of what is rotated", rotated / 2);
            return Err(OpError::shape(self.places().0, expected, half));
        }
        Ok(Extents { batch, heads, len, head, rotated, heads_first })
    }

    /// For each batch and place of `extents`, the row of the tables, flattened.
    fn rows(
        &self,
        extents: &Extents,
        positions: Option<&Tensor>,
        table_rows: usize,
    ) -> Result<Vec<usize>, OpError> {
        let (batch, len) = (extents.batch, extents.len);
        let Some(positions) = positions else { return Ok((0..batch * len).collect()) };
        let ids = positions.to_i64()?;
        let offset_only = self.form == Form::Microsoft && positions.shape().rank() <= 1;
        let mut rows = Vec::with_capacity(batch * len);
        for place in 0..batch * len {
            let id = if offset_only {
                ids.first().copied().unwrap_or(0).saturating_add((place % len) as i64)
            } else {
                ids.get(place).copied().unwrap_or(0)
            };
            let row = usize::try_from(id).ok().filter(|&row| row < table_rows);
            rows.push(row.ok_or_else(|| {
                OpError::value(
                    self.places().2,
                    format!("positions are 0 to {}, got {id}", table_rows as i64 - 1),
                )
            })?);
        }
        Ok(rows)
    }

    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let (cos, sin, ids) = self.places();
        let (Some(data), Some(cos_shape)) =
            (inputs.get(0).and_then(Fact::concrete_shape), inputs.get(cos).and_then(Fact::concrete_shape))
        else {
            return Ok(());
        };
        let rank = if inputs.has(ids) { 2 } else { 3 };
        if cos_shape.rank() != rank {
            return Err(OpError::shape(cos, if rank == 2 { "[P, R/2]" } else { "[B, S, R/2]" }, cos_shape));
        }
        if let Some(sin_shape) = inputs.get(sin).and_then(Fact::concrete_shape)
            && sin_shape != cos_shape
        {
            return Err(OpError::shape(sin, cos_shape.to_string(), sin_shape));
        }
        let extents = self.extents(&data, cos_shape[rank - 1])?;
        let (batch, len) = (extents.batch, extents.len);
        if rank == 3 && cos_shape[..2] != [batch, len] {
            return Err(OpError::shape(cos, format!("[{batch}, {len}, {}]", extents.rotated / 2), cos_shape));
        }
        if let Some(ids_shape) = inputs.get(ids).and_then(Fact::concrete_shape) {
            let offset = self.form == Form::Microsoft && ids_shape.rank() <= 1 && ids_shape.elements() == 1;
            if !offset && ids_shape.dims() != [batch, len] {
                return Err(OpError::shape(ids, format!("[{batch}, {len}]"), ids_shape));
            }
        }
        Ok(())
    }
}

impl Operator for RotaryEmbedding {
    fn key(&self) -> OpKey {
        match self.form {
            Form::Onnx => OpKey::onnx("RotaryEmbedding"),
            Form::Microsoft => OpKey::microsoft("RotaryEmbedding"),
        }
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (cos, sin, ids) = self.places();
        let dtype = inputs.dtype(0)?;
        FLOATS.check(0, dtype)?;
        for index in [cos, sin] {
            if inputs.dtype(index)? != dtype {
                return Err(OpError::dtype(index, dtype.to_string(), inputs.dtype(index)?));
            }
        }
        if let Some(positions) = inputs.optional(ids)? {
            if positions.dtype != DType::I64 {
                return Err(OpError::dtype(ids, "int64", positions.dtype));
            }
        } else if self.form == Form::Microsoft {
            return Err(OpError::MissingInput { index: ids });
        }
        self.check_shapes(inputs)?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (cos, sin, ids) = self.places();
        let x = inputs.tensor(0)?;
        let (cos, sin) = (inputs.tensor(cos)?, inputs.tensor(sin)?);
        let half = cos.shape().last().copied().unwrap_or(0);
        let extents = self.extents(x.shape(), half)?;
        let table_rows = cos.shape().first().copied().unwrap_or(0);
        let rows = self.rows(&extents, inputs.optional(ids)?, table_rows)?;
        let rotation =
            Rotation { cos: &cos.to_f64()?, sin: &sin.to_f64()?, half, interleaved: self.interleaved };
        let mut y = x.to_f64()?;
        let Extents { heads, len, head, heads_first, .. } = extents;
        if head > 0 {
            for (index, row) in y.chunks_exact_mut(head).enumerate() {
                let place =
                    if heads_first { index / (heads * len) * len + index % len } else { index / heads };
                rotation.apply(row, rows[place]);
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        3 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

/// Tables of a rotation, `[rows, half]`.
pub(crate) struct Rotation<'a> {
    pub cos: &'a [f64],
    pub sin: &'a [f64],
    pub half: usize,
    pub interleaved: bool,
}

impl Rotation<'_> {
    /// Rotates the first `2 * half` elements of a head by the angles of a table row.
    pub(crate) fn apply(&self, head: &mut [f64], row: usize) {
        for i in 0..self.half {
            let (a, b) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + self.half) };
            let (cos, sin) = (self.cos[row * self.half + i], self.sin[row * self.half + i]);
            let (x, y) = (head[a], head[b]);
            head[a] = cos * x - sin * y;
            head[b] = sin * x + cos * y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    /// A quarter turn at row 1, none at row 0.
    fn tables() -> (Tensor, Tensor) {
        (tensor(&[2, 1], &[1.0, 0.0]), tensor(&[2, 1], &[0.0, 1.0]))
    }

    #[test]
    fn a_quarter_turn_swaps_halves_and_leaves_the_rest() {
        let op = parse_at(23, "RotaryEmbedding", &[("rotary_embedding_dim", Attr::Int(2))]);
        let (cos, sin) = tables();
        let x = tensor(&[1, 1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = run(&*op, &[x, cos, sin, Tensor::from_vec([1, 2], vec![1i64, 0]).unwrap()]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [-2.0, 1.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn three_axes_hold_heads_innermost() {
        let op =
            parse_at(23, "RotaryEmbedding", &[("num_heads", Attr::Int(2)), ("interleaved", Attr::Int(1))]);
        let (cos, sin) = (tensor(&[1, 2, 1], &[0.0, 1.0]), tensor(&[1, 2, 1], &[1.0, 0.0]));
        let x = tensor(&[1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let y = run(&*op, &[x, cos, sin]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [-2.0, 1.0, -4.0, 3.0, 5.0, 6.0, 7.0, 8.0]);
    }

    #[test]
    fn the_contributed_operator_takes_one_offset() {
        let op = parse_in("com.microsoft", 1, "RotaryEmbedding", &[("scale", Attr::Float(1.0))]);
        let (cos, sin) = tables();
        let x = tensor(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let at = |offset: i64| {
            try_run(
                &*op,
                &[Some(x.clone()), Some(Tensor::vector(vec![offset])), Some(cos.clone()), Some(sin.clone())],
            )
        };
        assert_eq!(at(1).unwrap()[0].as_slice::<f32>().unwrap(), [-2.0, 1.0, -4.0, 3.0]);
        assert!(at(2).is_err() && at(-1).is_err() && at(i64::MAX).is_err());
    }

    #[test]
    fn unfit_shapes_are_errors_and_empty_ones_work() {
        let op = parse_at(23, "RotaryEmbedding", &[]);
        let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
        assert!(try_run(&*op, &[zeros(&[1, 2, 4]), zeros(&[1, 2, 2]), zeros(&[1, 2, 2])]).is_err());
        assert!(try_run(&*op, &[zeros(&[1, 1, 2, 4]), zeros(&[1, 2, 1]), zeros(&[1, 2, 1])]).is_err());
        assert!(try_run(&*op, &[zeros(&[1, 1, 2, 3]), zeros(&[1, 2, 1]), zeros(&[1, 2, 1])]).is_err());
        assert!(try_run(&*op, &[zeros(&[3, 1, 0, 4]), zeros(&[3, 0, 2]), zeros(&[3, 0, 2])]).is_ok());
    }
}
