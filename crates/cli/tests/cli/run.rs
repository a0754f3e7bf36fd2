//! `inferrum run`.

use serde_json::Value as Json;

use crate::command::{Folder, asset, inferrum, json, npy, pb, seven, succeed};

fn best(json: &Json) -> (&str, f64) {
    let best = &json["outputs"]["probabilities"]["top"][0][0];
    (best["label"].as_str().unwrap(), best["probability"].as_f64().unwrap())
}

#[test]
fn the_seven_is_a_seven() {
    let out = succeed(&["run", &asset("digits.onnx"), "--input", &asset("seven.png"), "--top", "3"]);
    let first = out.lines().skip_while(|line| !line.contains("labels from")).nth(1).unwrap();
    assert!(first.contains("7") && first.contains("seven") && first.contains("99.9"), "{out}");
    for said in ["on cpu: ", "load ", "run ", "digits.txt"] {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(!out.contains('\u{1b}'), "colours only on a terminal");
    assert!(
        out.lines().all(|line| !line.starts_with(' ') || line.chars().count() <= 80 || line.contains('/')),
        "{out}"
    );
}

#[test]
fn every_kind_of_file_gives_the_same_answer() {
    let folder = Folder::new();
    let image = seven();
    let values = image.as_slice::<f32>().unwrap();
    let doubles = Json::from(values.chunks(28).map(<[f32]>::to_vec).collect::<Vec<_>>());
    let files = [
        asset("seven.png"),
        format!("image={}", asset("seven.png")),
        folder.npy("image.npy", values, &[1, 1, 28, 28]),
        folder.npz("image.npz", &[("image", npy(values, &[1, 1, 28, 28]))]),
        folder.npz("other.npz", &[("image", npy(values, &[1, 1, 28, 28]))]),
        folder.write("input_0.pb", pb(&image, "image")),
        folder.write("image.json", serde_json::json!([[doubles]]).to_string()),
        folder.write("named.json", serde_json::json!({ "image": [[doubles]] }).to_string()),
        folder.write("image.txt", values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ")),
    ];
    let mut answers = files.iter().map(|file| {
        let json = json(&["run", &asset("digits.onnx"), "--input", file, "--format", "json"]);
        assert_eq!(best(&json).0, "seven", "{file}");
        best(&json).1
    });
    let first = answers.next().unwrap();
    assert!(answers.all(|answer| (answer - first).abs() < 1e-6));
    let inputs =
        json(&["run", &asset("digits.onnx"), "--inputs", &folder.text("image.npz"), "--format", "json"]);
    assert_eq!(best(&inputs).0, "seven");
}

#[test]
fn outputs_come_back_from_a_npz_file() {
    let folder = Folder::new();
    let file = folder.text("out.npz");
    let json = json(&[
        "run",
        &asset("digits.onnx"),
        "--input",
        &asset("seven.png"),
        "--output",
        &file,
        "--format",
        "json",
    ]);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(archive.len(), 1);
    let entry = archive.by_name("probabilities.npy").unwrap();
    let array = npyz::NpyFile::new(entry).unwrap();
    assert_eq!(array.shape(), [1, 10]);
    let stored: Vec<f32> = array.into_vec().unwrap();
    let data = json["outputs"]["probabilities"]["data"].as_array().unwrap();
    let printed: Vec<f32> = data.iter().map(|x| x.as_f64().unwrap() as f32).collect();
    assert_eq!(stored, printed);
    assert!((stored.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn random_inputs_are_said_and_repeatable() {
    let run = |seed: &str| {
        json(&[
            "run",
            &asset("digits.onnx"),
            "--shape",
            "image=3x1x28x28",
            "--seed",
            seed,
            "--format",
            "json",
        ])
    };
    let (a, b, c) = (run("1"), run("1"), run("2"));
    assert_eq!(a["outputs"], b["outputs"]);
    assert_ne!(a["outputs"], c["outputs"]);
    assert_eq!(a["outputs"]["probabilities"]["shape"], serde_json::json!([3, 10]));
    assert!(a["inputs"][0].as_str().unwrap().contains("random, seed 1"), "{a}");
    let out = succeed(&["run", &asset("digits.onnx")]);
    assert!(out.contains("float32[1x1x28x28] made up at random, seed 0"), "{out}");
}

#[test]
fn images_can_be_normalised() {
    let model = asset("digits.onnx");
    let seven = asset("seven.png");
    let run =
        |flags: &[&str]| json(&[&["run", &model, "--input", &seven, "--format", "json"], flags].concat());
    // Dark on light is light on dark, negated: the model reads both.
    assert_eq!(best(&run(&["--mean", "1", "--std=-1"])).0, "seven");
    let plain = run(&[]);
    assert_ne!(plain["outputs"], run(&["--mean", "0.5", "--std", "0.5"])["outputs"]);
    let done = inferrum(&["run", &model, "--input", &seven, "--mean", "1,2,3"]);
    assert!(done.code == 1 && done.err.contains("mean has 3 numbers"), "{}", done.err);
    let done = inferrum(&["run", &model, "--input", &seven, "--resize", "30x30"]);
    assert!(done.code == 1 && done.err.contains("width is 28"), "{}", done.err);
}

#[test]
fn labels_are_found_or_named() {
    let folder = Folder::new();
    let model = folder.write("m.onnx", std::fs::read(asset("digits.onnx")).unwrap());
    let seven = asset("seven.png");
    let without = succeed(&["run", &model, "--input", &seven, "--top", "1"]);
    assert!(without.contains("  7  ") && !without.contains("labels"), "{without}");
    let labels =
        folder.write("german.txt", "null\neins\nzwei\ndrei\nvier\nfünf\nsechs\nsieben\nacht\nneun\n");
    let named = succeed(&["run", &model, "--input", &seven, "--labels", &labels]);
    assert!(named.contains("sieben"), "{named}");
    let few = folder.write("few.txt", "null\neins\n");
    let named = succeed(&["run", &model, "--input", &seven, "--labels", &few, "--top", "99"]);
    assert!(named.contains("2 labels for 10 classes") && named.contains("eins"), "{named}");
    assert_eq!(named.lines().filter(|line| line.ends_with(" %")).count(), 10, "{named}");
}

#[test]
fn names_of_inputs_may_contain_the_sign_between_name_and_file() {
    use crate::proto::{graph, model, node, value};
    let folder = Folder::new();
    let inputs = [value("a=b", 1, &["n"]), value("c d", 1, &["n"])];
    let sum = graph(&[node("Add", &["a=b", "c d"], &["y y"], &[])], &inputs, &[value("y y", 1, &["n"])], &[]);
    let model = folder.write("m.onnx", model(&sum));
    let file = folder.npy("x=1.npy", &[1.0, 2.0], &[2]);
    let (first, second) = (format!("a=b={file}"), format!("c d={file}"));
    for inputs in [[&first, &second], [&second, &first], [&file, &file]] {
        let told = succeed(&["run", &model, "--input", inputs[0], "--input", inputs[1]]);
        assert!(told.contains("[2 4]"), "{told}");
    }
    let wrong = inferrum(&["run", &model, "--input", &format!("a={file}")]);
    assert!(wrong.code == 1 && wrong.err.contains("no input `a`"), "{}", wrong.err);
}

#[test]
fn what_cannot_be_ranked_is_said() {
    let folder = Folder::new();
    let nan = folder.npy("nan.npy", &[f32::NAN; 784], &[1, 1, 28, 28]);
    let told = succeed(&["run", &asset("digits.onnx"), "--input", &nan, "--top", "2"]);
    assert!(told.contains("some scores are NaN") && !told.contains("softmax"), "{told}");
    let model = folder.write("m.onnx", crate::proto::identity(1, &["2", "3", "4"]));
    let told = succeed(&["run", &model, "--top", "2"]);
    assert!(told.contains("no output holds scores of classes"), "{told}");
}

#[test]
fn a_profile_is_a_chrome_trace() {
    let folder = Folder::new();
    let file = folder.text("trace.json");
    let out = succeed(&["run", &asset("digits.onnx"), "--input", &asset("seven.png"), "--profile", &file]);
    assert!(out.contains("slowest of") && out.contains("GFLOP/s") && out.contains("Conv"), "{out}");
    let trace: Json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events: Vec<&Json> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect();
    assert!(!events.is_empty());
    for event in &events {
        assert!(event["ts"].as_f64().unwrap() >= 0.0 && event["dur"].as_f64().unwrap() >= 0.0);
        assert!(event["args"]["flops"].is_u64() && event["args"]["bytes"].is_u64(), "{event}");
        assert!(event["args"]["output"].is_string() && event["args"]["GFLOP/s"].is_number(), "{event}");
    }
    assert!(events.iter().any(|event| event["args"]["flops"].as_u64().unwrap() > 100_000));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::Stdio;
    let mut child = crate::command::command(&[
        "run",
        &asset("digits.onnx"),
        "--shape",
        "200x1x28x28",
        "--format",
        "json",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
}
