//! Depthwise convolution: one filter per channel, vectorised over channels.

use super::dense::Conv;
use super::window::Window;
use crate::gemm::{Activation, Bias, Epilogue, MatMut, MatRef};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Threads;
use std::ops::Range;
use std::ptr::null;

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
    // Enough work per task to be worth a hand-over, and some tasks per thread.
    let work = window.output[1] * channels * window.taps();
    let per_task = ((1 << 18) / work.max(1)).min(lines.div_ceil(4 * threads.count())).max(1);
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
        let mut c = 0;
        while c < channels {
            let n = (channels - c).min(2 * S::LANES);
            let border = (0..inner.start).chain(inner.end..width);
            // SAFETY: channels c..c + n exist; the inner columns see no padding to the sides.
            unsafe {
                if n > S::LANES {
                    border.for_each(|ow| self.pixels::<S, 1, 2>(s, ow, c, n));
                    self.tiles::<S, 2>(s, inner.clone(), c, n);
                } else {
                    border.for_each(|ow| self.pixels::<S, 1, 1>(s, ow, c, n));
                    self.tiles::<S, 1>(s, inner.clone(), c, n);
                }
            }
            c += n;
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

    #[inline(always)]
    unsafe fn tiles<S: Simd, const NV: usize>(&self, s: S, columns: Range<usize>, c: usize, n: usize) {
        let mut ow = columns.start;
        // SAFETY: by the caller.
        unsafe {
            while ow + PIXELS <= columns.end {
                self.pixels::<S, PIXELS, NV>(s, ow, c, n);
                ow += PIXELS;
            }
            while ow + 2 <= columns.end {
                self.pixels::<S, 2, NV>(s, ow, c, n);
                ow += 2;
            }
            if ow < columns.end {
                self.pixels::<S, 1, NV>(s, ow, c, n);
            }
        }
    }

    /// Output pixels `ow..ow + P`, channels `c..c + n` (at most `NV` vectors).
    ///
    /// # Safety
    /// The channels must exist, and so must the pixels; if P > 1 no window may see padding to the sides.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const P: usize, const NV: usize>(&self, s: S, ow: usize, c: usize, n: usize) {
        let (w, channels) = (self.window, self.y.cols);
        let lanes = |j: usize| n.saturating_sub(j * S::LANES);
        let mut acc = [[s.zero(); NV]; P];
        let columns = w.valid(1, ow);
        let step = w.stride[1] * self.x.stride;
        for kh in w.valid(0, self.oh) {
            let line = w.position(0, self.oh, kh) * w.input[1];
            for kw in columns.clone() {
                let pixel = line + w.position(1, ow, kw);
                let x = self.x.base(pixel).wrapping_add(c);
                // SAFETY: the tap is valid, and with it those of the other pixels; channels c..c + n exist.
                unsafe {
                    let weights = self.weights.as_ptr().add((kh * w.kernel[1] + kw) * channels + c);
                    for j in 0..NV {
                        let at = j * S::LANES;
                        let full = NV * S::LANES == n;
                        let load = |p: *const f32| {
                            if full {
                                s.load_ptr(p.wrapping_add(at))
                            } else {
                                s.load_ptr_first(p.wrapping_add(at), lanes(j))
                            }
                        };
                        let weight = load(weights);
                        for (p, acc) in acc.iter_mut().enumerate() {
                            acc[j] = s.mul_add(load(x.add(p * step)), weight, acc[j]);
                        }
                    }
                }
            }
        }
        // SAFETY: by the contract.
        unsafe { self.store::<S, P, NV>(s, acc, ow, c, n) };
    }

    /// Epilogue (but for activations that do not clamp) and store.
    #[inline(always)]
    unsafe fn store<S: Simd, const P: usize, const NV: usize>(
        &self,
        s: S,
        acc: [[S::F32; NV]; P],
        ow: usize,
        c: usize,
        n: usize,
    ) {
        let e = self.epilogue;
        let column_bias = if let Bias::Columns(b) = e.bias { b.as_ptr().wrapping_add(c) } else { null() };
        for (p, acc) in acc.into_iter().enumerate() {
            let row = ow + p;
            let y = self.y.data.wrapping_add(row * self.y.stride + c);
            for (j, mut v) in acc.into_iter().enumerate() {
                let (at, lanes) = (j * S::LANES, n.saturating_sub(j * S::LANES));
                // SAFETY: the row exists in y, bias and residual, and so do its channels c..c + n.
                unsafe {
                    v = s.mul(v, s.splat(e.alpha));
                    if e.accumulate {
                        v = s.add(v, s.load_ptr_first(y.wrapping_add(at), lanes));
                    }
                    if !column_bias.is_null() {
                        v = s.add(v, s.load_ptr_first(column_bias.wrapping_add(at), lanes));
                    }
                    if let Bias::Rows(b) = e.bias {
                        v = s.add(v, s.splat(*b.as_ptr().add(row)));
                    }
                    if let Some(r) = e.residual {
                        v = s.add(v, s.load_ptr_first(r.base(row).wrapping_add(c + at), lanes));
                    }
                    if let Some((lo, hi)) = e.activation.bounds().filter(|_| e.activation != Activation::None)
                    {
                        v = s.min(s.splat(hi), s.max(s.splat(lo), v));
                    }
                    s.store_ptr_first(y.wrapping_add(at), v, lanes);
                }
            }
        }
    }
}
