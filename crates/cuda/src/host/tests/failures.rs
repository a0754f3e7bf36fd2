//! What a GPU would answer with a crash, a hang or wrong numbers is an error here.

use inferrum_backend::{BackendError, DeviceFailure};

use super::*;

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
        assert!(matches!(error, BackendError::Failure(DeviceFailure::Lost { .. })), "{error:?}");
        bench.stream.wait().expect_err("a device that has failed stays so");
    }
}

/// What a launch of one block is told; `arguments` are a buffer of 64 floats and what is given.
fn told(entry: &'static str, text: &'static str, threads: u32, arguments: &[Argument]) -> String {
    let mut bench = Bench::new();
    let function = bench.kernel(entry, text);
    let x = bench.buffer(&[1f32; 64]);
    let mut all = vec![Argument::address(x)];
    all.extend_from_slice(arguments);
    bench.launch(&function, [1, 1, 1], [threads, 1, 1], &all).expect_err("it fails").to_string()
}

#[track_caller]
fn assert_says(error: &str, says: &[&str]) {
    for says in says {
        assert!(error.contains(says), "`{says}` is not in: {error}");
    }
}

#[test]
fn threads_that_wait_for_ever_are_an_error() {
    let text = r#"
extern "C" __global__ void apart(float *x) {
    if (threadIdx.x < 40) __syncthreads();
    else __shfl_sync(FULL, x[0], 0);
}
"#;
    assert_says(
        &told("apart", text, 64, &[]),
        &["64 of 64 threads wait for ever", "`__syncthreads` of line", "`__shfl_sync` of line"],
    );
    let text = r#"
extern "C" __global__ void lacks(float *x) {
    if (threadIdx.x == 3) __syncthreads();
    x[threadIdx.x] = __shfl_xor_sync(FULL, x[threadIdx.x], 1);
    __syncthreads();
}
"#;
    assert_says(&told("lacks", text, 32, &[]), &["wait for ever", "`__shfl_xor_sync`", "`__syncthreads`"]);
    let text = r#"
extern "C" __global__ void other(float *x) {
    if (threadIdx.x == 3) x[0] = __syncthreads_count(1);
    else __syncthreads();
}
"#;
    assert_says(
        &told("other", text, 64, &[]),
        &[
            "at different barriers",
            "`__syncthreads_count`",
            "thread [3, 0, 0]",
            "x[0] = __syncthreads_count(1);",
        ],
    );
    let text = r#"
extern "C" __global__ void unmasked(float *x) {
    x[threadIdx.x] = __shfl_sync(0xff, x[threadIdx.x], 0);
}
"#;
    assert_says(&told("unmasked", text, 32, &[]), &["mask 0x000000ff is without the lane (8)"]);
}

#[test]
fn threads_that_have_ended_are_not_waited_for() {
    let text = r#"
extern "C" __global__ void early(float *x) {
    if (threadIdx.x % 2 == 1) return;
    x[threadIdx.x] = __popc(__ballot_sync(0x55555555, 1));
    __syncthreads();
    if (threadIdx.x % 4 == 2) return;
    x[threadIdx.x] += __syncthreads_count(1);
}
"#;
    let mut bench = Bench::new();
    let early = bench.kernel("early", text);
    let x = bench.buffer(&[1f32; 64]);
    bench.run(&early, 1, 64, &[x]);
    let got: Vec<f32> = bench.read(x, 64);
    for (i, got) in got.into_iter().enumerate() {
        assert_eq!(got, [32.0, 1.0, 16.0, 1.0][i % 4], "{i}");
    }
}

