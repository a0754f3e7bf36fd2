//! Depthwise convolution: one filter per channel, vectorised over channels.

use super::dense::Conv;
use super::window::{Window, lines_per_task};
use crate::gemm::{Activation, Bias, Epilogue, MatMut, MatRef};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Threads;
use std::ops::Range;

/// Pixels of a tile of accumulators.
const PIXELS: usize = 6;

/// `weights` is laid out (kh, kw) x channel. Shapes have been checked by the caller.
pub(super) fn depthwise(
    isa: Isa,
    threads: &Threads,
    conv: &Conv,
    x: MatRef,
    weights: &[f32],
    mut y: MatMut,
    epilogue: &Epilogue,
) {
    let Conv { batch, channels, window } = *conv;
    let lines = batch * window.output[0];
    let work = window.output[1] * channels * window.taps();
    let per_task = lines_per_task(threads, lines, work);
    let y = y.shared();
    threads.par_for(lines.div_ceil(per_task), |task| {
        for line in task * per_task..lines.min((task + 1) * per_task) {
            let (first, width) = (line * window.output[1], window.output[1]);
            // SAFETY: these rows of the output are this task's alone.
            let y = unsafe { y.part(first, width, 0, channels) };
            let epilogue = epilogue.part(first, width, 0, channels);
            let (image, oh) = (line / window.output[0], line % window.output[0]);
            let x = x.part(image * window.input_pixels(), window.input_pixels(), 0, channels);
            isa.dispatch(Line { window: &window, oh, x, weights, y, epilogue: &epilogue });
        }
    });
}

/// One line of output pixels.
struct Line<'a> {
    window: &'a Window,
    oh: usize,
    /// The image.
    x: MatRef<'a>,
    weights: &'a [f32],
    /// The line.
    y: MatMut<'a>,
    epilogue: &'a Epilogue<'a>,
}

impl Kernel for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.y.cols;
        assert!(self.weights.len() >= self.window.taps() * channels);
        let width = self.window.output[1];
        let inner = self.inner();
        // SAFETY: the columns exist; those of a tile see no padding to the sides.
        unsafe {
            (0..inner.start).for_each(|ow| self.tile::<S, 1>(s, ow));
            let mut ow = inner.start;
            while ow + PIXELS <= inner.end {
                self.tile::<S, PIXELS>(s, ow);
                ow += PIXELS;
            }
            while ow + 2 <= inner.end {
                self.tile::<S, 2>(s, ow);
                ow += 2;
            }
            (ow..width).for_each(|ow| self.tile::<S, 1>(s, ow));
        }
        if self.epilogue.activation.bounds().is_none() {
            // SAFETY: the line is ours.
            unsafe { self.epilogue.activation.apply_rows(s, self.y.data, self.y.stride, width, channels) };
        }
    }
}

