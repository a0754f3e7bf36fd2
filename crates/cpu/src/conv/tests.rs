//! Convolutions and pooling against plain loops in f64, on every instruction set present.

use super::*;
use crate::gemm::test_data::Random;
use crate::gemm::{Activation, Bias, Epilogue, MatMut, MatRef};
use crate::simd::Isa;
use crate::threads::Threads;

/// One value of an image [batch, h, w, channels] with padding of zeros.
fn at(x: &[f32], size: [usize; 2], channels: usize, n: usize, h: isize, w: isize, c: usize) -> Option<f64> {
    let inside = |i: isize, size: usize| (0..size as isize).contains(&i);
    (inside(h, size[0]) && inside(w, size[1]))
        .then(|| x[((n * size[0] + h as usize) * size[1] + w as usize) * channels + c] as f64)
}

/// Input position that output position `o` sees at `k`.
fn position(w: &Window, axis: usize, o: usize, k: usize) -> isize {
    (o * w.stride[axis] + k * w.dilation[axis]) as isize - w.pads[axis] as isize
}

/// The coordinates (n, oh, ow) of all output pixels.
fn pixels(batch: usize, size: [usize; 2]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..batch * size[0] * size[1]).map(move |i| (i / size[1] / size[0], i / size[1] % size[0], i % size[1]))
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    channels: usize,
    filters: usize,
    groups: usize,
    window: Window,
}

fn random_case(random: &mut Random) -> Case {
    let mut pick = |from: &[usize]| from[random.below(from.len())];
    let groups = pick(&[1, 1, 1, 2, 3]);
    let window = loop {
        let mut pair = |from: &[usize]| [pick(from), pick(from)];
        let input = pair(&[1, 2, 5, 9, 16, 33]);
        let window = Window::new(
            input,
            pair(&[1, 1, 2, 3, 3, 5]),
            pair(&[1, 1, 2, 3]),
            pair(&[1, 1, 2]),
            std::array::from_fn(|_| pick(&[0, 0, 1, 2])),
        );
        if window.output_pixels() > 0 {
            break window;
        }
    };
    Case {
        batch: pick(&[1, 1, 2]),
        channels: groups * pick(&[1, 2, 3, 8, 17]),
        filters: groups * pick(&[1, 3, 16, 33]),
        groups,
        window,
    }
}

fn check_conv(isa: Isa, threads: &Threads, case: &Case, planar: bool, seed: u64) {
    let Case { batch, channels, filters, groups, window } = *case;
    let mut random = Random(seed);
    let (in_c, out_c) = (channels / groups, filters / groups);
    let x = random.floats(batch * window.input_pixels() * channels);
    let weights = random.floats(filters * in_c * window.taps());
    let bias = random.floats(filters);
    let rows = batch * window.output_pixels();
    let residual = random.floats(rows * filters);
    let epilogue = Epilogue {
        bias: if random.below(3) > 0 { Bias::Columns(&bias) } else { Bias::None },
        residual: (random.below(2) == 0).then(|| MatRef::new(&residual, rows, filters)),
        activation: [Activation::None, Activation::Relu, Activation::LeakyRelu(0.25)][random.below(3)],
        ..Epilogue::default()
    };
    let filter =
        Filter::new(isa, threads, &weights, [filters, in_c, window.kernel[0], window.kernel[1]], groups);
    // Input and output are parts of wider images.
    let (x_stride, y_stride) = (channels + random.below(3), filters + random.below(3));
    let mut wide = vec![f32::NAN; batch * window.input_pixels() * x_stride];
    for (wide, x) in wide.chunks_mut(x_stride.max(1)).zip(x.chunks(channels.max(1))) {
        wide[..channels].copy_from_slice(x);
    }
    let plane = window.input_pixels();
    let planes: Vec<f32> = (0..x.len())
        .map(|i| x[(i / plane / channels * plane + i % plane) * channels + i / plane % channels])
        .collect();
    let input = if planar {
        Input::ChannelsFirst(&planes)
    } else {
        Input::ChannelsLast(MatRef::strided(&wide, batch * plane, channels, x_stride))
    };
    let mut y = vec![f32::NAN; rows * y_stride];
    let conv = Conv { batch, channels, window };
    conv2d(threads, &conv, input, &filter, MatMut::strided(&mut y, rows, filters, y_stride), &epilogue);
    for (i, (n, oh, ow)) in pixels(batch, window.output).enumerate() {
        for f in 0..y_stride {
            if f >= filters {
                assert!(y[i * y_stride + f].is_nan(), "{isa:?} {case:?}: wrote past the filters");
                continue;
            }
            let mut sum = if let Bias::Columns(b) = epilogue.bias { b[f] as f64 } else { 0.0 };
            for (_, kh, kw) in pixels(1, window.kernel) {
                let (h, w) = (position(&window, 0, oh, kh), position(&window, 1, ow, kw));
                for c in 0..in_c {
                    let value = at(&x, window.input, channels, n, h, w, f / out_c * in_c + c);
                    let weight = weights[((f * in_c + c) * window.kernel[0] + kh) * window.kernel[1] + kw];
                    sum += value.unwrap_or(0.0) * weight as f64;
                }
            }
            sum += epilogue.residual.map_or(0.0, |_| residual[i * filters + f] as f64);
            sum = match epilogue.activation {
                Activation::Relu => sum.max(0.0),
                Activation::LeakyRelu(a) if sum < 0.0 => sum * a as f64,
                _ => sum,
            };
            let got = y[i * y_stride + f] as f64;
            assert!(
                (got - sum).abs() < 1e-4,
                "{isa:?} {case:?} {epilogue:?} ({n}, {oh}, {ow}, {f}): {got} != {sum}"
            );
        }
    }
}

