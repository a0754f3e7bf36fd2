//! Between its inputs and outputs a model stays on the GPU: what crosses is counted, and asserted not to come back.

use inferrum::{Crossing, Device, RunOptions, Session, Transfer, TransferLog};
use inferrum_onnx::Case;
use inferrum_tests::corpus;

/// Models of the corpus by the beginnings of their names: detectors, text in images, segmentation, style transfer, and a
/// language model with its cache.
const MODELS: &[&str] = &[
    "yolox_",
    "ultraface_",
    "ppocr_",
    "road_segmentation",
    "selfie_segmentation",
    "fns_",
    "tinystories260k_ts17",
    "tinystories260k_dynamo21",
    "tinystories260k_external",
];

#[test]
fn no_model_bounces_between_host_and_gpu() {
    let has = inferrum::devices().iter().any(|info| info.id.starts_with("wgpu:") && info.usable.is_ok());
    assert!(has || std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_none(), "no adapter");
    let Some(folder) = corpus::folder("models").filter(|_| has) else {
        eprintln!("skipped: no adapter, or no corpus");
        return;
    };
    let mut failures = Vec::new();
    for path in corpus::cases(&folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !MODELS.iter().any(|model| name.starts_with(model)) {
            continue;
        }
        let case = Case::load(&path).expect("the case is there");
        let device = Device::Named { family: "wgpu".into(), selector: None };
        let session = Session::builder().device(device).build(case.model.graph).expect("a session");
        for set in case.sets.iter().take(2) {
            let log = TransferLog::new();
            let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
            session.run_with(set.inputs.clone(), options).expect("it runs");
            let transfers = log.transfers();
            println!("{name} {}: {transfers}", set.name);
            if transfers.count(Crossing::Out).0 + transfers.count(Crossing::ToHost).0 == 0 {
                failures.push(format!("{name} {}: nothing comes from the GPU", set.name));
            }
            // Detections have a number that only the run knows, so the last of it is the host's.
            let ends =
                |t: &&Transfer| t.crossing == Crossing::ToHost && t.reason.contains("depend on elements");
            let back = transfers.between().filter(|transfer| !ends(transfer));
            failures.extend(back.map(|t| {
                let node = t.node.as_deref().unwrap_or_default();
                format!("{name} {}: `{}` {} for `{node}`: {}", set.name, t.value, t.crossing.name(), t.reason)
            }));
        }
    }
    assert!(failures.is_empty(), "{} values cross in the middle:\n{}", failures.len(), failures.join("\n"));
}
