//! `LinearAttention` (<https://onnx.ai/onnx/operators/onnx__LinearAttention.html>), since opset 27, and its model in
//! `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.LinearAttention>),
//! which may also have more heads of keys than of queries and give the states after several tokens.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::attention::{expect_shape, heads, multiply};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("LinearAttention", 6, |def| LinearAttention::parse(def, false)),
    OpEntry::microsoft("LinearAttention", 6, |def| LinearAttention::parse(def, true)),
];

const STATE: usize = 3;
const DECAY: usize = 4;
const BETA: usize = 5;

/// Attention through a recurrent state `S` of shape `[D, Dv]` for each head of keys.
///
/// For each token `S = exp(g) S + k ⊗ w`, with `w = v`, or `w = β (v - Sᵀ k)` by the delta rule (`S` already decayed), and
/// the output is `scale Sᵀ q`.
///
/// Inputs (`f16 bf16 f32 f64`): queries `[B, T, Hq*D]`, keys `[B, T, H*D]`, values `[B, T, H*Dv]`; optional: past state
/// `[B, H, D, Dv]`, decay `g` `[B, T, H*D]` or `[B, T, H]`, update rate `β` `[B, T, H]` or `[B, T, 1]`. Outputs:
/// `[B, T, max(Hq, H)*Dv]`, state `[B, H, D, Dv]` of the past state's type (else the queries'). With a window `W` the states
/// are `[W, B, H, D, Dv]`: those after the last `W` tokens (zeros before the first), of which the last is read.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearAttention {
    /// Heads of the queries, a multiple or a divisor of `kv_heads`.
    pub q_heads: usize,
    /// Heads of keys, values and state.
    pub kv_heads: usize,
    /// How many states there are in a window of states; `None` for one state without that axis.
    pub window: Option<usize>,
    /// What the outputs are multiplied by; `1 / sqrt(D)` when `None`.
    pub scale: Option<f32>,
    /// Whether the state decays.
    pub gated: bool,
    /// Whether the delta rule holds.
    pub delta: bool,
    /// Tokens that are best taken together; of no effect on the result.
    pub chunk_size: i64,
    /// How many outputs the node has.
    pub outputs: usize,
}

/// The extents of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Extents {
    /// Independent sequences.
    pub batch: usize,
    /// Tokens.
    pub len: usize,
    /// Elements of a query and a key.
    pub head: usize,
    /// Elements of a value.
    pub v_head: usize,
}

impl LinearAttention {
    fn parse(def: &mut NodeDef, microsoft: bool) -> Result<Arc<dyn Operator>, OpError> {
        let rule = def.string_or("update_rule", "gated_delta")?;
        let (gated, delta) = match rule.as_str() {
            "linear" => (false, false),
            "gated" => (true, false),
            "delta" => (false, true),
            "gated_delta" => (true, true),
            _ => {
                return Err(OpError::attribute(
                    "update_rule",
                    "`linear`, `gated`, `delta` or `gated_delta`",
                    rule,
                ));
            }
        };
        let required = |heads: Option<usize>, name| {
            heads.ok_or_else(|| OpError::attribute(name, "a number of heads", "nothing"))
        };
        let q_heads = required(heads(def, "q_num_heads")?, "q_num_heads")?;
        let kv_heads = required(heads(def, "kv_num_heads")?, "kv_num_heads")?;
        let shared = q_heads.is_multiple_of(kv_heads) || (microsoft && kv_heads.is_multiple_of(q_heads));
        if !shared {
            return Err(OpError::attribute(
                "q_num_heads",
                format!("a multiple of kv_num_heads {kv_heads}"),
                q_heads,
            ));
        }
        let window = match if microsoft { def.int_or("state_window", 0)? } else { 0 } {
            0 => None,
            n => Some(
                usize::try_from(n)
                    .ok()
                    .filter(|&n| n <= 8)
                    .ok_or_else(|| OpError::attribute("state_window", "0 to 8", n))?,
            ),
        };
        Ok(Arc::new(LinearAttention {
            q_heads,
            kv_heads,
            window,
            scale: def.float("scale")?.filter(|&scale| scale != 0.0),
            gated,
            delta,
            chunk_size: def.int_or("chunk_size", 64)?,
            outputs: def.outputs.len().clamp(1, 2),
        }))
    }

