//! Convolution of planes by one filter alone: the depthwise layers of planar images, above all.
//!
//! Bands of lines are copied with their padding around them, one copy for each phase of the strides, so that neighbouring
//! windows see neighbouring elements under each tap. The lines of the copies are equally far apart, thus the sums of a
//! whole band are one run of vectors; the few between the lines' ends are dropped.
//!
//! Products are rounded and summed as the text of [`super::planar`] says.

use super::planar::{Planar, UNFOLDED, every};
use super::window::Window;
use crate::gemm::{Activation, MatMut, with_scratch};
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// Vectors of sums that are computed together.
const VECTORS: usize = 4;
/// Elements that vectors may pass the end of a band by; at least `VECTORS` of the widest vectors.
const BEYOND: usize = 64;

/// Computes `y` from `x`, as [`Planar::run`]; there is one filter per group, and `y` is not empty.
pub(super) fn run(planar: &Planar, threads: &Threads, x: &[f32], y: &mut [f32]) {
    let window = &planar.conv.window;
    let [height, width] = window.output;
    let (pixels, planes) = (window.output_pixels(), planar.conv.channels / planar.groups);
    let groups = planar.conv.batch * planar.groups;
    // Some tasks for each thread, and bands that stay in the cache.
    let fitting = (UNFOLDED / (planes * window.taps() * width).max(1)).max(1);
    let at_once = fitting.min(height.div_ceil((4 * threads.count()).div_ceil(groups)));
    let band = Band::new(window, planes, at_once);
    let pieces = height.div_ceil(at_once);
    let mut y = MatMut::new(y, groups, pixels);
    let y = y.shared();
    threads.par_for(groups * pieces, |task| {
        let (group, first) = (task / pieces, task % pieces * at_once);
        let lines = at_once.min(height - first);
        // SAFETY: these lines are this task's alone.
        let mut y = unsafe { y.part(group, 1, first * width, lines * width) };
        let x = &x[group * planes * window.input_pixels()..][..planes * window.input_pixels()];
        let filter = group % planar.groups;
        let depth = band.taps.len();
        with_scratch(band.len + BEYOND, |copies| {
            band.fill(window, x, first, copies);
            let sums = (lines - 1) * band.pitch() + width;
            with_scratch(sums.next_multiple_of(BEYOND), |sums| {
                planar.isa.dispatch(Sums {
                    taps: &band.taps,
                    copies,
                    weights: &planar.weights[filter * depth..][..depth],
                    bias: planar.bias.map_or(0.0, |bias| bias[filter]),
                    activation: planar.activation,
                    sums,
                });
                let lines = y.row_mut(0).chunks_exact_mut(width).zip(sums.chunks(band.pitch()));
                lines.for_each(|(y, sums)| y.copy_from_slice(&sums[..width]));
            });
        });
    });
}

/// How a band of lines is copied.
struct Band {
    planes: usize,
    /// Vertical and horizontal.
    axes: [Axis; 2],
    /// Where each product of a sum, in their order, has its first element.
    taps: Vec<usize>,
    /// Elements of all copies.
    len: usize,
}

/// How one axis of a band is copied: several times, with the strides' distance between elements.
struct Axis {
    /// Where the copies start, counted from the first element of the padding.
    starts: Vec<usize>,
    /// Elements of a copy.
    len: usize,
    /// For each tap the copy, and its first element there.
    taps: Vec<(usize, usize)>,
}

impl Axis {
    /// For `outputs` neighbouring windows.
    fn new(window: &Window, axis: usize, outputs: usize) -> Self {
        let (kernel, stride, dilation) = (window.kernel[axis], window.stride[axis], window.dilation[axis]);
        let at: Vec<usize> = (0..kernel).map(|tap| tap * dilation).collect();
        let mut phases: Vec<usize> = at.iter().map(|at| at % stride).collect();
        phases.sort_unstable();
        phases.dedup();
        let len = outputs + at.last().map_or(0, |last| last / stride);
        // Taps far from each other would have much between them: they get a copy each.
        if phases.len().saturating_mul(len) > kernel * outputs {
            return Axis { taps: (0..kernel).map(|tap| (tap, 0)).collect(), starts: at, len: outputs };
        }
        let copy = |at: &usize| (phases.partition_point(|&phase| phase < at % stride), at / stride);
        Axis { taps: at.iter().map(copy).collect(), starts: phases, len }
    }
}

