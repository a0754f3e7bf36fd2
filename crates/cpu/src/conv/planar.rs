//! Convolution of planar (NCHW) f32 images, in ONNX Runtime's order of summation.
//!
//! Kernels for channels-last images are faster. But in a quantised graph a sum that falls to the other side of a rounding
//! moves a result by a whole step, and deep graphs amplify that: a detector's boxes then differ visibly, though every
//! sum is right to its last bit or two. Such graphs are calibrated and accepted under ONNX Runtime, so there it is worth
//! summing as it does (its CPU provider, one thread, found by experiment with version 1.31):
//! - Products are taken in order (channel, kh, kw), each added with one rounding, in blocks of 128 (see [`block`]); the
//!   blocks' sums are added one after the other, then the bias.
//! - Where a group has one filter only, products are rounded, summed by fours (then two, then one), and these sums added.
//!
//! On instruction sets without fused multiply-add the sums differ in their last bits.

use super::dense::Conv;
use super::lone;
use super::window::Window;
use crate::gemm::{self, Activation, Bias, Epilogue, MatMut, MatRef, Unpacked, with_scratch};
use crate::simd::Isa;
use crate::threads::Threads;
use std::ops::Range;

/// Floats of the windows that a task unfolds at a time: they stay in the second-level cache.
pub(super) const UNFOLDED: usize = 128 << 10;

/// A convolution of planar images with its weights `[filters, channels / groups, kh, kw]`.
pub struct Planar<'a> {
    /// The instruction set to compute with.
    pub isa: Isa,
    /// Images and windows.
    pub conv: &'a Conv,
    /// Number of groups, which divides channels and filters.
    pub groups: usize,
    /// Number of filters.
    pub filters: usize,
    /// The weights.
    pub weights: &'a [f32],
    /// One value per filter.
    pub bias: Option<&'a [f32]>,
    /// What is done to the sums.
    pub activation: Activation,
}

/// Length of the blocks in which products are summed. (ONNX Runtime goes on to 1024 with 16 pixels or fewer; a matrix
/// product here has one sum for 512.)
fn block(pixels: usize, depth: usize) -> usize {
    let (mut across, mut along) = (128, 128);
    if pixels < depth {
        while across > 16 && across / 2 >= pixels {
            across /= 2;
            along *= 2;
        }
    }
    along.min(512)
}

impl Planar<'_> {
    /// Computes `y` `[batch, filters, output]` from `x` `[batch, channels, input]`. Panics unless the lengths fit.
    pub fn run(&self, threads: &Threads, x: &[f32], y: &mut [f32]) {
        let Conv { batch, channels, window } = *self.conv;
        window.check();
        let (pixels, depth) = (window.output_pixels(), self.depth());
        assert_eq!(x.len(), batch * channels * window.input_pixels(), "the input of {:?}", self.conv);
        assert_eq!(y.len(), batch * self.filters * pixels, "the output of {:?}", self.conv);
        assert_eq!(self.weights.len(), self.filters * depth, "the weights of {:?}", self.conv);
        if y.is_empty() {
            return;
        }
        if self.filters == self.groups {
            return lone::run(self, threads, x, y);
        }
        // Whole panels of the product, and some tasks for each thread.
        let fitting = (UNFOLDED / depth.max(1)).max(1);
        let parts = (4 * threads.count()).div_ceil(batch * self.groups);
        let at_once = fitting.min(pixels.div_ceil(parts)).next_multiple_of(64);
        let pieces = pixels.div_ceil(at_once);
        let mut y = MatMut::new(y, batch * self.filters, pixels);
        let y = y.shared();
        threads.par_for(batch * self.groups * pieces, |task| {
            let (image, group) = (task / pieces / self.groups, task / pieces % self.groups);
            let first = task % pieces * at_once;
            let part = first..pixels.min(first + at_once);
            let filters = self.filters / self.groups;
            // SAFETY: these filters and pixels are this task's alone.
            let y =
                unsafe { y.part(image * self.filters + group * filters, filters, part.start, part.len()) };
            let planes = channels / self.groups * window.input_pixels();
            self.part(&x[(image * self.groups + group) * planes..][..planes], group, part, y);
        });
    }

    /// Products in a sum.
    fn depth(&self) -> usize {
        self.conv.channels / self.groups * self.conv.window.taps()
    }

    /// Some pixels of a group's filters; `x` is the group's planes.
    fn part(&self, x: &[f32], group: usize, pixels: Range<usize>, y: MatMut) {
        let (window, depth) = (&self.conv.window, self.depth());
        let planes = self.conv.channels / self.groups;
        let whole = window.kernel == [1, 1] && window.stride == [1, 1] && window.pads == [0; 4];
        if whole && window.output == window.input {
            let x = MatRef::new(x, planes, window.input_pixels());
            return self.product(x.part(0, planes, pixels.start, pixels.len()), group, y);
        }
        with_scratch(depth * pixels.len(), |rows| {
            for (i, row) in rows.chunks_exact_mut(pixels.len()).enumerate() {
                let (plane, tap) = (i / window.taps(), i % window.taps());
                let plane = &x[plane * window.input_pixels()..][..window.input_pixels()];
                let tap = [tap / window.kernel[1], tap % window.kernel[1]];
                unfold(window, plane, tap, pixels.clone(), row);
            }
            self.product(MatRef::new(rows, depth, pixels.len()), group, y);
        });
    }

    /// The product of a group's filters with unfolded windows, one row per product of a sum.
    fn product(&self, x: MatRef, group: usize, mut y: MatMut) {
        let (filters, depth) = (self.filters / self.groups, self.depth());
        let weights = &self.weights[group * filters * depth..][..filters * depth];
        let bias = self.bias.map(|bias| &bias[group * filters..][..filters]);
        let weights = MatRef::new(weights, filters, depth);
        let block = block(self.conv.window.output_pixels(), depth);
        for start in (0..depth.max(1)).step_by(block) {
            let len = block.min(depth - start);
            let last = start + len == depth;
            let epilogue = Epilogue {
                accumulate: start > 0,
                in_order: true,
                bias: bias.filter(|_| last).map_or(Bias::None, Bias::Rows),
                activation: if last { self.activation } else { Activation::None },
                ..Epilogue::default()
            };
            let (a, b) = (weights.part(0, filters, start, len), x.part(start, len, 0, x.cols()));
            let y = y.part(0, filters, 0, b.cols());
            gemm::matmul(self.isa, &Threads::single(), a, Unpacked::Normal(b), y, &epilogue);
        }
    }
}