    /// The extents for queries, keys and values of the given shapes.
    ///
    /// # Errors
    /// The shapes do not fit each other or the heads.
    pub fn extents(&self, q: &Shape, k: &Shape, v: &Shape) -> Result<Extents, OpError> {
        let split = |index, shape: &Shape, heads: usize| match *shape.dims() {
            [batch, len, hidden] if hidden.is_multiple_of(heads) => Ok((batch, len, hidden / heads)),
            _ => Err(OpError::shape(index, format!("[B, T, {heads}*D]"), shape)),
        };
        let (batch, len, head) = split(0, q, self.q_heads)?;
        if split(1, k, self.kv_heads)? != (batch, len, head) {
            return Err(OpError::shape(1, format!("[{batch}, {len}, {}*{head}]", self.kv_heads), k));
        }
        let (v_batch, v_len, v_head) = split(2, v, self.kv_heads)?;
        if (v_batch, v_len) != (batch, len) {
            return Err(OpError::shape(2, format!("[{batch}, {len}, {}*Dv]", self.kv_heads), v));
        }
        Ok(Extents { batch, len, head, v_head })
    }

    /// Heads of the output.
    pub fn heads(&self) -> usize {
        self.q_heads.max(self.kv_heads)
    }

    /// The shape of the state, with its window.
    fn state_shape(&self, state: [SymDim; 4]) -> Vec<SymDim> {
        self.window.map(SymDim::Known).into_iter().chain(state).collect()
    }

    fn check_presence(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        for (index, wanted, name) in [(DECAY, self.gated, "decay"), (BETA, self.delta, "update rate")] {
            if inputs.has(index) != wanted {
                let verb = if wanted { "needs" } else { "takes no" };
                return Err(OpError::Invalid(format!("this update rule {verb} {name} (input {index})")));
            }
        }
        Ok(())
    }

    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return Ok(()) };
        let Extents { batch, len, head, v_head } = self.extents(&q, &k, &v)?;
        if let Some(state) = inputs.optional(STATE)? {
            let expected: Vec<usize> =
                self.window.into_iter().chain([batch, self.kv_heads, head, v_head]).collect();
            expect_shape(STATE, &state.shape, &expected)?;
        }
        for (index, widths) in
            [(DECAY, [self.kv_heads, self.kv_heads.saturating_mul(head)]), (BETA, [self.kv_heads, 1])]
        {
            let Some(given) = shape(index) else { continue };
            if given.rank() != 3 || given[..2] != [batch, len] || !widths.contains(&given[2]) {
                return Err(OpError::shape(
                    index,
                    format!("[{batch}, {len}, {} or {}]", widths[0], widths[1]),
                    given,
                ));
            }
        }
        Ok(())
    }

    /// Runs one head of keys over all tokens, with the heads of queries that share it; `keep(t, state)` sees the state after
    /// token `t`.
    fn run_head(
        &self,
        call: &Call<'_>,
        (batch, kv_head): (usize, usize),
        state: &mut [f64],
        output: &mut [f64],
        mut keep: impl FnMut(usize, &[f64]),
    ) {
        let Extents { len, head, v_head, .. } = *call.extents;
        let scale = self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from);
        let heads = self.heads();
        let (outputs_a_key, outputs_a_query) = (heads / self.kv_heads, heads / self.q_heads);
        let mut write = vec![0.0; v_head];
        for token in batch * len..(batch + 1) * len {
            let place = token * self.kv_heads + kv_head;
            let key = &call.k[place * head..][..head];
            write.copy_from_slice(&call.v[place * v_head..][..v_head]);
            if let Some(decay) = &call.decay {
                for (i, row) in state.chunks_exact_mut(v_head).enumerate() {
                    // Per key element, or one for the head: the width of the tensor says.
                    let rate = if call.decay_width == self.kv_heads {
                        decay[place]
                    } else {
                        decay[place * head + i]
                    };
                    row.iter_mut().for_each(|x| *x *= rate.exp());
                }
            }
            if let Some(beta) = &call.beta {
                let rate = if call.beta_width == 1 { beta[token] } else { beta[place] };
                for (row, key) in state.chunks_exact(v_head).zip(key) {
                    write.iter_mut().zip(row).for_each(|(w, s)| *w -= s * key);
                }
                write.iter_mut().for_each(|w| *w *= rate);
            }
            for (row, key) in state.chunks_exact_mut(v_head).zip(key) {
                row.iter_mut().zip(&write).for_each(|(s, w)| *s += key * w);
            }
            for out_head in kv_head * outputs_a_key..(kv_head + 1) * outputs_a_key {
                let query = token * self.q_heads + out_head / outputs_a_query;
                let out = &mut output[(token * heads + out_head) * v_head..][..v_head];
                for (row, query) in state.chunks_exact(v_head).zip(&call.q[query * head..][..head]) {
                    out.iter_mut().zip(row).for_each(|(o, s)| *o += scale * query * s);
                }
            }
            keep(token - batch * len, state);
        }
    }
}