impl Band {
    /// For `lines` lines of output.
    fn new(window: &Window, planes: usize, lines: usize) -> Self {
        let axes = [Axis::new(window, 0, lines), Axis::new(window, 1, window.output[1])];
        let [vertical, horizontal] = &axes;
        let copy = vertical.len * horizontal.len;
        let each = vertical.starts.len() * horizontal.starts.len() * copy;
        let mut taps = Vec::with_capacity(planes * window.taps());
        for plane in 0..planes {
            for (v, line) in &vertical.taps {
                for (h, column) in &horizontal.taps {
                    let first = plane * each + (v * horizontal.starts.len() + h) * copy;
                    taps.push(first + line * horizontal.len + column);
                }
            }
        }
        Band { planes, taps, len: planes * each, axes }
    }

    /// Distance of lines.
    fn pitch(&self) -> usize {
        self.axes[1].len
    }

    /// Copies what the windows of lines of output, from `first` on, see in the planes `x`.
    fn fill(&self, window: &Window, x: &[f32], first: usize, copies: &mut [f32]) {
        let [vertical, horizontal] = &self.axes;
        let mut copies = copies.chunks_exact_mut(vertical.len * horizontal.len);
        for plane in 0..self.planes {
            let plane = &x[plane * window.input_pixels()..][..window.input_pixels()];
            for v in &vertical.starts {
                for (&h, copy) in horizontal.starts.iter().zip(&mut copies) {
                    for (line, to) in copy.chunks_exact_mut(horizontal.len).enumerate() {
                        let from = ((first + line) * window.stride[0] + v).checked_sub(window.pads[0]);
                        match from.filter(|&from| from < window.input[0]) {
                            None => to.fill(0.0),
                            Some(from) => {
                                let from = &plane[from * window.input[1]..][..window.input[1]];
                                every(from, window.stride[1], h, window.pads[1], to);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A band of sums.
struct Sums<'a> {
    /// Where each product has its first element in `copies`.
    taps: &'a [usize],
    /// At least [`BEYOND`] elements longer than the taps of the last sum need.
    copies: &'a [f32],
    weights: &'a [f32],
    bias: f32,
    activation: Activation,
    /// A multiple of [`BEYOND`].
    sums: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sums { taps, copies, weights, bias, activation, sums } = self;
        assert_eq!(taps.len(), weights.len());
        let bias = s.splat(bias);
        let together = VECTORS * S::LANES;
        for (i, to) in sums.chunks_exact_mut(together).enumerate() {
            let copies = &copies[i * together..];
            let mut sum = [s.zero(); VECTORS];
            let mut first = true;
            let (mut taps, mut weights) = (taps, weights);
            while !taps.is_empty() {
                let count = [4, 2, 1].into_iter().find(|&count| count <= taps.len()).unwrap_or(1);
                let mut few = products(s, copies, taps[0], weights[0]);
                for (tap, weight) in taps[1..count].iter().zip(&weights[1..count]) {
                    let products = products(s, copies, *tap, *weight);
                    few.iter_mut().zip(products).for_each(|(few, product)| *few = s.add(*few, product));
                }
                // Adding to zero would lose the sign of a negative zero.
                if first {
                    sum = few;
                } else {
                    sum.iter_mut().zip(few).for_each(|(sum, few)| *sum = s.add(*sum, few));
                }
                (first, taps, weights) = (false, &taps[count..], &weights[count..]);
            }
            for (to, sum) in to.chunks_exact_mut(S::LANES).zip(sum) {
                s.store(to, s.add(sum, bias));
            }
        }
        if activation != Activation::None {
            // SAFETY: the slice is one row.
            unsafe { activation.apply_rows(s, sums.as_mut_ptr(), 0, 1, sums.len()) };
        }
    }
}

/// Vectors from a tap on, times its weight.
#[inline(always)]
fn products<S: Simd>(s: S, copies: &[f32], tap: usize, weight: f32) -> [S::F32; VECTORS] {
    let weight = s.splat(weight);
    let mut products = [weight; VECTORS];
    let x = copies[tap..][..VECTORS * S::LANES].chunks_exact(S::LANES);
    products.iter_mut().zip(x).for_each(|(product, x)| *product = s.mul(*product, s.load(x)));
    products
}
