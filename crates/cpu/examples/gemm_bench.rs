//! GFLOP/s of matrix products and convolutions, for tuning.
use inferrum_cpu::gemm::*;
use inferrum_cpu::simd::{Isa, Kernel, Simd};
use inferrum_cpu::threads::Threads;
use std::time::Instant;

/// The FMA ceiling, measured beside every figure because the clock drifts.
struct Peak(usize);
impl Kernel for Peak {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut acc = [s.splat(1.0); 12];
        let x = s.splat(1.0 + 1e-7);
        let y = s.splat(1e-9);
        for _ in 0..self.0 {
            for a in &mut acc {
                *a = s.mul_add(*a, x, y);
            }
        }
        s.sum(acc.into_iter().fold(s.zero(), |a, b| s.add(a, b)))
    }
}

fn peak(isa: Isa) -> f64 {
    let n = 300_000;
    let t0 = now(1);
    std::hint::black_box(isa.dispatch(Peak(n)));
    (n * 12 * 2 * isa.lanes()) as f64 / (now(1) - t0) / 1e9
}

fn now(threads: usize) -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    if threads == 1 { thread_time() } else { START.elapsed().as_secs_f64() }
}

/// Seconds of this thread's own time, which a busy machine falsifies less than the clock on the wall.
fn thread_time() -> f64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: CLOCK_THREAD_CPUTIME_ID fills one timespec, which is two 64-bit numbers on 64-bit Linux.
    unsafe { clock_gettime(3, &mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

fn median(v: &mut [f64]) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let isa = Isa::best();
    let shapes = [
        (280, 64, 16),
        (280, 64, 32),
        (280, 64, 64),
        (280, 64, 128),
        (280, 64, 256),
        (280, 64, 512),
        (3136, 64, 256),
        (1400, 32, 256),
        (140, 256, 256),
        (128, 768, 768),
        (128, 3072, 768),
        (128, 768, 3072),
        (197, 3072, 768),
        (512, 512, 512),
        (3136, 64, 64),
        (784, 128, 1152),
        (196, 256, 2304),
        (49, 512, 4608),
        (12544, 64, 147),
        (1024, 1024, 1024),
    ];
    let t = Threads::new(std::env::args().nth(1).map_or(1, |s| s.parse().unwrap()));
    let mut cases: Vec<_> = shapes
        .iter()
        .map(|&(m, n, k)| {
            let a: Vec<f32> = (0..m * k).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
            let b: Vec<f32> = (0..n * k).map(|i| (i * 104729 % 1000) as f32 / 500.0 - 1.0).collect();
            let c = vec![0f32; m * n];
            let pb = PackedB::new(isa, &t, Unpacked::Normal(MatRef::new(&b, k, n)));
            (a, c, pb)
        })
        .collect();
    let mut rates = vec![vec![]; shapes.len()];
    let mut ratios = vec![vec![]; shapes.len()];
    for _ in 0..15 {
        for (i, &(m, n, k)) in shapes.iter().enumerate() {
            let (a, c, pb) = &mut cases[i];
            let fl = 2.0 * (m * n * k) as f64;
            let reps = (6e8 * t.count() as f64 / fl).ceil() as usize;
            let mut run = |reps| {
                t.install(|| {
                    for _ in 0..reps {
                        gemm(&t, MatRef::new(a, m, k), pb.view(), MatMut::new(c, m, n), &Epilogue::default());
                    }
                })
            };
            run(1);
            let p0 = peak(isa);
            let t0 = now(t.count());
            run(reps);
            let rate = fl * reps as f64 / (now(t.count()) - t0) / 1e9;
            let p = (p0 + peak(isa)) / 2.0 * t.count() as f64;
            rates[i].push(rate);
            ratios[i].push(rate / p * 100.0);
        }
    }
    for (i, &(m, n, k)) in shapes.iter().enumerate() {
        let r = median(&mut ratios[i]);
        println!(
            "{m:6} {n:6} {k:6}  {:7.1} GFLOP/s {:6.1} % best quarter {:6.1} %",
            median(&mut rates[i]),
            r,
            ratios[i][ratios[i].len() * 3 / 4]
        );
    }
}