#[test]
fn undefined_behaviour_is_an_error() {
    let body = |body: &str| -> &'static str {
        format!(
            r#"
extern "C" __global__ void wrong(float *x, u32 n) {{
    __shared__ float tile[4][16];
    SHARED(float, dynamic);
    {body}
}}
"#
        )
        .leak()
    };
    for (code, says) in [
        ("tile[n / 32][n] = 1; x[0] = tile[0][0];", "an index is beyond its array"),
        ("x[0] = dynamic[n];", "an access to byte 256 of 0 bytes of dynamic shared memory"),
        ("x[0] = float(*(double *)(x + n / 64));", "an access is not aligned to its type"),
        ("store(x + n / 64, load<4>(x));", "an access is not aligned to its type"),
        ("*(float *)(u64)(n - 64) = 1;", "through a null pointer"),
        ("x[0] = 100 / int(n - 64);", "a division of integers by zero"),
        ("x[0] = 1 << n;", "a shift by"),
        ("__trap();", "the kernel calls __trap"),
        ("volatile char big[300000]; big[n] = 1; x[0] = big[n];", "local variables"),
    ] {
        assert_says(&told("wrong", body(code), 1, &[Argument::value(&64u32)]), &[says]);
    }
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let text = r#"
struct Pair { float a, b; };
extern "C" __global__ void some(float *x, const f16 *y, u32 n, Pair pair) { x[0] = n + pair.b; }
"#;
    let mut bench = Bench::new();
    let some = bench.kernel("some", text);
    let x = bench.buffer(&[1f32; 64]);
    let (x, n, pair) =
        (Argument::address(x), Argument::value(&3u32), Argument::of_bytes(bytemuck::bytes_of(&[1f32, 2.0])));
    let null = Argument::address(Address(0));
    let right = [x.clone(), null.clone(), n.clone(), pair.clone()];
    let nowhere = Argument::address(Address(4096));
    let cases: Vec<(Vec<Argument>, &str)> = vec![
        (right[..3].to_vec(), "4 parameters and is given 3 arguments"),
        (vec![x.clone(), n.clone(), n.clone(), pair.clone()], "parameter 1 (from 0) is of type `const f16*`"),
        (vec![x.clone(), null.clone(), null.clone(), pair], "parameter 2 (from 0) is of type `unsigned int`"),
        (
            vec![x.clone(), null.clone(), n.clone(), n.clone()],
            "parameter 3 (from 0) is of type `Pair` and has 8 bytes",
        ),
        (vec![nowhere, null, n, right[3].clone()], "argument 0 (from 0) is 0x1000, which is in no buffer"),
    ];
    for (arguments, says) in cases {
        let error = bench.launch(&some, [1, 1, 1], [1, 1, 1], &arguments).expect_err("it is refused");
        assert_says(&error.to_string(), &["a launch of `some`", says]);
    }
    for (grid, block, shared, says) in [
        ([1, 1, 1], [1025, 1, 1], 0, "there may be 1024"),
        ([1, 1, 1], [32, 32, 2], 0, "there may be 1024"),
        ([1, 1, 1], [1, 1, 65], 0, "64 along z"),
        ([0, 1, 1], [1, 1, 1], 0, "a launch of nothing"),
        ([1, 70000, 1], [1, 1, 1], 0, "65535"),
        ([1, 1, 1], [1, 1, 1], 100 << 20, "bytes of shared memory"),
    ] {
        let launch = Launch { function: &some, grid, block, shared, arguments: &right };
        let error = bench.stream.launch(&launch).expect_err("it is refused");
        assert_says(&error.to_string(), &["a launch of `some`", says]);
    }
    // All of that has done no harm.
    bench.launch(&some, [1, 1, 1], [1, 1, 1], &right).unwrap_or_else(|error| panic!("{error}"));
    bench.stream.wait().expect("all is well");
}

#[test]
fn what_the_compiler_says_is_the_error() {
    let bench = Bench::new();
    let source = Template::new("wrong", "extern \"C\" __global__ void wrong(float *x) { x[0] = y; }").build();
    let Err(error) = bench.driver.load(&[&source]).remove(0) else { panic!("it does not compile") };
    assert_says(&error.to_string(), &["the kernel `wrong`", "kernel.cu", "‘y’ was not declared"]);
}
