//! `Attention` of `com.microsoft`, which holds the projections of queries, keys and values
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::attention::{add, expect_shape, heads};
use crate::padding_mask::{PaddingKind, padding};
use crate::sdpa::{Bias, Mask, Reach, Sdpa, append, swap_middle};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::microsoft("Attention", 7, ProjectedAttention::parse)];

const WEIGHTS: usize = 1;
const BIAS: usize = 2;
const PADDING: usize = 3;
const PAST: usize = 4;
const ADDED: usize = 5;

/// Scaled dot-product attention of an input with itself.
///
/// Inputs: `[B, S, I]`, weights `[I, D + D + Dv]` and bias `[D + D + Dv]` of queries, keys and values; padding mask int32, 0
/// for padding or one of the other forms of ONNX Runtime; past keys and values `[2, B, N, P, H]`; a number added to the scores
/// `[B or 1, N or 1, S, P + S]`. Outputs: `[B, S, Dv]`, keys and values `[2, B, N, P + S, H]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectedAttention {
    /// Heads.
    pub heads: usize,
    /// `D`, `D` and `Dv`, where they are not all the same.
    pub hidden: Option<[usize; 3]>,
    /// What the products are multiplied by; `1 / sqrt(D / heads)` when `None`.
    pub scale: Option<f32>,
    /// What the padding mask adds to a score.
    pub mask_filter: f32,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl ProjectedAttention {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let heads = heads(def, "num_heads")?
            .ok_or_else(|| OpError::attribute("num_heads", "1 or more", "nothing"))?;
        if def.flag("do_rotary", false)? {
            let way = "do_rotary (export the model with MultiHeadAttention and RotaryEmbedding instead)";
            return Err(OpError::Unsupported(way.into()));
        }
        if def.flag("past_present_share_buffer", false)? {
            return Err(OpError::Unsupported(
                "past_present_share_buffer (export the model without buffer sharing)".into(),
            ));
        }
        def.ignore(&["rotary_embedding_dim"]);
        let hidden = match def.ints("qkv_hidden_sizes")? {
            None => None,
            Some(sizes) => {
                let fits = |&size: &i64| usize::try_from(size).ok().filter(|size| size.is_multiple_of(heads));
                let parsed: Option<Vec<usize>> = sizes.iter().map(fits).collect();
                match parsed.as_deref() {
                    Some([]) => None,
                    Some(&[q, k, v]) if q == k => Some([q, k, v]),
                    _ => {
                        let expected = format!("three multiples of {heads}, the first two equal");
                        return Err(OpError::attribute("qkv_hidden_sizes", expected, format!("{sizes:?}")));
                    }
                }
            }
        };
        Ok(Arc::new(ProjectedAttention {
            heads,
            hidden,
            scale: def.float("scale")?.filter(|&scale| scale != 0.0),
            mask_filter: def.float_or("mask_filter_value", -10000.0)?,
            causal: def.flag("unidirectional", false)?,
            outputs: def.outputs.len().clamp(1, 2),
        }))
    }

    /// The attention for an input and weights of the given shapes after `past` cached keys.
    ///
    /// # Errors
    /// The shapes do not fit each other or the heads.
    pub fn sdpa(&self, x: &Shape, weights: &Shape, past: usize) -> Result<Sdpa, OpError> {
        let &[batch, len, width] = x.dims() else { return Err(OpError::shape(0, "[B, S, I]", x)) };
        let hidden = match (weights.dims(), self.hidden) {
            (&[rows, columns], Some(hidden)) if rows == width && columns == hidden.iter().sum::<usize>() => {
                hidden
            }
            (&[rows, columns], None) if rows == width && columns.is_multiple_of(3 * self.heads) => {
                [columns / 3; 3]
            }
            _ => {
                let columns = self
                    .hidden
                    .map_or(format!("3*{}*H", self.heads), |h| h.iter().sum::<usize>().to_string());
                return Err(OpError::shape(WEIGHTS, format!("[{width}, {columns}]"), weights));
            }
        };
        let head = hidden[0] / self.heads;
        Ok(Sdpa {
            batch,
            q_heads: self.heads,
            kv_heads: self.heads,
            q_len: len,
            kv_len: past.saturating_add(len),
            head,
            v_head: hidden[2] / self.heads,
            scale: self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from),
            softcap: 0.0,
            reach: if self.causal { Reach::CAUSAL } else { Reach::default() },
        })
    }

    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(weights)) = (shape(0), shape(WEIGHTS)) else { return Ok(()) };
        let past_len = shape(PAST).and_then(|past| past.get(3).copied()).unwrap_or(0);
        let sdpa = self.sdpa(&x, &weights, past_len)?;
        if let Some(bias) = inputs.optional(BIAS)? {
            expect_shape(BIAS, &bias.shape, &weights[1..])?;
        }
        if let Some(past) = inputs.optional(PAST)? {
            if sdpa.head != sdpa.v_head {
                return Err(OpError::Invalid("a cache holds keys and values of one size".into()));
            }
            if past.shape.concrete().is_none() {
                return Ok(());
            }
            expect_shape(PAST, &past.shape, &[2, sdpa.batch, self.heads, past_len, sdpa.head])?;
        }
        if let Some(mask) = shape(PADDING) {
            PaddingKind::of(PADDING, &mask, &sdpa)?;
        }
        if let Some(added) = shape(ADDED) {
            Bias::new(ADDED, &sdpa, &added, Vec::new())?;
        }
        Ok(())
    }

    /// Queries, keys and values by head: `[batch, heads, len, head]` each.
    fn project(&self, sdpa: &Sdpa, inputs: Inputs<'_>) -> Result<[Vec<f64>; 3], OpError> {
        let (x, weights) = (inputs.tensor(0)?.to_f64()?, inputs.tensor(WEIGHTS)?);
        let (width, columns) = (weights.shape()[0], weights.shape()[1]);
        let weights = weights.to_f64()?;
        let tokens = sdpa.batch * sdpa.q_len;
        let mut rows: Vec<f64> = zeroed(tokens.saturating_mul(columns))?;
        if let Some(bias) = inputs.optional(BIAS)? {
            let bias = bias.to_f64()?;
            rows.chunks_exact_mut(columns.max(1)).for_each(|row| row.copy_from_slice(&bias));
        }
        for (token, row) in rows.chunks_exact_mut(columns.max(1)).enumerate() {
            for (x, weights) in x[token * width..][..width].iter().zip(weights.chunks_exact(columns)) {
                row.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
            }
        }
        let mut start = 0;
        let [q, k, v] = [sdpa.head, sdpa.head, sdpa.v_head].map(|head| {
            let size = head * self.heads;
            let part: Vec<f64> = rows
                .chunks_exact(columns.max(1))
                .flat_map(|row| &row[start..start + size])
                .copied()
                .collect();
            start += size;
            swap_middle(&part, [sdpa.batch, sdpa.q_len, self.heads, head])
        });
        Ok([q?, k?, v?])
    }
}

