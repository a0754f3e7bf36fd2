//! A GPU as a backend.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cache, Cost, Decline, DeviceInfo, DeviceTensor, Executable, Region,
    Resident, Unusable,
};
use inferrum_graph::Graph;
use inferrum_tensor::{DType, Tensor};

use crate::abilities::Without;
use crate::adapter::{self, Found};
use crate::compile;
use crate::edge;
use crate::executor::WgpuExecutable;
use crate::gpu::Gpu;
use crate::kernel::Lowered;
#[cfg(test)]
use crate::kernel::Lowering;
use crate::legalize::legalize;
use crate::lower;
use crate::pipelines::Pipelines;
use crate::storage;
use crate::tensor::WgpuTensor;
use crate::tuner::{self, Choices};
use crate::weights::Weights;

/// Runs models on a GPU.
pub struct WgpuBackend {
    pub(crate) shared: Arc<Shared>,
}

/// What everything of one session on a device shares.
pub(crate) struct Shared {
    pub(crate) info: DeviceInfo,
    pub(crate) weights: Weights,
    opened: Arc<Opened>,
}

/// What all sessions on a device share.
pub(crate) struct Opened {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) pipelines: Pipelines,
    pub(crate) choices: Choices,
}

impl std::ops::Deref for Shared {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl Opened {
    fn new(gpu: Gpu, found: &Found, tune: Option<f64>) -> Opened {
        let pipelines = Pipelines::new(&gpu, &found.info, Cache::of_user());
        Opened { pipelines, choices: Choices::open(&found.info, Cache::of_user(), tune), gpu: Arc::new(gpu) }
    }
}

/// Adapters that sessions have open, by number and what they do without: sessions share them.
static OPEN: Registry = Registry(Mutex::new(BTreeMap::new()));

#[derive(Default)]
struct Registry(Mutex<BTreeMap<(usize, Without), Weak<Opened>>>);

impl Registry {
    /// What is open, unless it has failed.
    fn sound(&self, key: (usize, Without)) -> Option<Arc<Opened>> {
        let open = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        open.get(&key).and_then(Weak::upgrade).filter(|held| held.gpu.check().is_ok())
    }

    /// An adapter's device, opened if no session has it open, or if it has failed since; `tune` is as in [`Choices::open`].
    async fn open(
        &self,
        number: usize,
        found: &Found,
        without: Without,
        tune: Option<f64>,
    ) -> Result<Arc<Opened>, BackendError> {
        let key = (number, without);
        if let Some(held) = self.sound(key) {
            return Ok(held);
        }
        let own = Gpu::open(&format!("wgpu:{number}"), found, without).await?;
        // Of two that open it at once, one is first.
        if let Some(held) = self.sound(key) {
            return Ok(held);
        }
        let own = Arc::new(Opened::new(own, found, tune));
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(key, Arc::downgrade(&own));
        Ok(own)
    }
}

/// The GPUs of this machine, or why there is none.
pub fn devices() -> Vec<DeviceInfo> {
    match adapter::adapters() {
        Ok(found) => {
            let number = |(number, found): (usize, &Found)| found.describe(format!("wgpu:{number}"));
            found.iter().enumerate().map(number).collect()
        }
        Err(unusable) => vec![DeviceInfo {
            id: "wgpu".into(),
            name: "any GPU, by Vulkan, Metal, DX12 or OpenGL".into(),
            usable: Err(unusable),
            details: Vec::new(),
        }],
    }
}

/// The first GPU that is none of software, if there is one.
///
/// # Errors
/// There is no GPU at all.
pub fn hardware() -> Result<Option<DeviceInfo>, Unusable> {
    let found = adapter::adapters()?.iter().enumerate();
    let mut hardware =
        found.filter(|(_, found)| found.info.device_type != wgpu::DeviceType::Cpu && found.usable().is_ok());
    Ok(hardware.next().map(|(number, found)| found.describe(format!("wgpu:{number}"))))
}

impl WgpuBackend {
    /// Opens the adapter that `selector` means: a number, a part of its name, or the first.
    ///
    /// # Errors
    /// There is no such adapter, or its driver refuses.
    pub fn open(selector: Option<&str>) -> Result<WgpuBackend, Unusable> {
        edge::wait(WgpuBackend::open_async(selector, Without::asked()?))
    }

    /// As [`WgpuBackend::open`], for less than the adapter can do.
    ///
    /// # Errors
    /// As there.
    #[cfg(test)]
    pub(crate) fn open_without(selector: Option<&str>, without: Without) -> Result<WgpuBackend, Unusable> {
        edge::wait(WgpuBackend::open_async(selector, without))
    }

    /// The first adapter, opened for this backend alone.
    #[cfg(test)]
    pub(crate) fn private(limits: impl FnOnce(&mut wgpu::Limits)) -> WgpuBackend {
        WgpuBackend::private_without(Without::default(), None, limits)
    }