impl Line<'_> {
    /// Columns whose windows see no padding to the sides.
    fn inner(&self) -> Range<usize> {
        let w = self.window;
        let start = w.pads[1].div_ceil(w.stride[1]).min(w.output[1]);
        let seen = w.span(1, 1);
        let end = (w.input[1] + w.pads[1] + w.stride[1]).saturating_sub(seen) / w.stride[1];
        start..end.clamp(start, w.output[1])
    }

    /// Output pixels `ow..ow + P`, all channels.
    ///
    /// # Safety
    /// The pixels must exist; if P > 1 no window may see padding to the sides.
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize>(&self, s: S, ow: usize) {
        let w = self.window;
        let (rows, columns) = (w.valid(0, self.oh), w.valid(1, ow));
        let taps = Taps {
            // Some address, if the window sees padding only.
            first: self.x.base(
                (w.position(0, self.oh, rows.start).wrapping_mul(w.input[1])).wrapping_add(w.position(
                    1,
                    ow,
                    columns.start,
                )),
            ),
            line: w.dilation[0] * w.input[1] * self.x.stride,
            column: w.dilation[1] * self.x.stride,
            weights: self
                .weights
                .as_ptr()
                .wrapping_add((rows.start * w.kernel[1] + columns.start) * self.y.cols),
            size: [rows.len(), columns.len()],
        };
        let channels = self.y.cols;
        let mut c = 0;
        // SAFETY: by the contract; the channels exist.
        unsafe {
            while c + 2 * S::LANES <= channels {
                self.vectors::<S, P, 2, true>(s, &taps, ow, c, S::LANES);
                c += 2 * S::LANES;
            }
            if c + S::LANES <= channels {
                self.vectors::<S, P, 1, true>(s, &taps, ow, c, S::LANES);
                c += S::LANES;
            }
            if c < channels {
                self.vectors::<S, P, 1, false>(s, &taps, ow, c, channels - c);
            }
        }
    }

    /// Output pixels `ow..ow + P`, `NV` vectors of channels from `c` on, of which (if not `FULL`) the first `lanes` exist.
    ///
    /// # Safety
    /// As for [`Self::tile`], and the channels must exist.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const P: usize, const NV: usize, const FULL: bool>(
        &self,
        s: S,
        taps: &Taps,
        ow: usize,
        c: usize,
        lanes: usize,
    ) {
        let step = self.window.stride[1] * self.x.stride;
        let channels = self.y.cols;
        let mut acc = [[s.zero(); NV]; P];
        for i in 0..taps.size[0] {
            let mut x = taps.first.wrapping_add(i * taps.line + c);
            let mut weights = taps.weights.wrapping_add(i * self.window.kernel[1] * channels + c);
            for _ in 0..taps.size[1] {
                // SAFETY: the tap is valid for all P pixels, and the channels exist.
                unsafe {
                    let mut weight = [s.zero(); NV];
                    for (j, weight) in weight.iter_mut().enumerate() {
                        *weight = load::<S, FULL>(s, weights.wrapping_add(j * S::LANES), lanes);
                    }
                    for (p, acc) in acc.iter_mut().enumerate() {
                        for (j, acc) in acc.iter_mut().enumerate() {
                            let v = load::<S, FULL>(s, x.wrapping_add(p * step + j * S::LANES), lanes);
                            *acc = s.mul_add(v, weight[j], *acc);
                        }
                    }
                }
                x = x.wrapping_add(taps.column);
                weights = weights.wrapping_add(channels);
            }
        }
        // SAFETY: by the contract.
        unsafe { self.store::<S, P, NV, FULL>(s, acc, ow, c, lanes) };
    }

    /// Epilogue (but for activations that do not clamp) and store.
    #[inline(always)]
    unsafe fn store<S: Simd, const P: usize, const NV: usize, const FULL: bool>(
        &self,
        s: S,
        mut acc: [[S::F32; NV]; P],
        ow: usize,
        c: usize,
        lanes: usize,
    ) {
        let e = self.epilogue;
        /// Replaces all vectors, given pixel and first channel.
        macro_rules! each {
            (|$p:ident, $at:ident, $v:ident| $body:expr) => {
                for $p in 0..P {
                    for j in 0..NV {
                        let ($at, $v) = (c + j * S::LANES, acc[$p][j]);
                        acc[$p][j] = $body;
                    }
                }
            };
        }
        let y = |p: usize, at: usize| self.y.data.wrapping_add((ow + p) * self.y.stride + at);
        // SAFETY: the pixels exist in y, bias and residual, and so do the channels.
        unsafe {
            if e.alpha != 1.0 {
                each!(|_p, _at, v| s.mul(v, s.splat(e.alpha)));
            }
            if e.accumulate {
                each!(|p, at, v| s.add(v, load::<S, FULL>(s, y(p, at), lanes)));
            }
            match e.bias {
                Bias::None => {}
                Bias::Columns(b) => {
                    each!(|_p, at, v| s.add(v, load::<S, FULL>(s, b.as_ptr().add(at), lanes)))
                }
                Bias::Rows(b) => each!(|p, _at, v| s.add(v, s.splat(*b.as_ptr().add(ow + p)))),
            }
            if let Some(r) = e.residual {
                each!(|p, at, v| s.add(v, load::<S, FULL>(s, r.base(ow + p).add(at), lanes)));
            }
            if e.activation != Activation::None
                && let Some((lo, hi)) = e.activation.bounds()
            {
                each!(|_p, _at, v| s.min(s.splat(hi), s.max(s.splat(lo), v)));
            }
            for (p, row) in acc.iter().enumerate() {
                for (j, &v) in row.iter().enumerate() {
                    let to = y(p, c + j * S::LANES);
                    if FULL { s.store_ptr(to, v) } else { s.store_ptr_first(to, v, lanes) }
                }
            }
        }
    }
}

/// The taps that a tile's first pixel sees.
struct Taps {
    first: *const f32,
    /// Distance of lines and of columns.
    line: usize,
    column: usize,
    weights: *const f32,
    /// Lines and columns.
    size: [usize; 2],
}

/// Loads a vector, or the first `lanes` of it.
///
/// # Safety
/// These must be readable.
#[inline(always)]
unsafe fn load<S: Simd, const FULL: bool>(s: S, from: *const f32, lanes: usize) -> S::F32 {
    // SAFETY: by the contract.
    unsafe { if FULL { s.load_ptr(from) } else { s.load_ptr_first(from, lanes) } }
}
