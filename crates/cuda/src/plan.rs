//! A compiled region.

use std::ops::Range;
use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceFailure, NodePlacement};
use inferrum_graph::{Fact, Node, OpError};
use inferrum_tensor::{DType, Shape};

use crate::driver::{Argument, Function};
use crate::library::Prepared;
use crate::memory::Memory;

/// A compiled region: launches in order, over numbered places of memory.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) places: Vec<Place>,
    /// For each region input its place; None if nothing reads it.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) placement: Vec<NodePlacement>,
    /// The arena, under the name of the largest value in it.
    pub(crate) arena: Own,
    /// What launches may tell of, in the order of [`Parameter::Fault`].
    pub(crate) faults: Vec<Fault>,
    /// A few runs of steps of about the same work, between which a run may be stopped.
    pub(crate) parts: Vec<Range<usize>>,
}

/// A launch, or a product of a library.
pub(crate) struct Step {
    pub(crate) action: Action,
    /// Place in [`Plan::placement`].
    pub(crate) node: usize,
    pub(crate) flops: u64,
    pub(crate) bytes: u64,
    pub(crate) shape: String,
}

/// What a step does.
pub(crate) enum Action {
    /// Runs a kernel.
    Launch { function: Function, parameters: Vec<Parameter>, grid: [u32; 3], block: [u32; 3], shared: u32 },
    /// Has a library multiply: a, b, c, bias, d, and the library's own memory.
    Multiply { product: Arc<dyn Prepared>, at: [Option<usize>; 6] },
}

/// A parameter of a launch.
pub(crate) enum Parameter {
    /// Points to a place.
    At(usize),
    /// Points to where a fault is told, by its number.
    Fault(usize),
    /// A value.
    Value(Argument),
}

/// Memory of one or several values.
pub(crate) enum Place {
    /// Held for every run.
    Constant(Arc<Memory>),
    /// In a run's arena, at an offset.
    Arena(usize),
    /// Of its own, for it goes in or out.
    End(Own),
}

/// Memory of its own, and whose it is, for errors.
#[derive(Clone, Default)]
pub(crate) struct Own {
    pub(crate) bytes: usize,
    pub(crate) value: String,
    pub(crate) node: String,
}

/// A value that leaves the region.
pub(crate) struct Output {
    pub(crate) place: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

/// What a launch may tell of.
pub(crate) struct Fault {
    /// The node, which takes the elements as this input, and what is known of its inputs.
    pub(crate) node: Node,
    pub(crate) input: usize,
    pub(crate) facts: Vec<Option<Fact>>,
}

/// Parts of a run that may be stopped between them.
const PARTS: u64 = 8;

impl Output {
    /// Bytes of its elements.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

impl Fault {
    /// Bytes of a `Fault` of prelude.cuh: whether it is told (4 bytes, and 4 of nothing), the index, and the axis' extent.
    pub(crate) const BYTES: usize = 24;

    /// The error that a launch has told of, if it has: by these bytes.
    pub(crate) fn error(&self, told: &[u8]) -> Option<BackendError> {
        let number = |at: usize| Some(i64::from_ne_bytes(told.get(at..at + 8)?.try_into().ok()?));
        let (told, index, extent) = (number(0)?, number(8)?, number(16)?);
        let reason = format!("index {index} is out of range for an axis of {extent}");
        let facts: Vec<Option<&Fact>> = self.facts.iter().map(Option::as_ref).collect();
        (told != 0).then(|| self.node.error(&facts, OpError::value(self.input, reason)).into())
    }
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
    /// Says which nodes ran when the device was lost.
    pub(crate) fn during(&self, error: BackendError, steps: Range<usize>) -> BackendError {
        let name = |step: &Step| format!("`{}`", self.placement[step.node].node);
        let BackendError::Failure(DeviceFailure::Lost { device, reason, during }) = error else {
            return error;
        };
        let during = match self.steps.get(steps).unwrap_or_default() {
            [only] if during.is_empty() => format!(" while {} ran", name(only)),
            [first, .., last] if during.is_empty() => format!(" while {} to {} ran", name(first), name(last)),
            _ => during,
        };
        DeviceFailure::Lost { device, reason, during }.into()
    }
}

/// Runs of steps of about the same work, [`PARTS`] of them or fewer.
pub(crate) fn parts(steps: &[Step]) -> Vec<Range<usize>> {
    // A launch has a cost of its own, and a byte is worth a few operations.
    let work =
        |step: &Step| 10_000u64.saturating_add(step.flops).saturating_add(step.bytes.saturating_mul(8));
    let total = steps.iter().map(work).fold(0, u64::saturating_add);
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0u64);
    for (index, step) in steps.iter().enumerate() {
        sum = sum.saturating_add(work(step));
        if sum >= total / PARTS || index + 1 == steps.len() {
            parts.push(start..index + 1);
            (start, sum) = (index + 1, 0);
        }
    }
    parts
}
