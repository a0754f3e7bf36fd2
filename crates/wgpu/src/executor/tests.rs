//! What stays on the device between runs, and runs that are stopped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use inferrum_backend::{Backend, Destination, Stop};
use inferrum_graph::{Fact, Graph, ValueId};
use inferrum_tensor::{DType, Shape};

use super::*;
use crate::WgpuBackend;
use crate::abilities::Without;
use crate::testing::{add, backend, random, whole};

fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> ValueId {
    graph.add_input(name, Fact::tensor(DType::F32, Shape::from(shape)))
}

/// `sum = state + x`, which leaves the region and is negated there too.
fn accumulator(shape: &[usize]) -> Graph {
    let mut graph = Graph::new("accumulator");
    let (state, x) = (input(&mut graph, "state", shape), input(&mut graph, "x", shape));
    let sum = add(&mut graph, "Add", &[], &[state, x]);
    let negated = add(&mut graph, "Neg", &[], &[sum]);
    graph.outputs = vec![sum, negated];
    graph
}

fn run(executable: &WgpuExecutable, inputs: &[Resident], stays: &[bool]) -> Vec<Resident> {
    let destination = |&stays: &bool| if stays { Destination::Stay } else { Destination::Fresh };
    let destinations = stays.iter().map(destination).collect();
    let results = Executable::run(executable, inputs, destinations, &RunContext::default()).expect("it runs");
    results.into_iter().map(|result| result.expect("an output")).collect()
}

fn compiled(backend: &WgpuBackend, graph: Graph) -> WgpuExecutable {
    let shared = backend.shared();
    edge::wait(shared.compile(&whole(graph), |bound| shared.lower(bound))).expect("it compiles")
}

fn numbers(tensor: &Resident) -> Vec<f32> {
    tensor.to_host().expect("it is read").as_slice::<f32>().expect("float32").to_vec()
}

fn tensor(resident: &Resident) -> &WgpuTensor {
    resident.on::<WgpuTensor>("wgpu:0").expect("it stayed on the device")
}

#[test]
fn a_state_goes_from_run_to_run_in_two_pieces_of_memory() {
    if self::backend().is_none() {
        return;
    }
    // Its memory is not shared with other tests.
    let backend = WgpuBackend::private(|_| ());
    for shape in [&[3, 17][..], &[1], &[127, 129]] {
        let executable = compiled(&backend, accumulator(shape));
        let mut state: Resident = random(shape, 1).into();
        let mut want = numbers(&state);
        let mut pieces = Vec::new();
        for step in 0..6 {
            let x = random(shape, 10 + step);
            want.iter_mut().zip(x.as_slice::<f32>().expect("float32")).for_each(|(sum, x)| *sum += x);
            let results = run(&executable, &[state, x.into()], &[true, false]);
            let negated: Vec<f32> = numbers(&results[1]).into_iter().map(|x| -x).collect();
            assert_eq!(negated, want, "step {step}");
            pieces.push(tensor(&results[0]).memory.number());
            state = results[0].clone();
        }
        assert_eq!(numbers(&state), want);
        pieces.sort_unstable();
        pieces.dedup();
        assert_eq!(pieces.len(), 2, "memory is used again: {pieces:?}");
    }
}

#[test]
fn what_stayed_never_changes_and_may_be_fed_twice() {
    let Some(backend) = backend() else { return };
    let executable = compiled(backend, accumulator(&[5, 7]));
    let first = run(&executable, &[random(&[5, 7], 1).into(), random(&[5, 7], 2).into()], &[true, true]);
    let (sum, negated) = (numbers(&first[0]), numbers(&first[1]));
    let twice = run(&executable, &[first[0].clone(), first[0].clone()], &[true, true]);
    let mixed = run(&executable, &[first[0].clone(), twice[1].clone()], &[true, true]);
    let doubled: Vec<f32> = sum.iter().map(|x| x + x).collect();
    assert_eq!(numbers(&twice[0]), doubled);
    let expected: Vec<f32> = sum.iter().zip(&doubled).map(|(x, y)| x - y).collect();
    assert_eq!(numbers(&mixed[0]), expected);
    for _ in 0..3 {
        run(&executable, &[random(&[5, 7], 8).into(), twice[0].clone()], &[true, false]);
    }
    assert_eq!((numbers(&first[0]), numbers(&first[1])), (sum, negated));
    assert_eq!(numbers(&twice[0]), doubled);
}

