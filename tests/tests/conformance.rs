//! The public ONNX backend suite on every device.

use inferrum::{Device, Session};
use inferrum_tests::expectations::Expectations;
use inferrum_tests::{corpus, suite};

#[test]
fn cpu_agrees_with_the_node_suite() {
    let cases = corpus::inference_cases(corpus::node_suite());
    if cases.is_empty() {
        return;
    }
    let results = suite::run(&cases, &Session::builder().device(Device::Cpu).threads(1));
    let passed = results.values().filter(|result| result.is_ok()).count();
    println!("node suite on cpu: {passed} of {} pass", results.len());
    let known = Expectations::load(&corpus::root().join("tests/expectations/cpu.toml"));
    let surprises = known.surprises(&results);
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

#[test]
fn cpu_agrees_with_the_other_suites() {
    for name in ["simple", "pytorch-operator", "pytorch-converted", "light"] {
        let cases = corpus::inference_cases(corpus::folder(&format!("onnx_backend/{name}")));
        let results = suite::run(&cases, &Session::builder().device(Device::Cpu).threads(1));
        let surprises = Expectations::default().surprises(&results);
        assert!(surprises.is_empty(), "{name}: {} failures:\n{}", surprises.len(), surprises.join("\n"));
    }
}
