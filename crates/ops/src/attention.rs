//! `Attention` (<https://onnx.ai/onnx/operators/onnx__Attention.html>), since opset 23.
//!
//! Opset 24 added the count of valid keys, opset 25 the windows.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::sdpa::{Bias, Mask, Reach, Sdpa, Stage, append, split_heads, swap_middle};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("Attention", 7, Attention::parse).before(&[(24, 6)])];

const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const VALID_KEYS: usize = 6;

/// Scaled dot-product attention with grouped heads.
///
/// Inputs, all of `f32 f64 f16 bf16`: queries `[B, Hq, S, D]` or `[B, S, Hq*D]`, keys `[B, H, L, D]` or `[B, L, H*D]`,
/// values `[B, H, L, Dv]` or `[B, L, H*Dv]`; then, all optional, a mask that broadcasts to `[B, Hq, S, T]` (bool: true
/// keeps; a number: is added; its last extent may be short and then hides the rest), past keys `[B, H, P, D]` and values
/// `[B, H, P, Dv]`, and the number of valid keys of each batch, int64 `[B]`. `T` is `P + L`.
///
/// Outputs: `[B, Hq, S, Dv]` or `[B, S, Hq*Dv]`; keys `[B, H, T, D]`; values `[B, H, T, Dv]`; scores `[B, Hq, S, T]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of the queries, for inputs of three axes.
    pub q_heads: Option<usize>,
    /// Heads of keys and values, for inputs of three axes.
    pub kv_heads: Option<usize>,
    /// What the products are multiplied by; `1 / sqrt(D)` when `None`.
    pub scale: Option<f32>,
    /// `c` of `c tanh(score / c)`; 0 for none.
    pub softcap: f32,
    /// Which keys a query sees by its place; its place counts past keys, or follows from the number of valid keys.
    pub reach: Reach,
    /// The precision in which the softmax is to be computed; that of the queries when `None`.
    pub softmax_precision: Option<DType>,
    /// Where the fourth output is taken.
    pub scores_at: Stage,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl Attention {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let causal = def.flag("is_causal", false)?;
        let left = window(def, "left_window_size")?;
        let right = window(def, "right_window_size")?;
        let scores_at = match def.int_or("qk_matmul_output_mode", 0)? {
            0 => Stage::Products,
            1 => Stage::Capped,
            2 => Stage::Masked,
            3 => Stage::Probabilities,
            other => return Err(OpError::attribute("qk_matmul_output_mode", "0 to 3", other)),
        };
        Ok(Arc::new(Attention {
            q_heads: heads(def, "q_num_heads")?,
            kv_heads: heads(def, "kv_num_heads")?,
            scale: def.float("scale")?,
            softcap: def.float_or("softcap", 0.0)?,
            reach: Reach { left, right: if causal { Some(0) } else { right } },
            softmax_precision: softmax_precision(def)?,
            scores_at,
            outputs: def.outputs.len().clamp(1, 4),
        }))
    }

    /// The attention for queries, keys and values of the given shapes after `past` cached keys.
    ///
    /// # Errors
    /// The shapes do not fit each other or the heads.
    pub fn sdpa(&self, q: &Shape, k: &Shape, v: &Shape, past: usize) -> Result<Sdpa, OpError> {
        let [q_batch, q_heads, q_len, head] = self.extents(Q, q, self.q_heads, "q_num_heads")?;
        let [k_batch, kv_heads, new, k_head] = self.extents(K, k, self.kv_heads, "kv_num_heads")?;
        let [v_batch, v_heads, v_len, v_head] = self.extents(V, v, self.kv_heads, "kv_num_heads")?;
        if k.rank() != q.rank() || k_batch != q_batch || k_head != head {
            return Err(OpError::shape(K, format!("the batch and head size of queries {q}"), k));
        }
        if v.rank() != q.rank() || v_batch != q_batch || v_heads != kv_heads || v_len != new {
            return Err(OpError::shape(V, format!("the batch, heads and length of keys {k}"), v));
        }
        let sdpa = Sdpa {
            batch: q_batch,
            q_heads,
            kv_heads,
            q_len,
            kv_len: past.saturating_add(new),
            head,
            v_head,
            scale: self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from),
            softcap: f64::from(self.softcap),
            reach: self.reach,
        };
        sdpa.check()?;
        Ok(sdpa)
    }

    /// Batch, heads, length and head size of an input.
    fn extents(
        &self,
        index: usize,
        shape: &Shape,
        heads: Option<usize>,
        name: &str,
    ) -> Result<[usize; 4], OpError> {
        match (shape.dims(), heads) {
            (&[batch, heads, len, head], given) if given.is_none_or(|given| given == heads) => {
                Ok([batch, heads, len, head])
            }
            (&[batch, len, hidden], Some(heads)) if hidden.is_multiple_of(heads) => {
                Ok([batch, heads, len, hidden / heads])
            }
            (&[_, _, _], None) => {
                Err(OpError::attribute(name, "the number of heads, as the inputs have three axes", "nothing"))
            }
            _ => {
                let expected = heads.map_or("[B, H, S, D]".into(), |heads| {
                    format!("[B, {heads}, S, D] or [B, S, {heads}*D]")
                });
                Err(OpError::shape(index, expected, shape))
            }
        }
    }

    /// What masks the scores.
    fn masking(&self, sdpa: &Sdpa, past: usize, inputs: Inputs<'_>) -> Result<Mask, OpError> {
        let mut mask = Mask { first_places: vec![past as i64; sdpa.batch], ..Mask::default() };
        if let Some(tensor) = inputs.optional(MASK)? {
            let mut values = tensor.to_f64()?;
            if tensor.dtype() == DType::Bool {
                values.iter_mut().for_each(|x| *x = if *x != 0.0 { 0.0 } else { f64::NEG_INFINITY });
            }
            mask.biases.push(Bias::new(MASK, sdpa, tensor.shape(), values)?);
        }
        if let Some(valid) = inputs.optional_ints(VALID_KEYS)? {
            let range = 0..=sdpa.kv_len as i64;
            if let Some(bad) = valid.iter().find(|count| !range.contains(count)) {
                return Err(OpError::value(
                    VALID_KEYS,
                    format!("counts are 0 to {}, got {bad}", sdpa.kv_len),
                ));
            }
            mask.first_places = valid.iter().map(|count| count - sdpa.q_len as i64).collect();
            mask.keys = valid.iter().map(|&count| count as usize).collect();
        }
        Ok(mask)
    }

    fn check_types(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        for index in [Q, K, V, PAST_KEY, PAST_VALUE] {
            if index <= V || inputs.has(index) {
                FLOATS.check(index, inputs.dtype(index)?)?;
            }
        }
        for (index, like) in [(K, Q), (PAST_KEY, K), (PAST_VALUE, V)] {
            if inputs.has(index) && inputs.dtype(index)? != inputs.dtype(like)? {
                return Err(OpError::dtype(
                    index,
                    format!("the type of input {like}, {}", inputs.dtype(like)?),
                    inputs.dtype(index)?,
                ));
            }
        }
        if let Some(mask) = inputs.optional(MASK)? {
            let known = mask.dtype == DType::Bool || mask.dtype.is_integer() || mask.dtype.is_float();
            if !known {
                return Err(OpError::dtype(MASK, "bool or a number", mask.dtype));
            }
        }
        if inputs.has(PAST_KEY) != inputs.has(PAST_VALUE) {
            return Err(OpError::Invalid(
                "past keys and past values are given together or not at all".into(),
            ));
        }
        if let Some(valid) = inputs.optional(VALID_KEYS)? {
            if inputs.has(PAST_KEY) {
                return Err(OpError::Invalid("a number of valid keys cannot be given with past keys".into()));
            }
            if valid.dtype != DType::I64 {
                return Err(OpError::dtype(VALID_KEYS, "int64", valid.dtype));
            }
        }
        Ok(())
    }

    /// Checks whatever shapes are known.
    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let [Some(q), Some(k), Some(v)] = [Q, K, V].map(|i| inputs.get(i).and_then(Fact::concrete_shape))
        else {
            return Ok(());
        };
        let past = match inputs.optional(PAST_KEY)? {
            None => 0,
            Some(past) => match past.shape.dim(2) {
                SymDim::Known(past) => past,
                _ => return Ok(()),
            },
        };
        let sdpa = self.sdpa(&q, &k, &v, past)?;
        for (index, width) in [(PAST_KEY, sdpa.head), (PAST_VALUE, sdpa.v_head)] {
            if let Some(fact) = inputs.optional(index)? {
                expect_shape(index, &fact.shape, &[sdpa.batch, sdpa.kv_heads, past, width])?;
            }
        }
        if let Some(valid) = inputs.optional(VALID_KEYS)? {
            expect_shape(VALID_KEYS, &valid.shape, &[sdpa.batch])?;
        }
        if let Some(mask) = inputs.get(MASK).and_then(Fact::concrete_shape) {
            Bias::new(MASK, &sdpa, &mask, Vec::new())?;
        }
        Ok(())
    }
}