#[test]
fn what_stays_is_bound_though_its_memory_has_room_to_spare() {
    if self::backend().is_none() {
        return;
    }
    // Memory for this tensor has 4096 bytes more than it, which is more than a binding takes.
    let shape = [250_000];
    let backend = WgpuBackend::private(|limits| limits.max_storage_buffer_binding_size = 1_000_004);
    let executable = compiled(&backend, accumulator(&shape));
    let (state, x) = (random(&shape, 1), random(&shape, 2));
    let first = run(&executable, &[state.clone().into(), x.clone().into()], &[true, true]);
    let second = run(&executable, &[first[0].clone(), first[1].clone()], &[false, false]);
    assert!(numbers(&second[0]).iter().all(|&x| x == 0.0));
    let want = state.as_slice::<f32>().expect("floats").iter().zip(x.as_slice::<f32>().expect("floats"));
    assert!(numbers(&first[0]).into_iter().eq(want.map(|(x, y)| x + y)));
}

#[test]
fn an_output_that_is_an_input_shares_its_memory() {
    let Some(backend) = backend() else { return };
    let mut graph = Graph::new("views");
    let x = input(&mut graph, "x", &[4, 6]);
    let shape = graph.add_constant("shape", Tensor::from_vec([2], vec![3i64, 8]).expect("two numbers"));
    let constant = graph.add_constant("c", random(&[2, 3], 5));
    let viewed = add(&mut graph, "Reshape", &[], &[x, shape]);
    let exp = add(&mut graph, "Relu", &[], &[x]);
    let exp_viewed = add(&mut graph, "Reshape", &[], &[exp, shape]);
    let same = add(&mut graph, "Identity", &[], &[constant]);
    graph.outputs = vec![viewed, exp_viewed, same, exp];
    let executable = compiled(backend, graph);
    let x = random(&[4, 6], 3);
    let all = run(&executable, &[x.clone().into()], &[true; 4]);
    let again = run(&executable, &[x.clone().into()], &[true, false, false, true]);
    assert_eq!(numbers(&all[0]), x.as_slice::<f32>().expect("float32"));
    assert_eq!((all[0].shape().dims(), all[3].shape().dims()), (&[3, 8][..], &[4, 6][..]));
    assert_eq!(numbers(&all[2]), random(&[2, 3], 5).as_slice::<f32>().expect("float32"));
    assert!(Arc::ptr_eq(&tensor(&all[1]).memory, &tensor(&all[3]).memory), "one value under two shapes");
    assert_eq!(numbers(&all[1]), numbers(&again[3]));
    // Now the input is on the device, and the output is it.
    let fed = run(&executable, &[again[3].clone()], &[true; 4]);
    assert!(Arc::ptr_eq(&tensor(&fed[0]).memory, &tensor(&again[3]).memory));
    assert_eq!(numbers(&fed[0]), numbers(&again[3]));
    assert_eq!(numbers(&fed[3]), numbers(&again[3]), "rectified twice");
}

#[test]
fn what_another_device_holds_goes_through_the_host() {
    let Some(backend) = backend() else { return };
    let other = WgpuBackend::private(|_| ());
    let (x, y) = (random(&[3, 3], 1), random(&[3, 3], 2));
    let there = run(&compiled(&other, accumulator(&[3, 3])), &[x.into(), y.clone().into()], &[true, true]);
    let Resident::Device(foreign) = &there[0] else { panic!("it stayed") };
    assert!(other.holds(&**foreign) && !backend.holds(&**foreign));
    let here =
        run(&compiled(backend, accumulator(&[3, 3])), &[there[0].clone(), y.clone().into()], &[true, false]);
    let want: Vec<f32> =
        numbers(&there[0]).iter().zip(y.as_slice::<f32>().expect("float32")).map(|(a, b)| a + b).collect();
    assert_eq!(numbers(&here[0]), want);
}

/// A chain of products that keeps its numbers small.
fn chain(products: usize, extent: usize) -> Graph {
    let mut graph = Graph::new("chain");
    let mut x = input(&mut graph, "x", &[extent, extent]);
    for seed in 0..products {
        let weights = random(&[extent, extent], seed as u64).to_f64().expect("floats");
        let small: Vec<f32> = weights.iter().map(|w| (w / extent as f64) as f32).collect();
        let weights = Tensor::from_vec([extent, extent], small).expect("as many numbers");
        let weights = graph.add_constant(format!("w{seed}"), weights);
        x = add(&mut graph, "MatMul", &[], &[x, weights]);
    }
    graph.outputs = vec![x];
    graph
}

