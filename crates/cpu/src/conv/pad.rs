//! Copying images with their padding around them.

use super::dense::Input;
use super::window::Window;
use crate::gemm::copy_run;
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// Copies lines of a padded image, channels last.
pub(super) struct PadLines<'a> {
    pub(super) input: Input<'a>,
    pub(super) window: &'a Window,
    pub(super) channels: usize,
    /// Which image.
    pub(super) image: usize,
    /// Which lines, counted from the top of the padding.
    pub(super) lines: Range<usize>,
    /// Pixels of a line.
    pub(super) width: usize,
    /// Distance of pixels in `to`, at least `channels`.
    pub(super) pixel: usize,
    /// The lines, contiguous.
    pub(super) to: &'a mut [f32],
}

impl Kernel for PadLines<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PadLines { input, window, channels, image, lines, width, pixel, to } = self;
        let [height, in_width] = window.input;
        let (top, left) = (window.pads[0], window.pads[1].min(width));
        let inner = in_width.min(width - left);
        for (line, to) in lines.zip(to.chunks_exact_mut(width * pixel)) {
            if line < top || line - top >= height {
                to.fill(0.0);
                continue;
            }
            let (before, rest) = to.split_at_mut(left * pixel);
            let (to, after) = rest.split_at_mut(inner * pixel);
            before.fill(0.0);
            after.fill(0.0);
            match input {
                Input::ChannelsLast(x) => {
                    let from = x.part((image * height + line - top) * in_width, inner, 0, channels);
                    copy_pixels(s, from.data, from.stride, channels, to, pixel);
                }
                Input::ChannelsFirst(x) => {
                    let plane = height * in_width;
                    let first = image * channels * plane + (line - top) * in_width;
                    interleave(x, first, plane, channels, to, pixel);
                }
            }
        }
    }
}

/// Copies pixels `stride` apart to pixels `pixel` apart, which fill `to`.
#[inline(always)]
fn copy_pixels<S: Simd>(s: S, from: &[f32], stride: usize, channels: usize, to: &mut [f32], pixel: usize) {
    if to.is_empty() || channels == 0 {
        return;
    }
    if stride == channels && pixel == channels {
        to.copy_from_slice(&from[..to.len()]);
        return;
    }
    let count = to.len() / pixel;
    assert!(from.len() >= (count - 1) * stride + channels);
    // Whole vectors may be stored past a pixel if the next one is written later; the last one stops in time.
    for i in 0..count - 1 {
        if (i + 1) * pixel + S::LANES <= to.len() {
            // SAFETY: the source by the assertion. A vector may pass the end of the pixel by LANES - 1.
            unsafe { copy_run(s, from.as_ptr().add(i * stride), to.as_mut_ptr().add(i * pixel), channels) };
        } else {
            to[i * pixel..][..channels].copy_from_slice(&from[i * stride..][..channels]);
        }
    }
    to[(count - 1) * pixel..][..channels].copy_from_slice(&from[(count - 1) * stride..][..channels]);
}

/// Writes channel c of pixel i, `x[first + c * plane + i]`, to `to[i * pixel + c]`.
#[inline(always)]
fn interleave(x: &[f32], first: usize, plane: usize, channels: usize, to: &mut [f32], pixel: usize) {
    let count = to.len() / pixel.max(1);
    let line = |c: usize| &x[first + c * plane..][..count];
    if channels == 3 && pixel == 3 {
        // Colours: written so that the compiler makes shuffles of it.
        for (((to, &r), &g), &b) in to.chunks_exact_mut(3).zip(line(0)).zip(line(1)).zip(line(2)) {
            to.copy_from_slice(&[r, g, b]);
        }
        return;
    }
    for c in 0..channels {
        for (to, &value) in to[c..].iter_mut().step_by(pixel).zip(line(c)) {
            *to = value;
        }
    }
}
