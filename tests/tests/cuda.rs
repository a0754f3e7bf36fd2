//! The public suites and the corpus on the CUDA backend: what has a kernel runs there, the rest on the processor. Where no GPU is asked for by
//! `INFERRUM_TEST_CUDA` (`cuda`, `cuda:1`), the kernels run on the processor too: the same sources, launches and plans.

use inferrum::agreement::WIDER_ON_DEVICES;
use inferrum::{Device, Precision, Session, SessionBuilder, Tensor};
use inferrum_tests::expectations::Expectations;
use inferrum_tests::{corpus, suite};

/// Bytes of the largest model that the processor runs in place of a GPU, unless `INFERRUM_TEST_ALL` asks for all of them.
const LARGEST: u64 = 12 << 20;

fn device() -> Device {
    let name = std::env::var("INFERRUM_TEST_CUDA").unwrap_or_else(|_| "cuda:host".into());
    name.parse().expect("INFERRUM_TEST_CUDA names a device")
}

fn on_host() -> bool {
    device().to_string() == "cuda:host"
}

/// Sessions on the device; None, with a note, where the host has no C++ compiler.
fn builder() -> Option<SessionBuilder> {
    if on_host() && std::process::Command::new("g++").arg("--version").output().is_err() {
        eprintln!("skipped: no g++");
        return None;
    }
    Some(Session::builder().device(device()).threads(1))
}

fn expectations(name: &str) -> Expectations {
    Expectations::load(&corpus::root().join("tests/expectations").join(name))
}

#[test]
fn what_passes_on_the_cpu_passes_with_cuda() {
    let (Some(builder), Some(folder)) = (builder(), corpus::node_suite()) else { return };
    let cases = corpus::inference_cases(Some(folder));
    let (cpu, own) = (expectations("cpu.toml"), expectations("cuda.toml"));
    let mut results = suite::run(&cases, &builder);
    results.retain(|case, _| !cpu.lists(case));
    let passed = results.values().filter(|result| result.is_ok()).count();
    println!("node suite on {}: {passed} of {} pass", device(), results.len());
    let surprises = own.surprises(&results);
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

#[test]
fn models_of_the_corpus_agree_with_cuda() {
    let (Some(builder), Some(folder)) = (builder(), corpus::folder("models")) else { return };
    let mut cases = corpus::cases(&folder);
    let all = cases.len();
    if on_host() && std::env::var_os("INFERRUM_TEST_ALL").is_none() {
        let small = |path: &std::path::Path| {
            std::fs::metadata(path.join("model.onnx")).is_ok_and(|model| model.len() <= LARGEST)
        };
        cases.retain(|case| small(case));
        println!("{} of {all} models: those of at most {} MiB", cases.len(), LARGEST >> 20);
    }
    let results = suite::run_within(&cases, &builder, WIDER_ON_DEVICES);
    let surprises = expectations("cuda_models.toml").surprises(&results);
    assert!(surprises.is_empty(), "{} failures:\n{}", surprises.len(), surprises.join("\n"));
}

#[test]
fn a_precision_is_kept_or_refused() {
    let Some(builder) = builder() else { return };
    let model = corpus::root().join("assets/digits.onnx");
    let image =
        Tensor::from_vec([1, 1, 28, 28], (0..784).map(|i| (i % 29) as f32 / 29.0).collect::<Vec<f32>>());
    let image = image.expect("an image");
    let outputs = |builder: SessionBuilder, precision: Precision| {
        let session = builder.precision(precision).load(&model)?;
        let outputs = session.run(image.clone())?;
        Ok::<_, inferrum::Error>(outputs[0].to_f64().expect("floats"))
    };
    let cpu = || Session::builder().device(Device::Cpu);
    // The device's own, so that what is apart is the precision.
    let want = outputs(builder.clone(), Precision::F32).expect("it runs");
    for precision in [Precision::F16, Precision::Bf16, Precision::Tf32] {
        let got = outputs(builder.clone(), precision).expect("it runs");
        let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
        assert!(worst > 1e-6 && worst < 0.05, "{precision}: apart by {worst}");
        let refused = outputs(cpu(), precision).expect_err("the processor computes in float32");
        assert!(refused.to_string().contains(&precision.to_string()), "{refused}");
    }
}
