//! NVIDIA's driver as what runs kernels.

use std::sync::{Arc, OnceLock};

use inferrum_backend::{BackendError, Cache, DeviceInfo};

use super::architecture::Architecture;
use super::compiler::Compiler;
use super::gpu::Gpu;
use super::module::Module;
use super::optional;
use super::pinned::HostMemory;
use super::products::Products;
use super::stream::NvidiaStream;
use crate::abilities::Abilities;
use crate::driver::{Address, Driver, Function, Pinned, Stream};
use crate::library::{Prepared, Product};
use crate::source::Source;

/// An opened GPU with the compiler of its kernels.
pub(crate) struct NvidiaDriver {
    gpu: Arc<Gpu>,
    compiler: Compiler,
    /// Opened when the first product is asked for.
    products: OnceLock<Option<Products>>,
    /// What `inferrum devices` tells of it.
    pub(crate) info: DeviceInfo,
}

impl NvidiaDriver {
    pub(crate) fn new(gpu: Gpu, compiler: Compiler, info: DeviceInfo) -> NvidiaDriver {
        NvidiaDriver { gpu: Arc::new(gpu), compiler, products: OnceLock::new(), info }
    }
}

impl Driver for NvidiaDriver {
    fn abilities(&self) -> &Abilities {
        &self.gpu.context.device.abilities
    }

    fn load(&self, sources: &[&Source]) -> Vec<Result<Function, BackendError>> {
        let architecture = Architecture::of_device(self.gpu.context.device.abilities.capability);
        let images = self.compiler.compile_all(sources, architecture);
        let load = |(source, image): (&&Source, Result<Vec<u8>, String>)| {
            let module = Module::load(&self.gpu, &image.map_err(BackendError::Device)?, source.entry)?;
            Ok(module.named(source.entry))
        };
        sources.iter().zip(images).map(load).collect()
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

    fn product(&self, product: &Product) -> Result<Option<Arc<dyn Prepared>>, BackendError> {
        let open = || {
            let found = optional::cublas_lt(super::api::version().ok()? / 1000)?;
            let products = Products::new(&self.gpu, found, Cache::of_user());
            products.inspect_err(|error| log::warn!("cuBLASLt cannot be used: {error}")).ok()
        };
        let Some(products) = self.products.get_or_init(open) else { return Ok(None) };
        Ok(products.get(product)?.map(|ready| ready as Arc<dyn Prepared>))
    }

    fn trim(&self) -> Result<(), BackendError> {
        self.gpu.trim()
    }

    fn check(&self) -> Result<(), BackendError> {
        self.gpu.context.state()
    }
}
