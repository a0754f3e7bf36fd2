//! `inferrum inspect` and `inferrum devices`.

use crate::command::{Folder, asset, inferrum, json, succeed};

#[test]
fn a_model_is_told_in_json() {
    let told = json(&["inspect", &asset("digits.onnx"), "--json"]);
    assert_eq!(told["inputs"][0]["name"], "image");
    assert_eq!(told["inputs"][0]["shape"], serde_json::json!(["batch", 1, 28, 28]));
    assert_eq!(told["outputs"][0]["dtype"], "float32");
    assert_eq!(told["opsets"]["ai.onnx"], 17);
    let convs = told["operators"].as_array().unwrap().iter().find(|used| used["op_type"] == "Conv").unwrap();
    assert!(convs["nodes"] == 5 && convs["known"] == true);
    assert!(told["parameters"].as_u64().unwrap() > 40_000);
    let plan = &told["plans"][0];
    assert_eq!((&plan["device"], &plan["complete"]), (&"cpu".into(), &true.into()));
    assert!(plan["flops"].as_u64().unwrap() > 1_000_000 && plan["workspace_bytes"].as_u64().unwrap() > 0);
    let nodes = plan["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["kernel"].is_string() && node["flops"].is_u64()));
}

#[test]
fn shapes_change_the_plan() {
    let flops = |flags: &[&str]| {
        let model = asset("digits.onnx");
        json(&[&["inspect", &model, "--json"], flags].concat())["plans"][0]["flops"].as_u64().unwrap()
    };
    let one = flops(&[]);
    assert_eq!(flops(&["--batch", "4"]), 4 * one);
    assert_eq!(flops(&["--shape", "2x1x28x28"]), 2 * one);
}

#[test]
fn a_model_is_told_in_words() {
    let told = succeed(&["inspect", &asset("digits.onnx")]);
    for said in
        ["image", "float32[batchx1x28x28]", "BatchNormalization", "FLOP", "rewrite", "kernel", "assumed"]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
}

#[test]
fn every_operator_set_is_told_whole() {
    use crate::proto::{bytes, identity, number};
    let domain =
        |index: u64| bytes(8, [bytes(1, format!("org.example.domain{index}")), number(2, index)].concat());
    let imports = (1..=8).map(domain).collect::<Vec<_>>().concat();
    let folder = Folder::new();
    let path = folder.write("m.onnx", [identity(1, &["n"]), imports].concat());
    let told = succeed(&["inspect", &path]);
    assert!(
        told.contains("ai.onnx 17") && (1..=8).all(|i| told.contains(&format!("domain{i} {i}"))),
        "{told}"
    );
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_about_with_an_error() {
    use crate::proto::{graph, model, node, value};
    let folder = Folder::new();
    let cast =
        graph(&[node("Cast", &["x"], &["y"], &[])], &[value("x", 1, &["n"])], &[value("y", 1, &["n"])], &[]);
    let told = inferrum(&["inspect", &folder.write("m.onnx", model(&cast))]);
    assert!(told.out.contains("Cast") && told.out.contains("float32[n]"), "{}", told.out);
    assert!(told.code == 1 && told.err.starts_with("error:") && told.err.contains("to"), "{}", told.err);
}

#[test]
fn graphs_are_drawn() {
    let folder = Folder::new();
    for (name, raw) in [("g.svg", false), ("g.html", false), ("raw.svg", true)] {
        let file = folder.text(name);
        let model = asset("digits.onnx");
        let mut args = vec!["inspect", &model, "--graph", &file];
        args.extend(raw.then_some("--raw"));
        succeed(&args);
        let picture = std::fs::read_to_string(&file).unwrap();
        assert!(picture.contains("<svg") && picture.contains("Conv") && picture.contains("1x10"), "{name}");
        assert_eq!(picture.contains("BatchNormalization"), raw, "{name}");
        assert_eq!(picture.contains("<script"), name.ends_with("html"));
        assert!(
            !picture.contains("http://") || picture.matches("http").count() == 1,
            "nothing from elsewhere"
        );
        assert!(!picture.contains("NaN") && !picture.contains("inf "), "{name}");
        let balanced = |tag: &str| {
            picture.matches(&format!("<{tag}")).count() == picture.matches(&format!("</{tag}>")).count()
        };
        assert!(balanced("g ") || picture.matches("<g").count() == picture.matches("</g>").count());
        assert!(balanced("path") && balanced("svg"));
    }
}

#[test]
fn the_cpu_is_a_device() {
    let devices = json(&["devices", "--json"]);
    let cpu = devices.as_array().unwrap().iter().find(|device| device["id"] == "cpu").unwrap();
    assert!(
        cpu["usable"] == true && cpu["reason"].is_null() && cpu["details"]["threads"].is_string(),
        "{cpu}"
    );
    assert!(succeed(&["devices"]).starts_with("cpu  usable"));
}
