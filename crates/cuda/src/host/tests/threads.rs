//! Threads that meet: barriers, warps, atomics, shared memory.

use super::*;

const REVERSE: &str = r#"
extern "C" __global__ void reverse(const float *x, float *y) {
    SHARED(float, tile);
    u32 n = blockDim.x, i = threadIdx.x;
    for (u32 round = 0; round < 3; round++) {
        tile[i] = x[blockIdx.x * n + i] + round;
        __syncthreads();
        y[blockIdx.x * n + i] = tile[n - 1 - i];
        __syncthreads();
    }
}
"#;

#[test]
fn barriers_order_what_threads_do() {
    let mut bench = Bench::new();
    let reverse = bench.kernel("reverse", REVERSE);
    for threads in [1usize, 2, 31, 33, 256, 1024] {
        let x = numbers(3 * threads, 5);
        let (from, to) = (bench.buffer(&x), bench.empty(4 * x.len()));
        let launch = Launch {
            function: &reverse,
            grid: [3, 1, 1],
            block: [threads as u32, 1, 1],
            shared: 4 * threads as u32,
            arguments: &[Argument::address(from), Argument::address(to)],
        };
        bench.stream.launch(&launch).unwrap_or_else(|error| panic!("{error}"));
        let y: Vec<f32> = bench.read(to, x.len());
        for (at, y) in y.iter().enumerate() {
            let (block, i) = (at / threads, at % threads);
            assert_eq!(*y, x[block * threads + threads - 1 - i] + 2.0, "{at} of blocks of {threads}");
        }
    }
}

#[test]
fn a_missing_barrier_shows() {
    let mut bench = Bench::new();
    let hasty: &'static str = REVERSE.replace("__syncthreads();", "").leak();
    let reverse = bench.kernel("reverse", hasty);
    let (x, y) = (bench.buffer(&numbers(512, 5)), bench.empty(4 * 512));
    let launch = Launch {
        function: &reverse,
        grid: [2, 1, 1],
        block: [256, 1, 1],
        shared: 1024,
        arguments: &[Argument::address(x), Argument::address(y)],
    };
    bench.stream.launch(&launch).unwrap_or_else(|error| panic!("{error}"));
    let y: Vec<f32> = bench.read(y, 512);
    for block in y.chunks(256) {
        assert!(block.iter().any(|y| y.is_nan()), "shared memory that nobody has written is NaN");
    }
}

const COUNTS: &str = r#"
extern "C" __global__ void counts(const int *x, int *y) {
    u32 i = threadIdx.x;
    int own = x[i];
    y[4 * i] = __syncthreads_count(own & 1);
    y[4 * i + 1] = __syncthreads_or(own == 77);
    y[4 * i + 2] = __syncthreads_and(own >= 0);
    y[4 * i + 3] = __syncthreads_and(own > 0);
}
"#;

#[test]
fn barriers_count() {
    let mut bench = Bench::new();
    let counts = bench.kernel("counts", COUNTS);
    for threads in [1usize, 40, 300] {
        let x: Vec<i32> = (0..threads as i32).map(|i| i * 3).collect();
        let y: Vec<i32> = bench.made(&counts, [1, threads as u32], &x, 4 * threads);
        let odd = x.iter().filter(|x| *x % 2 == 1).count() as i32;
        for (i, y) in y.as_chunks::<4>().0.iter().enumerate() {
            assert_eq!(*y, [odd, 0, 1, 0], "thread {i} of {threads}");
        }
    }
}

const SHUFFLES: &str = r#"
extern "C" __global__ void shuffles(const double *x, double *y) {
    u32 i = threadIdx.x;
    double own = x[i];
    y[8 * i] = __shfl_sync(FULL, own, 5);
    y[8 * i + 1] = __shfl_sync(FULL, own, 9, 8);
    y[8 * i + 2] = __shfl_up_sync(FULL, own, 3);
    y[8 * i + 3] = __shfl_down_sync(FULL, own, 3, 16);
    y[8 * i + 4] = __shfl_xor_sync(FULL, float(own), 21);
    y[8 * i + 5] = __shfl_xor_sync(FULL, int(own), 9, 8);
    u32 half = i % 32 < 16 ? 0xffffu : 0xffff0000u;
    // Half warps go their own ways, one of them twice.
    if (i % 32 < 16) {
        y[8 * i + 6] = __shfl_xor_sync(half, own, 1);
        own += __shfl_xor_sync(half, own, 2);
    } else {
        y[8 * i + 6] = __shfl_xor_sync(half, u64(own), 4);
    }
    __syncwarp();
    y[8 * i + 7] = __popc(__ballot_sync(FULL, i % 3 == 0)) + 100 * __any_sync(FULL, i % 32 == 7) + 1000 * __all_sync(FULL, own >= 0);
}
"#;

#[test]
fn lanes_exchange() {
    let mut bench = Bench::new();
    let shuffles = bench.kernel("shuffles", SHUFFLES);
    let x: Vec<f64> = (0..96).map(f64::from).collect();
    let y: Vec<f64> = bench.made(&shuffles, [1, 96], &x, 8 * 96);
    for (i, y) in y.as_chunks::<8>().0.iter().enumerate() {
        let (warp, lane) = (i / 32 * 32, i % 32);
        let at = |lane: usize| x[warp + lane];
        let expected = [
            at(5),
            at(lane / 8 * 8 + 1),
            at(if lane >= 3 { lane - 3 } else { lane }),
            at(if lane % 16 + 3 < 16 { lane + 3 } else { lane }),
            at(lane ^ 21),
            // Lanes of the segment before are in reach, those of the one after are not.
            at(if lane ^ 9 < lane / 8 * 8 + 8 { lane ^ 9 } else { lane }),
            at(if lane < 16 { lane ^ 1 } else { lane ^ 4 }),
            ((warp..warp + 32).filter(|i| i % 3 == 0).count() + 1100) as f64,
        ];
        assert_eq!(*y, expected, "thread {i}");
    }
}

