//! Matrix products by cuBLASLt: for each the fastest of the library's ways, which is measured once and kept on the disk.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inferrum_backend::{BackendError, Cache, DeviceFailure};

use super::cublas_lt::{Algorithm, CublasLt, Described, Way};
use super::gpu::Gpu;
use super::optional::Optional;
use super::stream::NvidiaStream;
use crate::driver::{Address, Mark, Stream};
use crate::library::{Operands, Prepared, Product};

/// Ways that are measured.
const WAYS: usize = 8;

/// How often each is.
const TIMES: u32 = 5;

/// Bytes of operands beyond which a product is not tried: memory for them may be wanted elsewhere.
const TRIED_BYTES: usize = 4 << 30;

/// The library, and the products that it is ready to compute.
pub(crate) struct Products {
    ready: Mutex<HashMap<Product, Option<Arc<Ready>>>>,
    library: Arc<CublasLt>,
    version: &'static str,
    cache: Cache,
    gpu: Arc<Gpu>,
}

/// A product, and how it is computed.
pub(crate) struct Ready {
    described: Described,
    way: Way,
    library: Arc<CublasLt>,
    // Dropped last: the library's handle belongs to its context.
    pub(crate) gpu: Arc<Gpu>,
}

impl Prepared for Ready {
    fn workspace(&self) -> usize {
        self.way.workspace
    }
}

impl Ready {
    /// Gives the product to a stream of the same device, whose context is current.
    pub(crate) fn run(&self, at: Operands, stream: cudarc::driver::sys::CUstream) -> Result<(), String> {
        // SAFETY: the caller of `Stream::multiply` answers for the operands, as for those of a kernel; the way is one for this
        // product, and its workspace is among them.
        unsafe { self.library.multiply(&self.described, &self.way, at, stream) }
    }
}

impl Products {
    /// The library for an opened GPU.
    ///
    /// # Errors
    /// The library refuses it.
    pub(crate) fn new(gpu: &Arc<Gpu>, found: &'static Optional, cache: Cache) -> Result<Products, String> {
        gpu.context.enter().map_err(|error| error.to_string())?;
        let library = Arc::new(CublasLt::new(&found.library)?);
        Ok(Products {
            ready: Mutex::default(),
            library,
            version: &found.version,
            cache,
            gpu: Arc::clone(gpu),
        })
    }

    /// A product, made ready; None if the library does not compute it.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn get(&self, product: &Product) -> Result<Option<Arc<Ready>>, BackendError> {
        // Held all the while: measuring two at once would say nothing of either.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ready.get(product) {
            return Ok(known.clone());
        }
        self.gpu.context.enter()?;
        let made = self.make(product)?;
        ready.insert(*product, made.clone());
        Ok(made)
    }

    fn make(&self, product: &Product) -> Result<Option<Arc<Ready>>, BackendError> {
        let refused = |error: String| log::debug!("cuBLASLt declines {product:?}: {error}");
        let Ok(described) = self.library.describe(*product).map_err(refused) else { return Ok(None) };
        let key = self.key(product);
        let name = format!("cublaslt-{:016x}", super::compiler::hash(key.as_bytes()));
        let kept = self.cache.get(&name, &key).and_then(|bytes| read(&bytes));
        let ways = match kept {
            Some(way) => vec![way],
            None => self.library.ways(&described, WAYS).map_err(refused).unwrap_or_default(),
        };
        let Some(&first) = ways.first() else { return Ok(None) };
        let mut ready =
            Ready { described, way: first, library: Arc::clone(&self.library), gpu: Arc::clone(&self.gpu) };
        match self.fastest(&mut ready, &ways) {
            Ok(Some(way)) => {
                ready.way = way;
                if kept.is_none() {
                    self.cache.put(&name, &key, &written(&way));
                }
            }
            // All of them fail, even the one that was kept: of the next version, perhaps.
            Ok(None) => return Ok(None),
            Err(lost @ BackendError::Failure(DeviceFailure::Lost { .. })) => return Err(lost),
            Err(error) => {
                log::debug!("{product:?} is not measured: {error}");
                ready.way = first;
            }
        }
        Ok(Some(Arc::new(ready)))
    }

    fn key(&self, product: &Product) -> String {
        let device = &self.gpu.context.device;
        let (name, capability) = (&device.name, device.abilities.capability);
        format!("cublaslt {}\n{name} {capability}\n{product:?}", self.version)
    }

    /// Runs each way on memory of its own, which also loads the library's code before anything is recorded.
    fn fastest(&self, ready: &mut Ready, ways: &[Way]) -> Result<Option<Way>, BackendError> {
        let product = ready.described.product;
        let [a, b, d] = product.bytes();
        let workspace = ways.iter().map(|way| way.workspace).max().unwrap_or(0);
        let sizes = [a, b, d, product.n * product.result.bytes(), workspace];
        if sizes.iter().sum::<usize>() > TRIED_BYTES {
            return Err(BackendError::Device("its operands are too large".into()));
        }
        let mut scratch = Scratch { gpu: &self.gpu, held: Vec::new() };
        let [a, b, d, bias, workspace] = sizes.map(|bytes| scratch.take(bytes));
        let at = Operands { a: a?, b: b?, c: d.clone()?, bias: bias?, d: d?, workspace: workspace? };
        let mut stream = NvidiaStream::new(&self.gpu)?;
        for &(address, bytes) in &scratch.held {
            stream.fill(address, 0, bytes)?;
        }
        let mut best: Option<(Duration, Way)> = None;
        for way in ways {
            ready.way = *way;
            let Some(took) = timed(ready, at, &mut stream)? else { continue };
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, *way));
            }
        }
        // What is given back is not in use any more then.
        stream.wait()?;
        Ok(best.map(|(_, way)| way))
    }
}

