//! What only a GPU can show; without one each test says that it skips.

mod products;

use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceFailure};

use super::open::open;
use crate::driver::{Address, Argument, Driver, Function, Launch, Stream};
use crate::source::Template;

const SCALE: &str = "extern \"C\" __global__ void scale(float* y, const float* x, float by, u32 n) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * by;
}";

/// The variable under which a test runs that breaks the GPU's context, alone in its process.
const ALONE: &str = "INFERRUM_TEST_FAULT";

/// The variable that is set where the driver is a stand-in.
const INSIDE: &str = "INFERRUM_TEST_STAND_IN";

fn driver() -> Option<Arc<dyn Driver>> {
    match open(None) {
        Ok((driver, _)) => Some(driver),
        Err(missing) => {
            println!("skipped: no NVIDIA GPU ({missing})");
            None
        }
    }
}

fn scale(driver: &dyn Driver) -> Function {
    let source = Template::new("scale", SCALE).build();
    driver.load(&[&source]).remove(0).unwrap()
}

fn scaling(to: Address, from: Address, by: f32, count: u32) -> [Argument; 4] {
    [Argument::address(to), Argument::address(from), Argument::value(&by), Argument::value(&count)]
}

fn launch<'a>(function: &'a Function, count: u32, arguments: &'a [Argument]) -> Launch<'a> {
    Launch { function, grid: [count.div_ceil(64), 1, 1], block: [64, 1, 1], shared: 0, arguments }
}

/// Puts numbers on the device.
fn upload(driver: &dyn Driver, stream: &mut dyn Stream, numbers: &[f32]) -> Address {
    let bytes = size_of_val(numbers);
    let mut pinned = driver.pinned(bytes).unwrap();
    pinned.bytes_mut().copy_from_slice(bytemuck::cast_slice(numbers));
    let address = driver.allocate(bytes).unwrap();
    stream.upload(address, &*pinned, bytes).unwrap();
    address
}

/// Numbers from the device.
fn download(driver: &dyn Driver, stream: &mut dyn Stream, from: Address, count: usize) -> Vec<f32> {
    let mut pinned = driver.pinned(count * 4).unwrap();
    stream.download(from, &mut *pinned, count * 4).unwrap();
    stream.wait().unwrap();
    bytemuck::pod_collect_to_vec(pinned.bytes())
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 - 3.5).collect()
}

#[test]
fn what_is_launched_and_copied_happens_in_order() {
    let Some(driver) = driver() else { return };
    let (function, mut stream) = (scale(&*driver), driver.stream().unwrap());
    for count in [1_usize, 3, 17, 127, 100_000] {
        let x = upload(&*driver, &mut *stream, &numbers(count));
        let (y, z) = (driver.allocate(count * 4).unwrap(), driver.allocate(count * 4).unwrap());
        stream.fill(y, 0xff, count * 4).unwrap();
        let arguments = scaling(y, x, 2.0, count as u32);
        stream.launch(&launch(&function, count as u32, &arguments)).unwrap();
        stream.copy(y, z, count * 4).unwrap();
        stream.fill(y, 0, count * 4).unwrap();
        // What is given back while it is in use stays until then.
        driver.free(x, count * 4);
        let expected: Vec<f32> = numbers(count).iter().map(|x| x * 2.0).collect();
        assert_eq!(download(&*driver, &mut *stream, z, count), expected);
        assert_eq!(download(&*driver, &mut *stream, y, count), vec![0.0; count]);
        driver.free(y, count * 4);
        driver.free(z, count * 4);
    }
}

#[test]
fn what_is_recorded_happens_at_each_replay_and_not_before() {
    let Some(driver) = driver() else { return };
    let (function, mut stream) = (scale(&*driver), driver.stream().unwrap());
    let x = upload(&*driver, &mut *stream, &numbers(100));
    let arguments = scaling(x, x, 3.0, 100);
    let graph = stream
        .capture(&mut |stream| {
            stream.launch(&launch(&function, 100, &arguments))?;
            stream.launch(&launch(&function, 100, &arguments))
        })
        .unwrap();
    assert_eq!(download(&*driver, &mut *stream, x, 100), numbers(100));
    let mut other = driver.stream().unwrap();
    let before = other.mark().unwrap();
    other.replay(&*graph).unwrap();
    other.replay(&*graph).unwrap();
    drop(graph);
    let after = other.mark().unwrap();
    other.wait().unwrap();
    assert!(after.since(&*before).unwrap().as_secs() < 60);
    let expected: Vec<f32> = numbers(100).iter().map(|x| x * 81.0).collect();
    assert_eq!(download(&*driver, &mut *stream, x, 100), expected);
    driver.free(x, 400);
}

