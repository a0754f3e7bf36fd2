//! Memory of a device: from a pool that keeps what is given back, within a limit.
//!
//! A pool's memory belongs to the order of a stream. All of ours is taken and given back on one stream which does nothing else:
//! what is given back there is used by nobody any more (`progress.rs` sees to that), and what is taken is there when that stream
//! was waited for, which takes microseconds. So it can be used on any stream. The driver's own pool is left alone: others in the
//! process set its threshold.

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{
    self, CUdeviceptr, CUmemAllocationHandleType, CUmemAllocationType, CUmemLocation, CUmemLocationType,
    CUmemPool_attribute, CUmemPoolProps, CUmemoryPool, CUresult, CUstream, CUstream_flags,
};

use super::api::{Failure, check};
use super::device::Device;

/// Where memory comes from.
pub(crate) struct Memory {
    pool: Option<Pool>,
    books: Mutex<Books>,
}

struct Pool {
    handle: CUmemoryPool,
    stream: CUstream,
}

// SAFETY: the driver's functions take both handles on any thread, several at once too.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Who has how much, in bytes.
#[derive(Default)]
struct Books {
    /// What callers have.
    used: usize,
    /// The most that they ever had.
    most: usize,
    /// What callers have, and what they gave back and cannot be given on yet.
    held: usize,
    limit: Option<usize>,
}

/// Why there is no memory.
pub(crate) enum Refusal {
    /// The limit, and what is held.
    Limit { limit: usize, held: usize },
    /// The driver has none.
    Exhausted,
    /// The driver fails.
    Failed(Failure),
}

impl Memory {
    /// The memory of a device whose context is current.
    pub(crate) fn new(device: &Device, limit: Option<usize>) -> Memory {
        let pool = if device.pools {
            let made = Pool::new(device, limit);
            made.inspect_err(|error| log::debug!("{}: no pool of memory: {error}", device.id())).ok()
        } else {
            None
        };
        Memory { pool, books: Mutex::new(Books { limit, ..Books::default() }) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that callers have, and the most that they had.
    pub(crate) fn used(&self) -> (usize, usize) {
        let books = self.books();
        (books.used, books.most)
    }

    /// Memory, of at least a byte. The context is current.
    pub(crate) fn take(&self, bytes: usize) -> Result<CUdeviceptr, Refusal> {
        {
            let mut books = self.books();
            let held = books.held.saturating_add(bytes);
            if let Some(limit) = books.limit
                && held > limit
            {
                return Err(Refusal::Limit { limit, held: books.held });
            }
            books.held = held;
        }
        let taken = match &self.pool {
            Some(pool) => pool.take(bytes),
            None => {
                let mut address = 0;
                // SAFETY: the driver writes an address.
                check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes.max(1)) })
                    .map(|()| address)
            }
        };
        let mut books = self.books();
        match taken {
            Ok(address) => {
                books.used += bytes;
                books.most = books.most.max(books.used);
                Ok(address)
            }
            Err(failure) => {
                books.held = books.held.saturating_sub(bytes);
                let none = failure.code == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
                Err(if none { Refusal::Exhausted } else { Refusal::Failed(failure) })
            }
        }
    }

    /// Notes that a caller gave memory back, which waits.
    pub(crate) fn returned(&self, bytes: usize) {
        let mut books = self.books();
        books.used = books.used.saturating_sub(bytes);
    }

    /// Gives memory back that nobody uses any more. The context is current.
    ///
    /// # Safety
    /// The address came from [`Memory::take`] with so many bytes, it is given back once, and no work uses it any more.
    pub(crate) unsafe fn put(&self, address: CUdeviceptr, bytes: usize) -> Result<(), Failure> {
        let mut books = self.books();
        books.held = books.held.saturating_sub(bytes);
        drop(books);
        match &self.pool {
            // SAFETY: as the caller says; the memory came from the pool.
            Some(pool) => check("cuMemFreeAsync", unsafe { sys::cuMemFreeAsync(address, pool.stream) }),
            // SAFETY: as the caller says.
            None => check("cuMemFree", unsafe { sys::cuMemFree_v2(address) }),
        }
    }

    /// Gives the driver back what nobody has. The context is current.
    pub(crate) fn trim(&self) -> Result<(), Failure> {
        let Some(pool) = &self.pool else { return Ok(()) };
        pool.wait()?;
        // SAFETY: the pool is alive.
        check("cuMemPoolTrimTo", unsafe { sys::cuMemPoolTrimTo(pool.handle, 0) })
    }

    /// Ends the pool. The context is current and sound; nothing is taken after.
    pub(crate) fn close(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        // SAFETY: both are alive and not used after. What callers never gave back keeps the pool's memory until the context ends.
        let codes = unsafe {
            let waited = sys::cuStreamSynchronize(pool.stream);
            [waited, sys::cuMemPoolDestroy(pool.handle), sys::cuStreamDestroy_v2(pool.stream)]
        };
        for failure in codes.into_iter().filter_map(|code| check("closing the pool", code).err()) {
            log::debug!("{failure}");
        }
    }
}

impl Pool {
    fn new(device: &Device, limit: Option<usize>) -> Result<Pool, Failure> {
        let location =
            CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: device.handle };
        let properties = CUmemPoolProps {
            allocType: CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            handleTypes: CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location,
            win32SecurityAttributes: std::ptr::null_mut(),
            maxSize: 0,
            usage: 0,
            reserved: [0; 54],
        };
        let mut handle: CUmemoryPool = std::ptr::null_mut();
        // SAFETY: the properties are those of cuda.h 13.0; what older drivers do not know in them is zero.
        check("cuMemPoolCreate", unsafe { sys::cuMemPoolCreate(&raw mut handle, &raw const properties) })?;
        let mut stream: CUstream = std::ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current, and the driver writes a stream.
        let made = check("cuStreamCreate", unsafe { sys::cuStreamCreate(&raw mut stream, flags) });
        if let Err(failure) = made {
            // SAFETY: it was just made, and is not used after.
            unsafe { sys::cuMemPoolDestroy(handle) };
            return Err(failure);
        }
        let pool = Pool { handle, stream };
        if let Err(failure) = pool.keep(limit) {
            log::debug!("{}: the pool gives memory back at each wait: {failure}", device.id());
        }
        Ok(pool)
    }

    /// Keeps what is given back, at most `limit`, until it is asked for otherwise.
    fn keep(&self, limit: Option<usize>) -> Result<(), Failure> {
        let mut threshold: u64 = limit.map_or(u64::MAX, |limit| limit as u64);
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let value: *mut c_void = (&raw mut threshold).cast();
        // SAFETY: the value of this attribute is a `cuuint64_t`, which the driver reads.
        check("cuMemPoolSetAttribute", unsafe { sys::cuMemPoolSetAttribute(self.handle, attribute, value) })
    }

    fn take(&self, bytes: usize) -> Result<CUdeviceptr, Failure> {
        let mut address = 0;
        // SAFETY: pool and stream are alive, and the driver writes an address.
        let code =
            unsafe { sys::cuMemAllocFromPoolAsync(&raw mut address, bytes.max(1), self.handle, self.stream) };
        check("cuMemAllocFromPoolAsync", code)?;
        self.wait()?;
        Ok(address)
    }

    fn wait(&self) -> Result<(), Failure> {
        // SAFETY: the stream is alive, and never recorded.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.stream) })
    }
}
