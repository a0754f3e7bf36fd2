//! NVIDIA's driver as what runs kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use inferrum_backend::{BackendError, DeviceInfo};

use super::architecture::Architecture;
use super::compiler::Compiler;
use super::gpu::Gpu;
use super::module::Module;
use super::pinned::HostMemory;
use super::stream::NvidiaStream;
use crate::abilities::Abilities;
use crate::driver::{Address, Driver, Function, Pinned, Stream};
use crate::source::Source;

/// An opened GPU with the compiler of its kernels.
pub(crate) struct NvidiaDriver {
    gpu: Arc<Gpu>,
    compiler: Compiler,
    /// Kernels that are loaded.
    loaded: Mutex<HashMap<Source, Weak<Module>>>,
    info: DeviceInfo,
}

impl NvidiaDriver {
    pub(crate) fn new(gpu: Gpu, compiler: Compiler, info: DeviceInfo) -> NvidiaDriver {
        NvidiaDriver { gpu: Arc::new(gpu), compiler, loaded: Mutex::default(), info }
    }

    /// What `inferrum devices` tells of it.
    pub(crate) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Limits the memory that is taken from now on, in bytes; the variable that does so is
    /// [`MEMORY_VARIABLE`](super::MEMORY_VARIABLE).
    pub(crate) fn set_limit(&self, limit: Option<usize>) {
        self.gpu.set_limit(limit);
    }

    fn held(&self, source: &Source) -> Option<Arc<Module>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(source).and_then(Weak::upgrade)
    }

    /// Compiles and loads what is not loaded.
    fn fresh(&self, sources: &[&Source]) -> Vec<Result<Arc<Module>, BackendError>> {
        let architecture = Architecture::of_device(self.gpu.context.device.abilities.capability);
        let images = self.compiler.compile_all(sources, architecture);
        let load = |(source, image): (&&Source, Result<Vec<u8>, String>)| {
            let module =
                Arc::new(Module::load(&self.gpu, &image.map_err(BackendError::Device)?, source.entry)?);
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.retain(|_, module| module.strong_count() > 0);
            loaded.insert((*source).clone(), Arc::downgrade(&module));
            Ok(module)
        };
        sources.iter().zip(images).map(load).collect()
    }
}

impl Driver for NvidiaDriver {
    fn abilities(&self) -> &Abilities {
        &self.gpu.context.device.abilities
    }

    fn load(&self, sources: &[&Source]) -> Vec<Result<Function, BackendError>> {
        let mut modules: HashMap<&Source, Result<Arc<Module>, BackendError>> = HashMap::new();
        let mut missing: Vec<&Source> = Vec::new();
        for &source in sources {
            match self.held(source) {
                Some(module) => drop(modules.insert(source, Ok(module))),
                None if missing.contains(&source) => {}
                None => missing.push(source),
            }
        }
        let fresh = self.fresh(&missing);
        modules.extend(missing.into_iter().zip(fresh));
        let function = |source: &&Source| match modules.get(source) {
            Some(Ok(module)) => Ok(module.named(source.entry)),
            Some(Err(error)) => Err(error.clone()),
            None => Err(BackendError::Device(format!("kernel `{}` was not loaded", source.entry))),
        };
        sources.iter().map(function).collect()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, BackendError> {
        self.gpu.allocate(bytes)
    }

    fn free(&self, address: Address, bytes: usize) {
        self.gpu.free(address, bytes);
    }

    fn pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>, BackendError> {
        Ok(Box::new(HostMemory::new(&self.gpu, bytes)?))
    }

    fn stream(&self) -> Result<Box<dyn Stream>, BackendError> {
        Ok(Box::new(NvidiaStream::new(&self.gpu)?))
    }

    fn allocated(&self) -> (usize, usize) {
        self.gpu.allocated()
    }

    fn trim(&self) -> Result<(), BackendError> {
        self.gpu.trim()
    }

    fn check(&self) -> Result<(), BackendError> {
        self.gpu.context.state()
    }
}
