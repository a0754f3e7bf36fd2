//! What runs kernels: NVIDIA's driver, or the host in tests. Everything above is the same for both.
//!
//! The interface is narrow on purpose: what a launch is (function, grid, block, shared memory, arguments) is computed above it, so
//! that the host runs the very launches that a GPU gets.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use inferrum_backend::BackendError;
use smallvec::SmallVec;

use crate::abilities::Abilities;
use crate::library::{Operands, Prepared, Product};
use crate::source::Source;

/// A place in a device's memory; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// The place `bytes` further on.
    pub(crate) fn offset(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

/// A device, or what stands for one.
pub(crate) trait Driver: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> &Abilities;

    /// Compiles sources, several at once; what was compiled before is taken from the disk.
    ///
    /// # Errors
    /// Of each source: the compiler or the driver refuses it.
    fn load(&self, sources: &[&Source]) -> Vec<Result<Function, BackendError>>;

    /// Memory of the device, at a multiple of [`ALIGNMENT`], whose content is anything.
    ///
    /// # Errors
    /// [`DeviceFailure::NoMemory`](inferrum_backend::DeviceFailure::NoMemory): there is not so much, or the limit is reached; `what` is for the caller to fill in.
    fn allocate(&self, bytes: usize) -> Result<Address, BackendError>;

    /// Gives memory back. Work that is on its way on any stream may still use it.
    fn free(&self, address: Address, bytes: usize);

    /// Memory of the host that the device copies from and to by itself (page-locked).
    ///
    /// # Errors
    /// There is not so much.
    fn pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>, BackendError>;

    /// A new queue of work.
    ///
    /// # Errors
    /// The device has failed.
    fn stream(&self) -> Result<Box<dyn Stream>, BackendError>;

    /// Bytes that are allocated, and the most that were.
    fn allocated(&self) -> (usize, usize);

    /// Gives back what is kept for later.
    ///
    /// # Errors
    /// The device has failed.
    fn trim(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// A matrix product, made ready to be computed by a library; None if there is none, or it does not compute this one. Ready
    /// products are kept. The first time may take as long as some hundred products.
    ///
    /// # Errors
    /// The device has failed.
    fn product(&self, _product: &Product) -> Result<Option<Arc<dyn Prepared>>, BackendError> {
        Ok(None)
    }

    /// Whether the device is sound, as far as is known; nothing is asked of it.
    ///
    /// # Errors
    /// [`DeviceFailure::Lost`](inferrum_backend::DeviceFailure::Lost): it failed some time ago.
    fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Alignment of all memory, in bytes.
pub(crate) const ALIGNMENT: usize = 256;

/// Page-locked memory of the host.
pub(crate) trait Pinned: Send + Sync {
    /// Its bytes. What a stream copies to it is there when [`Stream::wait`] returns.
    fn bytes(&self) -> &[u8];

    /// Its bytes, to be written before a stream copies from it.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// A queue of work: one piece after the other, while the caller goes on. Errors may come later than from the call that made them.
pub(crate) trait Stream: Send {
    /// Runs a kernel.
    ///
    /// # Errors
    /// The launch is refused.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), BackendError>;

    /// Copies the first `bytes` of `from` to the device; `from` stays as it is until [`Stream::wait`].
    ///
    /// # Errors
    /// `from` is shorter, or the device has failed.
    fn upload(&mut self, to: Address, from: &dyn Pinned, bytes: usize) -> Result<(), BackendError>;

    /// Copies `bytes` from the device to the start of `to`; they are there after [`Stream::wait`].
    ///
    /// # Errors
    /// `to` is shorter, or the device has failed.
    fn download(&mut self, from: Address, to: &mut dyn Pinned, bytes: usize) -> Result<(), BackendError>;

    /// Computes a product of this device's [`Driver::product`].
    ///
    /// # Errors
    /// The library refuses.
    fn multiply(&mut self, _product: &Arc<dyn Prepared>, _at: &Operands) -> Result<(), BackendError> {
        Err(BackendError::Device("the device has no library of products".into()))
    }

    /// Copies within the device, for tests of drivers.
    ///
    /// # Errors
    /// The device has failed.
    #[cfg(test)]
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), BackendError>;

    /// Sets `bytes` bytes to `byte`.
    ///
    /// # Errors
    /// The device has failed.
    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), BackendError>;

    /// Records what `record` does to this stream instead of doing it.
    ///
    /// # Errors
    /// `record` fails, or does what cannot be recorded.
    fn capture(
        &mut self,
        record: &mut dyn FnMut(&mut dyn Stream) -> Result<(), BackendError>,
    ) -> Result<Box<dyn Graph>, BackendError>;

    /// Does what was recorded.
    ///
    /// # Errors
    /// The device has failed.
    fn replay(&mut self, graph: &dyn Graph) -> Result<(), BackendError>;

    /// A moment in the queue, to measure from.
    ///
    /// # Errors
    /// The device has failed.
    fn mark(&mut self) -> Result<Box<dyn Mark>, BackendError>;

    /// Waits until all is done.
    ///
    /// # Errors
    /// What has failed since the last wait.
    fn wait(&mut self) -> Result<(), BackendError>;
}

/// Recorded work.
pub(crate) trait Graph: Any + Send + Sync {}

/// A moment in a queue.
pub(crate) trait Mark: Any + Send {
    /// Time between an earlier mark of the same device and this one; the stream was waited for.
    ///
    /// # Errors
    /// The device has failed.
    fn since(&self, earlier: &dyn Mark) -> Result<Duration, BackendError>;
}

/// A compiled kernel.
#[derive(Clone)]
pub(crate) struct Function {
    /// What it belongs to.
    pub(crate) module: Arc<dyn Any + Send + Sync>,
    /// Its name, for errors.
    pub(crate) name: &'static str,
}

/// A kernel with all that it works on.
pub(crate) struct Launch<'a> {
    pub(crate) function: &'a Function,
    /// Blocks along x, y, z.
    pub(crate) grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub(crate) block: [u32; 3],
    /// Bytes of shared memory that the block takes besides what the kernel declares.
    pub(crate) shared: u32,
    /// In the order of the kernel's parameters.
    pub(crate) arguments: &'a [Argument],
}

/// An argument of a kernel, by value, as bytes: a pointer, a number, or a struct of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// The bytes, padded.
    words: SmallVec<[u64; 2]>,
    /// How many bytes are meant.
    pub(crate) bytes: usize,
}

impl Argument {
    /// A pointer.
    pub(crate) fn address(address: Address) -> Argument {
        Argument { words: SmallVec::from_slice(&[address.0]), bytes: 8 }
    }

    /// A value of plain bytes.
    pub(crate) fn value<T: bytemuck::NoUninit>(value: &T) -> Argument {
        Argument::of_bytes(bytemuck::bytes_of(value))
    }

    /// Bytes as they are.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Argument {
        let mut words: SmallVec<[u64; 2]> = SmallVec::from_elem(0, bytes.len().div_ceil(8));
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Argument { words, bytes: bytes.len() }
    }

    /// The bytes.
    #[cfg(feature = "host")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    /// Where it stands.
    pub(crate) fn as_ptr(&self) -> *const u64 {
        self.words.as_ptr()
    }
}
