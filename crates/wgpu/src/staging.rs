//! Where the host writes what the device copies: uploads of a run, in pieces that later runs write again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inferrum_backend::BackendError;

use crate::gpu::Gpu;

/// Bytes of a piece that takes several uploads at most.
const SHARED: usize = 16 << 20;

/// Pieces that are kept at most: those of one run, and of one that the device has not done yet.
const KEPT: usize = 4;

/// A mapped range begins at a multiple of this.
const ALIGNMENT: usize = 8;

/// What an upload takes of a piece.
pub(crate) fn room(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Pieces of memory that go to and fro between host and device.
#[derive(Default)]
pub(crate) struct Staging {
    /// Pieces that the device may still read, or is done with.
    waiting: Vec<Piece>,
    /// Pieces that are written for the commands being recorded, all but the last one full.
    written: Vec<Piece>,
}

struct Piece {
    buffer: wgpu::Buffer,
    used: usize,
    /// Whether the host may write it.
    mapped: Arc<AtomicBool>,
}

impl Staging {
    /// Records the copy of `bytes` to the start of a buffer; `coming` says how much room other uploads will take. Copies
    /// go in words, so a few bytes more may be written.
    ///
    /// # Errors
    /// No memory, or the device failed.
    pub(crate) async fn upload(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        bytes: &[u8],
        to: &wgpu::Buffer,
        coming: usize,
    ) -> Result<(), BackendError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = room(bytes.len());
        let fits = self.written.last().is_some_and(|piece| piece.room() >= length);
        if !fits {
            let more = coming.saturating_add(length).min(SHARED);
            let piece = self.piece(gpu, length.max(more)).await?;
            self.written.push(piece);
        }
        let Some(piece) = self.written.last_mut() else { return Ok(()) };
        let start = piece.used as u64;
        piece.used += length;
        let failed =
            |error| gpu.explained(BackendError::Device(format!("an input cannot be written: {error}")));
        let mut view = piece.buffer.get_mapped_range_mut(start..start + length as u64).map_err(failed)?;
        view.slice(..bytes.len()).copy_from_slice(bytes);
        drop(view);
        let words = (bytes.len() as u64).next_multiple_of(4);
        encoder.copy_buffer_to_buffer(&piece.buffer, start, to, 0, words);
        Ok(())
    }

    /// A piece with room for `bytes`: one that the device is done with, or a new one.
    async fn piece(&mut self, gpu: &Gpu, bytes: usize) -> Result<Piece, BackendError> {
        let ready =
            |piece: &Piece| piece.mapped.load(Ordering::Acquire) && piece.buffer.size() as usize >= bytes;
        let mut place = self.waiting.iter().position(ready);
        if place.is_none() && !self.waiting.is_empty() {
            // Lets the driver say what is done.
            let _ = gpu.device.poll(wgpu::PollType::Poll);
            place = self.waiting.iter().position(ready);
        }
        if let Some(place) = place {
            return Ok(self.waiting.swap_remove(place));
        }
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let buffer = gpu.buffer_with("inputs on their way to the device", bytes, usage, true).await?;
        Ok(Piece { buffer, used: 0, mapped: Arc::new(AtomicBool::new(true)) })
    }

    /// Hands the pieces over; the commands can be submitted then.
    pub(crate) fn finish(&self) {
        for piece in &self.written {
            piece.mapped.store(false, Ordering::Release);
            piece.buffer.unmap();
        }
    }

    /// Asks for the pieces back, once the commands are submitted.
    pub(crate) fn recall(&mut self) {
        for mut piece in self.written.drain(..) {
            piece.used = 0;
            let mapped = Arc::clone(&piece.mapped);
            piece.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
                mapped.store(result.is_ok(), Ordering::Release);
            });
            self.waiting.push(piece);
        }
        let surplus = self.waiting.len().saturating_sub(KEPT);
        self.waiting.drain(..surplus);
    }
}

impl Piece {
    fn room(&self) -> usize {
        self.buffer.size() as usize - self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge;
    use crate::testing;

    /// Uploads each of these and gives what arrives.
    fn round_trip(gpu: &Gpu, staging: &mut Staging, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut coming: usize = inputs.iter().map(|bytes| room(bytes.len())).sum();
        let mut arrived = Vec::new();
        for bytes in inputs {
            let buffer = edge::wait(gpu.buffer("a test", bytes.len(), usage)).expect("memory");
            coming -= room(bytes.len());
            edge::wait(staging.upload(gpu, &mut encoder, bytes, &buffer, coming)).expect("it is written");
            arrived.push(buffer);
        }
        staging.finish();
        gpu.queue.submit([encoder.finish()]);
        staging.recall();
        let read = |(buffer, bytes): (wgpu::Buffer, &Vec<u8>)| {
            let (call, told) = crate::answer::answer();
            buffer.map_async(wgpu::MapMode::Read, .., call);
            edge::wait(gpu.told(told)).expect("told").expect("mapped");
            buffer.get_mapped_range(..).expect("mapped")[..bytes.len()].to_vec()
        };
        arrived.into_iter().zip(inputs).map(read).collect()
    }

    #[test]
    fn uploads_arrive_and_pieces_come_back() {
        let Some(gpu) = testing::gpu() else { return };
        let mut staging = Staging::default();
        for run in 0..5u8 {
            let inputs: Vec<Vec<u8>> = [0, 1, 3, 4, 17, 1000, 127]
                .into_iter()
                .map(|length: usize| (0..length).map(|i| (i as u8).wrapping_mul(31) ^ run).collect())
                .collect();
            assert_eq!(round_trip(&gpu, &mut staging, &inputs), inputs, "run {run}");
            assert_eq!(staging.waiting.len(), 1, "one piece serves all runs");
        }
        // What is longer than a shared piece has one of its own.
        let long = vec![vec![7; 100], vec![9; SHARED + 1], vec![8; 100]];
        assert!(round_trip(&gpu, &mut staging, &long) == long);
        assert!(staging.waiting.len() <= KEPT);
    }
}
