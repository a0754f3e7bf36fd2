//! A GPU as a backend.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cost, Decline, DeviceInfo, Executable, KernelRow, KernelTable, Region,
    Unusable,
};
use inferrum_graph::Graph;

use crate::adapter::{self, Found};
use crate::compile;
use crate::executor::WgpuExecutable;
use crate::gpu::Gpu;
use crate::kernel::{Lower, Lowered, Lowering, Operand};
use crate::pipelines::Pipelines;
use crate::storage;
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
static OPEN: Mutex<BTreeMap<usize, (Weak<Gpu>, Weak<Pipelines>)>> = Mutex::new(BTreeMap::new());

/// An adapter's device, opened if no session has it open, or if it has failed since.
fn opened(number: usize, found: &Found) -> Result<(Arc<Gpu>, Arc<Pipelines>), BackendError> {
    let mut open = OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let held = open.get(&number).and_then(|(gpu, pipelines)| Some((gpu.upgrade()?, pipelines.upgrade()?)));
    if let Some((gpu, pipelines)) = held.filter(|(gpu, _)| gpu.check().is_ok()) {
        return Ok((gpu, pipelines));
    }
    let (gpu, pipelines) = (Arc::new(Gpu::open(found)?), Arc::<Pipelines>::default());
    open.insert(number, (Arc::downgrade(&gpu), Arc::downgrade(&pipelines)));
    Ok((gpu, pipelines))
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
        let found = adapter::adapters()?;
        let names: Vec<&str> = found.iter().map(|found| found.info.name.as_str()).collect();
        let number = adapter::select(&names, selector)?;
        let (gpu, pipelines) = opened(number, &found[number]).map_err(|error| Unusable {
            reason: error.to_string(),
            remedy: "update the driver, or choose another device".into(),
        })?;
        let info = found[number].describe(format!("wgpu:{number}"));
        Ok(WgpuBackend { shared: Arc::new(Shared { info, gpu, pipelines, weights: Weights::default() }) })
    }
}

impl Shared {
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

    fn multiplies_integers(&self) -> bool {
        true
    }

    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline> {
        self.shared.lower(node)?;
        Ok(Cost { flops: node.flops(), bytes: node.bytes() })
    }

    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError> {
        let plan = compile::compile(&self.shared, region)?;
        Ok(Arc::new(WgpuExecutable::new(Arc::clone(&self.shared), plan)?))
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