/// What the windows of `pixels` see at `tap` (vertical, horizontal) of a plane.
fn unfold(window: &Window, plane: &[f32], tap: [usize; 2], pixels: Range<usize>, row: &mut [f32]) {
    let [height, width] = window.input;
    let columns = window.output[1];
    let (mut pixel, mut row) = (pixels.start, row);
    while pixel < pixels.end {
        let (oh, first) = (pixel / columns, pixel % columns);
        let count = (columns - first).min(pixels.end - pixel);
        let (line, rest) = row.split_at_mut(count);
        let ih = (oh * window.stride[0] + tap[0] * window.dilation[0]).checked_sub(window.pads[0]);
        match ih.filter(|&ih| ih < height) {
            None => line.fill(0.0),
            Some(ih) => {
                let start = first * window.stride[1] + tap[1] * window.dilation[1];
                every(&plane[ih * width..][..width], window.stride[1], start, window.pads[1], line);
            }
        }
        (pixel, row) = (pixel + count, rest);
    }
}

/// Element i is that of `from` at `i * stride + start - pad`, or 0 if there is none.
pub(super) fn every(from: &[f32], stride: usize, start: usize, pad: usize, to: &mut [f32]) {
    let before = |end: usize| (end + pad).saturating_sub(start).div_ceil(stride).min(to.len());
    let (begin, end) = (before(0), before(from.len()));
    to[..begin].fill(0.0);
    to[end..].fill(0.0);
    let seen = from.get((begin * stride + start).saturating_sub(pad)..).unwrap_or_default();
    let to = &mut to[begin..end];
    if stride == 1 {
        to.copy_from_slice(&seen[..to.len()]);
    } else {
        to.iter_mut().zip(seen.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::test_data::Random;

    /// The sum as the module's text defines it, element by element.
    fn expected(conv: &Planar, x: &[f32], image: usize, filter: usize, pixel: usize) -> f32 {
        let window = &conv.conv.window;
        let planes = conv.conv.channels / conv.groups;
        let per_group = conv.filters / conv.groups;
        let mut factors = Vec::new();
        for i in 0..conv.depth() {
            let (plane, kh, kw) =
                (i / window.taps(), i % window.taps() / window.kernel[1], i % window.kernel[1]);
            let plane = image * conv.conv.channels + filter / per_group * planes + plane;
            let at = |o: usize, tap: usize, axis: usize| {
                let i = (o * window.stride[axis] + tap * window.dilation[axis]) as isize
                    - window.pads[axis] as isize;
                (0..window.input[axis] as isize).contains(&i).then_some(i as usize)
            };
            let ih = at(pixel / window.output[1], kh, 0);
            let iw = at(pixel % window.output[1], kw, 1);
            let value = ih
                .zip(iw)
                .map_or(0.0, |(ih, iw)| x[plane * window.input_pixels() + ih * window.input[1] + iw]);
            factors.push((conv.weights[filter * conv.depth() + i], value));
        }
        let bias = conv.bias.map_or(0.0, |bias| bias[filter]);
        if per_group == 1 {
            let products: Vec<f32> = factors.iter().map(|(w, x)| w * x).collect();
            let (fours, rest) = products.split_at(products.len() / 4 * 4);
            let groups = fours.chunks(4).chain(rest.chunks(2));
            let sums = groups.map(|group| group[1..].iter().fold(group[0], |sum, p| sum + p));
            return sums.reduce(|sum, group| sum + group).unwrap_or(0.0) + bias;
        }
        let block = block(window.output_pixels(), conv.depth());
        let sums = factors.chunks(block).map(|f| f.iter().fold(0f32, |sum, (w, x)| w.mul_add(*x, sum)));
        sums.reduce(|sum, block| sum + block).unwrap_or(0.0) + bias
    }

    fn check(isa: Isa, threads: &Threads, channels: usize, filters: usize, groups: usize, window: Window) {
        let mut random = Random((channels * 31 + filters) as u64);
        let conv = Conv { batch: 2, channels, window };
        let weights = random.floats(filters * (channels / groups) * window.taps());
        let x = random.floats(2 * channels * window.input_pixels());
        let bias = random.floats(filters);
        let bias = (filters % 2 == 1).then_some(&bias[..]);
        let activation = Activation::None;
        let planar = Planar { isa, conv: &conv, groups, filters, weights: &weights, bias, activation };
        let pixels = window.output_pixels();
        let mut y = vec![f32::NAN; 2 * filters * pixels];
        planar.run(threads, &x, &mut y);
        let mut relu = vec![f32::NAN; y.len()];
        Planar { activation: Activation::Relu, ..planar }.run(threads, &x, &mut relu);
        for (i, (&y, &relu)) in y.iter().zip(&relu).enumerate() {
            let planar = Planar { isa, conv: &conv, groups, filters, weights: &weights, bias, activation };
            let expected = expected(&planar, &x, i / pixels / filters, i / pixels % filters, i % pixels);
            let fused = isa.name() != "portable";
            let right = if fused { y == expected } else { (y - expected).abs() <= 1e-4 };
            assert!(right, "{isa:?} {conv:?} {filters} filters, {groups} groups: {y} for {expected}");
            assert_eq!(relu, y.max(0.0));
        }
    }

    #[test]
    fn sums_are_in_order() {
        let threads = Threads::new(2);
        let window =
            |input, kernel, stride, dilation, pads| Window::new(input, kernel, stride, dilation, pads);
        let windows = [
            window([1, 1], [1, 1], [1, 1], [1, 1], [0; 4]),
            window([9, 17], [1, 1], [1, 1], [1, 1], [0; 4]),
            window([9, 17], [1, 1], [2, 1], [1, 1], [0; 4]),
            window([12, 13], [3, 3], [1, 1], [1, 1], [1; 4]),
            window([11, 7], [3, 2], [2, 3], [2, 1], [0, 3, 1, 2]),
            window([1, 40], [1, 7], [1, 2], [1, 3], [0, 5, 0, 0]),
            window([150, 5], [3, 3], [1, 2], [1, 1], [1; 4]),
            window([3, 300], [2, 90], [1, 2], [1, 2], [2, 0, 0, 70]),
            window([5, 4], [3, 2], [2, 1], [70, 50], [80, 50, 70, 50]),
            window([0, 3], [3, 3], [1, 1], [1, 1], [1, 1, 2, 1]),
        ];
        for isa in Isa::available() {
            for window in windows {
                // Sums of one product, of part of a block, of several blocks; few filters and many; groups of one.
                for (channels, filters, groups) in [
                    (1, 1, 1),
                    (3, 17, 1),
                    (40, 3, 1),
                    (150, 20, 1),
                    (6, 4, 2),
                    (5, 5, 5),
                    (6, 18, 3),
                    (6, 3, 3),
                    (7, 1, 1),
                ] {
                    check(isa, &threads, channels, filters, groups, window);
                }
            }
        }
    }

    #[test]
    fn few_pixels_have_longer_blocks() {
        assert_eq!(
            [(1200, 144), (169, 512), (80, 256), (20, 2304), (3, 9)].map(|(n, k)| block(n, k)),
            [128, 128, 128, 512, 512]
        );
    }
}