/// The operands of one call in f64, as they lie in memory.
struct Call<'a> {
    extents: &'a Extents,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    decay: Option<Vec<f64>>,
    decay_width: usize,
    beta: Option<Vec<f64>>,
    beta_width: usize,
}

impl Operator for LinearAttention {
    fn key(&self) -> OpKey {
        if self.window.is_some() || self.kv_heads > self.q_heads {
            OpKey::microsoft("LinearAttention")
        } else {
            OpKey::onnx("LinearAttention")
        }
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (q, k, v) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        FLOATS.check(0, q.dtype)?;
        for index in [1, 2, DECAY, BETA] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != q.dtype
            {
                return Err(OpError::dtype(index, q.dtype.to_string(), tensor.dtype));
            }
        }
        let state_dtype = match inputs.optional(STATE)? {
            Some(state) => {
                FLOATS.check(STATE, state.dtype)?;
                state.dtype
            }
            None => q.dtype,
        };
        self.check_presence(inputs)?;
        self.check_shapes(inputs)?;
        let v_head = v.shape.dim(2).map(|hidden| hidden / self.kv_heads);
        let head = k.shape.dim(2).map(|hidden| hidden / self.kv_heads);
        let output = vec![q.shape.dim(0), q.shape.dim(1), multiply(&SymDim::Known(self.heads()), &v_head)];
        let state = self.state_shape([q.shape.dim(0), SymDim::Known(self.kv_heads), head, v_head]);
        let mut facts = vec![Fact::tensor(q.dtype, output), Fact::tensor(state_dtype, state)];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let [q, k, v] = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
        let extents = self.extents(q.shape(), k.shape(), v.shape())?;
        let Extents { batch, len, head, v_head } = extents;
        let optional = |index| -> Result<(Option<Vec<f64>>, usize), OpError> {
            let Some(tensor) = inputs.optional(index)? else { return Ok((None, 0)) };
            Ok((Some(tensor.to_f64()?), tensor.shape().last().copied().unwrap_or(0)))
        };
        let ((decay, decay_width), (beta, beta_width)) = (optional(DECAY)?, optional(BETA)?);
        let call = Call {
            extents: &extents,
            q: q.to_f64()?,
            k: k.to_f64()?,
            v: v.to_f64()?,
            decay,
            decay_width,
            beta,
            beta_width,
        };
        let past = inputs.optional(STATE)?;
        // Of a window of states the last is read.
        let size = Shape::from([batch, self.kv_heads, head, v_head]).elements();
        let mut state: Vec<f64> = zeroed(size)?;
        if let Some(past) = past {
            let past = past.to_f64()?;
            state.copy_from_slice(&past[past.len() - size..]);
        }
        let output_shape = Shape::from([batch, len, self.heads().saturating_mul(v_head)]);
        let mut output: Vec<f64> = zeroed(output_shape.elements())?;
        let window = self.window.unwrap_or(1);
        let mut states: Vec<f64> = zeroed(size.saturating_mul(window))?;
        // Without keys or values there is nothing to do but give zeros.
        let matrix = head * v_head;
        if matrix > 0 {
            for (index, state) in state.chunks_exact_mut(matrix).enumerate() {
                let place = (index / self.kv_heads, index % self.kv_heads);
                self.run_head(&call, place, state, &mut output, |token, state| {
                    if let Some(slot) = (window + token + 1).checked_sub(len + 1) {
                        states[slot * size + index * matrix..][..matrix].copy_from_slice(state);
                    }
                });
                if len == 0 {
                    states[(window - 1) * size + index * matrix..][..matrix].copy_from_slice(state);
                }
            }
        }
        let state_shape: Shape =
            self.window.into_iter().chain([batch, self.kv_heads, head, v_head]).collect();
        let mut outputs = vec![Tensor::from_f64(q.dtype(), output_shape, &output)?.into()];
        if self.outputs > 1 {
            outputs
                .push(Tensor::from_f64(past.map_or(q.dtype(), Tensor::dtype), state_shape, &states)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return 0 };
        self.extents(&q, &k, &v).map_or(0, |extents| {
            let state = (extents.head as u64).saturating_mul(extents.v_head as u64);
            let each = 2 + u64::from(self.gated) + 2 * u64::from(self.delta);
            let updates = each.saturating_mul(self.kv_heads as u64);
            let tokens = (extents.batch as u64).saturating_mul(extents.len as u64);
            let reads = (self.heads() as u64).saturating_mul(2);
            tokens.saturating_mul(state).saturating_mul(updates.saturating_add(reads))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn op(rule: &str, q_heads: i64) -> Arc<dyn Operator> {
        let attrs = [
            ("update_rule", Attr::String(rule.into())),
            ("q_num_heads", Attr::Int(q_heads)),
            ("kv_num_heads", Attr::Int(1)),
            ("scale", Attr::Float(1.0)),
        ];
        parse_node("", 27, "LinearAttention", &attrs, 2)
    }

    fn tensor(shape: [usize; 3], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    #[test]
    fn the_linear_rule_sums_and_shares_its_state() {
        let (q, kv) = (tensor([1, 2, 2], &[1.0, 2.0, 1.0, 2.0]), tensor([1, 2, 1], &[2.0, 3.0]));
        let outputs = try_run(&*op("linear", 2), &[q, kv.clone(), kv]).unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [4.0, 8.0, 13.0, 26.0]);
        assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [13.0]);
    }

    #[test]
    fn the_gated_delta_rule_decays_first() {
        let one = tensor([1, 1, 1], &[1.0]);
        let past = Some(Tensor::from_vec([1, 1, 1, 1], vec![8f32]).unwrap());
        let (decay, beta) = (tensor([1, 1, 1], &[-(2f32.ln())]), tensor([1, 1, 1], &[0.5]));
        let v = tensor([1, 1, 1], &[10.0]);
        // Half of 8, then half of the way to 10.
        let outputs = try_run(&*op("gated_delta", 1), &[one.clone(), one, v, past, decay, beta]).unwrap();
        assert!((outputs[0].to_f64().unwrap()[0] - 7.0).abs() < 1e-6);
    }

    #[test]
    fn a_window_holds_the_last_states_and_queries_may_be_shared() {
        let attrs = [
            ("update_rule", Attr::String("linear".into())),
            ("q_num_heads", Attr::Int(1)),
            ("kv_num_heads", Attr::Int(2)),
            ("scale", Attr::Float(1.0)),
            ("state_window", Attr::Int(3)),
        ];
        let op = parse_node("com.microsoft", 1, "LinearAttention", &attrs, 2);
        let (q, kv) = (tensor([1, 2, 1], &[1.0, 10.0]), tensor([1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let past = Some(Tensor::from_vec([3, 1, 2, 1, 1], vec![9f32, 9.0, 9.0, 9.0, 0.0, 1.0]).unwrap());
        let outputs = try_run(&*op, &[q, kv.clone(), kv, past]).unwrap();
        assert_eq!(outputs[0].to_f64().unwrap(), [1.0, 5.0, 100.0, 210.0]);
        assert_eq!(outputs[1].to_f64().unwrap(), [0.0, 0.0, 1.0, 5.0, 10.0, 21.0]);
        assert_eq!(op.key(), OpKey::microsoft("LinearAttention"));
    }

    #[test]
    fn unfit_inputs_are_errors_and_empty_ones_work() {
        let x = tensor([1, 2, 1], &[1.0, 1.0]);
        assert!(try_run(&*op("gated", 1), &[x.clone(), x.clone(), x.clone()]).is_err());
        assert!(
            try_run(&*op("linear", 1), &[x.clone(), x.clone(), x.clone(), None, None, x.clone()]).is_err()
        );
        assert!(try_run(&*op("linear", 1), &[x.clone(), x.clone(), tensor([1, 1, 1], &[1.0])]).is_err());
        let empty = tensor([2, 0, 1], &[]);
        let outputs = try_run(&*op("linear", 1), &[empty.clone(), empty.clone(), empty]).unwrap();
        assert_eq!(outputs[1].to_f64().unwrap(), [0.0, 0.0]);
    }
}
