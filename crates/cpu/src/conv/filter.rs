//! Weights of a convolution, packed.

use crate::gemm::{Buffer, MatRef, PackedB, Unpacked};
use crate::simd::Isa;
use crate::threads::Threads;

/// Weights of a convolution, packed for one instruction set.
#[derive(Debug)]
pub struct Filter {
    pub(super) isa: Isa,
    pub(super) filters: usize,
    pub(super) groups: usize,
    /// Input channels of each group.
    pub(super) channels: usize,
    pub(super) kernel: [usize; 2],
    pub(super) weights: Weights,
}

#[derive(Debug)]
pub(super) enum Weights {
    /// For each group the matrix (kh, kw, channel) x filter.
    Dense(Vec<PackedB>),
    /// (kh, kw) x channel: one filter per channel.
    Depthwise(Buffer),
}

impl Filter {
    /// Packs ONNX weights, laid out [filters, channels / groups, kh, kw] (`shape`). Panics if `weights` has another length
    /// or `groups` (at least 1) does not divide the filters.
    pub fn new(isa: Isa, threads: &Threads, weights: &[f32], shape: [usize; 4], groups: usize) -> Self {
        let [filters, channels, kh, kw] = shape;
        let depth = channels * kh * kw;
        assert_eq!(weights.len(), filters * depth, "weights of shape {shape:?}");
        assert!(groups > 0 && filters % groups == 0, "{filters} filters in {groups} groups");
        let taps = kh * kw;
        let weights = if channels == 1 && filters == groups && groups > 1 {
            let mut by_tap = Buffer::zeroed(taps * filters);
            for (i, &w) in weights.iter().enumerate() {
                by_tap[i % taps * filters + i / taps] = w;
            }
            Weights::Depthwise(by_tap)
        } else {
            // Channels last within each filter.
            let mut rows = vec![0.0; weights.len()];
            for (row, from) in rows.chunks_exact_mut(depth.max(1)).zip(weights.chunks_exact(depth.max(1))) {
                for (i, &w) in from.iter().enumerate() {
                    row[i % taps * channels + i / taps] = w;
                }
            }
            let per_group = filters / groups;
            let pack = |g: usize| {
                let rows = MatRef::new(&rows[g * per_group * depth..], per_group, depth);
                PackedB::new(isa, threads, Unpacked::Transposed(rows))
            };
            Weights::Dense((0..groups).map(pack).collect())
        };
        Filter { isa, filters, groups, channels, kernel: [kh, kw], weights }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        match &self.weights {
            Weights::Dense(groups) => groups.iter().map(PackedB::size_bytes).sum(),
            Weights::Depthwise(weights) => size_of_val::<[f32]>(weights),
        }
    }
}