impl Operator for Attention {
    fn key(&self) -> OpKey {
        OpKey::onnx("Attention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.check_types(inputs)?;
        self.check_shapes(inputs)?;
        let (q, k, v) = (inputs.tensor(Q)?, inputs.tensor(K)?, inputs.tensor(V)?);
        let past = match inputs.optional(PAST_KEY)? {
            Some(past) => past.shape.dim(2),
            None => SymDim::Known(0),
        };
        let packed = match (q.shape.rank(), k.shape.rank(), v.shape.rank()) {
            (Some(rank), _, _) | (_, Some(rank), _) | (_, _, Some(rank)) => rank == 3,
            _ => self.q_heads.is_some(),
        };
        let width = |shape: &ShapeFact, heads: Option<usize>| match heads {
            _ if !packed => shape.dim(3),
            Some(heads) => shape.dim(2).map(|hidden| hidden / heads.max(1)),
            None => SymDim::Unknown,
        };
        let heads = |shape: &ShapeFact, heads: Option<usize>| match heads {
            Some(heads) => SymDim::Known(heads),
            None if packed => SymDim::Unknown,
            None => shape.dim(1),
        };
        let length = |shape: &ShapeFact| shape.dim(if packed { 1 } else { 2 });
        let (batch, q_heads, q_len) = (q.shape.dim(0), heads(&q.shape, self.q_heads), length(&q.shape));
        let kv_heads = heads(&k.shape, self.kv_heads);
        let total = add(&past, &length(&k.shape));
        let v_head = width(&v.shape, self.kv_heads);
        let output = if packed {
            vec![batch.clone(), q_len.clone(), multiply(&q_heads, &v_head)]
        } else {
            vec![batch.clone(), q_heads.clone(), q_len.clone(), v_head.clone()]
        };
        let key = vec![batch.clone(), kv_heads.clone(), total.clone(), width(&k.shape, self.kv_heads)];
        let value = vec![batch.clone(), kv_heads, total.clone(), v_head];
        let scores = vec![batch, q_heads, q_len, total];
        let mut facts = vec![
            Fact::tensor(q.dtype, output),
            Fact::tensor(k.dtype, key),
            Fact::tensor(v.dtype, value),
            Fact::tensor(q.dtype, scores),
        ];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let [q, k, v] = [inputs.tensor(Q)?, inputs.tensor(K)?, inputs.tensor(V)?];
        let past_key = inputs.optional(PAST_KEY)?;
        let past = past_key.and_then(|past| past.shape().get(2).copied()).unwrap_or(0);
        let sdpa = self.sdpa(q.shape(), k.shape(), v.shape(), past)?;
        let queries = by_head(q, sdpa.q_heads)?;
        let [mut keys, mut values] = [by_head(k, sdpa.kv_heads)?, by_head(v, sdpa.kv_heads)?];
        if let (Some(past_key), Some(past_value)) = (past_key, inputs.optional(PAST_VALUE)?) {
            let heads = sdpa.batch * sdpa.kv_heads;
            keys = append(&past_key.to_f64()?, &keys, heads, sdpa.head)?;
            values = append(&past_value.to_f64()?, &values, heads, sdpa.v_head)?;
        }
        let mask = self.masking(&sdpa, past, inputs)?;
        let keep = (self.outputs > 3).then_some(self.scores_at);
        let (mut y, scores) = sdpa.run([&queries, &keys, &values], &mask, keep)?;
        let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = sdpa;
        let mut y_shape = Shape::from([batch, q_heads, q_len, v_head]);
        if q.shape().rank() == 3 {
            y = swap_middle(&y, [batch, q_heads, q_len, v_head])?;
            y_shape = Shape::from([batch, q_len, q_heads * v_head]);
        }
        let mut outputs = vec![Tensor::from_f64(q.dtype(), y_shape, &y)?];
        if self.outputs > 1 {
            outputs.push(Tensor::from_f64(k.dtype(), [batch, kv_heads, kv_len, head], &keys)?);
        }
        if self.outputs > 2 {
            outputs.push(Tensor::from_f64(v.dtype(), [batch, kv_heads, kv_len, v_head], &values)?);
        }
        if let Some(scores) = scores {
            outputs.push(Tensor::from_f64(q.dtype(), sdpa.scores_shape(), &scores)?);
        }
        Ok(outputs.into_iter().map(Value::Tensor).collect())
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let past = shape(PAST_KEY).and_then(|past| past.get(2).copied()).unwrap_or(0);
        let (Some(q), Some(k), Some(v)) = (shape(Q), shape(K), shape(V)) else { return 0 };
        self.sdpa(&q, &k, &v, past).map_or(0, |sdpa| sdpa.flops())
    }
}

/// Elements as `[batch, heads, len, head]`, of a tensor of that shape or of `[batch, len, heads * head]`.
fn by_head(tensor: &Tensor, heads: usize) -> Result<Vec<f64>, OpError> {
    match *tensor.shape().dims() {
        [batch, len, hidden] if heads > 0 => split_heads(tensor, [batch, len, heads, hidden / heads]),
        _ => Ok(tensor.to_f64()?),
    }
}

/// An attribute that counts heads.
pub(crate) fn heads(def: &mut NodeDef, name: &str) -> Result<Option<usize>, OpError> {
    def.int(name)?
        .map(|n| {
            usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| OpError::attribute(name, "1 or more", n))
        })
        .transpose()
}