#[test]
fn a_run_that_may_be_stopped_goes_in_parts_with_the_same_result() {
    if self::backend().is_none() {
        return;
    }
    let backend = WgpuBackend::private(|_| ());
    let executable = compiled(&backend, chain(12, 33));
    let submits = || backend.shared().gpu.submitted.swap(0, Ordering::SeqCst);
    let x: Resident = random(&[33, 33], 99).into();
    let inputs = std::slice::from_ref(&x);
    submits();
    let whole = numbers(&run(&executable, inputs, &[false])[0]);
    assert_eq!(submits(), 1);
    let stop = Stop::new();
    let context = RunContext { stop: Some(&stop), ..RunContext::default() };
    for _ in 0..2 {
        let parted = Executable::run(&executable, inputs, Vec::new(), &context).expect("it runs");
        assert_eq!(numbers(parted[0].as_ref().expect("an output")), whole);
        assert!((3..=9).contains(&submits()));
    }
    stop.stop();
    let stopped = Executable::run(&executable, inputs, Vec::new(), &context);
    assert!(matches!(stopped, Err(BackendError::Stopped(_))));
    assert_eq!((submits(), numbers(&run(&executable, inputs, &[false])[0])), (0, whole));
}

#[test]
fn a_run_is_stopped_between_its_parts() {
    if self::backend().is_none() {
        return;
    }
    let backend = WgpuBackend::private(|_| ());
    let executable = compiled(&backend, chain(16, 384));
    let gpu = &backend.shared().gpu;
    let x: Resident = random(&[384, 384], 99).into();
    let stop = Stop::new();
    let context = RunContext { stop: Some(&stop), ..RunContext::default() };
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Stopped as soon as its first part is on its way.
            while gpu.submitted.load(Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_micros(50));
            }
            stop.stop();
        });
        Executable::run(&executable, std::slice::from_ref(&x), Vec::new(), &context)
    });
    let parts = gpu.submitted.load(Ordering::SeqCst);
    assert!(matches!(result, Err(BackendError::Stopped(_))), "after {parts} parts");
    assert!(parts < 8, "{parts} parts went out");
    // What was on its way does no harm to the next run.
    let after = numbers(&run(&executable, std::slice::from_ref(&x), &[false])[0]);
    let fresh = numbers(&run(&compiled(&backend, chain(16, 384)), std::slice::from_ref(&x), &[false])[0]);
    assert_eq!(after, fresh);
}

/// Calls `f`, which must be done in good time.
fn in_time(f: impl FnOnce() + Send + 'static) {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        f();
        tell.send(()).expect("somebody waits");
    });
    told.recv_timeout(Duration::from_secs(60)).expect("it hangs or has failed");
}

#[test]
fn a_run_that_may_be_stopped_does_not_wait_for_those_of_other_threads() {
    if self::backend().is_none() {
        return;
    }
    in_time(|| {
        let backend = WgpuBackend::private(|_| ());
        let (parted, long) = (compiled(&backend, chain(12, 33)), compiled(&backend, chain(2, 384)));
        let [x, y]: [Resident; 2] = [random(&[33, 33], 99).into(), random(&[384, 384], 98).into()];
        let whole = numbers(&run(&parted, std::slice::from_ref(&x), &[false])[0]);
        let y = &run(&compiled(&backend, accumulator(&[384, 384])), &[y.clone(), y], &[true, false])[0];
        for round in 0..100 {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    // Nobody waits for what this submits.
                    std::thread::sleep(Duration::from_micros(100 * (round % 20)));
                    run(&long, std::slice::from_ref(y), &[true])
                });
                let stop = Stop::new();
                let context = RunContext { stop: Some(&stop), ..RunContext::default() };
                let inputs = std::slice::from_ref(&x);
                let result = Executable::run(&parted, inputs, vec![Destination::Stay], &context);
                let kept = result.expect("it runs").remove(0).expect("an output");
                other.join().expect("it runs");
                if round % 10 == 0 {
                    assert_eq!(numbers(&kept), whole);
                }
            });
        }
    });
}

#[test]
fn a_profile_tells_of_every_dispatch_of_a_long_plan() {
    if self::backend().is_none() {
        return;
    }
    // By the GPU's clock, and by the host's.
    for (timestamps, steps) in [(true, 2100), (false, 5)] {
        let without = Without { timestamps: !timestamps, ..Without::default() };
        let backend = WgpuBackend::private_without(without, None, |_| ());
        let mut graph = Graph::new("long");
        let mut x = input(&mut graph, "x", &[3]);
        for _ in 0..steps {
            x = add(&mut graph, "Neg", &[], &[x]);
        }
        graph.outputs = vec![x];
        let executable = compiled(&backend, graph);
        let profile = Profile::new();
        let context = RunContext { profile: Some(&profile), ..RunContext::default() };
        let inputs = [random(&[3], 1).into()];
        Executable::run(&executable, &inputs, Vec::new(), &context).expect("it runs");
        let spans = profile.spans();
        assert_eq!(spans.len(), steps);
        assert!(spans.windows(2).all(|pair| pair[0].start <= pair[1].start), "one after the other");
        assert!(spans.iter().any(|span| !span.duration.is_zero()));
    }
}
