//! What types and shapes the inputs must have.

use inferrum_graph::{Fact, Facts, OpError};
use inferrum_tensor::{DType, Shape};

use super::{
    ADDED, COS, GroupQueryAttention, KEY, KEY_NORM, KEY_SCALE, LAST_KEYS, PAST_KEY, PAST_VALUE, POSITIONS,
    QUERY, QUERY_NORM, SIN, SINKS, TOTAL, VALUE, VALUE_SCALE,
};
use crate::attention::expect_shape;
use crate::sdpa::Sdpa;
use crate::types::FLOATS;

impl GroupQueryAttention {
    pub(super) fn check_types(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let dtype = inputs.dtype(QUERY)?;
        FLOATS.check(QUERY, dtype)?;
        let alike = [KEY, VALUE, COS, SIN, ADDED, SINKS, QUERY_NORM, KEY_NORM];
        let expected = alike.map(|index| (index, dtype)).into_iter().chain([
            (LAST_KEYS, DType::I32),
            (TOTAL, DType::I32),
            (POSITIONS, DType::I64),
            (KEY_SCALE, DType::F32),
            (VALUE_SCALE, DType::F32),
        ]);
        for (index, expected) in expected {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != expected
            {
                return Err(OpError::dtype(index, expected.to_string(), tensor.dtype));
            }
        }
        for (a, b) in [(KEY, VALUE), (PAST_KEY, PAST_VALUE), (COS, SIN), (QUERY_NORM, KEY_NORM)] {
            if inputs.has(a) != inputs.has(b) {
                return Err(OpError::Invalid(format!("inputs {a} and {b} are given together or not at all")));
            }
        }
        for (index, scale, quantization) in
            [(PAST_KEY, KEY_SCALE, self.key_quantization), (PAST_VALUE, VALUE_SCALE, self.value_quantization)]
        {
            match (inputs.optional(index)?, quantization) {
                (None, None) if self.window_cache => return Err(OpError::MissingInput { index }),
                (None, None) => {}
                (None, Some(_)) => return Err(OpError::MissingInput { index }),
                (Some(past), None) if past.dtype != dtype => {
                    return Err(OpError::dtype(index, dtype.to_string(), past.dtype));
                }
                (Some(_), None) => {}
                (Some(past), Some(quantization)) => {
                    quantization.check(index, past.dtype)?;
                    inputs.require(scale)?;
                }
            }
        }
        let needed = if self.rotary { &[LAST_KEYS, TOTAL, COS][..] } else { &[LAST_KEYS, TOTAL] };
        match needed.iter().find(|&&index| !inputs.has(index)) {
            Some(&index) => Err(OpError::MissingInput { index }),
            None => Ok(()),
        }
    }

    pub(super) fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let Some(q) = shape(QUERY) else { return Ok(()) };
        let Sdpa { batch, q_len, head, .. } = self.sdpa(&q, !inputs.has(KEY), 0)?;
        let width = self.kv_heads.saturating_mul(head);
        let expected = [
            (KEY, vec![batch, q_len, width]),
            (VALUE, vec![batch, q_len, width]),
            (LAST_KEYS, vec![batch]),
            (POSITIONS, vec![batch, q_len]),
            (SINKS, vec![self.q_heads]),
            (QUERY_NORM, vec![head]),
            (KEY_NORM, vec![head]),
        ];
        for (index, expected) in expected {
            // ONNX Runtime takes the lengths in any shape of that many elements.
            let reshaped = index == LAST_KEYS && shape(index).is_some_and(|shape| shape.elements() == batch);
            if let Some(tensor) = inputs.optional(index)?
                && !reshaped
            {
                expect_shape(index, &tensor.shape, &expected)?;
            }
        }
        self.check_caches(inputs, &q)?;
        if let (true, Some(cos)) = (self.rotary, shape(COS)) {
            let fits = cos.rank() == 2 && cos[1] <= head / 2;
            if !fits {
                return Err(OpError::shape(COS, format!("[M, up to {}]", head / 2), cos));
            }
            expect_shape(SIN, inputs.shape(SIN)?, &cos)?;
        }
        Ok(())
    }

    /// Checks the caches' shapes, if they are known, for queries (or all) of shape `q`.
    fn check_caches(&self, inputs: Facts<'_>, q: &Shape) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let Some(cached) = shape(PAST_KEY).and_then(|past| past.get(2).copied()) else { return Ok(()) };
        let Sdpa { batch, head, .. } = self.sdpa(q, !inputs.has(KEY), 0)?;
        let caches = [
            (PAST_KEY, KEY_SCALE, self.key_quantization),
            (PAST_VALUE, VALUE_SCALE, self.value_quantization),
        ];
        for (index, scale, quantization) in caches {
            let packed = quantization.is_some_and(|quantization| quantization.bits == 4);
            if packed && head % 2 == 1 {
                return Err(OpError::shape(QUERY, "heads of an even size, as the cache packs pairs", q));
            }
            let width = if packed { head / 2 } else { head };
            expect_shape(index, inputs.shape(index)?, &[batch, self.kv_heads, cached, width])?;
            if let (Some(quantization), Some(scales)) = (quantization, shape(scale)) {
                let count = if quantization.per_channel { self.kv_heads * head } else { 1 };
                if scales.elements() != count {
                    return Err(OpError::shape(scale, format!("{count} elements"), scales));
                }
            }
        }
        if self.window_cache && cached < self.window() {
            let expected = format!("at least {} places, the window", self.window());
            return Err(OpError::shape(PAST_KEY, expected, inputs.shape(PAST_KEY)?));
        }
        Ok(())
    }
}
