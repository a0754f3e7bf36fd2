//! GFLOP/s of matrix products and convolutions, for tuning.
use inferrum_cpu::gemm::*;
use inferrum_cpu::simd::Isa;
use inferrum_cpu::threads::Threads;
use std::time::Instant;
struct Peak;
impl inferrum_cpu::simd::Kernel for Peak {
    type Output = f32;
    #[inline(always)]
    fn run<S: inferrum_cpu::simd::Simd>(self, s: S) -> f32 {
        let mut acc = [s.splat(1.0); 12];
        let x = s.splat(1.0 + 1e-7);
        let y = s.splat(1e-9);
        for _ in 0..20_000_000 {
            for a in &mut acc {
                *a = s.mul_add(*a, x, y);
            }
        }
        let mut t = s.zero();
        for a in acc {
            t = s.add(t, a);
        }
        s.sum(t)
    }
}
fn main() {
    let t0 = Instant::now();
    let v = std::hint::black_box(Isa::best().dispatch(Peak));
    println!("peak {:.1} {v}", 20e6 * 12.0 * 32.0 / t0.elapsed().as_secs_f64() / 1e9);

    let isa = Isa::best();
    let shapes = [
        (280, 64, 16),
        (280, 64, 32),
        (280, 64, 64),
        (280, 64, 128),
        (280, 64, 256),
        (280, 64, 512),
        (3136, 64, 256),
        (14, 32, 256),
        (14, 32, 512),
        (140, 256, 256),
        (1400, 32, 256),
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
    for (m, n, k) in shapes {
        let a: Vec<f32> = (0..m * k).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i * 104729 % 1000) as f32 / 500.0 - 1.0).collect();
        let mut c = vec![0f32; m * n];
        let pb = PackedB::new(isa, &t, Unpacked::Normal(MatRef::new(&b, k, n)));
        let fl = 2.0 * (m * n * k) as f64;
        let reps = (2e9 / fl).ceil() as usize;
        let mut best = f64::MAX;
        let mut all = vec![];
        for _ in 0..8 {
            let t0 = Instant::now();
            t.install(|| {
                for _ in 0..reps {
                    gemm(
                        &t,
                        MatRef::new(&a, m, k),
                        pb.view(),
                        MatMut::new(&mut c, m, n),
                        &Epilogue::default(),
                    );
                }
            });
            let dt = t0.elapsed().as_secs_f64() / reps as f64;
            best = best.min(dt);
            all.push(dt);
        }
        all.sort_by(f64::total_cmp);
        println!("{m:6} {n:6} {k:6}  best {:7.1}  median {:7.1} GFLOP/s", fl / best / 1e9, fl / all[4] / 1e9);
    }
}
