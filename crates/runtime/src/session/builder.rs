//! How to load a model.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use inferrum_backend::{Backend, Device, Precision, Profile, narrow};
use inferrum_graph::Graph;
use inferrum_optimize::Target;
use inferrum_tensor::AllocationLimit;

use super::{Session, ValueInfo};
use crate::devices::{self, Opened};
use crate::program::{Devices, Program};
use crate::{Error, memory};

/// How to load and run a model: [`Session::builder`] makes one with the settings that each method names.
///
/// ```
/// use inferrum::{Device, Precision, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::builder()
///     .device(Device::Cpu)
///     .precision(Precision::F32)
///     .threads(2)
///     .max_memory(256 << 20)
///     .load(model)?;
/// assert_eq!(session.device().id, "cpu");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionBuilder {
    device: Device,
    precision: Precision,
    threads: Option<usize>,
    max_memory: Option<usize>,
    profile: bool,
    optimize: bool,
    strict: bool,
}

impl SessionBuilder {
    pub(super) fn new() -> SessionBuilder {
        SessionBuilder {
            device: Device::Auto,
            precision: Precision::F32,
            threads: None,
            max_memory: None,
            profile: false,
            optimize: true,
            strict: false,
        }
    }

    /// The device; [`Device::Auto`] unless said otherwise.
    #[must_use]
    pub fn device(mut self, device: Device) -> SessionBuilder {
        self.device = device;
        self
    }

    /// The precision; [`Precision::F32`] unless said otherwise.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> SessionBuilder {
        self.precision = precision;
        self
    }

    /// The number of threads that one run computes with, from 1 (0 counts as 1) to 1024; as many as the process may use
    /// (its CPU quota and affinity) unless said otherwise. Sessions share their threads, so that runs at the same time do
    /// not add up.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> SessionBuilder {
        self.threads = Some(threads.max(1));
        self
    }

    /// Bytes that the model's weights and one run may take; the machine's memory unless said otherwise. What would take
    /// more is [`Error::OutOfMemory`] before it is allocated.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> SessionBuilder {
        self.max_memory = Some(bytes);
        self
    }

    /// Whether every run is profiled; see [`Session::profile`].
    #[must_use]
    pub fn profile(mut self, profile: bool) -> SessionBuilder {
        self.profile = profile;
        self
    }

    /// Whether the graph is rewritten before it runs; it is unless said otherwise.
    #[must_use]
    pub fn optimize(mut self, optimize: bool) -> SessionBuilder {
        self.optimize = optimize;
        self
    }

    /// Whether a model of which the device declines nodes is refused; unless said otherwise the processor runs these, and
    /// [`Session::placement`] tells why. What is the host's on every device (loops, arithmetic of shapes) is no refusal.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> SessionBuilder {
        self.strict = strict;
        self
    }

    /// Loads the model in a file. The file is mapped; it must not change while the session lives.
    ///
    /// # Errors
    /// [`Error::Load`]: the file cannot be read, is no model, or uses operators that do not exist here (all are named).
    /// Otherwise as [`SessionBuilder::build`].
    pub fn load(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        let _limit = AllocationLimit::new(self.limit());
        self.build(inferrum_onnx::load(path.as_ref())?.graph)
    }

    /// Loads a model from memory. It cannot refer to external data.
    ///
    /// # Errors
    /// As [`SessionBuilder::load`].
    pub fn load_bytes(self, bytes: impl Into<bytes::Bytes>) -> Result<Session, Error> {
        let _limit = AllocationLimit::new(self.limit());
        self.build(inferrum_onnx::load_bytes(bytes.into(), None)?.graph)
    }

    fn limit(&self) -> usize {
        self.max_memory.unwrap_or_else(memory::machine_limit)
    }

    /// Makes a session of a graph.
    ///
    /// # Errors
    /// [`Error::Node`]: an operator refuses its inputs; [`Error::Device`]: the device cannot be used, with what to do;
    /// [`Error::OutOfMemory`]: the weights alone take more than [`SessionBuilder::max_memory`]; [`Error::Unsupported`]:
    /// too many [`SessionBuilder::threads`]; [`Error::Declined`]: see [`SessionBuilder::strict`].
    pub fn build(self, graph: Graph) -> Result<Session, Error> {
        let limit = self.limit();
        let _limit = AllocationLimit::new(limit);
        let needed =
            graph.values().iter().filter_map(|value| value.fact.value()).map(|t| t.bytes().len()).sum();
        if needed > limit {
            return Err(Error::OutOfMemory { what: "the model's weights".into(), needed, limit });
        }
        let Opened { backend, host } = devices::open(&self.device, self.threads, self.precision)?;
        let info = |ids: &[inferrum_graph::ValueId]| -> Vec<ValueInfo> {
            ids.iter()
                .map(|&id| ValueInfo { name: graph.value(id).name.clone(), fact: graph.fact(id).clone() })
                .collect()
        };
        let (inputs, outputs) = (info(&graph.inputs), info(&graph.outputs));
        let (graph, fusions) = if self.optimize { optimized(graph, &*backend)? } else { (graph, Vec::new()) };
        let graph = in_precision(graph, &*backend, self.precision)?;
        let devices = Devices { backend: Arc::clone(&backend), host, strict: self.strict };
        let program = Program::new(graph, devices, limit);
        program.prepare()?;
        Ok(Session {
            output_names: outputs.iter().map(|output| output.name.clone()).collect(),
            inputs,
            outputs,
            program,
            backend,
            choice: (self.device == Device::Auto).then(OnceLock::new),
            profile: self.profile.then(Profile::new),
            fusions,
        })
    }
}

fn optimized(graph: Graph, backend: &dyn Backend) -> Result<(Graph, Vec<(String, usize)>), Error> {
    let target = Target { integer_products: backend.multiplies_integers() };
    let (graph, fusions) = inferrum_optimize::optimize_for(backend.legalize(graph)?, target)?;
    Ok((backend.prepare(graph)?, fusions))
}

/// The graph on the floats that the user asked for, where the device has kernels for them.
fn in_precision(graph: Graph, backend: &dyn Backend, precision: Precision) -> Result<Graph, Error> {
    match precision.narrow() {
        Some(dtype) => Ok(narrow(graph, dtype, &|bound| backend.claim(bound).is_ok())?),
        None => Ok(graph),
    }
}
