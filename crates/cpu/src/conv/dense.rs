//! Convolution as a matrix product over windows.

use super::depthwise::depthwise;
use super::filter::{Filter, Weights};
use super::pad::PadLines;
use super::rows::{Image, WindowRows};
use super::window::Window;
use crate::gemm::{
    Epilogue, MatMut, MatRef, RESIDENT_BYTES, crowded, gemm, product, rows_per_tile, with_scratch,
};
use crate::threads::Threads;
use std::ops::Range;

/// Bytes of padded input that one thread works on at a time: a part of the second-level cache.
const BAND_BYTES: usize = 384 << 10;

/// What a convolution is applied to.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Number of images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Where the filter sees them.
    pub window: Window,
}

/// Input images.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// NHWC: one row per pixel, one column per channel.
    ChannelsLast(MatRef<'a>),
    /// NCHW, dense; for the first layer of a network.
    ChannelsFirst(&'a [f32]),
}

/// `Y = epilogue(convolution of x)`, channels last: `y` has one row per output pixel (n, oh, ow) and one column per filter;
/// bias per column and residual are as for a product of that shape. Panics unless the shapes fit.
pub fn conv2d(threads: &Threads, conv: &Conv, x: Input, filter: &Filter, y: MatMut, epilogue: &Epilogue) {
    let &Conv { batch, channels, window } = conv;
    window.check();
    let rows = batch * window.output_pixels();
    assert_eq!(channels, filter.channels * filter.groups, "channels of input and filter");
    assert_eq!(window.kernel, filter.kernel, "kernels of window and filter");
    assert_eq!((y.rows, y.cols), (rows, filter.filters), "rows and columns of the output");
    epilogue.check(rows, filter.filters);
    match x {
        Input::ChannelsLast(x) => {
            assert_eq!(
                (x.rows, x.cols),
                (batch * window.input_pixels(), channels),
                "rows and columns of the input"
            );
        }
        Input::ChannelsFirst(x) => {
            assert_eq!(x.len(), batch * channels * window.input_pixels(), "length of the input")
        }
    }
    if rows == 0 || filter.filters == 0 {
        return;
    }
    let groups = match (&filter.weights, x) {
        (Weights::Depthwise(weights), Input::ChannelsLast(x)) => {
            return depthwise(filter.isa, threads, conv, x, weights, y, epilogue);
        }
        (Weights::Depthwise(weights), Input::ChannelsFirst(_)) => {
            return with_padded(threads, conv, x, filter, 0..batch, 0..window.output[0], |image, inner| {
                let pixels = batch * inner.input_pixels();
                let x = MatRef::strided(image.data, pixels, channels, image.pixel);
                depthwise(filter.isa, threads, &Conv { window: inner, ..*conv }, x, weights, y, epilogue);
            });
        }
        (Weights::Dense(groups), _) => groups,
    };
    match x {
        Input::ChannelsLast(x) if window.is_pointwise() => {
            let mut y = y;
            for (g, weights) in groups.iter().enumerate() {
                let (a, cols) =
                    (x.part(0, rows, g * filter.channels, filter.channels), weights.view().cols());
                let (c, epilogue) = (y.part(0, rows, g * cols, cols), epilogue.part(0, rows, g * cols, cols));
                gemm(threads, a, weights.view(), c, &epilogue);
            }
        }
        Input::ChannelsLast(x) if window.is_unpadded() => {
            let row = window.input[1] * x.stride;
            let image = Image { data: x.data, pixel: x.stride, row, image: window.input[0] * row };
            windows(threads, image, batch, &window, filter, y, epilogue);
        }
        _ => padded(threads, conv, x, filter, y, epilogue),
    }
}

/// Where padding is needed: whole images at once if they are small, else bands of rows, each thread its own.
fn padded(threads: &Threads, conv: &Conv, x: Input, filter: &Filter, mut y: MatMut, epilogue: &Epilogue) {
    let Conv { batch, window, .. } = *conv;
    let [height, width] = window.output;
    let line_bytes = 4 * conv.channels * window.span(1, width);
    let lines = (BAND_BYTES / line_bytes.max(1)).max(1);
    // Output lines of a band, at least so many that the lines which two bands see are few.
    let per_band = (lines.saturating_sub(window.span(0, 1)) / window.stride[0] + 1).max(window.kernel[0]);
    let per_band = height.div_ceil(height.div_ceil(per_band));
    let bands = height.div_ceil(per_band);
    let cols = filter.filters;
    // Each band goes over all weights: they should stay in the cache, unless the images do not either.
    let weights_stay = filter.size_bytes() <= RESIDENT_BYTES;
    let images_stay = batch * height * line_bytes <= 4 << 20;
    if bands * batch < 2 * threads.count() || (images_stay && !weights_stay) {
        with_padded(threads, conv, x, filter, 0..batch, 0..height, |image, inner| {
            windows(threads, image, batch, &inner, filter, y, epilogue);
        });
        return;
    }
    let y = y.shared();
    threads.par_for(bands * batch, |i| {
        let (n, band) = (i / bands, i % bands);
        let lines = band * per_band..height.min((band + 1) * per_band);
        let (first, rows) = ((n * height + lines.start) * width, lines.len() * width);
        // SAFETY: these rows of the output are this task's alone.
        let y = unsafe { y.part(first, rows, 0, cols) };
        let epilogue = epilogue.part(first, rows, 0, cols);
        let single = Threads::single();
        with_padded(&single, conv, x, filter, n..n + 1, lines, |image, inner| {
            windows(&single, image, 1, &inner, filter, y, &epilogue);
        });
    });
}

/// Copies what output lines `lines` of `images` see, with padding, and hands over the copy and the window on it.
fn with_padded(
    threads: &Threads,
    conv: &Conv,
    x: Input,
    filter: &Filter,
    images: Range<usize>,
    lines: Range<usize>,
    f: impl FnOnce(Image, Window),
) {
    let Conv { channels, window, .. } = *conv;
    let width = window.span(1, window.output[1]);
    let height = window.span(0, lines.len());
    let mut pixel = channels;
    if crowded(window.stride[1] * pixel) {
        pixel += 16;
    }
    let row = width * pixel;
    let first = lines.start * window.stride[0];
    with_scratch(images.len() * height * row, |buffer| {
        threads.par_chunks_mut(buffer, row.max(1), |i, to| {
            let line = first + i % height;
            let image = images.start + i / height;
            let lines = line..line + 1;
            filter.isa.dispatch(PadLines {
                input: x,
                window: &window,
                channels,
                image,
                lines,
                width,
                pixel,
                to,
            });
        });
        let inner = Window {
            input: [height, width],
            pads: [0; 4],
            output: [lines.len(), window.output[1]],
            ..window
        };
        f(Image { data: buffer, pixel, row, image: height * row }, inner);
    });
}

/// The product over the windows of `batch` images which no window leaves.
fn windows(
    threads: &Threads,
    image: Image,
    batch: usize,
    window: &Window,
    filter: &Filter,
    mut y: MatMut,
    epilogue: &Epilogue,
) {
    let Weights::Dense(groups) = &filter.weights else {
        unreachable!("depthwise filters have a kernel of their own")
    };
    // A line of windows is cut into tiles of its own. Tiles that are not full cost little while the weights stay in the
    // cache; otherwise better tiles, from windows copied side by side, save passes over the weights.
    let tile = rows_per_tile(filter.isa);
    let (width, full) = (window.output[1], window.output[1].div_ceil(tile) * tile);
    let weights_stay = filter.size_bytes() <= RESIDENT_BYTES;
    let in_place = if weights_stay { 2 * width >= full } else { 4 * width >= 3 * full };
    let rows = y.rows;
    for (g, weights) in groups.iter().enumerate() {
        let channels = g * filter.channels..(g + 1) * filter.channels;
        let a = WindowRows::new(image, batch, window, channels, in_place);
        let cols = weights.view().cols();
        let (c, epilogue) = (y.part(0, rows, g * cols, cols), epilogue.part(0, rows, g * cols, cols));
        product(threads, &a, weights.view().into(), c, &epilogue);
    }
}
