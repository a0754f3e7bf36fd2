//! A compiled region.

use std::ops::Range;
use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceFailure, NodePlacement};
use inferrum_graph::{Fact, Node, OpError};
use inferrum_tensor::{DType, Shape};

use crate::kernel::Wrong;
use crate::pipelines::Pipeline;

/// A compiled region: dispatches in order, over numbered buffers.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) buffers: Vec<Buffer>,
    /// For each region input its buffer; None if nothing reads it.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) placement: Vec<NodePlacement>,
    /// Parameters of all dispatches, each at its offset.
    pub(crate) params: Vec<u32>,
    /// Runs of steps that are submitted at once.
    pub(crate) whole: Vec<Range<usize>>,
    /// More of them, of about the same work, where a run may be stopped between them.
    pub(crate) parts: Vec<Range<usize>>,
    /// What dispatches may tell of, in the order of [`Step::fault`].
    pub(crate) faults: Vec<Fault>,
    /// Whether each buffer is an input's or an output's.
    pub(crate) ends: Vec<bool>,
}

/// What a dispatch may tell of.
pub(crate) struct Fault {
    /// The node, which takes the elements as this input, and what is known of its inputs.
    pub(crate) node: Node,
    pub(crate) input: usize,
    pub(crate) wrong: Wrong,
    pub(crate) facts: Vec<Option<Fact>>,
}

impl Fault {
    /// Words by which a dispatch tells.
    pub(crate) const WORDS: usize = 4;

    /// The error that a dispatch has told of, if it has: by these words.
    pub(crate) fn error(&self, words: &[u32]) -> Option<BackendError> {
        let &[told, low, high, extent] = words else { return None };
        let element = (u64::from(high) << 32 | u64::from(low)) as i64;
        let reason = (self.wrong)(element, extent);
        let facts: Vec<Option<&Fact>> = self.facts.iter().map(Option::as_ref).collect();
        (told != 0).then(|| self.node.error(&facts, OpError::value(self.input, reason)).into())
    }
}

/// Parts of a run that may be stopped between them.
const PARTS: u64 = 8;

/// Work that a GPU is given at once, about a tenth of a second of a slow one: an operating system takes a device for lost whose
/// commands do not end for a few seconds.
const MOST_AT_ONCE: u64 = 20_000_000_000;

/// A dispatch.
pub(crate) struct Step {
    pub(crate) pipeline: Arc<Pipeline>,
    /// Where its parameters are: offset and length in bytes.
    pub(crate) params: Option<(u64, u64)>,
    /// The buffers from binding 1 on.
    pub(crate) buffers: Vec<usize>,
    /// Place in [`Plan::faults`] of what it may tell, bound after the buffers.
    pub(crate) fault: Option<usize>,
    pub(crate) groups: [u32; 3],
    /// Place in [`Plan::placement`].
    pub(crate) node: usize,
    pub(crate) flops: u64,
    pub(crate) bytes: u64,
    pub(crate) shape: String,
}

/// Memory of one or several values, one after the other.
pub(crate) enum Buffer {
    /// Held for every run.
    Constant(Arc<wgpu::Buffer>),
    /// A run's own.
    Own(Own),
}

/// Memory of a run's own, and the largest value that stands there, for errors.
#[derive(Clone, Default)]
pub(crate) struct Own {
    pub(crate) bytes: usize,
    pub(crate) value: String,
    pub(crate) node: String,
}

impl Own {
    /// Says whose memory it is that is missing.
    pub(crate) fn name(&self, error: BackendError) -> BackendError {
        match error {
            BackendError::Failure(DeviceFailure::NoMemory { device, needed, reason, .. }) => {
                let node = (!self.node.is_empty()).then(|| self.node.clone());
                let of = node.as_ref().map(|node| format!(" of node `{node}`")).unwrap_or_default();
                let what = format!("`{}`{of}", self.value);
                let value = Some(self.value.clone());
                DeviceFailure::NoMemory { device, what, node, value, needed, reason }.into()
            }
            other => other,
        }
    }
}

impl Plan {
    /// Whether a buffer is an input's or an output's.
    pub(crate) fn is_end(&self, buffer: usize) -> bool {
        self.ends[buffer] && matches!(self.buffers[buffer], Buffer::Own(_))
    }

    /// Says which nodes ran when the device was lost.
    pub(crate) fn during(&self, error: BackendError, steps: Range<usize>) -> BackendError {
        let name = |step: &Step| format!("`{}`", self.placement[step.node].node);
        let BackendError::Failure(DeviceFailure::Lost { device, reason, during }) = error else {
            return error;
        };
        let during = match &self.steps[steps] {
            [only] if during.is_empty() => format!(" while {} ran", name(only)),
            [first, .., last] if during.is_empty() => format!(" while {} to {} ran", name(first), name(last)),
            _ => during,
        };
        DeviceFailure::Lost { device, reason, during }.into()
    }
}

/// A value that leaves the region.
pub(crate) struct Output {
    pub(crate) buffer: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

/// What a step counts for in [`Plan::whole`] and [`Plan::parts`], given its operations and bytes: a dispatch has a cost of its
/// own, and a byte is worth a few operations.
pub(crate) fn work(flops: u64, bytes: u64) -> u64 {
    10_000u64.saturating_add(flops).saturating_add(bytes.saturating_mul(8))
}

/// [`Plan::whole`] and [`Plan::parts`] of steps of so much work. A processor that plays the GPU may take as long as it needs.
pub(crate) fn parts(works: &[u64], software: bool) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let total = works.iter().copied().fold(0, u64::saturating_add);
    let whole = if software { u64::MAX } else { MOST_AT_ONCE };
    (cut(works, whole), cut(works, whole.min(total / PARTS)))
}

/// Runs of steps that each end with the step by which they have so much work.
fn cut(works: &[u64], enough: u64) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0u64);
    for (index, work) in works.iter().enumerate() {
        sum = sum.saturating_add(*work);
        if sum >= enough || index + 1 == works.len() {
            parts.push(start..index + 1);
            (start, sum) = (index + 1, 0);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_given_no_more_than_a_watchdog_lets_pass() {
        let step = MOST_AT_ONCE / 4;
        let works = vec![step; 100];
        let (whole, parts) = super::parts(&works, false);
        assert_eq!((whole.len(), parts.len()), (25, 25));
        let (whole, parts) = super::parts(&works, true);
        assert_eq!((whole.len(), &whole[0], parts.len()), (1, &(0..100), 8));
        let (whole, parts) = super::parts(&vec![work(1000, 100); 100], false);
        assert_eq!((whole.len(), &whole[0], parts.len()), (1, &(0..100), 8));
        // A step of more is submitted with what stands before it, and alone otherwise.
        let (whole, _) = super::parts(&[1, 10 * MOST_AT_ONCE, MOST_AT_ONCE, 1, 1], false);
        assert_eq!(whole, [0..2, 2..3, 3..5]);
        assert_eq!(super::parts(&[], false), (vec![], vec![]));
    }
}
