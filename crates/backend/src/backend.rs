//! What a device can do.

use std::sync::Arc;

use crate::{
    BoundNode, Destination, DeviceFailure, DeviceInfo, DeviceTensor, NodePlacement, Region, Resident,
    RunContext,
};
use inferrum_graph::{Graph, NodeError};
use inferrum_tensor::{DType, Tensor};

/// A device that is ready to run models.
pub trait Backend: Send + Sync {
    /// What the device is.
    fn info(&self) -> &DeviceInfo;

    /// Rewrites a graph as it comes from the file so that it computes in types the device has kernels for, without loss.
    ///
    /// # Errors
    /// An operator refuses its inputs.
    fn legalize(&self, graph: Graph) -> Result<Graph, BackendError>;

    /// Rewrites a graph into the form the device likes best (layouts, fusions of its own), equal in meaning.
    ///
    /// # Errors
    /// An operator refuses its inputs.
    fn prepare(&self, graph: Graph) -> Result<Graph, BackendError>;

    /// Whether the device keeps float32 in this narrow type where a user asks for that precision.
    fn narrows_to(&self, _dtype: DType) -> bool {
        false
    }

    /// Whether products of float32 round their factors to TensorFloat-32, as the user asked when the device was opened.
    fn rounds_to_tf32(&self) -> bool {
        false
    }

    /// Whether products and convolutions of 8-bit integers have kernels here; where they have none, rewrites make them
    /// products of floats as far as these are exact.
    fn multiplies_integers(&self) -> bool {
        false
    }

    /// Whether the device runs a node, and at what cost. Derived from lowering, so that it cannot disagree with it.
    ///
    /// # Errors
    /// [`Decline`]: the reason why not.
    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline>;

    /// Compiles a region whose nodes were all claimed.
    ///
    /// # Errors
    /// Memory, or a node that cannot be lowered.
    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError>;

    /// Whether the device's memory holds a tensor, so that a region takes it as it is. Any other goes through the host.
    fn holds(&self, _tensor: &dyn DeviceTensor) -> bool {
        false
    }

    /// A copy of a tensor in the device's memory, for regions that take it again and again; `None` where there is no such
    /// memory, or the type has no form there.
    ///
    /// # Errors
    /// No memory.
    fn upload(&self, _tensor: &Tensor) -> Result<Option<Arc<dyn DeviceTensor>>, BackendError> {
        Ok(None)
    }

    /// Bytes of weights that compiled regions share, in forms of the device's own.
    fn weight_bytes(&self) -> usize;

    /// Arithmetic operations a second (f32, a multiply-add counts 2) that a short loop without memory traffic reaches
    /// now on everything that a run uses; `None` where that is not measured.
    fn measured_peak(&self) -> Option<f64> {
        None
    }
}

/// A compiled region. Many threads may run it at once.
pub trait Executable: Send + Sync {
    /// The outputs, in the order of [`Region::outputs`], for inputs in the order of [`Region::inputs`].
    ///
    /// `destinations` says where each output goes; those beyond its end are [`Destination::Fresh`]. An output that went
    /// to the caller's memory is `None`; after an error that memory holds anything. An output that stays where it is
    /// computed may be returned before it is there: whoever reads it waits.
    ///
    /// # Errors
    /// A node fails, memory runs out, the caller's memory has the wrong size, or the run is stopped.
    fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError>;

    /// Bytes that a run takes beside its inputs and outputs.
    fn workspace_bytes(&self) -> usize;

    /// Which kernel runs each node.
    fn placement(&self) -> &[NodePlacement];
}

/// What running a node is expected to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

/// Why a device does not run a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Decline(pub String);

/// Why a region cannot be compiled or run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A node fails.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The device's memory, or the limit set for it, is too small.
    #[error("out of memory: {needed} bytes are needed for {what}, {available} are available")]
    OutOfMemory {
        /// What the memory is for.
        what: String,
        /// How much it takes.
        needed: usize,
        /// How much there is.
        available: usize,
    },
    /// The device fails.
    #[error(transparent)]
    Failure(#[from] DeviceFailure),
    /// The caller asked to stop.
    #[error("the run was stopped: {0}")]
    Stopped(&'static str),
    /// Anything else that a device says.
    #[error("{0}")]
    Device(String),
}
