//! `GroupNormalization`, `InstanceNormalization` of channels-last f32 images, [N, pixels, C].

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::moments::{inverse_root, shift_scale_columns};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Threads;

/// Images whose channels are normalised in groups.
struct Columns {
    pixels: usize,
    channels: usize,
    groups: usize,
    epsilon: f32,
    /// Whether scale and bias have one entry for each group, and not for each channel.
    per_group: bool,
    /// Pixels of which a thread finds the sums at once.
    block: usize,
    isa: Isa,
}

/// Elements of a block, about.
const BLOCK: usize = 1 << 14;
/// Most blocks of an image; each has sums of its own.
const MOST_BLOCKS: usize = 64;
/// Pixels whose sum is taken in f32.
const STRIP: usize = 128;

/// The kernel of a normalisation by groups, if `op` is one.
pub(crate) fn lower(op: &dyn Any, lowering: &Lowering<'_>) -> Option<Result<Lowered, Decline>> {
    if let Some(op) = op.downcast_ref::<GroupNormalization>() {
        return Some(build(op.groups, op.epsilon, op.per_group, lowering));
    }
    let op = op.downcast_ref::<InstanceNormalization>()?;
    let channels = lowering.shape(0).ok().and_then(|shape| shape.last().copied());
    Some(build(channels.unwrap_or(0), op.epsilon, false, lowering))
}

fn build(groups: usize, epsilon: f32, per_group: bool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let shape = lowering.shape(0)?;
    let [_, plane @ .., channels] = shape.dims() else { return Err(Decline("no channels".into())) };
    let (pixels, channels) = (Shape::from(plane).elements(), *channels);
    if shape.elements() == 0 || groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Decline("no channels".into()));
    }
    let block = (BLOCK / channels).max(16).max(pixels.div_ceil(MOST_BLOCKS));
    let kernel = Columns { pixels, channels, groups, epsilon, per_group, block, isa: lowering.isa };
    let scratch = kernel.sums() + kernel.channels.div_ceil(2) * 3;
    Ok(Lowered::new("group norm", kernel).in_place(&[0]).scratch(scratch * size_of::<f64>()))
}

impl Columns {
    /// Number of sums of an image: one for each channel of each block.
    fn sums(&self) -> usize {
        self.pixels.div_ceil(self.block) * self.channels
    }

    /// For each group the mean over `x`, or that of the squared distances from `shift`, given to `f` with the group.
    fn means(
        &self,
        threads: &Threads,
        x: &[f32],
        shift: Option<&[f32]>,
        sums: &mut [f64],
        mut f: impl FnMut(usize, f64),
    ) {
        let Columns { channels, block, .. } = *self;
        threads.par_chunks_mut(sums, channels, |index, sums| {
            let x = &x[index * block * channels..x.len().min((index + 1) * block * channels)];
            self.isa.dispatch(Sums { x, channels, shift, sums });
        });
        let width = channels / self.groups;
        for group in 0..self.groups {
            let rows = sums.chunks_exact(channels);
            let total: f64 = rows.flat_map(|row| &row[group * width..(group + 1) * width]).sum();
            f(group, total / (width * self.pixels) as f64);
        }
    }
}

impl NodeKernel for Columns {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.optional::<f32>(0)?;
        let (scale, bias): (&[f32], &[f32]) = (io.input(1)?, io.input(2)?);
        let scratch: &mut [f64] = io.scratch()?;
        let y: &mut [f32] = io.output(0)?;
        let (image, entries) =
            (self.pixels * self.channels, if self.per_group { self.groups } else { self.channels });
        let fits = x.is_none_or(|x| x.len() == y.len())
            && y.len().is_multiple_of(image)
            && scale.len() == entries
            && bias.len() == entries
            && scratch.len() >= self.sums() + self.channels.div_ceil(2) * 3;
        if !fits {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let (sums, rest) = scratch.split_at_mut(self.sums());
        let rest: &mut [f32] = bytemuck::cast_slice_mut(rest);
        let (mean, rest) = rest.split_at_mut(self.channels);
        let (factor, rest) = rest.split_at_mut(self.channels);
        let shift = &mut rest[..self.channels];
        let width = self.channels / self.groups;
        for (index, y) in y.chunks_exact_mut(image).enumerate() {
            let x = x.map(|x| &x[index * image..(index + 1) * image]);
            self.means(io.threads, x.unwrap_or(y), None, sums, |group, value| {
                mean[group * width..(group + 1) * width].fill(value as f32);
            });
            self.means(io.threads, x.unwrap_or(y), Some(mean), sums, |group, variance| {
                let inverse = inverse_root(variance, self.epsilon);
                for channel in group * width..(group + 1) * width {
                    let entry = if self.per_group { group } else { channel };
                    factor[channel] = inverse * scale[entry];
                    shift[channel] = bias[entry];
                }
            });
            let part = self.block * self.channels;
            io.threads.par_chunks_mut(y, part, |index, y| {
                let x = x.map(|x| &x[index * part..][..y.len()]);
                self.isa.dispatch(Normalize { x, y, mean, factor, bias: shift });
            });
        }
        Ok(())
    }
}

/// Sums of columns; of their squared distances from `shift` if that is given.
struct Sums<'a> {
    x: &'a [f32],
    channels: usize,
    shift: Option<&'a [f32]>,
    sums: &'a mut [f64],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sums { x, channels, shift, sums } = self;
        sums.fill(0.0);
        for strip in x.chunks(STRIP * channels) {
            for start in (0..channels).step_by(S::LANES) {
                let count = S::LANES.min(channels - start);
                let mut lanes = [0f32; 16];
                let total = match shift {
                    None => strip_sum(s, strip, channels, start, |x| x),
                    Some(shift) => {
                        let shift = s.load_partial(&shift[start..start + count]);
                        strip_sum(
                            s,
                            strip,
                            channels,
                            start,
                            #[inline(always)]
                            |x| {
                                let distance = s.sub(x, shift);
                                s.mul(distance, distance)
                            },
                        )
                    }
                };
                s.store(&mut lanes, total);
                sums[start..].iter_mut().zip(&lanes[..count]).for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
    }
}

/// The sums of `f` over the rows of `x`, of the columns from `start` on that fit a vector.
#[inline(always)]
fn strip_sum<S: Simd>(
    s: S,
    x: &[f32],
    channels: usize,
    start: usize,
    f: impl Fn(S::F32) -> S::F32,
) -> S::F32 {
    let mut sums = [s.zero(); 4];
    let whole = start + S::LANES <= channels;
    for (i, row) in x.chunks_exact(channels).enumerate() {
        let x = if whole { s.load(&row[start..]) } else { s.load_partial(&row[start..]) };
        sums[i % 4] = s.add(sums[i % 4], f(x));
    }
    s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
}

/// Rows of all channels.
struct Normalize<'a> {
    x: Option<&'a [f32]>,
    y: &'a mut [f32],
    mean: &'a [f32],
    factor: &'a [f32],
    bias: &'a [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Normalize { x, y, mean, factor, bias } = self;
        let channels = mean.len();
        for (i, y) in y.chunks_exact_mut(channels).enumerate() {
            let x = x.map(|x| &x[i * channels..(i + 1) * channels]);
            shift_scale_columns(s, x, y, mean, factor, bias);
        }
    }
}
