//! What users get wrong: each with a message that helps, and no panic.

use crate::command::{Folder, asset, inferrum, npy, pb, seven};

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
    fails(&["run", &model, "--max-memory", "1k"], 1, &["memory"]);
}

#[test]
fn devices_and_files_that_are_not_there() {
    let folder = Folder::new();
    let model = asset("digits.onnx");
    for command in ["run", "bench", "compare"] {
        fails(&[command, &model, "--device", "abacus"], 1, &["abacus", "inferrum devices"]);
    }
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
    fails(&["run", &model, "--threads", "0"], 2, &["from 1 on"]);
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
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let name = folder.path("x").with_file_name(OsStr::from_bytes(b"\xff\xfe.png"));
    std::fs::copy(asset("seven.png"), &name).unwrap();
    let model = name.with_extension("onnx");
    std::fs::copy(asset("digits.onnx"), &model).unwrap();
    let mut command = crate::command::command(&["run"]);
    let done = command.arg(&model).arg("--input").arg(&name).args(["--top", "1"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("  7  "), "{out}{err}");
}