#[test]
fn random_convolutions() {
    for isa in Isa::available() {
        let mut random = Random(7);
        for i in 0..300 {
            let case = random_case(&mut random);
            check_conv(isa, &Threads::new(1 + i % 2), &case, i % 5 == 0, i as u64);
        }
    }
}

#[test]
fn depthwise_convolutions() {
    for isa in Isa::available() {
        let mut random = Random(8);
        for i in 0..200 {
            let mut case = random_case(&mut random);
            case.channels = [2, 16, 17, 32, 39, 100][random.below(6)];
            (case.filters, case.groups) = (case.channels, case.channels);
            check_conv(isa, &Threads::new(1 + i % 2), &case, i % 5 == 0, i as u64);
        }
    }
}

#[test]
fn bands_and_big_images() {
    let window = |size, kernel, stride: usize, pad| Window::new(size, kernel, [stride; 2], [1, 1], [pad; 4]);
    let cases = [
        // Several bands per image; colours; crowded pixels; one line of sound; windows without channels.
        Case { batch: 2, channels: 32, filters: 20, groups: 1, window: window([70, 61], [3, 3], 1, 1) },
        Case { batch: 1, channels: 3, filters: 24, groups: 1, window: window([97, 150], [7, 7], 2, 3) },
        Case { batch: 1, channels: 1024, filters: 8, groups: 1, window: window([6, 20], [3, 3], 1, 1) },
        Case { batch: 1, channels: 40, filters: 33, groups: 1, window: window([1, 500], [1, 9], 1, 0) },
        Case { batch: 1, channels: 64, filters: 300, groups: 1, window: window([15, 15], [3, 3], 1, 1) },
        Case { batch: 1, channels: 48, filters: 48, groups: 4, window: window([40, 40], [3, 3], 2, 1) },
        Case { batch: 1, channels: 0, filters: 3, groups: 1, window: window([4, 4], [3, 3], 1, 1) },
        Case { batch: 0, channels: 2, filters: 3, groups: 1, window: window([4, 4], [3, 3], 1, 1) },
        Case { batch: 1, channels: 2, filters: 0, groups: 1, window: window([4, 4], [3, 3], 1, 1) },
    ];
    for isa in Isa::available() {
        for (i, case) in cases.iter().enumerate() {
            check_conv(isa, &Threads::new(1 + i % 2), case, false, i as u64);
            check_conv(isa, &Threads::new(2 - i % 2), case, true, i as u64);
        }
    }
}

