//! A GPU as a backend.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cost, Decline, DeviceInfo, DeviceTensor, Executable, KernelRow,
    KernelTable, Region, Resident, Unusable,
};
use inferrum_graph::Graph;

use crate::adapter::{self, Found};
use crate::compile;
use crate::edge;
use crate::executor::WgpuExecutable;
use crate::gpu::Gpu;
use crate::kernel::{Lower, Lowered, Lowering, Operand};
use crate::pipelines::Pipelines;
use crate::storage;
use crate::tensor::WgpuTensor;
use crate::weights::Weights;

static KERNELS: LazyLock<KernelTable<Lower>> = LazyLock::new(|| KernelTable::new(crate::KERNELS));

/// Runs models on a GPU.
pub struct WgpuBackend {
    shared: Arc<Shared>,
}

/// What everything on one device shares.
pub(crate) struct Shared {
    pub(crate) info: DeviceInfo,
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) weights: Weights,
}

/// Adapters that sessions have open, with the pipelines made there, by number: sessions share them.
static OPEN: Registry = Registry(Mutex::new(BTreeMap::new()));

#[derive(Default)]
struct Registry(Mutex<BTreeMap<usize, (Weak<Gpu>, Weak<Pipelines>)>>);

impl Registry {
    /// What is open, unless it has failed.
    fn sound(&self, number: usize) -> Option<(Arc<Gpu>, Arc<Pipelines>)> {
        let open = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let held = open.get(&number).and_then(|(gpu, made)| Some((gpu.upgrade()?, made.upgrade()?)));
        held.filter(|(gpu, _)| gpu.check().is_ok())
    }