#[test]
fn a_recording_that_fails_leaves_the_stream_as_it_was() {
    let Some(driver) = driver() else { return };
    let (function, mut stream) = (scale(&*driver), driver.stream().unwrap());
    let x = upload(&*driver, &mut *stream, &numbers(10));
    let arguments = scaling(x, x, 3.0, 10);
    let failed = stream.capture(&mut |stream| {
        stream.launch(&launch(&function, 10, &arguments))?;
        stream.wait()
    });
    assert!(failed.err().unwrap().to_string().contains("cannot be recorded"));
    let empty = stream.capture(&mut |_| Ok(())).unwrap();
    stream.replay(&*empty).unwrap();
    assert_eq!(download(&*driver, &mut *stream, x, 10), numbers(10));
    driver.free(x, 40);
}

#[test]
fn launches_that_cannot_be_are_refused_and_nothing_breaks() {
    let Some(driver) = driver() else { return };
    let (function, mut stream) = (scale(&*driver), driver.stream().unwrap());
    let x = upload(&*driver, &mut *stream, &numbers(10));
    let arguments = scaling(x, x, 3.0, 10);
    let good = launch(&function, 10, &arguments);
    for bad in [
        Launch { block: [4096, 1, 1], ..launch(&function, 10, &arguments) },
        Launch { shared: 1 << 30, ..launch(&function, 10, &arguments) },
        Launch { grid: [1, 1 << 20, 1], ..launch(&function, 10, &arguments) },
    ] {
        let error = stream.launch(&bad).unwrap_err().to_string();
        assert!(error.contains("kernel `scale`"), "{error}");
    }
    // Drivers since CUDA 12.4 tell what a kernel takes.
    if super::api::has("cuFuncGetParamInfo") {
        let error = stream.launch(&launch(&function, 10, &arguments[..3])).unwrap_err().to_string();
        assert!(error.contains("[8, 8, 4, 4]") && error.contains("[8, 8, 4]"), "{error}");
    }
    stream.launch(&Launch { grid: [0, 1, 1], ..launch(&function, 10, &arguments) }).unwrap();
    stream.launch(&good).unwrap();
    let expected: Vec<f32> = numbers(10).iter().map(|x| x * 3.0).collect();
    assert_eq!(download(&*driver, &mut *stream, x, 10), expected);
    driver.free(x, 40);
}

#[test]
fn shared_memory_beyond_48_kib_can_be_asked_for() {
    let Some(driver) = driver() else { return };
    let text = "extern \"C\" __global__ void turned(float* y, u32 n) {
  extern __shared__ float row[];
  for (u32 i = threadIdx.x; i < n; i += blockDim.x) row[i] = float(i);
  __syncthreads();
  for (u32 i = threadIdx.x; i < n; i += blockDim.x) y[i] = row[n - 1 - i];
}";
    let function = driver.load(&[&Template::new("turned", text).build()]).remove(0).unwrap();
    let mut stream = driver.stream().unwrap();
    let bytes = (driver.abilities().shared_bytes as usize).min(60 << 10);
    let count = bytes / 4;
    let y = driver.allocate(bytes).unwrap();
    let arguments = [Argument::address(y), Argument::value(&(count as u32))];
    let shared = bytes as u32;
    stream
        .launch(&Launch {
            function: &function,
            grid: [1; 3],
            block: [256, 1, 1],
            shared,
            arguments: &arguments,
        })
        .unwrap();
    let expected: Vec<f32> = (0..count).rev().map(|i| i as f32).collect();
    assert_eq!(download(&*driver, &mut *stream, y, count), expected);
    driver.free(y, bytes);
}

