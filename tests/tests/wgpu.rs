//! The public suites and the corpus on the GPU backend: what has a kernel runs there, the rest on the processor.

use inferrum::agreement::WIDER_ON_DEVICES;
use inferrum::{Device, Session, SessionBuilder};
use inferrum_tests::expectations::Expectations;
use inferrum_tests::{corpus, suite};

/// Sessions on the first adapter; None, with a note, where there is none and `INFERRUM_REQUIRE_ADAPTER` asks for none.
fn builder() -> Option<SessionBuilder> {
    let has = inferrum::devices().iter().any(|info| info.id.starts_with("wgpu:") && info.usable.is_ok());
    assert!(has || std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_none(), "no adapter");
    if !has {
        eprintln!("skipped: no adapter");
        return None;
    }
    let device = Device::Named { family: "wgpu".into(), selector: None };
    Some(Session::builder().device(device).threads(1))
}

fn expectations(name: &str) -> Expectations {
    Expectations::load(&corpus::root().join("tests/expectations").join(name))
}

#[test]
fn what_passes_on_the_cpu_passes_on_a_gpu() {
    let (Some(builder), Some(folder)) = (builder(), corpus::node_suite()) else { return };
    let cases = corpus::inference_cases(Some(folder));
    let (cpu, own) = (expectations("cpu.toml"), expectations("wgpu.toml"));
    let mut results = suite::run(&cases, &builder);
    results.retain(|case, _| !cpu.lists(case));
    let passed = results.values().filter(|result| result.is_ok()).count();
    println!("node suite on wgpu: {passed} of {} pass", results.len());
    let surprises = own.surprises(&results);
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

#[test]
fn every_model_of_the_corpus_agrees_on_a_gpu() {
    let (Some(builder), Some(folder)) = (builder(), corpus::folder("models")) else { return };
    let results = suite::run_within(&corpus::cases(&folder), &builder, WIDER_ON_DEVICES);
    let surprises = expectations("wgpu_models.toml").surprises(&results);
    assert!(surprises.is_empty(), "{} failures:\n{}", surprises.len(), surprises.join("\n"));
}
