//! Products of matrices: by tiles in shared memory and by what stands for tensor cores.

use super::*;

const GEMM: &str = r#"
extern "C" __global__ void gemm(const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ c, u32 m, u32 n, u32 k) {
    __shared__ float ta[16][16], tb[16][17];
    u32 x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 16 + y, col = blockIdx.x * 16 + x;
    float sum = 0;
    for (u32 at = 0; at < k; at += 16) {
        ta[y][x] = row < m && at + x < k ? a[row * k + at + x] : 0.0f;
        tb[y][x] = col < n && at + y < k ? b[(at + y) * n + col] : 0.0f;
        __syncthreads();
        for (u32 i = 0; i < 16; i++) sum += ta[y][i] * tb[i][x];
        __syncthreads();
    }
    if (row < m && col < n) c[row * n + col] = sum;
}
"#;

#[test]
fn a_tiled_product_is_exact() {
    let mut bench = Bench::new();
    let gemm = bench.kernel("gemm", GEMM);
    for (m, n, k) in [(1, 1, 1), (3, 17, 5), (127, 33, 129), (512, 512, 512)] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (x, y, z) = (bench.buffer(&a), bench.buffer(&b), bench.empty(4 * m * n));
        let sizes = [m as u32, n as u32, k as u32];
        let mut arguments = vec![Argument::address(x), Argument::address(y), Argument::address(z)];
        arguments.extend(sizes.iter().map(Argument::value));
        let before = std::time::Instant::now();
        let grid = [(n as u32).div_ceil(16), (m as u32).div_ceil(16), 1];
        bench.launch(&gemm, grid, [16, 16, 1], &arguments).unwrap_or_else(|error| panic!("{error}"));
        println!("{m} x {n} x {k}: {:?}", before.elapsed());
        let product = bench.read::<f32>(z, m * n);
        for (at, got) in product.iter().enumerate() {
            let (row, col) = (at / n, at % n);
            let expected: f32 = (0..k).map(|i| a[row * k + i] * b[i * n + col]).sum();
            assert_eq!(*got, expected, "at {row}, {col} of {m} x {n} x {k}");
        }
        for (address, bytes) in [(x, 4 * m * k), (y, 4 * k * n), (z, 4 * m * n)] {
            bench.driver.free(address, bytes);
        }
    }
    bench.stream.wait().expect("no buffer was written beyond its end");
}

const MMA: &str = include_str!("../../../../../kernels/mma.cuh");
const ASYNC: &str = include_str!("../../../../../kernels/async.cuh");

/// A is of 16 rows of 8 words, B of 8 columns of 8 words, D of 16 x 8.
const PRODUCT: &str = r#"
extern "C" __global__ void product(const u32 *x, D *y) {
    const u32 *a = x, *b = x + 16 * 8;
    u32 lane = threadIdx.x, g = lane / 4, t = lane % 4;
    u32 as[4], bs[2];
    for (u32 i = 0; i < 4; i++) as[i] = a[(g + i % 2 * 8) * 8 + t + i / 2 * 4];
    for (u32 i = 0; i < 2; i++) bs[i] = b[g * 8 + t + i * 4];
    D d[4];
    for (u32 i = 0; i < 4; i++) d[i] = D(g + i);
    PRODUCT;
    for (u32 i = 0; i < 4; i++) y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}
"#;