    /// As [`WgpuBackend::private`], for less than the adapter can do; `tune` is as in [`Choices::open`].
    #[cfg(test)]
    pub(crate) fn private_without(
        without: Without,
        tune: Option<f64>,
        limits: impl FnOnce(&mut wgpu::Limits),
    ) -> WgpuBackend {
        let found = &adapter::adapters().expect("an adapter")[0];
        let mut within = found.adapter.limits();
        limits(&mut within);
        let gpu = edge::wait(Gpu::open_within("wgpu:0", found, without, within)).expect("it opens");
        let pipelines = Pipelines::new(&gpu, &found.info, Cache::default());
        let choices = Choices::open(&found.info, Cache::default(), tune);
        let opened = Arc::new(Opened { gpu: Arc::new(gpu), pipelines, choices });
        let info = found.describe("wgpu:0".into());
        WgpuBackend { shared: Arc::new(Shared { info, weights: Weights::default(), opened }) }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// As [`WgpuBackend::open`].
    ///
    /// # Errors
    /// As [`WgpuBackend::open`].
    async fn open_async(selector: Option<&str>, without: Without) -> Result<WgpuBackend, Unusable> {
        let found = adapter::adapters()?;
        let names: Vec<&str> = found.iter().map(|found| found.info.name.as_str()).collect();
        let number = adapter::select(&names, selector)?;
        found[number].usable()?;
        let opened =
            OPEN.open(number, &found[number], without, tuner::asked()?).await.map_err(|error| Unusable {
                reason: error.to_string(),
                remedy: "update the driver, or choose another device".into(),
            })?;
        let info = found[number].describe(format!("wgpu:{number}"));
        Ok(WgpuBackend { shared: Arc::new(Shared { info, weights: Weights::default(), opened }) })
    }
}

impl Shared {
    /// A region's executable; `lower` gives the kernels of its nodes.
    ///
    /// # Errors
    /// As [`Backend::compile`].
    pub(crate) async fn compile(
        self: &Arc<Self>,
        region: &Region,
        lower: impl Fn(&BoundNode<'_>) -> Result<Lowered, Decline>,
    ) -> Result<WgpuExecutable, BackendError> {
        self.gpu.check()?;
        let plan = compile::compile(self, region, lower).await?;
        WgpuExecutable::new(Arc::clone(self), plan).await
    }

    /// As [`Shared::lower`], whatever the sizes are.
    ///
    /// # Errors
    /// Why there is no kernel.
    #[cfg(test)]
    pub(crate) fn lower_unchecked(&self, bound: &BoundNode<'_>) -> Result<Lowered, Decline> {
        let op = bound.node.op.as_ref();
        let row = lower::KERNELS.find(op).expect("it has a kernel");
        let (abilities, chooser) = (&self.gpu.abilities, &self.choices);
        (row.lower)(op, &Lowering { bound, abilities, chooser })
    }

    /// The tensor, if it is in this device's memory.
    pub(crate) fn held<'a>(&self, tensor: &'a Resident) -> Option<&'a WgpuTensor> {
        tensor.on::<WgpuTensor>(&self.info.id).filter(|tensor| Arc::ptr_eq(&tensor.gpu, &self.gpu))
    }

    /// The kernel of a node.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn lower(&self, bound: &BoundNode<'_>) -> Result<Lowered, Decline> {
        lower::lower(bound, &self.gpu.abilities, &self.choices)
    }
}

impl Backend for WgpuBackend {
    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn legalize(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(legalize(graph, &self.shared.gpu.abilities)?)
    }

    fn prepare(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(graph)
    }

    fn narrows_to(&self, dtype: DType) -> bool {
        dtype == DType::F16 && self.shared.gpu.abilities.f16
    }

    fn multiplies_integers(&self) -> bool {
        true
    }

    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline> {
        self.shared.lower(node)?;
        Ok(Cost { flops: node.flops(), bytes: node.bytes() })
    }

    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError> {
        tuner::tune(&self.shared, region);
        let lower = |bound: &BoundNode<'_>| self.shared.lower(bound);
        Ok(Arc::new(edge::wait(self.shared.compile(region, lower))?))
    }

    fn upload(&self, tensor: &Tensor) -> Result<Option<Arc<dyn DeviceTensor>>, BackendError> {
        if storage::storage(tensor.dtype()).is_none() {
            return Ok(None);
        }
        let uploaded = edge::wait(WgpuTensor::upload(&self.shared.gpu, tensor))?;
        Ok(Some(Arc::new(uploaded)))
    }

    fn holds(&self, tensor: &dyn DeviceTensor) -> bool {
        let tensor = (tensor as &dyn Any).downcast_ref::<WgpuTensor>();
        tensor.is_some_and(|tensor| Arc::ptr_eq(&tensor.gpu, &self.shared.gpu))
    }

    fn weight_bytes(&self) -> usize {
        self.shared.weights.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_backend::DeviceFailure;

    #[test]
    fn sessions_share_a_device_until_it_is_lost() {
        let Ok(found) = adapter::adapters() else { return };
        let registry = Registry::default();
        let open = || edge::wait(registry.open(0, &found[0], Without::default(), None)).expect("it opens");
        let (one, other) = (open(), open());
        assert!(Arc::ptr_eq(&one, &other));
        one.gpu.device.destroy();
        let error = one.gpu.explained(BackendError::Device("anything".into()));
        assert!(matches!(error, BackendError::Failure(DeviceFailure::Lost { .. })), "{error}");
        let next = open();
        assert!(!Arc::ptr_eq(&one, &next) && next.gpu.check().is_ok());
    }
}
