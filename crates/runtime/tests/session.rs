//! What a program does with a session, and what it may do wrong.

use std::time::{Duration, Instant};

use inferrum::{DType, Device, Error, Inputs, RunOptions, Session, Stop, Tensor, Value};

fn digits() -> Session {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
    Session::builder().device(Device::Cpu).threads(2).load(model).unwrap()
}

/// Pixels that are different everywhere.
fn image(batch: usize) -> Tensor {
    let pixels: Vec<f32> = (0..batch * 784).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    Tensor::from_slice([batch, 1, 28, 28], &pixels).unwrap()
}

#[test]
fn inputs_are_checked() {
    let session = digits();
    let message = |inputs: Inputs| session.run(inputs).unwrap_err().to_string();
    let image = image(1);
    let twice = "input `image`: expected one value, got two";
    assert_eq!(message(Inputs::from([("image", image.clone()), ("image", image.clone())])), twice);
    assert_eq!(message(Inputs::new().then(image.clone()).with("image", image.clone())), twice);
    assert_eq!(
        message(Inputs::from([("picture", image.clone())])),
        "the model has no input `picture`; it has image"
    );
    assert!(message(Inputs::from([image.clone(), image.clone()])).contains("no input"));
    assert_eq!(message(Inputs::new()), "missing input image; the model takes image: float32[batchx1x28x28]");
    let wrong = "input `image`: expected float32[batchx1x28x28], got ";
    assert_eq!(
        message(Tensor::zeros(DType::F64, [1, 1, 28, 28]).unwrap().into()),
        format!("{wrong}float64[1x1x28x28]")
    );
    assert_eq!(
        message(Tensor::zeros(DType::F32, [1, 28, 28]).unwrap().into()),
        format!("{wrong}float32[1x28x28]")
    );
    assert_eq!(message(Inputs::from(vec![Value::Sequence(Vec::new())])), format!("{wrong}sequence of 0"));
}

#[test]
fn more_threads_than_a_system_has_room_for_are_refused() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
    for threads in [1025, 1 << 20, usize::MAX] {
        let error = Session::builder().threads(threads).load(model).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains(&format!("{threads} threads")), "{error}");
    }
    let one = Session::builder().threads(0).load(model).unwrap();
    assert_eq!(one.run(image(1)).unwrap()[0].shape().dims(), [1, 10]);
}

#[test]
fn what_is_known_of_inputs_is_told() {
    let session = digits();
    let (input, output) = (&session.inputs()[0], &session.outputs()[0]);
    assert_eq!((input.dtype(), output.dtype()), (Some(DType::F32), Some(DType::F32)));
    assert_eq!(output.dims().unwrap()[1].known(), Some(10));
    let told = format!("{session:?}");
    assert!(told.contains("image: float32[batchx1x28x28]") && told.contains("cpu"), "{told}");
}

#[test]
fn outputs_are_taken_apart() {
    let pairs: Vec<(String, Value)> = digits().run(image(2)).unwrap().into_iter().collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(
        (pairs[0].0.as_str(), pairs[0].1.as_tensor().unwrap().shape().dims()),
        ("probabilities", &[2, 10][..])
    );
}

#[test]
fn a_file_and_its_bytes_are_one_model() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx")).unwrap();
    let from_bytes = Session::builder().threads(2).load_bytes(bytes).unwrap();
    assert_eq!(from_bytes.run(image(3)).unwrap()[0], digits().run(image(3)).unwrap()[0]);
}

#[test]
fn a_session_is_shared_by_threads_and_stopped_by_one() {
    let session = digits();
    let wanted: Vec<Tensor> = (1..=4).map(|batch| session.run(image(batch)).unwrap()[0].clone()).collect();
    let (session, wanted) = (&session, &wanted);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..10 {
                    let batch = (thread + round) % 4;
                    assert_eq!(session.run(image(batch + 1)).unwrap()[0], wanted[batch], "bit for bit");
                }
            });
        }
    });
    let stop = Stop::new();
    let given = stop.clone();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            loop {
                let options = RunOptions { stop: Some(&stop), ..RunOptions::default() };
                if let Err(error) = session.run_with(image(4), options) {
                    return error;
                }
            }
        });
        given.stop();
        assert!(matches!(run.join().unwrap(), Error::Stopped(_)));
    });
    let late = Stop::at(Instant::now() - Duration::from_millis(1));
    let error = session.run_with(image(1), RunOptions { stop: Some(&late), ..RunOptions::default() });
    assert!(matches!(error, Err(Error::Stopped(_))));
}