/// Runs an instruction on words of A's rows and B's columns and compares with the plain product of what is in them.
fn product(call: &'static str, d: &str, split: impl Fn(u32, bool) -> Vec<f64>) {
    let mut bench = Bench::new();
    let source =
        Template::new("product", PRODUCT).including(MMA).define("PRODUCT", call).define("D", d).build();
    let function = bench.load(&source);
    // 8-bit integers of any bits; floats of few bits, so that sums are exact.
    let mut words: Vec<u32> = numbers(24 * 16, 3)
        .chunks(2)
        .map(|pair| match call.as_bytes()[4] {
            b'f' => {
                half::f16::from_f32(pair[0]).to_bits() as u32
                    | (half::f16::from_f32(pair[1]).to_bits() as u32) << 16
            }
            b'b' => {
                half::bf16::from_f32(pair[0]).to_bits() as u32
                    | (half::bf16::from_f32(pair[1]).to_bits() as u32) << 16
            }
            b't' => pair[0].to_bits() | 0x1FFF,
            _ => (pair[0].to_bits() ^ pair[1].to_bits().rotate_left(13)).wrapping_mul(0x9E37_79B1),
        })
        .collect();
    words.truncate(24 * 8);
    let numbers = |word: &[u32], of_b| word.iter().flat_map(|word| split(*word, of_b)).collect::<Vec<f64>>();
    let got: Vec<u32> = bench.made(&function, [1, 32], &words, 128);
    let (a, b) = words.split_at(128);
    for row in 0..16 {
        for column in 0..8 {
            let x = numbers(&a[row * 8..][..8], false);
            let y = numbers(&b[column * 8..][..8], true);
            let first = (row % 8 + row / 8 * 2 + column % 2) as f64;
            let expected: f64 = first + x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>();
            let got = got[row * 8 + column];
            let got = if d == "float" { f64::from(f32::from_bits(got)) } else { f64::from(got as i32) };
            assert_eq!(got, expected, "{call}: row {row}, column {column}");
        }
    }
}

#[test]
fn tensor_products_of_floats_are_exact() {
    let halves = |word: u32, _| {
        [word as u16, (word >> 16) as u16].iter().map(|bits| half::f16::from_bits(*bits).to_f64()).collect()
    };
    product("mma_f16(d, as, bs)", "float", halves);
    product("mma_f16_k8(d, as[0], as[1], bs[0]); mma_f16_k8(d, as[2], as[3], bs[1])", "float", halves);
    product("mma_bf16(d, as, bs)", "float", |word, _| {
        [word as u16, (word >> 16) as u16].iter().map(|bits| half::bf16::from_bits(*bits).to_f64()).collect()
    });
    // The lower 13 bits are cut off.
    product("mma_tf32(d, as, bs)", "float", |word, _| vec![f64::from(f32::from_bits(word & !0x1FFF))]);
}

#[test]
fn tensor_products_of_integers_are_exact() {
    let bytes = |signed: [bool; 2]| {
        move |word: u32, of_b: bool| {
            let value =
                |byte: u8| if signed[usize::from(of_b)] { f64::from(byte as i8) } else { f64::from(byte) };
            word.to_le_bytes().map(value).to_vec()
        }
    };
    product("mma_s8(d, as, bs)", "i32", bytes([true, true]));
    product("mma_u8(d, as, bs)", "i32", bytes([false, false]));
    product("mma_u8_s8(d, as, bs)", "i32", bytes([false, true]));
    product("mma_s8_u8(d, as, bs)", "i32", bytes([true, false]));
}

#[test]
fn a_tensor_product_needs_the_whole_warp() {
    let mut bench = Bench::new();
    let source = Template::new("product", PRODUCT).including(MMA).define("PRODUCT", "mma_f16(d, as, bs)");
    let function = bench.load(&source.define("D", "float").build());
    let (x, y) = (bench.buffer(&[0u32; 192]), bench.empty(512));
    let arguments = [Argument::address(x), Argument::address(y)];
    let error = bench.launch(&function, [1, 1, 1], [31, 1, 1], &arguments).expect_err("a lane is missing");
    assert!(error.to_string().contains("a lane of the warp is missing"), "{error}");
}

const ROUND: &str = r#"
extern "C" __global__ void round_tf32(const float *x, u32 *y) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = tf32(x[i]);
}
"#;

#[test]
fn tf32_rounds_ties_away() {
    let mut bench = Bench::new();
    let function = bench.load(&Template::new("round_tf32", ROUND).including(MMA).build());
    let lower = [0u32, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF];
    let values: Vec<f32> = (0..=0xFFFFu32)
        .flat_map(|upper| lower.map(|lower| f32::from_bits(upper << 16 | (upper & 7) << 13 | lower)))
        .collect();
    let got: Vec<u32> = bench.made(&function, [values.len() as u32 / 256, 256], &values, values.len());
    for (value, got) in values.iter().zip(got) {
        let got = f32::from_bits(got);
        if value.is_nan() {
            assert!(got.is_nan());
            continue;
        }
        let below = f32::from_bits(value.to_bits() & !0x1FFF);
        let up = !value.is_infinite() && value.to_bits() & 0x1FFF >= 0x1000;
        let expected = if up { f32::from_bits(below.to_bits() + 0x2000) } else { below };
        assert_eq!(got.to_bits(), expected.to_bits(), "{value}");
    }
}

