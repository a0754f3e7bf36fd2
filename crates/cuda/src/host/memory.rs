//! Memory of the host as a device: every buffer ends at a page that nobody may touch, and starts as NaN.
//!
//! A buffer's start is a multiple of [`ALIGNMENT`], so less than that many bytes stand between its end and the page, and less than a
//! page before it. They hold a canary, which is looked at after each launch that is given the buffer, at each wait, and when the buffer
//! is freed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use inferrum_backend::{BackendError, DeviceFailure};

use super::runner::Runner;
use crate::driver::{self, ALIGNMENT, Address};

/// NaN of all floats, read at any place, and not what writes of NaN leave.
const CANARY: [u8; 2] = [0xFD, 0xFF];

/// As in runner.cpp.
const PAGE: usize = 4096;

/// Buffers.
pub(super) struct Memory {
    runner: &'static Runner,
    buffers: BTreeMap<u64, usize>,
    limit: u64,
    allocated: usize,
    most: usize,
}

impl Memory {
    pub(super) fn new(runner: &'static Runner, limit: u64) -> Memory {
        Memory { runner, buffers: BTreeMap::new(), limit, allocated: 0, most: 0 }
    }

    pub(super) fn allocate(&mut self, bytes: usize) -> Result<Address, BackendError> {
        let none = |reason: &str| {
            DeviceFailure::NoMemory {
                device: super::DEVICE.into(),
                what: String::new(),
                node: None,
                value: None,
                needed: bytes,
                reason: reason.into(),
            }
            .into()
        };
        let whole = bytes.checked_next_multiple_of(ALIGNMENT).ok_or_else(|| none("there is not so much"))?;
        let total = self.allocated.checked_add(bytes).filter(|&total| total as u64 <= self.limit);
        let total = total.ok_or_else(|| none(&format!("its limit is {} bytes", self.limit)))?;
        // SAFETY: any number of bytes may be asked for.
        let start = unsafe { (self.runner.allocate)(whole) };
        if start.is_null() {
            return Err(none("the system gives none"));
        }
        let before = before(whole);
        // SAFETY: `whole` bytes from `start` are ours, and what stands before them in their first page.
        let memory = unsafe { std::slice::from_raw_parts_mut(start.sub(before), before + whole) };
        for (at, byte) in memory.iter_mut().enumerate() {
            *byte = CANARY[at % 2];
        }
        memory[before..][..bytes].fill(0xFF);
        self.buffers.insert(start as u64, bytes);
        self.allocated = total;
        self.most = self.most.max(total);
        Ok(Address(start as u64))
    }

    /// # Errors
    /// There is no such buffer, or it was written beyond its end.
    pub(super) fn free(&mut self, address: Address, bytes: usize) -> Result<(), String> {
        match self.buffers.get(&address.0) {
            Some(&found) if found == bytes => {}
            found => {
                return Err(format!(
                    "{bytes} bytes at {:#x} are freed, but what is there is {found:?}",
                    address.0
                ));
            }
        }
        let intact = self.intact(address);
        self.buffers.remove(&address.0);
        self.allocated -= bytes;
        // SAFETY: `allocate` gave as many bytes here, and the buffer is no longer listed.
        unsafe { (self.runner.release)(address.0 as *mut u8, bytes.next_multiple_of(ALIGNMENT)) };
        intact
    }

    pub(super) fn allocated(&self) -> (usize, usize) {
        (self.allocated, self.most)
    }

    /// The buffer that an address is in, or just after: its start and bytes.
    pub(super) fn find(&self, address: u64) -> Option<(Address, usize)> {
        let (&start, &bytes) = self.buffers.range(..=address).next_back()?;
        (address - start <= bytes as u64).then_some((Address(start), bytes))
    }

    /// # Errors
    /// The buffer was written beyond its end.
    pub(super) fn intact(&self, start: Address) -> Result<(), String> {
        let Some(&bytes) = self.buffers.get(&start.0) else { return Ok(()) };
        let whole = bytes.next_multiple_of(ALIGNMENT);
        let before = before(whole);
        let first = start.0 as usize - before;
        // SAFETY: as many bytes stand before and after the buffer, and are only written by a kernel that should not.
        let (ahead, behind) = unsafe {
            let behind = (start.0 as usize + bytes) as *const u8;
            (
                std::slice::from_raw_parts(first as *const u8, before),
                std::slice::from_raw_parts(behind, whole - bytes),
            )
        };
        if let Some(at) = written(ahead, 0) {
            return Err(format!("a write {} bytes before a buffer of {bytes} bytes", before - at));
        }
        match written(behind, bytes) {
            Some(at) => Err(format!("a write {at} bytes beyond the end of a buffer of {bytes} bytes")),
            None => Ok(()),
        }
    }

    /// # Errors
    /// A buffer was written beyond its end.
    pub(super) fn all_intact(&self) -> Result<(), String> {
        self.buffers.keys().try_for_each(|&start| self.intact(Address(start)))
    }

    /// # Errors
    /// The range is not in one buffer.
    fn check(&self, address: Address, bytes: usize) -> Result<(), String> {
        let inside = self
            .find(address.0)
            .is_some_and(|(start, whole)| (address.0 - start.0) as usize + bytes <= whole);
        if inside || bytes == 0 {
            return Ok(());
        }
        Err(format!("a copy of {bytes} bytes at {:#x}, which are not in one buffer", address.0))
    }

    /// # Errors
    /// The range is not in one buffer.
    pub(super) fn write(&mut self, to: Address, from: &[u8]) -> Result<(), String> {
        self.check(to, from.len())?;
        // SAFETY: the range is in a buffer, and `from` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.0 as *mut u8, from.len()) };
        Ok(())
    }