#[test]
fn what_does_not_load_is_told_and_what_does_is_there() {
    let Some(driver) = driver() else { return };
    let broken = Template::new("broken", "int").build();
    let wrong_name = Template::new("absent", SCALE).build();
    let good = Template::new("scale", SCALE).build();
    let loaded = driver.load(&[&broken, &good, &wrong_name]);
    assert_eq!(loaded.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let Some(driver) = driver() else { return };
    let error = driver.allocate(1 << 50).unwrap_err();
    assert!(
        matches!(&error, BackendError::Failure(DeviceFailure::NoMemory { needed, .. }) if *needed == 1 << 50),
        "{error}"
    );
    let address = driver.allocate(1).unwrap();
    assert!(driver.allocated().0 >= 1 && driver.allocated().1 >= driver.allocated().0);
    driver.free(address, 1);
    let nothing = driver.allocate(0).unwrap();
    driver.free(nothing, 0);
    driver.trim().unwrap();
}

/// Runs in a process of its own, since it breaks the context that all tests of this one share.
#[test]
fn an_illegal_access_loses_the_device_for_its_session_only() {
    let Some(driver) = driver() else { return };
    if std::env::var_os(ALONE).is_none() {
        let name = "nvidia::tests::an_illegal_access_loses_the_device_for_its_session_only";
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output();
        let output = output.unwrap();
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        println!("{text}");
        assert!(output.status.success() && text.contains("lost as it should be"), "{text}");
        return;
    }
    let (function, mut stream) = (scale(&*driver), driver.stream().unwrap());
    let x = upload(&*driver, &mut *stream, &numbers(10));
    let arguments = scaling(Address(256), x, 3.0, 10);
    let launched = stream.launch(&launch(&function, 10, &arguments));
    let error = launched.and_then(|()| stream.wait()).unwrap_err();
    assert!(matches!(error, BackendError::Failure(DeviceFailure::Lost { .. })), "{error}");
    assert!(matches!(driver.allocate(1), Err(BackendError::Failure(DeviceFailure::Lost { .. }))));
    assert!(driver.check().is_err());
    println!("lost as it should be: {error}");
    match open(None) {
        Ok((again, _)) => {
            let (function, mut stream) = (scale(&*again), again.stream().unwrap());
            let x = upload(&*again, &mut *stream, &numbers(10));
            let arguments = scaling(x, x, 3.0, 10);
            stream.launch(&launch(&function, 10, &arguments)).unwrap();
            assert_eq!(download(&*again, &mut *stream, x, 10)[0], -10.5);
            println!("opened anew");
        }
        Err(unusable) => println!("not opened anew: {unusable}"),
    }
}

/// These tests once more, with a stand-in for the driver: what they ask of a driver is in order even where there is none.
#[test]
#[cfg(target_os = "linux")]
fn the_same_on_a_stand_in_for_the_driver() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    if super::testing::compiler().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Not `libcuda.so.1`: by that name NVRTC asks for what the stand-in has not.
    let library = folder.path().join("libcuda.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/nvidia/stand_in.cpp");
    let mut build = std::process::Command::new(std::env::var_os("CXX").unwrap_or_else(|| "g++".into()));
    build
        .args(["-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so", source, "-o"])
        .arg(&library);
    let Ok(built) = build.status() else { return println!("skipped: no g++") };
    assert!(built.success());
    for pools in [true, false] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["nvidia::tests::", "--nocapture"]).env(INSIDE, "1").env_remove("CUDA_VISIBLE_DEVICES");
        let searched = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let before = std::env::split_paths(&searched).filter(|path| !path.as_os_str().is_empty());
        let searched = [folder.path().to_owned()].into_iter().chain(before);
        again.env("LD_LIBRARY_PATH", std::env::join_paths(searched).unwrap());
        if !pools {
            again.env("STAND_IN_WITHOUT_POOLS", "1");
        }
        let output = again.output().unwrap();
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        assert!(output.status.success() && !text.contains("skipped: no NVIDIA GPU"), "{text}");
        assert!(text.contains("opened anew"), "{text}");
    }
}
