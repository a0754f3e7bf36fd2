//! `inferrum bench`.

use serde_json::Value as Json;

use crate::command::{Folder, asset, npy, seven, succeed};

fn bench(flags: &[&str]) -> (String, Json) {
    let folder = Folder::new();
    let file = folder.text("bench.json");
    let model = asset("digits.onnx");
    let out = succeed(&[&["bench", &model, "--json", &file], flags].concat());
    (out, serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

#[test]
fn the_json_has_the_form_that_tools_read() {
    let folder = Folder::new();
    let image = seven();
    let npz = folder.npz("in.npz", &[("image", npy(image.as_slice::<f32>().unwrap(), &[1, 1, 28, 28]))]);
    let (out, json) = bench(&[
        "--device",
        "cpu",
        "--precision",
        "f32",
        "--inputs",
        &npz,
        "--threads",
        "1",
        "--seconds",
        "0.2",
    ]);
    assert_eq!(json["model"], asset("digits.onnx"));
    let result = &json["results"][0];
    assert_eq!((&result["device"], &result["precision"]), (&"cpu".into(), &"f32".into()));
    assert_eq!((&result["threads"], &result["batch"]), (&1.into(), &1.into()));
    let latency = |name: &str| result["latency_ms"][name].as_f64().unwrap();
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("p90") && latency("p90") <= latency("p99"));
    assert!(latency("mean") > 0.0);
    for field in ["load_ms", "first_ms", "throughput_per_s", "gflop_per_s", "percent_of_peak"] {
        assert!(result[field].as_f64().unwrap() > 0.0, "{field}: {result}");
    }
    if cfg!(target_os = "linux") {
        assert!(result["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    }
    assert!(result["iterations"].as_u64().unwrap() >= 10);
    for said in ["latency p50", "peak memory", "GFLOP/s"] {
        assert!(out.contains(said), "{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{out}");
}

#[test]
fn runs_can_be_counted_batched_and_concurrent() {
    let (out, json) = bench(&[
        "--iters",
        "24",
        "--batch",
        "3",
        "--concurrency",
        "3",
        "--precision",
        "auto",
        "--device",
        "cpu",
        "--device",
        "auto",
    ]);
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result["iterations"], 24);
        assert_eq!((&result["batch"], &result["concurrency"]), (&3.into(), &3.into()));
        assert_eq!(result["precision"], "auto");
    }
    assert!(out.contains("float32[3x1x28x28]"), "{out}");
}

#[test]
fn one_device_that_fails_does_not_hide_another() {
    let done = crate::command::inferrum(&[
        "bench",
        &asset("digits.onnx"),
        "--iters",
        "2",
        "--device",
        "abacus",
        "--device",
        "cpu",
    ]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("abacus") && done.out.contains("latency p50"), "{}{}", done.out, done.err);
}
