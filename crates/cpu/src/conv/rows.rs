//! Windows of a channels-last image as rows of a matrix.

use super::window::Window;
use crate::gemm::{InPlace, Rows, Segment, copy_run, crowded};
use crate::simd::Simd;
use std::ops::Range;

/// Windows over an image in which no window meets a border: row (n, oh, ow), column (kh, kw, channel).
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowRows<'a> {
    data: &'a [f32],
    /// Distances of neighbouring pixels, image rows and images.
    pixel: usize,
    row: usize,
    image: usize,
    batch: usize,
    window: Window,
    /// Channels used of each pixel.
    first_channel: usize,
    channels: usize,
    in_place: bool,
}

/// An image in memory: distances of neighbouring pixels, rows and images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    pub(super) data: &'a [f32],
    pub(super) pixel: usize,
    pub(super) row: usize,
    pub(super) image: usize,
}

impl<'a> WindowRows<'a> {
    /// The windows over channels `channels` of `batch` images. `in_place` says whether
    /// products should read them in place if they can. Panics if a window leaves the data.
    pub(super) fn new(
        image: Image<'a>,
        batch: usize,
        window: &Window,
        channels: Range<usize>,
        in_place: bool,
    ) -> Self {
        let (window, output) = (*window, window.output);
        let rows = batch * output[0] * output[1];
        if rows > 0 && window.taps() > 0 && !channels.is_empty() {
            let last = (batch - 1) * image.image
                + (window.span(0, output[0]) - 1) * image.row
                + (window.span(1, output[1]) - 1) * image.pixel;
            assert!(last + channels.end <= image.data.len(), "windows leave the image");
        }
        let in_place = in_place && !crowded(window.stride[1] * image.pixel);
        let Image { data, pixel, row, image } = image;
        let (first_channel, channels) = (channels.start, channels.len());
        WindowRows { data, pixel, row, image, batch, window, first_channel, channels, in_place }
    }

    /// Calls `f(offset, len)` for the contiguous runs of columns `k`, as offsets from the base.
    #[inline(always)]
    fn runs(&self, k: Range<usize>, mut f: impl FnMut(usize, usize)) {
        let Window { kernel, dilation, .. } = self.window;
        let channels = self.channels;
        // Neighbouring pixels of a window run on if they have no other channels and no dilation between them.
        let joined = dilation[1] == 1 && self.pixel == channels;
        let run = if joined { kernel[1] * channels } else { channels };
        let mut at = k.start;
        while at < k.end {
            let (i, within) = (at / run, at % run);
            let (kh, kw) = if joined { (i, 0) } else { (i / kernel[1], i % kernel[1]) };
            let len = (run - within).min(k.end - at);
            f(kh * dilation[0] * self.row + kw * dilation[1] * self.pixel + within, len);
            at += len;
        }
    }
}

// SAFETY: `new` checks that the last element of the last window is within `data`; all others come before it.
unsafe impl Rows for WindowRows<'_> {
    fn count(&self) -> usize {
        self.batch * self.window.output[0] * self.window.output[1]
    }
    fn depth(&self) -> usize {
        self.window.taps() * self.channels
    }
    fn in_place(&self) -> Option<InPlace> {
        let in_place = InPlace { stride: self.window.stride[1] * self.pixel, group: self.window.output[1] };
        self.in_place.then_some(in_place)
    }
    #[inline]
    fn base(&self, row: usize) -> *const f32 {
        let (line, ow) = (row / self.window.output[1], row % self.window.output[1]);
        let (n, oh) = if self.batch == 1 {
            (0, line)
        } else {
            (line / self.window.output[0], line % self.window.output[0])
        };
        let [sh, sw] = self.window.stride;
        let offset = n * self.image + oh * sh * self.row + ow * sw * self.pixel + self.first_channel;
        self.data.as_ptr().wrapping_add(offset)
    }
    fn segments(&self, k: Range<usize>, out: &mut Vec<Segment>) {
        self.runs(k, |offset, len| out.push(Segment { offset, len }));
    }
    #[inline]
    fn ahead(&self, rows: usize) -> (usize, usize) {
        // The lowest line of the windows: those above have been seen by the windows above.
        let lowest = self.window.kernel[0].saturating_sub(1) * self.window.dilation[0] * self.row;
        (lowest, rows * self.window.stride[1] * self.pixel)
    }
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, s: S, rows: Range<usize>, k: Range<usize>, dst: *mut f32, stride: usize) {
        for (i, row) in rows.enumerate() {
            let base = self.base(row);
            // SAFETY: the row is in range, so its runs are within `data`; dst by the contract.
            let mut dst = unsafe { dst.add(i * stride) };
            self.runs(
                k.clone(),
                #[inline(always)]
                |offset, len| unsafe {
                    // SAFETY: as above.
                    copy_run(s, base.add(offset), dst, len);
                    dst = dst.add(len);
                },
            );
        }
    }
}
