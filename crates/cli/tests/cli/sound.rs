//! `.wav` files as inputs.

use crate::command::{Folder, inferrum, json};
use crate::proto;

/// A WAV file of 16 bits, frame after frame.
fn wav(folder: &Folder, channels: u16, samples: &[i16]) -> String {
    let path = folder.path("sound.wav");
    let spec = hound::WavSpec {
        channels,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    path.display().to_string()
}

/// The shape and elements of the input that a file becomes, and what is said of it.
fn read(model: &[u8], channels: u16, samples: &[i16]) -> (Vec<u64>, Vec<f64>, String) {
    let folder = Folder::new();
    let (model, sound) = (folder.write("m.onnx", model), wav(&folder, channels, samples));
    let told = json(&["run", &model, "--input", &sound, "--format", "json"]);
    let output = &told["outputs"]["y"];
    let shape = output["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).collect();
    let data = output["data"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    (shape, data, told["inputs"][0].as_str().unwrap().to_owned())
}

#[test]
fn sounds_become_numbers_from_minus_1_to_1() {
    let samples = [0, 16384, -32768, 8192, -1];
    let (shape, data, said) = read(&proto::identity(1, &["1", "time"]), 1, &samples);
    assert_eq!((shape.as_slice(), data.len()), ([1, 5].as_slice(), 5));
    assert_eq!(data[..4], [0.0, 0.5, -1.0, 0.25]);
    assert!((data[4] + 1.0 / 32768.0).abs() < 1e-9);
    assert!(said.contains("5 samples of 1 channel, 16000 Hz"), "{said}");
}

#[test]
fn a_fixed_length_is_filled_up_or_cut() {
    let (shape, data, said) = read(&proto::identity(1, &["1", "1", "4"]), 1, &[16384, -16384]);
    assert_eq!((shape.as_slice(), data.as_slice()), ([1, 1, 4].as_slice(), [0.5, -0.5, 0.0, 0.0].as_slice()));
    assert!(said.contains("filled up with zeros to 4"), "{said}");
    let (shape, data, said) = read(&proto::identity(1, &["1"]), 1, &[16384, -16384]);
    assert_eq!((shape.as_slice(), data.as_slice()), ([1].as_slice(), [0.5].as_slice()));
    assert!(said.contains("cut to 1"), "{said}");
}

#[test]
fn channels_stand_side_by_side_or_are_averaged() {
    let frames = [16384, 0, -16384, 8192];
    let (shape, data, _) = read(&proto::identity(1, &["1", "2", "time"]), 2, &frames);
    assert_eq!(
        (shape.as_slice(), data.as_slice()),
        ([1, 2, 2].as_slice(), [0.5, -0.5, 0.0, 0.25].as_slice())
    );
    let (shape, data, _) = read(&proto::identity(1, &["1", "time"]), 2, &frames);
    assert_eq!((shape.as_slice(), data.as_slice()), ([1, 2].as_slice(), [0.25, -0.125].as_slice()));
}

#[test]
fn integer_inputs_get_the_stored_numbers() {
    let (_, data, _) = read(&proto::identity(7, &["1", "time"]), 1, &[5, -7, 32767]);
    assert_eq!(data, [5.0, -7.0, 32767.0]);
}

#[test]
fn a_sound_that_does_not_fit_is_an_error() {
    let folder = Folder::new();
    let model = folder.write("m.onnx", proto::identity(1, &["1", "3", "28", "28"]));
    let done = inferrum(&["run", &model, "--input", &wav(&folder, 1, &[1, 2])]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("sound.wav") && done.err.contains("1x3x28x28"), "{}", done.err);
}