/// The attribute `softmax_precision`, a data type of a float.
pub(crate) fn softmax_precision(def: &mut NodeDef) -> Result<Option<DType>, OpError> {
    let Some(code) = def.int("softmax_precision")? else { return Ok(None) };
    i32::try_from(code)
        .ok()
        .and_then(DType::from_onnx_code)
        .filter(|dtype| matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16))
        .map(Some)
        .ok_or_else(|| OpError::attribute("softmax_precision", "1, 10, 11 or 16", code))
}

fn window(def: &mut NodeDef, name: &str) -> Result<Option<usize>, OpError> {
    match def.int_or(name, -1)? {
        -1 => Ok(None),
        n => usize::try_from(n).map(Some).map_err(|_| OpError::attribute(name, "-1 or more", n)),
    }
}

/// Checks that a shape, as far as it is known, is `expected`.
pub(crate) fn expect_shape(index: usize, shape: &ShapeFact, expected: &[usize]) -> Result<(), OpError> {
    let expected = Shape::from(expected);
    match shape.merge(&ShapeFact::from(&expected)) {
        Some(_) => Ok(()),
        None => Err(OpError::shape(index, expected.to_string(), shape)),
    }
}

/// The sum of two extents, as far as it is known.
pub(crate) fn add(a: &SymDim, b: &SymDim) -> SymDim {
    match (a.known(), b.known()) {
        (Some(0), _) => b.clone(),
        (_, Some(0)) => a.clone(),
        (Some(a), Some(b)) => SymDim::Known(a.saturating_add(b)),
        _ => SymDim::Unknown,
    }
}

