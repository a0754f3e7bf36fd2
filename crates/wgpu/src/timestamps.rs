//! When each pass of a submission began and ended, by the GPU's clock.

use std::time::Duration;

use inferrum_backend::BackendError;

use crate::answer::answer;
use crate::gpu::Gpu;

/// Passes that one set of queries times.
const SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// Queries for the passes of a run.
pub(crate) struct Timestamps {
    /// Each for [`SET`] passes, the last one for the rest.
    sets: Vec<wgpu::QuerySet>,
    resolved: wgpu::Buffer,
    staged: wgpu::Buffer,
    passes: usize,
}

impl Timestamps {
    /// Queries for `passes` passes; None where the adapter has no clock.
    pub(crate) async fn new(gpu: &Gpu, passes: usize) -> Option<Timestamps> {
        if !gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY) || passes == 0 {
            return None;
        }
        let mut sets = Vec::new();
        for first in (0..passes).step_by(SET) {
            let count = queries(first, passes);
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
            sets.push(gpu.scoped("timestamps", 0, || gpu.device.create_query_set(&descriptor)).await.ok()?);
        }
        let bytes = 16 * passes;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = gpu.buffer("timestamps", bytes, usage).await.ok()?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staged = gpu.buffer("timestamps", bytes, usage).await.ok()?;
        Some(Timestamps { sets, resolved, staged, passes })
    }

    /// A pass whose times are taken.
    pub(crate) fn pass(&self, index: usize) -> wgpu::ComputePassDescriptor<'_> {
        let first = 2 * (index % SET) as u32;
        wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.sets[index / SET],
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        }
    }

    /// Records what brings the times to the host.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        for (set, first) in self.sets.iter().zip((0..self.passes).step_by(SET)) {
            let count = queries(first, self.passes);
            encoder.resolve_query_set(set, 0..count, &self.resolved, 16 * first as u64);
        }
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staged, 0, 16 * self.passes as u64);
    }

    /// For each pass the time from the first one's start to its own, and how long it took; waits for the submission.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) async fn read(&self, gpu: &Gpu) -> Result<Vec<(Duration, Duration)>, BackendError> {
        let (call, mapped) = answer();
        self.staged.map_async(wgpu::MapMode::Read, .., call);
        let told = gpu.told(mapped).await?;
        told.map_err(|error| BackendError::Device(format!("timestamps cannot be read: {error}")))?;
        let failed = |error| BackendError::Device(format!("timestamps cannot be read: {error}"));
        let view = self.staged.get_mapped_range(..).map_err(failed)?;
        let period = f64::from(gpu.queue.get_timestamp_period());
        let ticks: Vec<u64> = view
            .chunks_exact(8)
            .take(2 * self.passes)
            .map(|bytes| bytes.iter().rev().fold(0, |ticks, &byte| ticks << 8 | u64::from(byte)))
            .collect();
        let time = |ticks: u64| Duration::from_nanos((ticks as f64 * period) as u64);
        let start = ticks.iter().copied().min().unwrap_or(0);
        let spans = ticks
            .chunks_exact(2)
            .map(|span| (time(span[0].saturating_sub(start)), time(span[1].saturating_sub(span[0]))));
        Ok(spans.collect())
    }
}

/// How many queries the set has whose first pass this is.
fn queries(first: usize, passes: usize) -> u32 {
    2 * SET.min(passes - first) as u32
}
