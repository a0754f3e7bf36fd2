//! Pooling of channels-last images, vectorised over channels.

use super::window::{Window, lines_per_task};
use crate::gemm::{MatMut, MatRef};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Threads;

/// What is done with the pixels of a window.
#[derive(Clone, Copy)]
enum Pool {
    Max,
    /// Divides by the number of pixels, with or without those of the padding.
    Average {
        count_pads: bool,
    },
}

/// Largest value under each window: rows of `x` are input pixels (n, h, w), rows of `y` output pixels, columns channels.
/// Padding does not take part; a window of padding alone gives negative infinity. NaN is larger than all. Panics unless the
/// shapes fit.
pub fn max_pool(isa: Isa, threads: &Threads, batch: usize, window: &Window, x: MatRef, y: MatMut) {
    pool(isa, threads, batch, window, x, y, Pool::Max);
}

/// Mean value under each window, otherwise as [`max_pool`]. The mean is over the window's pixels inside the image, or with
/// `count_pads` inside image and padding (where values are 0). A window of padding alone gives 0.
pub fn average_pool(
    isa: Isa,
    threads: &Threads,
    batch: usize,
    window: &Window,
    count_pads: bool,
    x: MatRef,
    y: MatMut,
) {
    pool(isa, threads, batch, window, x, y, Pool::Average { count_pads });
}

/// Mean of all pixels of each image: `y` has a row per image. The mean of no pixels is NaN. Panics unless the shapes fit.
pub fn global_average_pool(
    isa: Isa,
    threads: &Threads,
    batch: usize,
    pixels: usize,
    x: MatRef,
    mut y: MatMut,
) {
    assert_eq!((x.rows, x.cols), (batch * pixels, y.cols), "rows and columns of the input");
    assert_eq!(y.rows, batch, "rows of the output");
    let channels = x.cols;
    const BLOCK: usize = 64;
    let blocks = channels.div_ceil(BLOCK);
    let y = y.shared();
    // A block of channels per task if that is enough work.
    let per_task = (16 * 1024 / (BLOCK * pixels.max(1))).clamp(1, blocks.max(1));
    let tasks = blocks.div_ceil(per_task);
    threads.par_for(batch * tasks, |i| {
        let (n, task) = (i / tasks, i % tasks);
        let first = task * per_task * BLOCK;
        let cols = (per_task * BLOCK).min(channels - first);
        // SAFETY: these elements of the output are this task's alone.
        let y = unsafe { y.part(n, 1, first, cols) };
        isa.dispatch(Mean { x: x.part(n * pixels, pixels, first, cols), y });
    });
}

fn pool(isa: Isa, threads: &Threads, batch: usize, window: &Window, x: MatRef, mut y: MatMut, pool: Pool) {
    window.check();
    let channels = x.cols;
    assert_eq!(x.rows, batch * window.input_pixels(), "rows of the input");
    assert_eq!(
        (y.rows, y.cols),
        (batch * window.output_pixels(), channels),
        "rows and columns of the output"
    );
    let lines = batch * window.output[0];
    let work = window.output[1] * channels * window.taps();
    let per_task = lines_per_task(threads, lines, work);
    let y = y.shared();
    threads.par_for(lines.div_ceil(per_task), |task| {
        for line in task * per_task..lines.min((task + 1) * per_task) {
            // SAFETY: these rows of the output are this task's alone.
            let y = unsafe { y.part(line * window.output[1], window.output[1], 0, channels) };
            let (image, oh) = (line / window.output[0], line % window.output[0]);
            let x = x.part(image * window.input_pixels(), window.input_pixels(), 0, channels);
            isa.dispatch(Line { window, oh, x, y, pool });
        }
    });
}

/// One line of output pixels.
struct Line<'a> {
    window: &'a Window,
    oh: usize,
    /// The image.
    x: MatRef<'a>,
    /// The line.
    y: MatMut<'a>,
    pool: Pool,
}

impl Kernel for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.pool {
            Pool::Max => self.columns(
                s,
                f32::NEG_INFINITY,
                #[inline(always)]
                |acc, v| s.select(s.or(s.gt(v, acc), s.is_nan(v)), v, acc),
            ),
            Pool::Average { .. } => self.columns(
                s,
                0.0,
                #[inline(always)]
                |acc, v| s.add(acc, v),
            ),
        }
    }
}

