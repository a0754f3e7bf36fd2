//! Outputs in memory of the caller's.

use std::sync::Arc;

use inferrum::graph::{Fact, Graph, Operator, SymDim};
use inferrum::{AlignedBytes, Bindings, DType, Error, Inputs, OutputBuffer, RunOptions, Session, Tensor};
use inferrum_ops::non_zero::NonZero;
use inferrum_ops::softmax::Softmax;

const POISON: f32 = f32::NAN;

fn softmax() -> Arc<dyn Operator> {
    Arc::new(Softmax { axis: 0, flatten: false, log: false })
}

/// `y = softmax(x)`, `z = softmax(y)`, over as many elements as `x` has.
fn chain() -> Session {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, vec![SymDim::Symbol("n".into())]));
    let y = graph.add_node("y", softmax(), vec![Some(x)]).unwrap();
    let z = graph.add_node("z", softmax(), vec![Some(y)]).unwrap();
    graph.outputs = vec![y, z];
    Session::builder().device(inferrum::Device::Cpu).threads(2).build(graph).unwrap()
}

fn ramp(len: usize, step: f32) -> Tensor {
    Tensor::vector((0..len).map(|i| i as f32 * step).collect())
}

fn run<'a>(session: &Session, inputs: impl Into<Inputs>, bindings: &mut Bindings<'a>) -> Result<(), Error> {
    session.run_bound(inputs, bindings, RunOptions::default()).map(drop)
}

#[test]
fn a_hundred_runs_write_to_one_buffer() {
    let session = chain();
    let mut memory = vec![POISON; 127];
    let address = memory.as_ptr();
    let mut bindings = Bindings::new().with("z", &mut memory);
    for turn in 0..100 {
        let input = ramp(127, turn as f32 * 0.01);
        let rest = session.run_bound(input.clone(), &mut bindings, RunOptions::default()).unwrap();
        let plain = session.run(input).unwrap();
        let written = bindings.as_slice::<f32>("z").unwrap();
        assert_eq!(written, plain["z"].as_slice::<f32>().unwrap());
        assert_eq!(written.as_ptr(), address);
        assert_eq!(rest.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["y"]);
        assert_eq!(rest["y"], plain["y"]);
    }
    assert_eq!(memory.as_ptr(), address);
    assert!(memory.iter().all(|p| p.is_finite()));
}

#[test]
fn every_output_may_be_bound_and_any_kind_of_memory_serves() {
    let session = chain();
    for len in [0, 1, 3, 17, 127] {
        let want = session.run(ramp(len, 0.3)).unwrap();
        let mut y = AlignedBytes::zeroed(4 * len).unwrap();
        y.as_mut().fill(0xAB);
        // One byte further than any alignment.
        let mut z = vec![0xABu8; 4 * len + 1];
        let misaligned = usize::from(z.as_ptr().addr().is_multiple_of(4));
        let mut bindings = Bindings::new()
            .with("y", OutputBuffer::bytes(DType::F32, y.as_mut()))
            .with("z", OutputBuffer::bytes(DType::F32, &mut z[misaligned..misaligned + 4 * len]));
        run(&session, ramp(len, 0.3), &mut bindings).unwrap();
        assert_eq!(bindings.shape("y").unwrap().dims(), [len]);
        drop(bindings);
        assert_eq!(y.as_ref(), want["y"].bytes());
        assert_eq!(&z[misaligned..misaligned + 4 * len], want["z"].bytes());
    }
}

#[test]
fn a_buffer_that_does_not_fit_is_an_error_that_says_how() {
    let session = chain();
    let said = |buffer: OutputBuffer<'_>| {
        let mut bindings = Bindings::new().with("z", buffer);
        let error = run(&session, ramp(17, 0.1), &mut bindings).unwrap_err();
        assert!(matches!(&error, Error::Output { name, .. } if name == "z"), "{error:?}");
        assert!(bindings.shape("z").is_none() && bindings.as_slice::<f32>("z").is_err());
        error.to_string()
    };
    assert_eq!(
        said(OutputBuffer::new(&mut [POISON; 16])),
        "output `z`: expected a buffer for float32[17], which is 17 elements, got one for 16 elements of float32"
    );
    assert!(said(OutputBuffer::new(&mut [POISON; 18])).ends_with("one for 18 elements of float32"));
    assert!(said(OutputBuffer::new(&mut [POISON; 16]).at_most()).ends_with("at most 16 elements of float32"));
    assert!(said(OutputBuffer::new(&mut [POISON; 17]).shaped([17, 1])).ends_with("float32[17x1]"));
    assert_eq!(
        said(OutputBuffer::new(&mut [0i64; 17])),
        "output `z`: expected a buffer for elements of float32, got one for 17 elements of int64"
    );
    assert!(
        said(OutputBuffer::bytes(DType::F32, &mut [0; 69])).ends_with("69 bytes for elements of float32")
    );
    assert!(said(OutputBuffer::strings(&mut [])).contains("string"));
    let mut memory = [0f32; 3];
    let mut bindings = Bindings::new().with("nothing", &mut memory);
    let error = run(&session, ramp(3, 0.1), &mut bindings).unwrap_err();
    assert!(matches!(error, Error::UnknownName { kind: "output", .. }), "{error}");
}

