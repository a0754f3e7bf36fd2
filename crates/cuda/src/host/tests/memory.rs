//! Buffers, recordings and limits.

use inferrum_backend::DeviceFailure;

use super::*;
use crate::abilities::Abilities;

#[test]
fn memory_starts_as_nan_and_is_counted() {
    let mut bench = Bench::new();
    let (x, y) = (bench.empty(4 * 17), bench.empty(0));
    assert!(x.0 % 256 == 0 && y.0 % 256 == 0);
    assert_eq!(bench.driver.allocated(), (68, 68));
    let values: Vec<f32> = bench.read(x, 17);
    assert!(values.iter().all(|value| value.is_nan()), "{values:?}");
    bench.driver.free(x, 68);
    bench.driver.free(y, 0);
    assert_eq!(bench.driver.allocated(), (0, 68));
    bench.stream.wait().expect("all is well");
}

#[test]
fn memory_has_a_limit() {
    let abilities = Abilities { memory: 1000, ..Bench::new().driver.abilities().clone() };
    let driver = Driver::with(abilities).expect("there is a compiler");
    let first = driver.allocate(600).expect("it fits");
    let error = driver.allocate(401).expect_err("it does not");
    assert!(matches!(error, BackendError::Failure(DeviceFailure::NoMemory { needed: 401, .. })), "{error:?}");
    driver.free(first, 600);
    driver.allocate(1000).expect("it fits");
}

#[test]
fn freeing_what_is_not_there_is_found() {
    let mut bench = Bench::new();
    let x = bench.empty(64);
    bench.driver.free(x, 32);
    let error = bench.stream.wait().expect_err("it is found").to_string();
    assert!(error.contains("32 bytes at"), "{error}");
}

const WRITE: &str = r#"
extern "C" __global__ void write(float *x, u32 n) {
    if (threadIdx.x < n) x[threadIdx.x] = threadIdx.x;
}
"#;

#[test]
fn a_write_between_a_buffer_and_its_page_is_found() {
    let mut bench = Bench::new();
    let write = bench.kernel("write", WRITE);
    let x = bench.empty(4 * 17);
    let arguments = |n: u32| [Argument::address(x), Argument::value(&n)];
    bench.launch(&write, [1, 1, 1], [32, 1, 1], &arguments(17)).unwrap_or_else(|error| panic!("{error}"));
    let error = bench.launch(&write, [1, 1, 1], [32, 1, 1], &arguments(18)).expect_err("it is found");
    let says = "kernel `write`: a write 0 bytes beyond the end of a buffer of 68 bytes";
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn copies_beyond_a_buffer_are_errors() {
    let mut bench = Bench::new();
    let x = bench.empty(100);
    let mut pinned = bench.driver.pinned(200).expect("there is memory");
    let error = bench.stream.upload(x, &*pinned, 201).expect_err("the source is shorter").to_string();
    assert!(error.contains("201 bytes"), "{error}");
    bench.stream.upload(x.offset(50), &*pinned, 50).expect("it fits");
    let error =
        bench.stream.download(x.offset(50), &mut *pinned, 51).expect_err("it does not fit").to_string();
    assert!(error.contains("a copy of 51 bytes"), "{error}");
}

const SCALE: &str = r#"
extern "C" __global__ void scale(const float *x, float *y, float by) {
    y[threadIdx.x] = x[threadIdx.x] * by;
}
"#;

#[test]
fn what_is_recorded_is_done_when_replayed() {
    let mut bench = Bench::new();
    let scale = bench.kernel("scale", SCALE);
    let (x, y, z) = (bench.empty(40), bench.empty(40), bench.empty(44));
    let mut input = bench.driver.pinned(40).expect("there is memory");
    let mut output = bench.driver.pinned(44).expect("there is memory");
    let graph = bench
        .stream
        .capture(&mut |stream| {
            stream.upload(x, &*input, 40)?;
            // The recording has its own copy of arguments that are gone when it is replayed.
            let arguments = [Argument::address(x), Argument::address(y), Argument::value(&3f32)];
            let (function, grid, block) = (&scale, [1, 1, 1], [10, 1, 1]);
            stream.launch(&Launch { function, grid, block, shared: 0, arguments: &arguments })?;
            stream.fill(z, 7, 44)?;
            stream.copy(y, z, 40)?;
            stream.download(z, &mut *output, 44)
        })
        .expect("it is recorded");
    let before: Vec<f32> = bench.read(y, 10);
    assert!(before.iter().all(|value| value.is_nan()), "recording did something: {before:?}");
    for round in 1..4 {
        let values: Vec<f32> = (0..10).map(|i| (i * round) as f32).collect();
        input.bytes_mut().copy_from_slice(bytemuck::cast_slice(&values));
        bench.stream.replay(&*graph).unwrap_or_else(|error| panic!("{error}"));
        bench.stream.wait().expect("all is well");
        let got: Vec<f32> = bytemuck::pod_collect_to_vec(&output.bytes()[..40]);
        assert_eq!(got, values.iter().map(|value| value * 3.0).collect::<Vec<f32>>());
        assert_eq!(output.bytes()[40..], [7; 4]);
    }
    drop(input);
    let error = bench.stream.replay(&*graph).expect_err("its source is gone").to_string();
    assert!(error.contains("page-locked memory that is shorter, or freed"), "{error}");
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let mut bench = Bench::new();
    let recorded = bench.stream.capture(&mut |stream| stream.wait());
    assert!(recorded.is_err_and(|error| error.to_string().contains("a wait while work is recorded")));
    let recorded = bench.stream.capture(&mut |stream| stream.mark().map(drop));
    assert!(recorded.is_err_and(|error| error.to_string().contains("a mark while work is recorded")));
    let first = bench.stream.mark().expect("outside it is well");
    let second = bench.stream.mark().expect("outside it is well");
    assert!(first.since(&*second).expect("of one device").is_zero(), "a mark is not before an earlier one");
}

#[test]
fn kernels_run_from_several_threads_at_once() {
    let bench = Bench::new();
    let scale = bench.kernel("scale", SCALE);
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let (driver, scale) = (&bench.driver, &scale);
            scope.spawn(move || {
                let mut stream = driver.stream().expect("it has not failed");
                let (x, y) = (driver.allocate(4000), driver.allocate(4000));
                let (x, y) = (x.expect("there is memory"), y.expect("there is memory"));
                let mut pinned = driver.pinned(4000).expect("there is memory");
                for round in 0..50 {
                    let values: Vec<f32> = (0..1000).map(|i| (i * round) as f32).collect();
                    pinned.bytes_mut().copy_from_slice(bytemuck::cast_slice(&values));
                    stream.upload(x, &*pinned, 4000).expect("it fits");
                    let by = thread as f32;
                    let arguments = [Argument::address(x), Argument::address(y), Argument::value(&by)];
                    let (grid, block) = ([1, 1, 1], [1000, 1, 1]);
                    let launch = Launch { function: scale, grid, block, shared: 0, arguments: &arguments };
                    stream.launch(&launch).unwrap_or_else(|error| panic!("{error}"));
                    stream.download(y, &mut *pinned, 4000).expect("it fits");
                    let got: &[f32] = bytemuck::cast_slice(pinned.bytes());
                    assert!(got.iter().zip(&values).all(|(got, value)| *got == value * by));
                }
            });
        }
    });
}
