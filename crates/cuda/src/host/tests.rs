//! Kernels on the host.

use inferrum_backend::BackendError;

use super::Driver;
use crate::driver::{Address, Argument, Driver as _, Function, Launch, Stream};
use crate::source::{Source, Template};

/// A device, and what tests do with one.
struct Bench {
    driver: Driver,
    stream: Box<dyn Stream>,
}

impl Bench {
    fn new() -> Bench {
        let driver = Driver::new().expect("there is a compiler");
        let stream = driver.stream().expect("it has not failed");
        Bench { driver, stream }
    }

    fn load(&self, source: &Source) -> Function {
        let mut loaded = self.driver.load(&[source]);
        loaded.remove(0).unwrap_or_else(|error| panic!("{error}"))
    }

    fn kernel(&self, entry: &'static str, text: &'static str) -> Function {
        self.load(&Template::new(entry, text).build())
    }

    fn empty(&self, bytes: usize) -> Address {
        self.driver.allocate(bytes).expect("there is memory")
    }

    fn buffer<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Address {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let address = self.empty(bytes.len());
        let mut pinned = self.driver.pinned(bytes.len()).expect("there is memory");
        pinned.bytes_mut().copy_from_slice(bytes);
        self.stream.upload(address, &*pinned, bytes.len()).expect("it fits");
        address
    }

    fn read<T: bytemuck::Pod>(&mut self, address: Address, count: usize) -> Vec<T> {
        let bytes = count * size_of::<T>();
        let mut pinned = self.driver.pinned(bytes).expect("there is memory");
        self.stream.download(address, &mut *pinned, bytes).expect("it fits");
        self.stream.wait().expect("all is well");
        bytemuck::pod_collect_to_vec(pinned.bytes())
    }

    fn launch(
        &mut self,
        function: &Function,
        grid: [u32; 3],
        block: [u32; 3],
        arguments: &[Argument],
    ) -> Result<(), BackendError> {
        self.stream.launch(&Launch { function, grid, block, shared: 0, arguments })
    }
}

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

/// Numbers from -8 to 8 by eighths, so that sums of a few hundred products are exact.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) % 129
    };
    (0..count).map(|_| (next() as f32 - 64.0) / 8.0).collect()
}

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

const REACH: &str = r#"
extern "C" __global__ void reach(float *x, i64 at, u32 writes) {
    if (writes) x[at] = 1.0f;
    else x[0] = x[at];
}
"#;

#[test]
fn accesses_beyond_a_buffer_are_errors() {
    for (writes, at, says) in [
        (0, 64i64, "a read at 0 bytes beyond the end of a buffer of 256 bytes"),
        (1, 64, "a write at 0 bytes beyond the end of a buffer of 256 bytes"),
        (1, -1, "a write 4 bytes before a buffer of 256 bytes"),
        (1, -1024, "a write at 4096 bytes before a buffer of 256 bytes"),
    ] {
        let mut bench = Bench::new();
        let reach = bench.kernel("reach", REACH);
        let x = bench.buffer(&[0f32; 64]);
        let arguments = [Argument::address(x), Argument::value(&at), Argument::value(&(writes as u32))];
        let error = bench.launch(&reach, [1, 1, 1], [1, 1, 1], &arguments).expect_err("it is beyond");
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            matches!(error, BackendError::Failure(inferrum_backend::DeviceFailure::Lost { .. })),
            "{error:?}"
        );
        bench.stream.wait().expect_err("a device that has failed stays so");
    }
}
