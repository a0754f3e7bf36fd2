//! The CPU as a backend.

use std::sync::{Arc, LazyLock};

use inferrum_backend::{
    Backend, BackendError, BoundNode, Cost, Decline, DeviceInfo, Executable, KernelTable, Region,
};
use inferrum_graph::Graph;

use crate::arena::Pool;
use crate::executor::CpuExecutable;
use crate::kernel::{Lower, Lowered, Lowering};
use crate::simd::Isa;
use crate::simd::peak;
use crate::threads::Threads;
use crate::weights::Weights;
use crate::{compile, fallback, passes};

static KERNELS: LazyLock<KernelTable<Lower>> = LazyLock::new(|| KernelTable::new(crate::KERNELS));

/// Runs models on the host's processor.
pub struct CpuBackend {
    info: DeviceInfo,
    threads: Threads,
    isa: Isa,
    weights: Weights,
    pool: Arc<Pool>,
}

impl CpuBackend {
    /// The processor with `threads` threads; as many as the process may use if `None`.
    pub fn new(threads: Option<usize>) -> CpuBackend {
        let threads = threads.map_or_else(Threads::default, Threads::new);
        let isa = Isa::best();
        let details = vec![
            ("instruction set".to_owned(), format!("{isa:?}")),
            ("threads".to_owned(), threads.count().to_string()),
        ];
        CpuBackend {
            info: DeviceInfo { id: "cpu".into(), name: processor_name(), usable: Ok(()), details },
            threads,
            isa,
            weights: Weights::default(),
            pool: Arc::default(),
        }
    }

    /// The threads that runs compute with.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The kernel of a node, and why it is the reference, if it is.
    fn lower(&self, bound: &BoundNode<'_>) -> (Lowered, Option<String>) {
        if let Some(nothing) = fallback::nothing(bound) {
            return (nothing, None);
        }
        let op = bound.node.op.as_ref();
        let lowering = Lowering { bound, weights: &self.weights, isa: self.isa, threads: &self.threads };
        match KERNELS.find(op) {
            None => (fallback::lower(bound), Some(format!("no CPU kernel for {}", op.key()))),
            Some(row) => match (row.lower)(op, &lowering) {
                Ok(lowered) => (lowered, None),
                Err(Decline(reason)) => (fallback::lower(bound), Some(reason)),
            },
        }
    }
}

impl Backend for CpuBackend {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn legalize(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(inferrum_backend::widen(graph)?)
    }

    fn prepare(&self, graph: Graph) -> Result<Graph, BackendError> {
        Ok(passes::channels_last::run(graph)?)
    }

    fn claim(&self, node: &BoundNode<'_>) -> Result<Cost, Decline> {
        // Every operator has a reference, so the CPU takes every node.
        Ok(Cost { flops: node.flops(), bytes: node.bytes() })
    }

    fn compile(&self, region: &Region) -> Result<Arc<dyn Executable>, BackendError> {
        let plan = compile::compile(region, |bound| self.lower(bound))?;
        Ok(Arc::new(CpuExecutable { plan, threads: self.threads.clone(), pool: Arc::clone(&self.pool) }))
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    fn measured_peak(&self) -> Option<f64> {
        Some(peak::measure(self.isa, &self.threads))
    }
}

/// The processor's name as the operating system gives it.
fn processor_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
