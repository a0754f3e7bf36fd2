//! An NVIDIA GPU as a backend.

use std::any::Any;
use std::sync::Arc;

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cost, Decline, DeviceFailure, DeviceInfo, DeviceTensor, Executable,
    NodePlacement, Precision, Region, Resident, Unusable,
};
use inferrum_graph::Graph;
use inferrum_tensor::{DType, Tensor};

use crate::abilities::Abilities;
use crate::compile;
use crate::driver::Driver;
use crate::executor::CudaExecutable;
use crate::functions::Functions;
use crate::kernel::{Lowered, c_type};
use crate::legalize::legalize;
use crate::lower;
use crate::tensor::CudaTensor;
use crate::weights::Weights;

/// Runs models on an NVIDIA GPU.
pub struct CudaBackend {
    pub(crate) shared: Arc<Shared>,
}

/// What everything of one session on a device shares.
pub(crate) struct Shared {
    pub(crate) info: DeviceInfo,
    pub(crate) driver: Arc<dyn Driver>,
    /// What the device can do and the session allows.
    pub(crate) abilities: Abilities,
    pub(crate) functions: Arc<Functions>,
    pub(crate) weights: Weights,
}

impl CudaBackend {
    /// Opens the GPU that `selector` means: a number, a part of its name, or the first. With the feature `host`, the selector `host`
    /// means the processor, which runs the same kernels, and `host-library` has products computed by what stands for cuBLASLt. Of precisions, TF32 matters here; narrow types are a matter of the graph.
    ///
    /// # Errors
    /// There is no such GPU, its driver refuses, or what it needs is missing.
    pub fn open(selector: Option<&str>, precision: Precision) -> Result<CudaBackend, Unusable> {
        #[cfg(feature = "host")]
        if let Some(library @ ("host" | "host-library")) = selector {
            return CudaBackend::on_host(library == "host-library", precision);
        }
        let (driver, info) = crate::nvidia::open(selector)?;
        Ok(CudaBackend::over(driver, info, precision))
    }

    /// Bytes of the device's memory that this process's sessions hold, and the most that they held.
    pub fn allocated(&self) -> (usize, usize) {
        self.shared.driver.allocated()
    }

    /// Gives memory back to the driver that is kept for later runs.
    ///
    /// # Errors
    /// The device has failed.
    pub fn trim(&self) -> Result<(), BackendError> {
        self.shared.driver.trim()
    }

    /// The processor in place of a GPU.
    #[cfg(feature = "host")]
    fn on_host(library: bool, precision: Precision) -> Result<CudaBackend, Unusable> {
        let info = DeviceInfo {
            id: crate::host::DEVICE.into(),
            name: "CUDA kernels on the processor, for tests".into(),
            usable: Ok(()),
            details: Vec::new(),
        };
        let driver = crate::host::Driver::new().map_err(|error| Unusable {
            reason: error.to_string(),
            remedy: "install a C++ compiler (g++)".into(),
        })?;
        let driver = if library { driver.with_library() } else { driver };
        Ok(CudaBackend::over(Arc::new(driver), info, precision))
    }

    fn over(driver: Arc<dyn Driver>, info: DeviceInfo, precision: Precision) -> CudaBackend {
        let functions = Functions::of(&driver);
        let tf32 = precision == Precision::Tf32 && driver.abilities().capability >= 80;
        let abilities = Abilities { tf32, ..driver.abilities().clone() };
        let weights = Weights::default();
        CudaBackend { shared: Arc::new(Shared { info, driver, abilities, functions, weights }) }
    }
}

impl Shared {
    /// The kernel of a node.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn lower(&self, bound: &BoundNode<'_>) -> Result<Lowered, Decline> {
        lower::lower(bound, &self.abilities)
    }

    /// The tensor, if it is in this device's memory.
    pub(crate) fn held<'a>(&self, tensor: &'a Resident) -> Option<&'a CudaTensor> {
        tensor.on::<CudaTensor>(&self.info.id).filter(|tensor| Arc::ptr_eq(&tensor.driver, &self.driver))
    }

    /// Says whose kernel is refused.
    pub(crate) fn refused(&self, error: BackendError, placement: &NodePlacement) -> BackendError {
        match error {
            BackendError::Device(reason) => DeviceFailure::Kernel {
                node: placement.node.clone(),
                op: placement.op.clone(),
                device: self.info.id.clone(),
                reason,
            }
            .into(),
            other => other,
        }
    }
}

impl Backend for CudaBackend {
    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn legalize(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(legalize(graph, &self.shared.abilities)?)
    }

    fn prepare(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(graph)
    }

    fn narrows_to(&self, dtype: DType) -> bool {
        matches!(dtype, DType::F16 | DType::BF16)
    }

    fn rounds_to_tf32(&self) -> bool {
        self.shared.abilities.tf32
    }

    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline> {
        self.shared.lower(node)?;
        Ok(Cost { flops: node.flops(), bytes: node.bytes() })
    }

    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError> {
        let plan = compile::compile(&self.shared, region)?;
        Ok(Arc::new(CudaExecutable::new(Arc::clone(&self.shared), plan)?))
    }

    fn upload(&self, tensor: &Tensor) -> Result<Option<Arc<dyn DeviceTensor>>, BackendError> {
        if c_type(tensor.dtype()).is_none() {
            return Ok(None);
        }
        let uploaded = CudaTensor::upload(&self.shared.driver, &self.shared.info.id, tensor)?;
        Ok(Some(Arc::new(uploaded)))
    }

    fn holds(&self, tensor: &dyn DeviceTensor) -> bool {
        let tensor = (tensor as &dyn Any).downcast_ref::<CudaTensor>();
        tensor.is_some_and(|tensor| Arc::ptr_eq(&tensor.driver, &self.shared.driver))
    }

    fn multiplies_integers(&self) -> bool {
        true
    }

    fn weight_bytes(&self) -> usize {
        self.shared.weights.bytes()
    }
}
