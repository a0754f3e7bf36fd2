//! When each pass of a submission began and ended, by the GPU's clock.

use std::time::Duration;

use inferrum_backend::BackendError;

use crate::answer::answer;
use crate::gpu::Gpu;

/// Queries for the passes of one submission.
pub(crate) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staged: wgpu::Buffer,
    passes: usize,
}

impl Timestamps {
    /// Queries for `passes` passes; None where the adapter has no clock, or not for so many.
    pub(crate) async fn new(gpu: &Gpu, passes: usize) -> Option<Timestamps> {
        let known = gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY);
        if !known || passes == 0 || 2 * passes > wgpu::QUERY_SET_MAX_QUERIES as usize {
            return None;
        }
        let count = 2 * passes as u32;
        let bytes = 8 * count as usize;
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
        let queries = gpu.scoped("timestamps", 0, || gpu.device.create_query_set(&descriptor)).await.ok()?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = gpu.buffer("timestamps", bytes, usage).await.ok()?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staged = gpu.buffer("timestamps", bytes, usage).await.ok()?;
        Some(Timestamps { queries, resolved, staged, passes })
    }

    /// A pass whose times are taken.
    pub(crate) fn pass(&self, index: usize) -> wgpu::ComputePassDescriptor<'_> {
        wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * index as u32),
                end_of_pass_write_index: Some(2 * index as u32 + 1),
            }),
        }
    }

    /// Records what brings the times to the host.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2 * self.passes as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staged, 0, self.staged.size());
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
