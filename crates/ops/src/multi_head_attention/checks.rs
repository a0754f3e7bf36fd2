//! What types and shapes the inputs must have.

use inferrum_graph::{Fact, Facts, OpError};
use inferrum_tensor::DType;

use super::{
    ADDED, BEAMS, BIAS, KEY, MultiHeadAttention, PADDING, PAST_KEY, PAST_LEN, PAST_VALUE, QUERY, VALUE,
};
use crate::attention::expect_shape;
use crate::padding_mask::PaddingKind;
use crate::sdpa::{Bias, Sdpa};
use crate::types::FLOATS;

impl MultiHeadAttention {
    pub(super) fn check_types(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let dtype = inputs.dtype(QUERY)?;
        FLOATS.check(QUERY, dtype)?;
        for index in [KEY, VALUE, BIAS, ADDED, PAST_KEY, PAST_VALUE] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != dtype
            {
                return Err(OpError::dtype(index, dtype.to_string(), tensor.dtype));
            }
        }
        for index in [PADDING, PAST_LEN] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != DType::I32
            {
                return Err(OpError::dtype(index, "int32", tensor.dtype));
            }
        }
        if inputs.has(PAST_KEY) != inputs.has(PAST_VALUE) {
            return Err(OpError::Invalid(
                "past keys and past values are given together or not at all".into(),
            ));
        }
        if inputs.has(BEAMS) {
            return Err(OpError::Unsupported("beams of a cache (input 9)".into()));
        }
        Ok(())
    }

    pub(super) fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let Some(q) = shape(QUERY) else { return Ok(()) };
        let (k, v) = (shape(KEY), shape(VALUE));
        if inputs.has(KEY) != k.is_some() || inputs.has(VALUE) != v.is_some() {
            return Ok(());
        }
        let sdpa = self.sdpa(&q, k.as_ref(), v.as_ref(), 0)?;
        let Sdpa { batch, head, v_head, .. } = sdpa;
        if let Some(bias) = inputs.optional(BIAS)? {
            let total = self.heads.saturating_mul(head.saturating_mul(2).saturating_add(v_head));
            expect_shape(BIAS, &bias.shape, &[total])?;
        }
        for (index, width) in [(PAST_KEY, head), (PAST_VALUE, v_head)] {
            if let Some(past) = shape(index) {
                let len = past.get(2).copied().unwrap_or(0);
                expect_shape(index, &(&past).into(), &[batch, self.heads, len, width])?;
            }
        }
        // The number of keys is not known before the filled length of a buffer is.
        if inputs.has(PAST_LEN) || (inputs.has(PAST_KEY) && shape(PAST_KEY).is_none()) {
            return Ok(());
        }
        let past = self.past(shape(PAST_KEY).as_ref(), None)?;
        let sdpa = Sdpa { kv_len: sdpa.kv_len.saturating_add(past), ..sdpa };
        if let Some(added) = shape(ADDED) {
            Bias::new(ADDED, &sdpa, &added, Vec::new())?;
        }
        if let Some(mask) = shape(PADDING) {
            PaddingKind::of(PADDING, &mask, &sdpa)?;
        }
        Ok(())
    }
}
