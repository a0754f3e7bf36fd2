//! GFLOP/s of matrix products and convolutions, for tuning the kernels.
//!
//! `cargo run --release -p inferrum-cpu --example gemm_bench -- [threads] [filter]`. All cases are run in turn, several
//! rounds, so that caches are as cold as in a network and drifts of the machine meet all of them. Each figure comes with
//! its share of the fused multiply-add ceiling, which is measured just before and after. With one thread the thread's
//! processor time counts, not the clock on the wall, so that other work on the machine disturbs less.

use inferrum_cpu::conv::{Conv, Filter, Input, Window, conv2d};
use inferrum_cpu::gemm::{
    Activation, Batch, Bias, Buffer, Epilogue, Item, MatMut, MatRef, Operand, PackedB, Unpacked, gemm,
    matmul_batch,
};
use inferrum_cpu::simd::{Isa, Kernel, Simd};
use inferrum_cpu::threads::Threads;
use std::time::Instant;

const ROUNDS: usize = 15;

/// M, N, K: linear layers of transformers, convolutions as products, vectors.
const PRODUCTS: [[usize; 3]; 16] = [
    [128, 768, 768],
    [128, 3072, 768],
    [128, 768, 3072],
    [197, 3072, 768],
    [512, 512, 512],
    [1024, 1024, 1024],
    [3136, 64, 64],
    [3136, 64, 256],
    [3136, 256, 64],
    [784, 128, 1152],
    [196, 256, 2304],
    [49, 512, 4608],
    [1, 3072, 768],
    [1, 768, 3072],
    [2, 3072, 768],
    [4, 3072, 768],
];

/// Name, size, channels, filters, kernel, stride, groups: ResNet-50's and MobileNetV2's shapes of layers, and YOLO's first.
const LAYERS: [(&str, [usize; 6], usize); 30] = [
    ("resnet", [224, 3, 64, 7, 2, 1], 1),
    ("resnet", [56, 64, 64, 1, 1, 1], 1),
    ("resnet", [56, 64, 64, 3, 1, 1], 3),
    ("resnet", [56, 64, 256, 1, 1, 1], 4),
    ("resnet", [56, 256, 64, 1, 1, 1], 2),
    ("resnet", [56, 256, 128, 1, 1, 1], 1),
    ("resnet", [56, 128, 128, 3, 2, 1], 1),
    ("resnet", [56, 256, 512, 1, 2, 1], 1),
    ("resnet", [28, 128, 512, 1, 1, 1], 4),
    ("resnet", [28, 512, 128, 1, 1, 1], 3),
    ("resnet", [28, 128, 128, 3, 1, 1], 3),
    ("resnet", [14, 256, 256, 3, 1, 1], 5),
    ("resnet", [14, 256, 1024, 1, 1, 1], 6),
    ("resnet", [14, 1024, 256, 1, 1, 1], 5),
    ("resnet", [7, 512, 512, 3, 1, 1], 2),
    ("resnet", [7, 512, 2048, 1, 1, 1], 3),
    ("resnet", [7, 2048, 512, 1, 1, 1], 2),
    ("mobilenet", [224, 3, 32, 3, 2, 1], 1),
    ("mobilenet", [112, 32, 32, 3, 1, 32], 1),
    ("mobilenet", [112, 16, 96, 1, 1, 1], 1),
    ("mobilenet", [112, 96, 96, 3, 2, 96], 1),
    ("mobilenet", [56, 144, 144, 3, 1, 144], 1),
    ("mobilenet", [56, 144, 24, 1, 1, 1], 1),
    ("mobilenet", [14, 384, 384, 3, 1, 384], 4),
    ("mobilenet", [7, 960, 960, 3, 1, 960], 3),
    ("yolo", [640, 3, 16, 3, 2, 1], 1),
    ("yolo", [20, 64, 64, 3, 1, 1], 1),
    ("yolo", [20, 128, 128, 3, 1, 1], 1),
    ("yolo", [8, 128, 128, 3, 1, 1], 1),
    ("yolo", [320, 16, 32, 3, 2, 1], 1),
];

/// M, N, K of the 12 heads of an attention layer, and whether B is transposed: scores and weighted sums, of a prompt and of
/// one more token.
const BATCHES: [([usize; 3], bool); 4] =
    [([128, 128, 64], true), ([128, 64, 128], false), ([1, 1024, 64], true), ([1, 64, 1024], false)];

struct Case {
    name: String,
    flops: f64,
    run: Box<dyn FnMut() + Send>,
    rates: Vec<f64>,
    shares: Vec<f64>,
}

/// Aligned to cache lines, as tensors should be: otherwise every vector load touches two lines.
fn floats(n: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(n);
    buffer.iter_mut().enumerate().for_each(|(i, x)| *x = (i * 7919 % 1009) as f32 / 504.0 - 1.0);
    buffer
}

fn product(isa: Isa, threads: &Threads, [m, n, k]: [usize; 3]) -> Case {
    let (a, b, bias, mut c) = (floats(m * k), floats(k * n), floats(n), Buffer::zeroed(m * n));
    let b = PackedB::new(isa, threads, Unpacked::Normal(MatRef::new(&b, k, n)));
    let threads = threads.clone();
    let run = move || {
        let epilogue = Epilogue { bias: Bias::Columns(&bias), ..Epilogue::default() };
        gemm(&threads, MatRef::new(&a, m, k), b.view(), MatMut::new(&mut c, m, n), &epilogue);
    };
    let name = format!("gemm {m} x {n} x {k}");
    Case { name, flops: 2.0 * (m * n * k) as f64, run: Box::new(run), rates: vec![], shares: vec![] }
}