#[test]
fn a_buffer_may_be_larger_where_only_a_run_knows_the_shape() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, [5]));
    let found = graph.add_node("found", Arc::new(NonZero), vec![Some(x)]).unwrap();
    graph.outputs = vec![found];
    let session = Session::builder().build(graph).unwrap();
    let mut memory = [-7i64; 5];
    let mut bindings = Bindings::new().with("found", OutputBuffer::new(&mut memory).at_most());
    for (input, want) in [
        (vec![0.0, 1.0, 0.0, 2.0, 0.0], vec![1i64, 3]),
        (vec![0.0; 5], vec![]),
        (vec![1.0; 5], vec![0, 1, 2, 3, 4]),
        (vec![0.0, 0.0, 0.0, 0.0, 1.0f32], vec![4]),
    ] {
        run(&session, Tensor::vector(input), &mut bindings).unwrap();
        assert_eq!(bindings.shape("found").unwrap().dims(), [1, want.len()]);
        assert_eq!(bindings.as_slice::<i64>("found").unwrap(), want);
    }
    drop(bindings);
    assert_eq!(memory, [4, 1, 2, 3, 4], "only the front is written");
    let mut small = [0i64; 1];
    let mut bindings = Bindings::new().with("found", OutputBuffer::new(&mut small).at_most());
    assert!(matches!(run(&session, ramp(5, 1.0), &mut bindings), Err(Error::Output { .. })));
}

/// Outputs: an input, a constant, and one value twice.
#[test]
fn outputs_that_share_memory_are_copied() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, [3]));
    let constant = graph.add_constant("constant", Tensor::vector(vec![true, false]));
    let y = graph.add_node("y", softmax(), vec![Some(x)]).unwrap();
    graph.outputs = vec![x, constant, y];
    let session = Session::builder().build(graph).unwrap();
    let (mut input, mut truths, mut y) = ([POISON; 3], [false; 2], [POISON; 3]);
    let mut bindings = Bindings::new()
        .with("x", &mut input)
        .with("constant", OutputBuffer::bools(&mut truths))
        .with("y", &mut y);
    run(&session, ramp(3, 1.0), &mut bindings).unwrap();
    assert_eq!(bindings.as_slice::<bool>("constant").unwrap(), [true, false]);
    drop(bindings);
    assert_eq!((input, truths), ([0.0, 1.0, 2.0], [true, false]));
    assert_eq!(y, session.run(ramp(3, 1.0)).unwrap()[2].as_slice::<f32>().unwrap());
}

#[test]
fn threads_with_buffers_of_their_own_do_not_meet() {
    let session = chain();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let session = &session;
            scope.spawn(move || {
                let len = 1 + 31 * thread;
                let mut memory = vec![POISON; len];
                let mut bindings = Bindings::new().with("z", &mut memory);
                for turn in 0..20 {
                    let input = ramp(len, (turn + thread) as f32 * 0.1);
                    run(session, input.clone(), &mut bindings).unwrap();
                    let want = session.run(input).unwrap();
                    assert_eq!(bindings.as_slice::<f32>("z").unwrap(), want["z"].as_slice::<f32>().unwrap());
                }
            });
        }
    });
}

#[test]
fn bound_memory_is_the_callers_again_after_an_error() {
    let session = chain();
    let mut memory = [POISON; 4];
    let mut bindings = Bindings::new().with("z", &mut memory);
    run(&session, ramp(4, 1.0), &mut bindings).unwrap();
    assert!(run(&session, Tensor::scalar(1i64), &mut bindings).is_err());
    assert!(bindings.shape("z").is_none(), "what stands there is of no run");
    run(&session, ramp(4, 2.0), &mut bindings).unwrap();
    drop(bindings);
    assert_eq!(memory, session.run(ramp(4, 2.0)).unwrap()["z"].as_slice::<f32>().unwrap());
}