const PARTIAL: &str = r#"
extern "C" __global__ void partial(const int *x, int *y) {
    u32 i = threadIdx.x;
    y[3 * i] = __shfl_down_sync(FULL, x[i], 1);
    y[3 * i + 1] = __reduce_add_sync(FULL, x[i]);
    y[3 * i + 2] = int(__ballot_sync(FULL, 1));
}
"#;

#[test]
fn lanes_that_are_not_there_give_poison() {
    let mut bench = Bench::new();
    let partial = bench.kernel("partial", PARTIAL);
    let x: Vec<i32> = (0..37).map(|i| i - 40).collect();
    let y: Vec<i32> = bench.made(&partial, [1, 37], &x, 3 * 37);
    for (i, y) in y.as_chunks::<3>().0.iter().enumerate() {
        let own = |lane: usize| x.get(i / 32 * 32 + lane).copied();
        let next = if i % 32 == 31 { x[i] } else { own(i % 32 + 1).unwrap_or(-1) };
        let sum: i32 = (0..32).filter_map(own).sum();
        assert_eq!(*y, [next, sum, if i < 32 { -1 } else { 0x1F }], "thread {i}");
    }
}

const REDUCE: &str = r#"
extern "C" __global__ void reduce(const X *x, X *y) {
    __shared__ X scratch[32];
    u32 i = blockIdx.x * block_threads() + thread_rank();
    X own = x[i];
    y[5 * i] = warp_sum(own);
    y[5 * i + 1] = warp_max(own);
    y[5 * i + 2] = warp_min(own);
    y[5 * i + 3] = block_sum(own, scratch);
    y[5 * i + 4] = block_reduce(own, scratch, X(-1000), Max());
}
"#;

#[test]
fn warps_and_blocks_reduce() {
    let mut bench = Bench::new();
    let floats = bench.load(&Template::new("reduce", REDUCE).define("X", "float").build());
    let integers = bench.load(&Template::new("reduce", REDUCE).define("X", "i64").build());
    for block in [32usize, 64, 224, 1024] {
        let x = numbers(3 * block, 7);
        let whole: Vec<i64> = x.iter().map(|x| (x * 8.0) as i64).collect();
        let y: Vec<f32> = bench.made(&floats, [3, block as u32], &x, 5 * x.len());
        let z: Vec<i64> = bench.made(&integers, [3, block as u32], &whole, 5 * x.len());
        for (i, (y, z)) in y.as_chunks::<5>().0.iter().zip(z.as_chunks::<5>().0).enumerate() {
            let (warp, all) = (&x[i / 32 * 32..][..32], &x[i / block * block..][..block]);
            let greatest = |x: &[f32]| x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let least = warp.iter().copied().fold(f32::INFINITY, f32::min);
            let expected =
                [warp.iter().sum::<f32>(), greatest(warp), least, all.iter().sum::<f32>(), greatest(all)];
            assert_eq!(*y, expected, "thread {i} of blocks of {block}");
            assert_eq!(*z, expected.map(|x| (x * 8.0) as i64), "thread {i} of blocks of {block}");
        }
    }
}

const ATOMICS: &str = r#"
extern "C" __global__ void atomics(const int *x, int *y) {
    __shared__ u32 count;
    int own = x[blockIdx.x * blockDim.x + threadIdx.x];
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    u32 place = atomicAdd(&count, 1u);
    __syncthreads();
    if (place >= count) atomicExch(&y[0], -12345);
    atomicAdd(&y[1], own);
    atomicMax(&y[2], own);
    atomicMin(&y[3], own);
    atomicAdd((float *)&y[4], float(own));
    atomicOr(&y[5], 1 << (own & 31));
    atomicAdd((u64 *)&y[6], u64(1) << 33);
    atomicCAS(&y[8], -1, own);
    atomicInc((u32 *)&y[9], 6);
}
"#;

#[test]
fn atomics_do_not_lose() {
    let mut bench = Bench::new();
    let atomics = bench.kernel("atomics", ATOMICS);
    let x: Vec<i32> = (0..300).map(|i| (i * 7919) % 601 - 300).collect();
    let (from, to) = (bench.buffer(&x), bench.buffer(&[0, 0, -999, 999, 0, 0, 0, 0, -1, 0]));
    bench.run(&atomics, 3, 100, &[from, to]);
    let y: Vec<i32> = bench.read(to, 10);
    let sum: i32 = x.iter().sum();
    let all = x.iter().fold(0, |all, x| all | 1 << (x & 31));
    assert_eq!(y[..6], [0, sum, 300, -300, (sum as f32).to_bits() as i32, all]);
    assert_eq!(y[6..8], [0, 600]);
    // Whoever came first.
    assert!(y[8] != -1 && x.contains(&y[8]), "{}", y[8]);
    assert_eq!(y[9], 300 % 7);
}