#[test]
fn pools() {
    for isa in Isa::available() {
        let mut random = Random(5);
        for i in 0..200 {
            let Case { batch, channels, mut window, .. } = random_case(&mut random);
            // Some outputs rounded up.
            window.output[0] += random.below(2);
            let x = random.floats(batch * window.input_pixels() * channels);
            let rows = batch * window.output_pixels();
            let (mut max, mut mean) = (vec![0.0; rows * channels], vec![f32::NAN; rows * channels]);
            let x_mat = MatRef::new(&x, batch * window.input_pixels(), channels);
            let (threads, count_pads) = (Threads::new(1 + i % 2), i % 3 == 0);
            max_pool(isa, &threads, batch, &window, x_mat, MatMut::new(&mut max, rows, channels));
            let mean_mat = MatMut::new(&mut mean, rows, channels);
            average_pool(isa, &threads, batch, &window, count_pads, x_mat, mean_mat);
            for (i, (n, oh, ow)) in pixels(batch, window.output).enumerate() {
                for c in 0..channels {
                    let (mut largest, mut sum, mut inside, mut padded) = (f64::NEG_INFINITY, 0.0, 0, 0);
                    for (_, kh, kw) in pixels(1, window.kernel) {
                        let (h, w) = (position(&window, 0, oh, kh), position(&window, 1, ow, kw));
                        let limit = |axis: usize| (window.input[axis] + window.pads[axis + 2]) as isize;
                        padded += (h < limit(0) && w < limit(1)) as usize;
                        if let Some(value) = at(&x, window.input, channels, n, h, w, c) {
                            largest = largest.max(value);
                            sum += value;
                            inside += 1;
                        }
                    }
                    assert_eq!(max[i * channels + c] as f64, largest, "{isa:?} {window:?}");
                    let expected = sum / (if count_pads { padded } else { inside }).max(1) as f64;
                    let got = mean[i * channels + c] as f64;
                    assert!(
                        (got - expected).abs() < 1e-6,
                        "{isa:?} {window:?} {count_pads}: {got} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn max_pool_keeps_nan() {
    for isa in Isa::available() {
        for position in 0..3 {
            let mut x = [1.0, 2.0, 3.0];
            x[position] = f32::NAN;
            let window = Window::new([1, 3], [1, 3], [1, 1], [1, 1], [0; 4]);
            let mut y = [0.0];
            max_pool(isa, &Threads::single(), 1, &window, MatRef::new(&x, 3, 1), MatMut::new(&mut y, 1, 1));
            assert!(y[0].is_nan(), "{isa:?} {position}");
        }
    }
}

#[test]
fn global_average_pools() {
    for isa in Isa::available() {
        for (batch, pixels, channels) in
            [(1, 49, 130), (3, 1, 5), (2, 1000, 64), (1, 0, 3), (0, 4, 4), (1, 3, 0)]
        {
            let x = Random(3).floats(batch * pixels * channels);
            let mut y = vec![f32::NAN; batch * channels];
            let (x_mat, y_mat) =
                (MatRef::new(&x, batch * pixels, channels), MatMut::new(&mut y, batch, channels));
            global_average_pool(isa, &Threads::new(2), batch, pixels, x_mat, y_mat);
            for (i, y) in y.into_iter().enumerate() {
                let (n, c) = (i / channels, i % channels);
                let sum: f64 = (0..pixels).map(|p| x[(n * pixels + p) * channels + c] as f64).sum();
                let mean = sum / pixels as f64;
                assert!(
                    (y as f64 - mean).abs() < 1e-6 || (y.is_nan() && mean.is_nan()),
                    "{isa:?} {y} {mean}"
                );
            }
        }
    }
}

#[test]
fn transposed_convolutions() {
    for isa in Isa::available() {
        let mut random = Random(6);
        for i in 0..200 {
            let Case { batch, channels, filters, groups, window } = random_case(&mut random);
            let out_c = filters / groups;
            let x = random.floats(batch * window.output_pixels() * channels);
            let weights = random.floats(channels * out_c * window.taps());
            let bias = random.floats(filters);
            let rows = batch * window.input_pixels();
            let residual = random.floats(rows * filters);
            let threads = Threads::new(1 + i % 2);
            let shape = [channels, out_c, window.kernel[0], window.kernel[1]];
            let filter = TransposedFilter::new(isa, &threads, &weights, shape, groups);
            // The definition: every input pixel adds to those it reaches.
            let mut expected: Vec<f64> =
                (0..rows * filters).map(|i| (bias[i % filters] + residual[i]) as f64).collect();
            for (pixel, (n, oh, ow)) in pixels(batch, window.output).enumerate() {
                for (_, kh, kw) in pixels(1, window.kernel) {
                    let (h, w) = (position(&window, 0, oh, kh), position(&window, 1, ow, kw));
                    if at(&vec![0.0; rows], window.input, 1, n, h, w, 0).is_none() {
                        continue;
                    }
                    let to = ((n * window.input[0] + h as usize) * window.input[1] + w as usize) * filters;
                    for c in 0..channels {
                        let first = c / (channels / groups) * out_c;
                        for f in 0..out_c {
                            let weight =
                                weights[((c * out_c + f) * window.kernel[0] + kh) * window.kernel[1] + kw];
                            expected[to + first + f] += x[pixel * channels + c] as f64 * weight as f64;
                        }
                    }
                }
            }
            let mut y = vec![f32::NAN; rows * filters];
            let epilogue = Epilogue {
                bias: Bias::Columns(&bias),
                residual: Some(MatRef::new(&residual, rows, filters)),
                activation: Activation::Relu,
                ..Epilogue::default()
            };
            let conv = ConvTranspose { batch, channels, window };
            let x = MatRef::new(&x, batch * window.output_pixels(), channels);
            conv_transpose2d(&threads, &conv, x, &filter, MatMut::new(&mut y, rows, filters), &epilogue);
            for (got, expected) in y.iter().zip(expected) {
                assert!(
                    (*got as f64 - expected.max(0.0)).abs() < 1e-4,
                    "{isa:?} {window:?} {groups}: {got} {expected}"
                );
            }
        }
    }
}
