//! Real models, against references that ONNX Runtime computed with its optimisations off.

use inferrum::{Device, Session};
use inferrum_tests::expectations::Expectations;
use inferrum_tests::{corpus, suite};

#[test]
fn every_model_of_the_corpus_agrees_on_cpu() {
    let Some(folder) = corpus::folder("models") else { return };
    let results = suite::run(&corpus::cases(&folder), &Session::builder().device(Device::Cpu).threads(2));
    let known = Expectations::load(&corpus::root().join("tests/expectations/models.toml"));
    let surprises = known.surprises(&results);
    assert!(surprises.is_empty(), "{} failures:\n{}", surprises.len(), surprises.join("\n"));
}
