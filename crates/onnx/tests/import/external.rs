//! Tensors in files beside the model.

use std::fs;
use std::path::Path;

use inferrum_onnx::{Model, load};
use inferrum_tensor::Tensor;
use prost::Message;
use tempfile::TempDir;

use crate::model::{F32, graph, model, refused};
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};

/// A float32 tensor of two elements in another file.
fn outside(name: &str, entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).into()),
        value: Some((*value).into()),
    };
    TensorProto {
        name: Some(name.into()),
        data_type: Some(F32),
        dims: vec![2],
        data_location: Some(1),
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A folder with files of the numbers 0, 1, 2, ...
fn folder(files: &[(&str, usize)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    for (name, count) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, floats(&(0..*count).map(|i| i as f32).collect::<Vec<_>>()))
            .expect("it can be written");
    }
    folder
}

fn write(folder: &Path, model: &ModelProto) -> std::path::PathBuf {
    let path = folder.join("m.onnx");
    fs::write(&path, model.encode_to_vec()).expect("it can be written");
    path
}

fn holding(tensors: Vec<TensorProto>) -> ModelProto {
    let names: Vec<String> = tensors.iter().map(|tensor| tensor.name().to_owned()).collect();
    let mut graph = graph(vec![], vec![], &names.iter().map(String::as_str).collect::<Vec<_>>());
    graph.initializer = tensors;
    model(graph)
}

fn elements(model: &Model) -> Vec<Tensor> {
    model.graph.outputs.iter().map(|&id| model.graph.constant(id).expect("a constant").clone()).collect()
}

#[track_caller]
fn bad(folder: &Path, entries: &[(&str, &str)], parts: &[&str]) {
    let path = write(folder, &holding(vec![outside("w", entries)]));
    let error = load(&path).expect_err("the model is refused").to_string();
    for part in parts.iter().chain(&["m.onnx", "initializer `w`", "external data"]) {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn one_file_many_files_and_overlapping_parts() {
    let folder = folder(&[("a.bin", 6), ("sub/b.bin", 2)]);
    let model = holding(vec![
        outside("w", &[("location", "a.bin"), ("offset", "0"), ("length", "8")]),
        outside("x", &[("location", "a.bin"), ("offset", "4"), ("length", "8")]),
        outside("y", &[("location", "./a.bin"), ("offset", "16")]),
        outside("z", &[("location", "sub/b.bin"), ("checksum", "ignored")]),
    ]);
    let loaded = load(&write(folder.path(), &model)).unwrap_or_else(|error| panic!("{error}"));
    let expected = [[0f32, 1.], [1., 2.], [4., 5.], [0., 1.]].map(|pair| Tensor::vector(pair.to_vec()));
    assert_eq!(elements(&loaded), expected);
}

#[test]
fn offsets_that_are_not_aligned_are_read() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    fs::write(folder.path().join("a.bin"), [&[7u8][..], &floats(&[1.5, -2.0])].concat()).expect("written");
    let model = holding(vec![outside("w", &[("location", "a.bin"), ("offset", "1"), ("length", "8")])]);
    let loaded = load(&write(folder.path(), &model)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(elements(&loaded)[0].as_slice::<f32>().unwrap(), [1.5, -2.0]);
}

#[test]
fn ranges_beyond_the_file() {
    let folder = folder(&[("a.bin", 3), ("empty.bin", 0)]);
    let max = u64::MAX.to_string();
    for (offset, length) in [("8", "8"), ("0", "16"), ("13", "0"), (&*max, "8"), ("8", &*max), (&*max, &*max)]
    {
        bad(
            folder.path(),
            &[("location", "a.bin"), ("offset", offset), ("length", length)],
            &["`a.bin` has 12"],
        );
    }
    bad(folder.path(), &[("location", "empty.bin")], &["bytes 0 to 8 are needed", "has 0"]);
    for text in ["-1", "1e3", "", "99999999999999999999999", "0x10"] {
        let message = format!("`offset` must be a number of bytes, got `{text}`");
        bad(folder.path(), &[("location", "a.bin"), ("offset", text)], &[&message]);
        let message = format!("`length` must be a number of bytes, got `{text}`");
        bad(folder.path(), &[("location", "a.bin"), ("length", text)], &[&message]);
    }
}

#[test]
fn a_length_that_is_not_the_tensors() {
    let folder = folder(&[("a.bin", 6)]);
    for length in ["4", "0", "12"] {
        let path =
            write(folder.path(), &holding(vec![outside("w", &[("location", "a.bin"), ("length", length)])]));
        let error = load(&path).expect_err("the model is refused").to_string();
        let message = format!("float32[2] needs 8 bytes in `external_data`, got {length}");
        assert!(error.contains("initializer `w`") && error.contains(&message), "{error}");
    }
}

#[test]
fn locations_outside_the_folder() {
    let folder = folder(&[("secret.bin", 2), ("model/a.bin", 2)]);
    let inner = folder.path().join("model");
    let absolute = folder.path().join("secret.bin").display().to_string();
    for location in
        ["../secret.bin", "sub/../../secret.bin", "..", "", &absolute, "..\\secret.bin", "a.bin\0"]
    {
        bad(&inner, &[("location", location)], &["must be a relative path in the model's folder"]);
    }
    bad(&inner, &[("location", "missing.bin")], &["missing.bin"]);
    bad(&inner, &[("location", ".")], &["not a regular file"]);
    bad(&inner, &[], &["there is no `location`"]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_out() {
    let folder = folder(&[("secret.bin", 2), ("model/a.bin", 2)]);
    let inner = folder.path().join("model");
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, inner.join(from)).expect("a link");
    link("../secret.bin", "out.bin");
    bad(&inner, &[("location", "out.bin")], &["a link that leads out of the model's folder"]);
    link("..", "up");
    bad(&inner, &[("location", "up/secret.bin")], &["a link that leads out of the model's folder"]);
    link("loop.bin", "loop.bin");
    bad(&inner, &[("location", "loop.bin")], &["loop.bin"]);
    // A link within the folder is fine.
    link("a.bin", "within.bin");
    let path = write(&inner, &holding(vec![outside("w", &[("location", "within.bin")])]));
    assert_eq!(elements(&load(&path).unwrap_or_else(|error| panic!("{error}")))[0].len(), 2);
}

#[test]
fn without_a_folder() {
    refused(
        &holding(vec![outside("w", &[("location", "a.bin")])]),
        &["initializer `w`", "load it by its path"],
    );
}

#[test]
fn strings_cannot_be_outside() {
    let folder = folder(&[("a.bin", 2)]);
    let mut strings = outside("w", &[("location", "a.bin")]);
    strings.data_type = Some(8);
    let error = load(&write(folder.path(), &holding(vec![strings]))).expect_err("refused").to_string();
    assert!(error.contains("initializer `w`") && error.contains("string"), "{error}");
}