    /// An adapter's device, opened if no session has it open, or if it has failed since.
    async fn open(&self, number: usize, found: &Found) -> Result<(Arc<Gpu>, Arc<Pipelines>), BackendError> {
        if let Some(held) = self.sound(number) {
            return Ok(held);
        }
        let own = (Arc::new(Gpu::open(&format!("wgpu:{number}"), found).await?), Arc::<Pipelines>::default());
        // Of two that open it at once, one is first.
        if let Some(held) = self.sound(number) {
            return Ok(held);
        }
        let weak = (Arc::downgrade(&own.0), Arc::downgrade(&own.1));
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(number, weak);
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

impl WgpuBackend {
    /// Opens the adapter that `selector` means: a number, a part of its name, or the first.
    ///
    /// # Errors
    /// There is no such adapter, or its driver refuses.
    pub fn open(selector: Option<&str>) -> Result<WgpuBackend, Unusable> {
        edge::wait(WgpuBackend::open_async(selector))
    }

    /// The first adapter, opened for this backend alone.
    #[cfg(test)]
    pub(crate) fn private(limits: impl FnOnce(&mut wgpu::Limits)) -> WgpuBackend {
        let found = &adapter::adapters().expect("an adapter")[0];
        let mut within = found.adapter.limits();
        limits(&mut within);
        let gpu = edge::wait(Gpu::open_within("wgpu:0", found, within)).expect("it opens");
        let info = found.describe("wgpu:0".into());
        WgpuBackend {
            shared: Arc::new(Shared {
                info,
                gpu: Arc::new(gpu),
                pipelines: Arc::default(),
                weights: Weights::default(),
            }),
        }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// As [`WgpuBackend::open`].
    ///
    /// # Errors
    /// As [`WgpuBackend::open`].
    async fn open_async(selector: Option<&str>) -> Result<WgpuBackend, Unusable> {
        let found = adapter::adapters()?;
        let names: Vec<&str> = found.iter().map(|found| found.info.name.as_str()).collect();
        let number = adapter::select(&names, selector)?;
        let (gpu, pipelines) = OPEN.open(number, &found[number]).await.map_err(|error| Unusable {
            reason: error.to_string(),
            remedy: "update the driver, or choose another device".into(),
        })?;
        let info = found[number].describe(format!("wgpu:{number}"));
        Ok(WgpuBackend { shared: Arc::new(Shared { info, gpu, pipelines, weights: Weights::default() }) })
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
        let row = KERNELS.find(op).expect("it has a kernel");
        (row.lower)(op, &Lowering { bound, gpu: &self.gpu })
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
        let op = bound.node.op.as_ref();
        for (kind, facts) in [("input", &bound.inputs), ("output", &bound.outputs)] {
            for (place, fact) in facts.iter().enumerate().filter_map(|(i, fact)| fact.map(|fact| (i, fact))) {
                let dtype = fact.as_tensor().map(|tensor| tensor.dtype);
                let stored = dtype.is_some_and(|dtype| storage::storage(dtype).is_some());
                // What is a constant may be packed, or not be read at all.
                if !stored && (kind == "output" || fact.value().is_none()) {
                    let dtype = dtype.map_or("no tensor".to_owned(), |dtype| dtype.to_string());
                    return Err(Decline(format!("{kind} {place} is {dtype}, which has no form on a GPU")));
                }
                // A constant may be packed; what is read of it as it is follows below.
                if fact.value().is_none() {
                    self.fits(kind, place, fact)?;
                }
            }
        }
        if bound.outputs.iter().flatten().all(|fact| fact.concrete_shape().is_some_and(|s| s.elements() == 0))
        {
            return Ok(Lowered::many("nothing", Vec::new()));
        }
        let row = KERNELS.find(op).ok_or_else(|| Decline(format!("no GPU kernel for {}", op.key())))?;
        let lowered = (row.lower)(op, &Lowering { bound, gpu: &self.gpu })?;
        if let Lowered::Work(work) = &lowered {
            for operand in work.dispatches.iter().flat_map(|dispatch| &dispatch.operands) {
                if let Operand::Input(place) = *operand
                    && let Some(fact) = bound.inputs.get(place).copied().flatten()
                {
                    self.fits("input", place, fact)?;
                }
            }
            let most = self.gpu.limits.max_storage_buffer_binding_size;
            if let Some(&bytes) = work.scratch.iter().find(|&&bytes| bytes as u64 > most) {
                return Err(Decline(format!(
                    "its intermediate values take {bytes} bytes; the adapter's max_storage_buffer_binding_size is {most}"
                )));
            }
        }
        Ok(lowered)
    }

    /// # Errors
    /// The tensor is larger than what the adapter binds.
    fn fits(&self, kind: &str, place: usize, fact: &inferrum_graph::Fact) -> Result<(), Decline> {
        let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else { return Ok(()) };
        let bytes = shape.elements().saturating_mul(storage::element_bytes(tensor.dtype)) as u64;
        let limits = &self.gpu.limits;
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        if bytes > most {
            return Err(Decline(format!(
                "{kind} {place} takes {bytes} bytes; the adapter's max_storage_buffer_binding_size is {most}"
            )));
        }
        Ok(())
    }
}

impl Backend for WgpuBackend {
    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn legalize(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(inferrum_backend::widen(graph)?)
    }

    fn prepare(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(graph)
    }

    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline> {
        self.shared.lower(node)?;
        Ok(Cost { flops: node.flops(), bytes: node.bytes() })
    }

    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError> {
        let lower = |bound: &BoundNode<'_>| self.shared.lower(bound);
        Ok(Arc::new(edge::wait(self.shared.compile(region, lower))?))
    }

    fn holds(&self, tensor: &dyn DeviceTensor) -> bool {
        let tensor = (tensor as &dyn Any).downcast_ref::<WgpuTensor>();
        tensor.is_some_and(|tensor| Arc::ptr_eq(&tensor.gpu, &self.shared.gpu))
    }

    fn weight_bytes(&self) -> usize {
        self.shared.weights.bytes()
    }
}

/// The kernel table's rows from a list of `room: Operator, ...;`.
pub(crate) const fn row<O: 'static>(
    room: &'static str,
    path: &'static str,
    lower: Lower,
) -> KernelRow<Lower> {
    KernelRow { operator: || TypeId::of::<O>(), path, room, lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_a_device_until_it_is_lost() {
        let Ok(found) = adapter::adapters() else { return };
        let registry = Registry::default();
        let open = || edge::wait(registry.open(0, &found[0])).expect("it opens");
        let ((one, _made), (other, _)) = (open(), open());
        assert!(Arc::ptr_eq(&one, &other));
        one.device.destroy();
        let error = one.explained(BackendError::Device("anything".into()));
        assert!(matches!(error, BackendError::DeviceLost { .. }), "{error}");
        let (next, _) = open();
        assert!(!Arc::ptr_eq(&one, &next) && next.check().is_ok());
    }
}
