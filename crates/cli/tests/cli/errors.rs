//! What users get wrong: each with a message that helps, and no panic.

use crate::command::{Folder, asset, inferrum, npy, pb, seven, succeed};

/// The command must fail with `code` and one line that begins with `error:` and has all of `words`.
fn fails(args: &[&str], code: i32, words: &[&str]) {
    let done = inferrum(args);
    assert_eq!(done.code, code, "{args:?}: {}{}", done.out, done.err);
    assert!(done.err.starts_with("error:"), "{args:?}: {}", done.err);
    for word in words {
        assert!(done.err.contains(word), "{args:?} does not say `{word}`: {}", done.err);
    }
    for word in ["panicked", "backtrace", "RUST_BACKTRACE", "src/"] {
        assert!(!done.err.contains(word), "{args:?}: {}", done.err);
    }
}

#[test]
fn models_that_are_none() {
    let folder = Folder::new();
    let text = folder.write("text.onnx", "this is no model");
    let empty = folder.write("empty.onnx", "");
    let bytes = std::fs::read(asset("digits.onnx")).unwrap();
    let cut = folder.write("cut.onnx", &bytes[..bytes.len() / 2]);
    let lfs = folder.write("lfs.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    let assets = asset(".");
    for command in ["run", "bench", "inspect", "compare"] {
        fails(&[command, "absent.onnx"], 1, &["absent.onnx", "No such file"]);
        fails(&[command, &assets], 1, &["is a folder"]);
        fails(&[command, &text], 1, &["text.onnx"]);
        fails(&[command, &empty], 1, &["empty.onnx"]);
        fails(&[command, &lfs], 1, &["lfs.onnx", "git lfs pull"]);
    }
    fails(&["run", &cut], 1, &["cut.onnx"]);
}

#[test]
fn unknown_operators_are_named() {
    let folder = Folder::new();
    let bytes = std::fs::read(asset("digits.onnx")).unwrap();
    let text: Vec<u8> = bytes.clone();
    let at = text.windows(7).rposition(|window| window == b"Softmax").unwrap();
    let mut unknown = bytes;
    unknown[at..at + 7].copy_from_slice(b"Softmux");
    let model = folder.write("unknown.onnx", unknown);
    for command in ["run", "bench", "compare"] {
        fails(&[command, &model], 1, &["ai.onnx.Softmux", "opset 17"]);
    }
    let told = inferrum(&["inspect", &model]);
    assert!(told.code == 0 && told.out.contains("does not exist here"), "{}{}", told.out, told.err);
    fails(&["inspect", &model, "--graph", &folder.text("x.svg")], 1, &["cannot be drawn"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let folder = Folder::new();
    let model = asset("digits.onnx");
    let run = |input: &str, words: &[&str]| fails(&["run", &model, "--input", input], 1, words);
    let seven = asset("seven.png");
    run("absent.png", &["absent.png", "No such file"]);
    run(&format!("imgae={seven}"), &["no input `imgae`", "did you mean `image`?"]);
    run(&asset("."), &["is a folder"]);
    run(&folder.write("x.gif", "GIF89a"), &[".npy", ".png"]);
    run(&folder.write("no.png", "this is no picture"), &["no.png"]);
    let png = std::fs::read(&seven).unwrap();
    run(&folder.write("cut.png", &png[..png.len() / 2]), &["cut.png"]);
    run(&folder.npy("wide.npy", &[0.0; 56], &[1, 1, 1, 56]), &["input `image`", "28", "1x1x1x56"]);
    run(&folder.npy("flat.npy", &[0.0; 784], &[784]), &["input `image`", "batchx1x28x28", "float32[784]"]);
    run(&folder.write("no.npy", "x"), &["no.npy", "is no .npy file"]);
    run(&folder.write("no.npz", "x"), &["no.npz", "is no .npz file"]);
    run(&folder.npz("other.npz", &[("picture", npy(&[0.0], &[1]))]), &["no input `picture`", "image"]);
    run(&folder.write("no.json", "[1, 2"), &["no.json", "is no JSON"]);
    run(&folder.write("uneven.json", "[[1, 2], [3]]"), &["uneven.json"]);
    run(&folder.write("word.txt", "1 2 three"), &["word.txt"]);
    run(&folder.write("no.wav", "x"), &["no.wav", "WAV"]);
    run(&folder.write("wrong.json", r#"{"imgae": [1]}"#), &["wrong.json", "did you mean `image`?"]);
    run(&folder.write("nothing.json", "{}"), &["nothing.json", "empty object"]);
    run(&folder.write("empty.txt", " \n"), &["empty.txt", "holds no numbers"]);
    run(&folder.write("empty.pb", ""), &["empty.pb", "is no TensorProto"]);
    run(&folder.write("empty.json", ""), &["empty.json", "is no JSON"]);
    let told = inferrum(&["run", &model, "--input", &folder.write("empty.jpg", "")]);
    assert!(told.code == 1 && told.err.lines().count() == 1, "{}", told.err);
    run(&folder.npz("empty.npz", &[]), &["empty.npz", "no arrays"]);
    let cut = pb(&crate::command::seven(), "image");
    run(&folder.write("cut.pb", &cut[..cut.len() / 2]), &["cut.pb"]);
    let strings = inferrum::Tensor::from_strings([1], vec!["a".into()]).unwrap();
    run(&folder.write("strings.pb", pb(&strings, "image")), &["input `image`", "string"]);
    fails(&["run", &model, "--input", &seven, "--input", &seven], 1, &["no input left"]);
    fails(
        &["run", &model, "--input", &format!("image={seven}"), "--input", &format!("image={seven}")],
        1,
        &["twice"],
    );
    assert_eq!(seven, asset("seven.png"));
}

#[test]
fn shapes_that_do_not_fit() {
    let model = asset("digits.onnx");
    fails(&["run", &model, "--shape", "image=1x3x28x28"], 1, &["--shape", "batchx1x28x28", "1x3x28x28"]);
    fails(&["run", &model, "--shape", "picture=1x1x28x28"], 1, &["no input `picture`"]);
    fails(&["bench", &model, "--batch", "99999999999"], 1, &["99999999999"]);
    fails(&["bench", &model, "--batch", "3", "--shape", "2x1x28x28"], 1, &["--batch 3", "2x1x28x28"]);
    for shape in ["picture=1", "1x3x28x28"] {
        fails(&["inspect", &model, "--shape", shape], 1, &["--shape"]);
    }
    let folder = Folder::new();
    let file = folder.npy("x.npy", &[0.0; 784], &[1, 1, 28, 28]);
    succeed(&["run", &model, "--input", &file, "--shape", "1x1x28x28"]);
    let other = ["run", &model, "--input", &file, "--shape", "2x1x28x28"];
    fails(&other, 1, &["x.npy", "2x1x28x28", "1x1x28x28"]);
    for option in [&["--mean", "0.5"][..], &["--resize", "28x28"], &["--bgr"]] {
        fails(&[&["run", &model, "--input", &file], option].concat(), 1, &[option[0], "is for images"]);
    }
    fails(&["run", &model, "--max-memory", "1k"], 1, &["memory"]);
}

#[test]
fn devices_and_files_that_are_not_there() {
    let folder = Folder::new();
    let model = asset("digits.onnx");
    for command in ["run", "bench", "compare"] {
        fails(&[command, &model, "--device", "abacus"], 1, &["abacus", "inferrum devices"]);
    }
    fails(&["inspect", &model, "--device", "abacus"], 1, &["abacus", "inferrum devices"]);
    assert!(inferrum(&["inspect", &model, "--device", "abacus"]).out.contains("probabilities"));
    succeed(&["run", &model, "--device", "CPU"]);
    let nowhere = folder.text("no/such/folder/out.npz");
    fails(&["run", &model, "--output", &nowhere], 1, &["out.npz", "cannot be written"]);
    fails(&["run", &model, "--labels", "absent.txt"], 1, &["absent.txt"]);
    fails(&["run", &model, "--profile", &folder.text("no/trace.json")], 1, &["trace.json"]);
    fails(&["bench", &model, "--iters", "1", "--json", &folder.text("no/b.json")], 1, &["b.json"]);
    fails(&["test", "absent"], 1, &["absent"]);
    fails(&["test", &asset("digits.txt")], 1, &["is no folder"]);
    fails(&["test", &asset(".")], 1, &["no model.onnx"]);
}

#[test]
fn usage_errors_have_code_2() {
    let model = asset("digits.onnx");
    fails(&["fly"], 2, &["fly"]);
    fails(&["run"], 2, &["<MODEL>"]);
    fails(&["run", &model, "--frobnicate"], 2, &["--frobnicate"]);
    fails(&["run", &model, "--shape", "1xx3"], 2, &["1xx3", "1x3x224x224"]);
    fails(&["run", &model, "--device", ":"], 2, &["names no device"]);
    fails(&["run", &model, "--precision", "f7"], 2, &["f7", "f32"]);
    for threads in ["0", "1025", "18446744073709551615", "-1", "x"] {
        fails(&["run", &model, "--threads", threads], 2, &["from 1 to 1024"]);
    }
    fails(&["run", &model, "--max-memory", "-5"], 2, &["--max-memory"]);
    fails(&["run", &model, "--seed", "-5"], 2, &["--seed"]);
    fails(&["bench", &model, "--batch", "0"], 2, &["--batch", "from 1 on"]);
    fails(&["run", &model, "--mean", "a,b"], 2, &["--mean"]);
    fails(&["run", &model, "--layout", "whcn"], 2, &["nchw"]);
    fails(&["run", &model, "--resize", "large"], 2, &["WIDTHxHEIGHT"]);
    fails(&["run", &model, "--format", "xml"], 2, &["table", "json"]);
    fails(&["bench", &model, "--seconds", "-1"], 2, &["--seconds"]);
    fails(&["bench", &model, "--iters", "5", "--seconds", "1"], 2, &["--iters"]);
    fails(&["bench", &model, "--iters", "-1"], 2, &["-1", "--iters"]);
    fails(&["bench", &model, "--concurrency", "0"], 2, &["--concurrency"]);
    fails(&["bench", &model, "--batch", "-2"], 2, &["--batch"]);
    fails(&["run", &model, "--top", "0"], 2, &["--top", "from 1 on"]);
    fails(&["run", &model, "--input", "image="], 2, &["--input", "missing"]);
    fails(&["run", &model, "--input", ""], 2, &["--input"]);
    fails(&["test", "x", "--rtol", "-1"], 2, &["--rtol", "from 0 on"]);
    fails(&["inspect", &model, "--graph", "x.png"], 2, &[".svg or .html"]);
    fails(&["test"], 2, &["<DIR>"]);
    fails(&["test", "x", "--tolerance", "1", "--rtol", "1"], 2, &["--rtol"]);
    let done = inferrum(&[]);
    assert!(done.code == 2 && done.err.contains("Usage"), "{}", done.err);
}

#[test]
fn given_inputs_must_be_complete_only_where_there_are_more() {
    // One input, given: nothing is missing; and a value of another type is converted only where that loses nothing.
    let folder = Folder::new();
    let doubles =
        inferrum::Tensor::from_f64(inferrum::DType::F64, [1, 1, 28, 28], &seven().to_f64().unwrap()).unwrap();
    let done = inferrum(&["run", &asset("digits.onnx"), "--input", &folder.write("d.pb", pb(&doubles, ""))]);
    assert!(done.code == 0 && done.out.contains("seven"), "{}{}", done.out, done.err);
    assert!(done.out.contains("converted from float64"), "{}", done.out);
    let complex = inferrum::Tensor::zeros(inferrum::DType::Complex64, [1, 1, 28, 28]).unwrap();
    let file = folder.write("c.pb", pb(&complex, ""));
    fails(&["run", &asset("digits.onnx"), "--input", &file], 1, &["input `image`", "complex64"]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_files_need_not_be_utf_8() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let file = |end: &[u8]| folder.path("x").with_file_name(OsStr::from_bytes(&[b"\xff\xfe", end].concat()));
    let (model, image, result) = (file(b".onnx"), file(b".png"), file(b".out"));
    std::fs::copy(asset("seven.png"), &image).unwrap();
    std::fs::copy(asset("digits.onnx"), &model).unwrap();
    let suite = file(b".suite");
    std::fs::create_dir(&suite).unwrap();
    std::fs::copy(asset("digits.onnx"), suite.join("model.onnx")).unwrap();
    let named = [OsStr::new("image="), image.as_os_str()].into_iter().collect::<OsString>();
    let graph = file(b".svg");
    let (model, image, result) = (model.as_os_str(), image.as_os_str(), result.as_os_str());
    let flag = OsStr::new;
    for args in [
        &[flag("run"), model, flag("--input"), image, flag("--top"), flag("1")][..],
        &[
            flag("run"),
            model,
            flag("--input"),
            &named,
            flag("--format"),
            flag("json"),
            flag("--output"),
            result,
        ],
        &[flag("run"), model, flag("--profile"), result],
        &[flag("bench"), model, flag("--iters"), flag("1"), flag("--json"), result],
        &[flag("inspect"), model, flag("--json"), flag("--graph"), graph.as_os_str()],
        &[flag("compare"), model, flag("--json")],
        &[flag("test"), suite.as_os_str(), flag("--json"), result],
    ] {
        let done = crate::command::command(&[]).args(args).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && err.is_empty() && !out.is_empty(), "{args:?}: {out}{err}");
    }
    assert!(graph.is_file());
}