/// How long the product takes, and None if the library refuses it.
fn timed(ready: &Ready, at: Operands, stream: &mut NvidiaStream) -> Result<Option<Duration>, BackendError> {
    match stream.run(ready, at) {
        Ok(()) => {}
        Err(lost @ BackendError::Failure(DeviceFailure::Lost { .. })) => return Err(lost),
        Err(_) => return Ok(None),
    }
    let before = stream.mark()?;
    (0..TIMES).try_for_each(|_| stream.run(ready, at))?;
    let after = stream.mark()?;
    stream.wait()?;
    let after: &dyn Mark = &*after;
    after.since(&*before).map(Some)
}

/// Memory for a while.
struct Scratch<'a> {
    gpu: &'a Gpu,
    held: Vec<(Address, usize)>,
}

impl Scratch<'_> {
    fn take(&mut self, bytes: usize) -> Result<Address, BackendError> {
        let address = self.gpu.allocate(bytes)?;
        self.held.push((address, bytes));
        Ok(address)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        for &(address, bytes) in &self.held {
            self.gpu.free(address, bytes);
        }
    }
}

/// The product as one of the library's for this GPU.
pub(crate) fn of<'a>(prepared: &'a Arc<dyn Prepared>, gpu: &Arc<Gpu>) -> Option<&'a Ready> {
    let prepared: &dyn Any = &**prepared;
    prepared.downcast_ref::<Ready>().filter(|it| Arc::ptr_eq(&it.gpu, gpu))
}

fn written(way: &Way) -> Vec<u8> {
    let words = way.algorithm.iter().copied().chain([way.workspace as u64]);
    words.flat_map(u64::to_le_bytes).collect()
}

fn read(bytes: &[u8]) -> Option<Way> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: [u64; 9] =
        words.iter().map(|&word| u64::from_le_bytes(word)).collect::<Vec<_>>().try_into().ok()?;
    let mut algorithm = Algorithm::default();
    algorithm.copy_from_slice(&words[..8]);
    rest.is_empty().then_some(Way { algorithm, workspace: usize::try_from(words[8]).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_kept_whole() {
        let way = Way { algorithm: [1, 2, 3, 4, 5, 6, 7, u64::MAX], workspace: 1 << 20 };
        assert_eq!(read(&written(&way)), Some(way));
        assert_eq!(read(&written(&way)[1..]), None);
        assert_eq!(read(b""), None);
    }
}