impl Line<'_> {
    #[inline(always)]
    fn columns<S: Simd>(&self, s: S, start: f32, f: impl Fn(S::F32, S::F32) -> S::F32 + Copy) {
        let channels = self.y.cols;
        for ow in 0..self.window.output[1] {
            let scale = self.scale(ow);
            let mut c = 0;
            // SAFETY: the channels exist.
            unsafe {
                while c + 4 * S::LANES <= channels {
                    self.pixel::<S, 4>(s, ow, c, start, scale, f);
                    c += 4 * S::LANES;
                }
                while c < channels {
                    self.pixel::<S, 1>(s, ow, c, start, scale, f);
                    c += S::LANES;
                }
            }
        }
    }

    /// Factor of the result.
    #[inline(always)]
    fn scale(&self, ow: usize) -> f32 {
        let w = self.window;
        let inside = w.valid(0, self.oh).len() * w.valid(1, ow).len();
        match self.pool {
            Pool::Max => 1.0,
            Pool::Average { count_pads: false } => 1.0 / inside.max(1) as f32,
            Pool::Average { count_pads: true } => {
                // Windows may even pass the padding, if the output was rounded up.
                let counted = |axis: usize, o: usize| {
                    let padded = w.input[axis] + w.pads[axis] + w.pads[axis + 2];
                    let left = padded.saturating_sub(o * w.stride[axis]);
                    left.div_ceil(w.dilation[axis]).min(w.kernel[axis])
                };
                1.0 / (counted(0, self.oh) * counted(1, ow)).max(1) as f32
            }
        }
    }

    /// One output pixel, `V` vectors of channels from `c` on; a single one may reach past the channels.
    ///
    /// # Safety
    /// The pixel and these channels must exist (of a single vector, the first).
    #[inline(always)]
    unsafe fn pixel<S: Simd, const V: usize>(
        &self,
        s: S,
        ow: usize,
        c: usize,
        start: f32,
        scale: f32,
        f: impl Fn(S::F32, S::F32) -> S::F32,
    ) {
        let w = self.window;
        let lanes = (self.y.cols - c).min(S::LANES);
        let mut acc = [s.splat(start); V];
        for kh in w.valid(0, self.oh) {
            let line = w.position(0, self.oh, kh) * w.input[1];
            for kw in w.valid(1, ow) {
                let x = self.x.base(line + w.position(1, ow, kw)).wrapping_add(c);
                for (j, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: the tap is valid and its channels exist.
                    *acc = f(*acc, unsafe { s.load_ptr_first(x.wrapping_add(j * S::LANES), lanes) });
                }
            }
        }
        let y = self.y.data.wrapping_add(ow * self.y.stride + c);
        for (j, acc) in acc.into_iter().enumerate() {
            let v = s.mul(acc, s.splat(scale));
            // SAFETY: the pixel and its channels exist.
            unsafe { s.store_ptr_first(y.wrapping_add(j * S::LANES), v, lanes) };
        }
    }
}

/// Mean of the rows of x.
struct Mean<'a> {
    x: MatRef<'a>,
    y: MatMut<'a>,
}

impl Kernel for Mean<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Mean { x, y } = self;
        let scale = s.splat(1.0 / x.rows as f32);
        for c in (0..x.cols).step_by(S::LANES) {
            let lanes = (x.cols - c).min(S::LANES);
            // Four sums: shorter chains of rounding and of waiting.
            let mut acc = [s.zero(); 4];
            for row in 0..x.rows {
                // SAFETY: row and channels exist.
                let v = unsafe { s.load_ptr_first(x.base(row).add(c), lanes) };
                acc = [acc[1], acc[2], acc[3], s.add(acc[0], v)];
            }
            let sum = s.add(s.add(acc[0], acc[1]), s.add(acc[2], acc[3]));
            // An empty image has a mean of 0 / 0.
            let mean = if x.rows == 0 { s.splat(f32::NAN) } else { s.mul(sum, scale) };
            // SAFETY: the channels exist.
            unsafe { s.store_ptr_first(y.data.add(c), mean, lanes) };
        }
    }
}
