//! Transposed convolution: a product that gives each input pixel's contributions, then a sum over them per output pixel.

use super::window::Window;
use crate::gemm::{Activation, Bias, Epilogue, MatMut, MatRef, PackedB, Unpacked, gemm, with_scratch};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Threads;

/// What a transposed convolution is applied to.
#[derive(Clone, Copy, Debug)]
pub struct ConvTranspose {
    /// Number of images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// The window of the convolution of which this is the transpose: its *output* is this one's input, its *input* this
    /// one's output.
    pub window: Window,
}

/// Weights of a transposed convolution, packed for one instruction set.
#[derive(Debug)]
pub struct TransposedFilter {
    isa: Isa,
    /// Output channels of each group.
    filters: usize,
    /// Input channels of each group.
    channels: usize,
    kernel: [usize; 2],
    /// For each group the matrix channel x (kh, kw, filter).
    groups: Vec<PackedB>,
}

impl TransposedFilter {
    /// Packs ONNX weights, laid out [channels, filters / groups, kh, kw] (`shape`). Panics if `weights` has another length
    /// or `groups` (at least 1) does not divide the channels.
    pub fn new(isa: Isa, threads: &Threads, weights: &[f32], shape: [usize; 4], groups: usize) -> Self {
        let [channels, filters, kh, kw] = shape;
        let (taps, width) = (kh * kw, filters * kh * kw);
        assert_eq!(weights.len(), channels * width, "weights of shape {shape:?}");
        assert!(groups > 0 && channels % groups == 0, "{channels} channels in {groups} groups");
        // Filters last within each channel.
        let mut rows = vec![0.0; weights.len()];
        for (row, from) in rows.chunks_exact_mut(width.max(1)).zip(weights.chunks_exact(width.max(1))) {
            for (i, &w) in from.iter().enumerate() {
                row[i % taps * filters + i / taps] = w;
            }
        }
        let channels = channels / groups;
        let pack = |g: usize| {
            let rows = MatRef::new(&rows[g * channels * width..], channels, width);
            PackedB::new(isa, threads, Unpacked::Normal(rows))
        };
        TransposedFilter { isa, filters, channels, kernel: [kh, kw], groups: (0..groups).map(pack).collect() }
    }
}

/// `Y = epilogue(transposed convolution of x)`: rows of `x` are input pixels (n, h, w), rows of `y` output pixels, columns
/// channels. Of the epilogue, `alpha` must be 1 and `accumulate` false. Panics unless the shapes fit.
pub fn conv_transpose2d(
    threads: &Threads,
    conv: &ConvTranspose,
    x: MatRef,
    filter: &TransposedFilter,
    mut y: MatMut,
    epilogue: &Epilogue,
) {
    let &ConvTranspose { batch, channels, window } = conv;
    window.check();
    let (pixels, out_pixels) = (window.output_pixels(), window.input_pixels());
    let (groups, filters) = (filter.groups.len(), filter.filters);
    assert_eq!(channels, filter.channels * groups, "channels of input and filter");
    assert_eq!(window.kernel, filter.kernel, "kernels of window and filter");
    assert_eq!((x.rows, x.cols), (batch * pixels, channels), "rows and columns of the input");
    assert_eq!((y.rows, y.cols), (batch * out_pixels, filters * groups), "rows and columns of the output");
    assert!(
        epilogue.alpha == 1.0 && !epilogue.accumulate,
        "a transposed convolution is not scaled or accumulated"
    );
    epilogue.check(y.rows, y.cols);
    let width = window.taps() * filters;
    // One image at a time bounds the memory.
    for (n, (g, weights)) in (0..batch).flat_map(|n| filter.groups.iter().enumerate().map(move |g| (n, g))) {
        let x = x.part(n * pixels, pixels, g * filter.channels, filter.channels);
        with_scratch(pixels * width, |buffer| {
            gemm(threads, x, weights.view(), MatMut::new(buffer, pixels, width), &Epilogue::default());
            let parts = MatRef::new(buffer, pixels, width);
            let y = y.shared();
            let (height, line) = (window.input[0], window.input[1]);
            threads.par_for(height, |h| {
                let first = n * out_pixels + h * line;
                // SAFETY: these elements of the output are this task's alone.
                let y = unsafe { y.part(first, line, g * filters, filters) };
                let epilogue = epilogue.part(first, line, g * filters, filters);
                filter.isa.dispatch(Line { window: &window, h, parts, y, epilogue: &epilogue });
            });
        });
    }
}

/// One line of output pixels.
struct Line<'a> {
    window: &'a Window,
    h: usize,
    /// Contributions: input pixel x (kh, kw, filter).
    parts: MatRef<'a>,
    y: MatMut<'a>,
    epilogue: &'a Epilogue<'a>,
}

/// Input position (output of the window) from which kernel position `k` reaches `at`.
fn source(window: &Window, axis: usize, at: usize, k: usize) -> Option<usize> {
    let distance = (at + window.pads[axis]).checked_sub(k * window.dilation[axis])?;
    let o = distance / window.stride[axis];
    (distance % window.stride[axis] == 0 && o < window.output[axis]).then_some(o)
}

impl Kernel for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Line { window, h, parts, y, epilogue } = self;
        let filters = y.cols;
        let [kernel_h, kernel_w] = window.kernel;
        for w in 0..y.rows {
            for c in (0..filters).step_by(S::LANES) {
                let lanes = (filters - c).min(S::LANES);
                // SAFETY: the pixel and its channels exist in y, bias and residual, and the sources in `parts`.
                unsafe {
                    let mut v = match epilogue.bias {
                        Bias::None => s.zero(),
                        Bias::Columns(b) => s.load_ptr_first(b.as_ptr().add(c), lanes),
                        Bias::Rows(b) => s.splat(b[w]),
                    };
                    for kh in 0..kernel_h {
                        let Some(row) = source(window, 0, h, kh) else { continue };
                        for kw in 0..kernel_w {
                            let Some(col) = source(window, 1, w, kw) else { continue };
                            let from = parts.base(row * window.output[1] + col);
                            let at = (kh * kernel_w + kw) * filters + c;
                            v = s.add(v, s.load_ptr_first(from.add(at), lanes));
                        }
                    }
                    if let Some(r) = epilogue.residual {
                        v = s.add(v, s.load_ptr_first(r.base(w).add(c), lanes));
                    }
                    s.store_ptr_first(y.data.add(w * y.stride + c), v, lanes);
                }
            }
        }
        if epilogue.activation != Activation::None {
            // SAFETY: the line is ours.
            unsafe { epilogue.activation.apply_rows(s, y.data, y.stride, y.rows, filters) };
        }
    }
}