impl Operator for ProjectedAttention {
    fn key(&self) -> OpKey {
        OpKey::microsoft("Attention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, weights) = (inputs.tensor(0)?, inputs.tensor(WEIGHTS)?);
        FLOATS.check(0, x.dtype)?;
        for index in [WEIGHTS, BIAS, PAST, ADDED] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != x.dtype
            {
                return Err(OpError::dtype(index, x.dtype.to_string(), tensor.dtype));
            }
        }
        if let Some(mask) = inputs.optional(PADDING)?
            && mask.dtype != DType::I32
        {
            return Err(OpError::dtype(PADDING, "int32", mask.dtype));
        }
        self.check_shapes(inputs)?;
        let (batch, len) = (x.shape.dim(0), x.shape.dim(1));
        let third = weights.shape.dim(1).map(|columns| columns / 3);
        let [q_hidden, v_hidden] = match self.hidden {
            Some([q, _, v]) => [SymDim::Known(q), SymDim::Known(v)],
            None => [third.clone(), third],
        };
        let past = match inputs.optional(PAST)? {
            Some(past) => past.shape.dim(3),
            None => SymDim::Known(0),
        };
        let head = q_hidden.map(|hidden| hidden / self.heads);
        let present: ShapeFact =
            vec![SymDim::Known(2), batch.clone(), SymDim::Known(self.heads), add(&past, &len), head].into();
        let mut facts =
            vec![Fact::tensor(x.dtype, vec![batch, len, v_hidden]), Fact::tensor(x.dtype, present)];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let cache = inputs.optional(PAST)?;
        let past = cache.and_then(|cache| cache.shape().get(3).copied()).unwrap_or(0);
        let sdpa = self.sdpa(x.shape(), inputs.tensor(WEIGHTS)?.shape(), past)?;
        let Sdpa { batch, q_heads, q_len, kv_len, head, v_head, .. } = sdpa;
        if self.outputs > 1 && head != v_head {
            return Err(OpError::Invalid("a cache holds keys and values of one size".into()));
        }
        let [queries, mut keys, mut values] = self.project(&sdpa, inputs)?;
        if let Some(cache) = cache {
            let cache = cache.to_f64()?;
            let (past_keys, past_values) = cache.split_at(cache.len() / 2);
            keys = append(past_keys, &keys, batch * q_heads, head)?;
            values = append(past_values, &values, batch * q_heads, v_head)?;
        }
        let mut mask = Mask { first_places: vec![past as i64; batch], ..Mask::default() };
        if let Some(tensor) = inputs.optional(PADDING)? {
            mask.biases.extend(padding(PADDING, tensor, &sdpa, self.mask_filter)?);
        }
        if let Some(added) = inputs.optional(ADDED)? {
            mask.biases.push(Bias::new(ADDED, &sdpa, added.shape(), added.to_f64()?)?);
        }
        let (y, _) = sdpa.run([&queries, &keys, &values], &mask, None)?;
        let y = swap_middle(&y, [batch, q_heads, q_len, v_head])?;
        let mut outputs = vec![Tensor::from_f64(x.dtype(), [batch, q_len, q_heads * v_head], &y)?.into()];
        if self.outputs > 1 {
            keys.extend_from_slice(&values);
            outputs.push(Tensor::from_f64(x.dtype(), [2, batch, q_heads, kv_len, head], &keys)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(weights)) = (shape(0), shape(WEIGHTS)) else { return 0 };
        let past = shape(PAST).and_then(|past| past.get(3).copied()).unwrap_or(0);
        let Ok(sdpa) = self.sdpa(&x, &weights, past) else { return 0 };
        let tokens = (sdpa.batch as u64).saturating_mul(sdpa.q_len as u64);
        sdpa.flops().saturating_add(tokens.saturating_mul(2).saturating_mul(weights.elements() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    fn op(outputs: usize, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
        let attrs: Vec<(&str, Attr)> = attrs.iter().cloned().chain([("num_heads", Attr::Int(1))]).collect();
        parse_node("com.microsoft", 1, "Attention", &attrs, outputs)
    }

    #[test]
    fn projections_come_before_the_attention() {
        // Queries are 0, so each output is the mean of values `10 x + 1` up to its place.
        let (x, weights) = (tensor(&[1, 2, 1], &[1.0, 3.0]), tensor(&[1, 3], &[0.0, 2.0, 10.0]));
        let bias = tensor(&[3], &[0.0, 0.0, 1.0]);
        let past = tensor(&[2, 1, 1, 1, 1], &[5.0, 6.0]);
        let causal = op(2, &[("unidirectional", Attr::Int(1))]);
        let outputs = try_run(&*causal, &[x, weights, bias, None, past]).unwrap();
        let y = outputs[0].to_f64().unwrap();
        assert!((y[0] - 8.5).abs() < 1e-6 && (y[1] - 16.0).abs() < 1e-5);
        assert_eq!(outputs[1].to_f64().unwrap(), [5.0, 2.0, 6.0, 6.0, 11.0, 31.0]);
    }

    #[test]
    fn sizes_are_checked() {
        let x = tensor(&[1, 1, 2], &[1.0, 2.0]);
        assert!(try_run(&*op(1, &[]), &[x.clone(), tensor(&[2, 4], &[0.0; 8])]).is_err());
        assert!(try_run(&*op(1, &[]), &[x.clone(), tensor(&[3, 3], &[0.0; 9])]).is_err());
        assert!(
            try_run(&*op(1, &[]), &[x.clone(), tensor(&[2, 3], &[0.0; 6]), tensor(&[2], &[0.0; 2])]).is_err()
        );
        let sizes = [("qkv_hidden_sizes", Attr::Ints(vec![1, 1, 2]))];
        let y = try_run(&*op(1, &sizes), &[x, tensor(&[2, 4], &[0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0, 1.0])])
            .unwrap();
        assert_eq!(y[0].to_f64().unwrap(), [3.0, 4.0]);
    }
}
