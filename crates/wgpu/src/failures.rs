//! Tests that provoke what a device refuses: each failure is typed, names the node, and leaves the next session whole.

use std::sync::Arc;

use inferrum_backend::{Backend, BackendError, BoundNode, DeviceFailure, DeviceTensor, Resident, RunContext};
use inferrum_graph::{Fact, Graph};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::WgpuBackend;
use crate::edge;
use crate::kernel::{Dispatch, Lowered, Work};
use crate::testing::{Tolerance, add, assert_close, backend, random, whole};

/// `Exp(Relu(x))`.
fn graph(shape: &[usize]) -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, Shape::from(shape)));
    let relu = add(&mut graph, "Relu", &[], &[x]);
    let exp = add(&mut graph, "Exp", &[], &[relu]);
    graph.outputs = vec![exp];
    graph
}

/// A session of another user's works.
fn the_next_one_works(backend: &WgpuBackend) {
    let executable = backend.compile(&whole(graph(&[3, 5]))).expect("it compiles");
    let x = random(&[3, 5], 7);
    let want: Vec<f32> = x.as_slice::<f32>().expect("floats").iter().map(|x| x.max(0.0).exp()).collect();
    let got = executable.run(&[x.into()], Vec::new(), &RunContext::default()).expect("it runs");
    let got = got[0].as_ref().expect("an output").to_host().expect("it is read");
    let tolerance = Tolerance { relative: 1e-5, absolute: 0.0 };
    assert_close(&got, &Tensor::from_vec([3, 5], want).expect("as many"), tolerance, "the next session");
}

#[test]
fn a_lost_device_is_a_typed_error_and_is_opened_anew() {
    if backend().is_none() {
        return;
    }
    let lost = WgpuBackend::private(|_| ());
    let executable = lost.compile(&whole(graph(&[3, 5]))).expect("it compiles");
    let x: Resident = random(&[3, 5], 7).into();
    let inputs = std::slice::from_ref(&x);
    let stay = || vec![inferrum_backend::Destination::Stay];
    let kept = executable.run(inputs, stay(), &RunContext::default()).expect("it runs").remove(0);
    let Some(Resident::Device(kept)) = kept else { panic!("it stayed") };
    lost.shared().gpu.device.destroy();
    let is_lost = |error: &BackendError| matches!(error, BackendError::Failure(DeviceFailure::Lost { .. }));
    let error = executable.run(inputs, Vec::new(), &RunContext::default()).expect_err("it is gone");
    assert!(is_lost(&error), "{error}");
    assert!(error.to_string().contains("wgpu:0") && error.to_string().contains("new session"), "{error}");
    let error = DeviceTensor::read(&*kept).expect_err("it is gone");
    assert!(is_lost(&error), "{error}");
    let error = lost.compile(&whole(graph(&[2]))).map(|_| ()).expect_err("it is gone");
    assert!(is_lost(&error), "{error}");
    the_next_one_works(&WgpuBackend::open(None).expect("it opens"));
}

#[test]
fn a_loss_names_the_nodes_that_ran() {
    let Some(backend) = backend() else { return };
    let region = whole(graph(&[3, 5]));
    let shared = backend.shared();
    let plan = edge::wait(crate::compile::compile(shared, &region, |bound| shared.lower(bound)));
    let plan = plan.expect("it compiles");
    let lost = DeviceFailure::Lost { device: "wgpu:0".into(), reason: "r".into(), during: String::new() };
    let told = plan.during(lost.into(), 0..plan.steps.len()).to_string();
    assert!(told.contains("lost while `Relu` to `Exp` ran: r"), "{told}");
}

#[test]
fn memory_that_is_not_there_is_told_with_value_and_node() {
    if backend().is_none() {
        return;
    }
    let small = WgpuBackend::private(|limits| {
        limits.max_buffer_size = 1 << 20;
        limits.max_storage_buffer_binding_size = 1 << 20;
    });
    let region = whole(graph(&[1 << 19]));
    // As the session asks: the node is declined, so that the processor runs it.
    let declined = small.claim(&region.bound(region.nodes[0])).expect_err("too large");
    assert!(declined.0.contains("max_storage_buffer_binding_size"), "{declined}");
    // Past that check: the device's own answer.
    let shared = small.shared();
    let error = edge::wait(shared.compile(&region, |bound| shared.lower_unchecked(bound)));
    match error.map(|_| ()).expect_err("too large") {
        BackendError::Failure(DeviceFailure::NoMemory {
            node: Some(node),
            value: Some(value),
            needed,
            reason,
            ..
        }) => {
            assert_eq!((node.as_str(), needed), ("Relu", 4 << 19));
            assert!(!value.is_empty() && reason.contains("max_buffer_size"), "{value}: {reason}");
        }
        other => panic!("{other}"),
    }
    the_next_one_works(&small);
}

/// A convolution's filters, `[filters, channels, 1, 1]`, which are packed with the filters next to each other.
fn packed_filters(filters: usize, channels: usize) -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, Shape::from([1, channels, 2, 2])));
    let w = graph.add_constant("w", random(&[filters, channels, 1, 1], 1));
    let y = add(&mut graph, "Conv", &[], &[x, w]);
    graph.outputs = vec![y];
    graph
}

#[test]
fn a_constant_that_outgrows_a_binding_when_packed_is_declined() {
    if backend().is_none() {
        return;
    }
    let small = WgpuBackend::private(|limits| limits.max_storage_buffer_binding_size = 1 << 20);
    let most = 1 << 18;
    for (filters, channels, fits) in [(64, most / 64, true), (64, most / 64 + 1, false), (5, most / 8, true)]
    {
        let region = whole(packed_filters(filters, channels));
        let claimed = small.claim(&region.bound(region.nodes[0]));
        assert_eq!(claimed.is_ok(), fits, "{filters} filters of {channels} channels: {claimed:?}");
    }
    // Five filters take the place of eight.
    let region = whole(packed_filters(5, most / 8 + 1));
    let declined = small.claim(&region.bound(region.nodes[0])).expect_err("too large once packed");
    assert!(
        declined.0.contains("packed") && declined.0.contains("max_storage_buffer_binding_size"),
        "{declined}"
    );
    the_next_one_works(&small);
}

#[test]
fn a_shader_that_the_driver_refuses_is_told_with_its_node() {
    let Some(backend) = backend() else { return };
    let shared = backend.shared();
    let broken = |bound: &BoundNode<'_>| {
        let lowered = shared.lower(bound)?;
        let Lowered::Work(Work { name, mut dispatches, scratch }) = lowered else { return Ok(lowered) };
        if bound.node.name == "Exp" {
            for Dispatch { shader, .. } in &mut dispatches {
                shader.source = format!("{}\nfn half(", shader.source).into();
            }
        }
        Ok(Lowered::Work(Work { name, dispatches, scratch }))
    };
    let error = edge::wait(shared.compile(&whole(graph(&[3, 5])), broken)).map(|_| ());
    match error.expect_err("half a function") {
        BackendError::Failure(DeviceFailure::Kernel { node, op, device, reason }) => {
            assert_eq!((node.as_str(), op.as_str(), device.as_str()), ("Exp", "Exp", "wgpu:0"));
            assert!(reason.contains("half"), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert!(Arc::ptr_eq(&shared.gpu, &backend.shared().gpu) && shared.gpu.check().is_ok());
    the_next_one_works(backend);
}