const MATRICES: &str = r#"
extern "C" __global__ void matrices(const u16 *x, u32 *y) {
    SHARED(u16, rows);
    u32 lane = threadIdx.x;
    // Matrix i has its rows every fourth.
    for (u32 j = 0; j < 8; j++) rows[(lane % 8 * 4 + lane / 8) * 8 + j] = x[lane * 8 + j];
    __syncwarp();
    u32 four[4], turned[4], two[2], turned_two[2];
    const u16 *row = rows + (lane % 8 * 4 + lane / 8) * 8;
    load_matrices(four, row);
    load_matrices_transposed(turned, row);
    load_matrices(two, row);
    load_matrices_transposed(turned_two, row);
    for (u32 i = 0; i < 4; i++) {
        y[lane * 12 + i] = four[i];
        y[lane * 12 + 4 + i] = turned[i];
        y[lane * 12 + 8 + i] = i < 2 ? two[i] : turned_two[i - 2];
    }
}
"#;

#[test]
fn matrices_are_loaded_as_fragments() {
    let mut bench = Bench::new();
    let matrices = bench.load(&Template::new("matrices", MATRICES).including(MMA).build());
    let x: Vec<u16> = (0..256).map(|i| i * 251).collect();
    let (from, to) = (bench.buffer(&x), bench.empty(4 * 32 * 12));
    let launch = Launch {
        function: &matrices,
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared: 512,
        arguments: &[Argument::address(from), Argument::address(to)],
    };
    bench.stream.launch(&launch).unwrap_or_else(|error| panic!("{error}"));
    let y: Vec<u32> = bench.read(to, 32 * 12);
    let at = |matrix: usize, row: usize, column: usize| u32::from(x[matrix * 64 + row * 8 + column]);
    for (lane, y) in y.as_chunks::<12>().0.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        let plain = |i: usize| at(i, g, 2 * t) | at(i, g, 2 * t + 1) << 16;
        let turned = |i: usize| at(i, 2 * t, g) | at(i, 2 * t + 1, g) << 16;
        for i in 0..4 {
            assert_eq!([y[i], y[4 + i]], [plain(i), turned(i)], "lane {lane}, matrix {i}");
        }
        assert_eq!(y[8..], [plain(0), plain(1), turned(0), turned(1)], "lane {lane}");
    }
}

const STAGES: &str = r#"
extern "C" __global__ void stages(const float *x, float *y) {
    __shared__ __align__(16) float tile[2][128];
    u32 i = threadIdx.x;
    copy_async<16>(&tile[0][4 * i], x + 4 * i);
    copy_async_commit();
    copy_async<8>(&tile[1][4 * i], x + 128 + 4 * i);
    copy_async<4>(&tile[1][4 * i + 2], x, false);
    copy_async<4>(&tile[1][4 * i + 3], x);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    for (u32 j = i; j < 128; j += 32) {
        y[j] = tile[0][127 - j];
        y[128 + j] = tile[1][127 - j];
    }
    __syncthreads();
    copy_async_wait<0>();
    __syncthreads();
    for (u32 j = i; j < 128; j += 32) y[256 + j] = tile[1][127 - j];
}
"#;

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let mut bench = Bench::new();
    let stages = bench.load(&Template::new("stages", STAGES).including(ASYNC).build());
    let x = numbers(256, 11);
    // Twice: no copy of a block is left over for the next.
    let got: Vec<f32> = bench.made(&stages, [2, 32], &x, 384);
    for (at, got) in got.iter().enumerate() {
        let j = 127 - at % 128;
        let expected = match (at / 128, j % 4) {
            (0, _) => x[j],
            (1, _) => f32::NAN,
            (_, 2) => 0.0,
            (_, 3) => x[0],
            _ => x[128 + j],
        };
        assert!(*got == expected || (got.is_nan() && expected.is_nan()), "{at}: {got}, not {expected}");
    }
}