fn batch(isa: Isa, threads: &Threads, ([m, n, k], b_transposed): ([usize; 3], bool)) -> Case {
    let heads = 12;
    let (a, b, mut c) = (floats(heads * m * k), floats(heads * k * n), Buffer::zeroed(heads * m * n));
    let items: Vec<Item> = (0..heads).map(|i| Item { a: i * m * k, b: i * k * n, c: i * m * n }).collect();
    let threads = threads.clone();
    let run = move || {
        let b_stride = if b_transposed { k } else { n };
        let (a, b) = (Operand { data: &a, stride: k }, Operand { data: &b, stride: b_stride });
        let batch = Batch { a, b, c_stride: n, m, n, k, b_transposed, items: &items };
        matmul_batch(isa, &threads, &batch, &mut c, &Epilogue::default());
    };
    let name = format!("batch {heads} x {m} x {n} x {k}, B transposed: {b_transposed}");
    Case { name, flops: 2.0 * (heads * m * n * k) as f64, run: Box::new(run), rates: vec![], shares: vec![] }
}

fn layer(isa: Isa, threads: &Threads, (net, shape, _): (&str, [usize; 6], usize)) -> Case {
    let [size, channels, filters, kernel, stride, groups] = shape;
    let window = Window::new([size; 2], [kernel; 2], [stride; 2], [1; 2], [kernel / 2; 4]);
    let weights = floats(filters * channels / groups * kernel * kernel);
    let filter = Filter::new(isa, threads, &weights, [filters, channels / groups, kernel, kernel], groups);
    let (x, bias) = (floats(channels * size * size), floats(filters));
    let rows = window.output_pixels();
    let mut y = Buffer::zeroed(rows * filters);
    let threads = threads.clone();
    let run = move || {
        let conv = Conv { batch: 1, channels, window };
        let x = if channels == 3 {
            Input::ChannelsFirst(&x)
        } else {
            Input::ChannelsLast(MatRef::new(&x, size * size, channels))
        };
        let epilogue =
            Epilogue { bias: Bias::Columns(&bias), activation: Activation::Relu, ..Epilogue::default() };
        conv2d(&threads, &conv, x, &filter, MatMut::new(&mut y, rows, filters), &epilogue);
    };
    let name =
        format!("{net} {size}x{size} {channels} -> {filters}, {kernel}x{kernel} / {stride}, groups {groups}");
    let flops = 2.0 * (rows * filters * channels / groups * kernel * kernel) as f64;
    Case { name, flops, run: Box::new(run), rates: vec![], shares: vec![] }
}

/// Independent fused multiply-adds, as many at a time as hide their latency.
struct Peak(usize);

impl Kernel for Peak {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut acc = [s.splat(1.0); 12];
        let (x, y) = (s.splat(1.0 + 1e-7), s.splat(1e-9));
        for _ in 0..self.0 {
            for a in &mut acc {
                *a = s.mul_add(*a, x, y);
            }
        }
        s.sum(acc.into_iter().fold(s.zero(), |a, b| s.add(a, b)))
    }
}

/// GFLOP/s of one core.
fn peak(isa: Isa) -> f64 {
    let n = 200_000;
    let start = now(1);
    std::hint::black_box(isa.dispatch(Peak(n)));
    (n * 12 * 2 * isa.lanes()) as f64 / (now(1) - start) / 1e9
}

/// Seconds: of this thread's processor time if it works alone, else of the clock.
fn now(threads: usize) -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    if threads == 1 {
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
        }
        const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
        let mut time = [0; 2];
        // SAFETY: fills one timespec, which is two 64-bit numbers here.
        unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) };
        return time[0] as f64 + time[1] as f64 * 1e-9;
    }
    let _ = threads;
    START.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = Threads::new(args.next().map_or(1, |n| n.parse().expect("number of threads")));
    let wanted = args.next().unwrap_or_default();
    let isa = Isa::best();
    let mut cases: Vec<Case> = PRODUCTS.into_iter().map(|shape| product(isa, &threads, shape)).collect();
    cases.extend(BATCHES.into_iter().map(|shape| batch(isa, &threads, shape)));
    cases.extend(LAYERS.into_iter().map(|shape| layer(isa, &threads, shape)));
    cases.retain(|case| case.name.contains(&wanted));
    let count = threads.count();
    for _ in 0..ROUNDS {
        for case in &mut cases {
            // About 3 ms, after one run that sees other data in the caches.
            let repeats = (5e8 * count as f64 / case.flops).clamp(1.0, 100.0) as usize;
            let Case { run, flops, rates, shares, .. } = case;
            let before = peak(isa);
            let seconds = threads.enter(|| {
                run();
                let start = now(count);
                (0..repeats).for_each(|_| run());
                now(count) - start
            });
            let rate = *flops * repeats as f64 / seconds / 1e9;
            rates.push(rate);
            shares.push(100.0 * rate / ((before + peak(isa)) / 2.0 * count as f64));
        }
    }
    println!(
        "{isa:?}, {count} threads: GFLOP/s (median), % of the ceiling (median, best quarter), milliseconds"
    );
    for case in &mut cases {
        let (rate, share) = (median(&mut case.rates), median(&mut case.shares));
        let best = case.shares[ROUNDS * 3 / 4];
        println!("{:60} {rate:7.1} {share:6.1} {best:6.1} {:8.3}", case.name, case.flops / rate / 1e6);
    }
}