/// The product of two extents, as far as it is known.
pub(crate) fn multiply(a: &SymDim, b: &SymDim) -> SymDim {
    match (a.known(), b.known()) {
        (Some(1), _) => b.clone(),
        (_, Some(1)) => a.clone(),
        (Some(a), Some(b)) => SymDim::Known(a.saturating_mul(b)),
        _ => SymDim::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_node, run, try_run};
    use inferrum_graph::Attr;

    fn vector(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn causal_attention_counts_the_past() {
        let op = parse_node("", 24, "Attention", &[("is_causal", Attr::Int(1))], 3);
        let q = vector(&[1, 1, 2, 1], &[0.0, 0.0]);
        let inputs = [
            Some(q.clone()),
            Some(q),
            Some(vector(&[1, 1, 2, 1], &[4.0, 9.0])),
            None,
            Some(vector(&[1, 1, 1, 1], &[1.0])),
            Some(vector(&[1, 1, 1, 1], &[2.0])),
        ];
        let outputs = try_run(&*op, &inputs).unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [3.0, 5.0]);
        assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [1.0, 0.0, 0.0]);
        assert_eq!(outputs[2].as_slice::<f32>().unwrap(), [2.0, 4.0, 9.0]);
    }

    #[test]
    fn three_axes_and_four_axes_agree() {
        let packed =
            parse_at(23, "Attention", &[("q_num_heads", Attr::Int(2)), ("kv_num_heads", Attr::Int(1))]);
        let split = parse_at(23, "Attention", &[]);
        let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
        let (q3, kv3) = (vector(&[1, 3, 4], &values), vector(&[1, 3, 2], &values[..6]));
        let q4: Vec<f32> =
            swap_middle(&q3.to_f64().unwrap(), [1, 3, 2, 2]).unwrap().iter().map(|&x| x as f32).collect();
        let (q4, kv4) = (vector(&[1, 2, 3, 2], &q4), vector(&[1, 1, 3, 2], &values[..6]));
        let y3 = run(&*packed, &[q3, kv3.clone(), kv3]).remove(0);
        let y4 = run(&*split, &[q4, kv4.clone(), kv4]).remove(0);
        assert_eq!(y3.shape().dims(), [1, 3, 4]);
        assert_eq!(swap_middle(&y4.to_f64().unwrap(), [1, 2, 3, 2]).unwrap(), y3.to_f64().unwrap());
    }

    #[test]
    fn masks_of_both_kinds_and_short_ones_hide_keys() {
        let op = parse_at(24, "Attention", &[]);
        let (q, v) = (vector(&[1, 1, 1, 1], &[0.0]), vector(&[1, 1, 3, 1], &[1.0, 3.0, 8.0]));
        let y = |mask: Tensor| run(&*op, &[q.clone(), v.clone(), v.clone(), mask])[0].to_f64().unwrap()[0];
        assert_eq!(y(Tensor::from_vec([1, 3], vec![true, false, true]).unwrap()), 4.5);
        assert_eq!(y(vector(&[1, 2], &[0.0, 0.0])), 2.0);
        assert_eq!(y(vector(&[1, 3], &[0.0, f32::NEG_INFINITY, 0.0])), 4.5);
        assert_eq!(y(Tensor::from_vec([3], vec![false; 3]).unwrap()), 0.0);
    }

    #[test]
    fn empty_and_unfit_shapes() {
        let op = parse_at(23, "Attention", &[]);
        let zeros = |shape: [usize; 4]| Tensor::zeros(DType::F32, shape).unwrap();
        let y = run(&*op, &[zeros([2, 3, 0, 4]), zeros([2, 3, 5, 4]), zeros([2, 3, 5, 1])]).remove(0);
        assert_eq!(y.shape().dims(), [2, 3, 0, 1]);
        let y = run(&*op, &[zeros([1, 1, 2, 4]), zeros([1, 1, 0, 4]), zeros([1, 1, 0, 1])]).remove(0);
        assert_eq!(y.to_f64().unwrap(), [0.0, 0.0]);
        let unfit = |k: [usize; 4], v: [usize; 4]| {
            try_run(&*op, &[Some(zeros([1, 2, 2, 4])), Some(zeros(k)), Some(zeros(v))]).is_err()
        };
        assert!(
            unfit([1, 3, 2, 4], [1, 3, 2, 4])
                && unfit([1, 2, 2, 3], [1, 2, 2, 4])
                && unfit([1, 2, 2, 4], [1, 2, 3, 4])
        );
        assert!(unfit([1, 0, 2, 4], [1, 0, 2, 4]));
    }

    #[test]
    fn symbols_survive() {
        let op = parse_node("", 24, "Attention", &[], 2);
        let (batch, len) = (SymDim::Symbol("B".into()), SymDim::Symbol("S".into()));
        let fact = |heads, width| {
            Fact::tensor(
                DType::F16,
                vec![batch.clone(), SymDim::Known(heads), len.clone(), SymDim::Known(width)],
            )
        };
        let (q, k, v) = (fact(4, 8), fact(2, 8), fact(2, 3));
        let facts = op.infer(Facts(&[Some(&q), Some(&k), Some(&v)])).unwrap();
        assert_eq!(facts, [fact(4, 3), fact(2, 8)]);
    }
}
