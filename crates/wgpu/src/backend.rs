//! A GPU as a backend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cache, Cost, Decline, DeviceInfo, Executable, Region, Unusable,
};
use inferrum_graph::Graph;

use crate::abilities::Without;
use crate::adapter::{self, Found};
use crate::compile;
use crate::executor::WgpuExecutable;
use crate::gpu::Gpu;
use crate::kernel::Lowered;
use crate::legalize::legalize;
use crate::lower;
use crate::pipelines::Pipelines;
use crate::weights::Weights;

/// Runs models on a GPU.
pub struct WgpuBackend {
    pub(crate) shared: Arc<Shared>,
}

/// What everything on one device shares.
pub(crate) struct Shared {
    pub(crate) info: DeviceInfo,
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) weights: Weights,
}

/// Adapters that sessions have open, with the pipelines made there, by number and what they do without: sessions share them.
static OPEN: Mutex<BTreeMap<(usize, Without), (Weak<Gpu>, Weak<Pipelines>)>> = Mutex::new(BTreeMap::new());

/// An adapter's device, opened if no session has it open, or if it has failed since.
fn opened(
    number: usize,
    found: &Found,
    without: Without,
) -> Result<(Arc<Gpu>, Arc<Pipelines>), BackendError> {
    let mut open = OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let held = open
        .get(&(number, without))
        .and_then(|(gpu, pipelines)| Some((gpu.upgrade()?, pipelines.upgrade()?)));
    if let Some((gpu, pipelines)) = held.filter(|(gpu, _)| gpu.check().is_ok()) {
        return Ok((gpu, pipelines));
    }
    let gpu = Arc::new(Gpu::open(found, without)?);
    let pipelines = Arc::new(Pipelines::new(&gpu, &found.info, Cache::of_user()));
    open.insert((number, without), (Arc::downgrade(&gpu), Arc::downgrade(&pipelines)));
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
        WgpuBackend::open_without(selector, Without::asked()?)
    }

    /// As [`WgpuBackend::open`], for less than the adapter can do.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open_without(selector: Option<&str>, without: Without) -> Result<WgpuBackend, Unusable> {
        let found = adapter::adapters()?;
        let names: Vec<&str> = found.iter().map(|found| found.info.name.as_str()).collect();
        let number = adapter::select(&names, selector)?;
        let (gpu, pipelines) = opened(number, &found[number], without).map_err(|error| Unusable {
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
        lower::lower(bound, &self.gpu.abilities)
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