    /// # Errors
    /// The range is not in one buffer.
    pub(super) fn read(&self, from: Address, to: &mut [u8]) -> Result<(), String> {
        self.check(from, to.len())?;
        // SAFETY: the range is in a buffer, and `to` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// # Errors
    /// A range is not in one buffer.
    #[cfg(test)]
    pub(super) fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), String> {
        self.check(from, bytes)?;
        self.check(to, bytes)?;
        // SAFETY: both ranges are in buffers.
        unsafe { std::ptr::copy(from.0 as *const u8, to.0 as *mut u8, bytes) };
        Ok(())
    }

    /// # Errors
    /// The range is not in one buffer.
    pub(super) fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), String> {
        self.check(to, bytes)?;
        // SAFETY: the range is in a buffer.
        unsafe { std::ptr::write_bytes(to.0 as *mut u8, byte, bytes) };
        Ok(())
    }

    /// What an access in vain was to, in words.
    pub(super) fn describe(&self, address: u64) -> String {
        if address < PAGE as u64 {
            return format!("{address:#x}, through a null pointer");
        }
        let (before, after) =
            (self.buffers.range(..=address).next_back(), self.buffers.range(address..).next());
        let beyond = before.map(|(start, bytes)| (address - start - *bytes as u64, *bytes));
        let ahead = after.map(|(start, bytes)| (start - address, *bytes));
        let near = 1 << 20;
        match (beyond, ahead) {
            (Some((far, bytes)), other) if far < near && other.is_none_or(|(ahead, _)| far <= ahead) => {
                format!("{far} bytes beyond the end of a buffer of {bytes} bytes")
            }
            (_, Some((ahead, bytes))) if ahead < near => {
                format!("{ahead} bytes before a buffer of {bytes} bytes")
            }
            _ => format!("{address:#x}, which is in no buffer"),
        }
    }
}

/// Bytes from the start of a page to a buffer that ends with one.
fn before(whole: usize) -> usize {
    whole.next_multiple_of(PAGE) - whole
}

/// The first byte that is not the canary, which has an even or odd place.
fn written(bytes: &[u8], place: usize) -> Option<usize> {
    let canary = [CANARY[place % 2], CANARY[(place + 1) % 2]];
    let (pairs, rest) = bytes.as_chunks::<2>();
    if pairs.iter().all(|pair| *pair == canary) && rest.iter().all(|&byte| byte == canary[0]) {
        return None;
    }
    bytes.iter().enumerate().position(|(at, &byte)| byte != canary[at % 2])
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (start, bytes) in std::mem::take(&mut self.buffers) {
            // SAFETY: `allocate` gave as many bytes here.
            unsafe { (self.runner.release)(start as *mut u8, bytes.next_multiple_of(ALIGNMENT)) };
        }
    }
}

/// Page-locked memory as graphs refer to it: it may be gone when they are replayed.
#[derive(Default)]
pub(super) struct PinnedTable(Arc<Mutex<HashMap<usize, Weak<PinnedBytes>>>>);

/// Words, whose place never changes. Who has the [`Pinned`] has them; graphs touch them only while they replay, when by the contract
/// of a stream their owner does not.
pub(super) struct PinnedBytes {
    words: *mut [u64],
    bytes: usize,
}

// SAFETY: plain memory; see the type's contract.
unsafe impl Send for PinnedBytes {}
// SAFETY: plain memory; see the type's contract.
unsafe impl Sync for PinnedBytes {}

impl PinnedBytes {
    fn start(&self) -> *mut u8 {
        self.words.cast()
    }

    /// The first `bytes`, while nobody writes them.
    pub(super) fn first(&self, bytes: usize) -> Option<&[u8]> {
        // SAFETY: so many there are, and by the type's contract nobody writes them.
        (bytes <= self.bytes).then(|| unsafe { std::slice::from_raw_parts(self.start(), bytes) })
    }

    /// The first `bytes`, while nobody else touches them.
    #[expect(clippy::mut_from_ref, reason = "by the type's contract nobody else has them")]
    pub(super) fn first_mut(&self, bytes: usize) -> Option<&mut [u8]> {
        // SAFETY: so many there are, and by the type's contract nobody else touches them.
        (bytes <= self.bytes).then(|| unsafe { std::slice::from_raw_parts_mut(self.start(), bytes) })
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        // SAFETY: it comes from a box, and this is its only owner.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

pub(super) struct Pinned {
    memory: Arc<PinnedBytes>,
    table: Arc<Mutex<HashMap<usize, Weak<PinnedBytes>>>>,
}

impl PinnedTable {
    pub(super) fn allocate(&self, bytes: usize) -> Pinned {
        let words = Box::into_raw(vec![!0u64; bytes.div_ceil(8).max(1)].into_boxed_slice());
        let memory = Arc::new(PinnedBytes { words, bytes });
        let mut table = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.insert(memory.start() as usize, Arc::downgrade(&memory));
        Pinned { memory, table: Arc::clone(&self.0) }
    }

    /// What stands behind an interface.
    pub(super) fn find(&self, pinned: &dyn driver::Pinned) -> Option<Weak<PinnedBytes>> {
        let table = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.get(&(pinned.bytes().as_ptr() as usize)).cloned()
    }
}

impl driver::Pinned for Pinned {
    fn bytes(&self) -> &[u8] {
        self.memory.first(self.memory.bytes).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.first_mut(self.memory.bytes).unwrap_or_default()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.remove(&(self.memory.start() as usize));
    }
}
