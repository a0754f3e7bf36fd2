//! The geometry of sliding windows.

use crate::threads::Threads;
use std::ops::Range;

/// Windows over an image: which input pixels make an output pixel. Pairs are (vertical, horizontal).
///
/// Output pixel (oh, ow) sees input pixels (oh * stride + kh * dilation - pad) for kh (and kw) within the kernel; pixels
/// outside the input are padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Distance of neighbouring windows; at least 1.
    pub stride: [usize; 2],
    /// Distance of neighbouring pixels within a window; at least 1.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Height and width of the output.
    pub output: [usize; 2],
}

impl Window {
    /// A window whose output is as large as fits without passing the padding, as ONNX defines (`ceil_mode` 0). For another
    /// rounding set [`Window::output`] afterwards: what lies past the padding counts as padding too.
    pub fn new(
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        pads: [usize; 4],
    ) -> Self {
        let output = [0, 1].map(|i| {
            let extent = kernel[i].saturating_sub(1) * dilation[i] + 1;
            let padded = input[i] + pads[i] + pads[i + 2];
            if padded < extent { 0 } else { (padded - extent) / stride[i].max(1) + 1 }
        });
        Window { input, kernel, stride, dilation, pads, output }
    }

    /// Panics unless strides and dilations are positive.
    pub(super) fn check(&self) {
        assert!(self.stride.iter().chain(&self.dilation).all(|&x| x > 0), "stride or dilation 0: {self:?}");
    }

    /// Number of input pixels.
    pub fn input_pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Number of output pixels.
    pub fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Number of pixels in a window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Extent of the padded input along an axis that `outputs` neighbouring outputs see.
    pub(super) fn span(&self, axis: usize, outputs: usize) -> usize {
        if outputs == 0 || self.kernel[axis] == 0 {
            return 0;
        }
        (outputs - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Kernel positions along an axis that see an input pixel (no padding) from output `o`.
    #[inline]
    pub(super) fn valid(&self, axis: usize, o: usize) -> Range<usize> {
        let (start, dilation) = (o * self.stride[axis], self.dilation[axis]);
        let pad = self.pads[axis];
        let first = pad.saturating_sub(start).div_ceil(dilation);
        let end = (self.input[axis] + pad).saturating_sub(start).div_ceil(dilation);
        first.min(self.kernel[axis])..end.clamp(first.min(self.kernel[axis]), self.kernel[axis])
    }

    /// Input position along an axis of kernel position `k` from output `o`; meaningful where it is valid.
    #[inline]
    pub(super) fn position(&self, axis: usize, o: usize, k: usize) -> usize {
        (o * self.stride[axis] + k * self.dilation[axis]).wrapping_sub(self.pads[axis])
    }

    /// Whether no window sees padding.
    pub(super) fn is_unpadded(&self) -> bool {
        (0..2).all(|i| self.pads[i] == 0 && self.span(i, self.output[i]) <= self.input[i])
    }

    /// Whether each window is one pixel and windows follow each other: the output has the input's pixels.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4] && self.output == self.input
    }
}

/// Lines of output that make a task, of `lines` in all with `work` multiplications (or the like) each: some tasks per
/// thread, but each worth a hand-over.
pub(super) fn lines_per_task(threads: &Threads, lines: usize, work: usize) -> usize {
    const WORTH: usize = 1 << 16;
    lines.div_ceil(4 * threads.count()).max(WORTH / work.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes() {
        let size =
            |input, kernel, stride, dilation, pads| Window::new(input, kernel, stride, dilation, pads).output;
        assert_eq!(size([224, 224], [7, 7], [2, 2], [1, 1], [3; 4]), [112, 112]);
        assert_eq!(size([5, 1], [3, 1], [1, 1], [2, 1], [0, 0, 0, 0]), [1, 1]);
        assert_eq!(size([4, 9], [3, 3], [1, 3], [2, 1], [0, 1, 0, 0]), [0, 3]);
    }

    #[test]
    fn valid_positions_are_those_inside() {
        for (input, kernel, stride, dilation, pads) in
            [(5, 3, 1, 1, 1), (7, 3, 2, 2, 3), (1, 5, 1, 1, 2), (2, 2, 3, 4, 6), (3, 1, 1, 1, 0)]
        {
            let mut window = Window::new([input; 2], [kernel; 2], [stride; 2], [dilation; 2], [pads; 4]);
            window.output = [window.output[0] + 3; 2];
            for o in 0..window.output[1] {
                let inside = |k: &usize| {
                    let at = (o * stride + k * dilation) as isize - pads as isize;
                    (0..input as isize).contains(&at)
                };
                let expected: Vec<usize> = (0..kernel).filter(inside).collect();
                assert_eq!(window.valid(1, o).collect::<Vec<_>>(), expected, "{window:?} {o}");
            }
        }
    }
}
