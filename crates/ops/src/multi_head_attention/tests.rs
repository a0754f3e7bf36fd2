use super::*;
use crate::testing::{parse_node, try_run};
use inferrum_graph::Attr;
use inferrum_tensor::DType;

fn op(heads: i64, outputs: usize, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
    let attrs: Vec<(&str, Attr)> = attrs.iter().cloned().chain([("num_heads", Attr::Int(heads))]).collect();
    parse_node("com.microsoft", 1, "MultiHeadAttention", &attrs, outputs)
}

fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
    Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 1.3).sin()).collect()
}

#[test]
fn packed_and_separate_operands_agree() {
    let packed = values(2 * 3 * 2 * 3 * 4);
    let part = |part: usize| -> Vec<f32> {
        packed
            .chunks_exact(4)
            .enumerate()
            .filter(|(i, _)| i % 3 == part)
            .flat_map(|(_, x)| x.to_vec())
            .collect()
    };
    let pairs: Vec<f32> =
        packed.chunks_exact(4).enumerate().filter(|(i, _)| i % 3 > 0).flat_map(|(_, x)| x.to_vec()).collect();
    let separate = [0, 1, 2].map(|i| tensor(&[2, 3, 8], &part(i)));
    let run = |inputs: &[Option<Tensor>]| try_run(&*op(2, 3, &[]), inputs).unwrap();
    let expected = run(&separate);
    assert_eq!(expected, run(&[tensor(&[2, 3, 2, 3, 4], &packed)]));
    assert_eq!(expected, run(&[separate[0].clone(), tensor(&[2, 3, 2, 2, 4], &pairs)]));
    let by_head = [&expected[1], &expected[2]].map(|t| Some(t.clone()));
    assert_eq!(expected, run(&[separate[0].clone(), by_head[0].clone(), by_head[1].clone()]));
}

#[test]
fn a_buffer_is_filled_in_place() {
    let one = tensor(&[1, 1, 1], &[0.0]);
    let cache = tensor(&[1, 1, 3, 1], &[1.0, 7.0, 9.0]);
    let new = tensor(&[1, 1, 1], &[3.0]);
    let len = Some(Tensor::vector(vec![1i32]));
    let inputs = [one.clone(), one, new, None, None, None, cache.clone(), cache, len];
    let outputs = try_run(&*op(1, 3, &[]), &inputs).unwrap();
    assert_eq!(outputs[0].to_f64().unwrap(), [2.0]);
    assert_eq!(outputs[2].to_f64().unwrap(), [1.0, 3.0, 9.0]);
    let full = Some(Tensor::vector(vec![3i32]));
    let inputs: Vec<_> = inputs[..8].iter().cloned().chain([full]).collect();
    assert!(try_run(&*op(1, 3, &[]), &inputs).is_err());
}

#[test]
fn padding_masks_of_every_form_agree() {
    let q = tensor(&[2, 2, 1], &[0.0; 4]);
    let v = tensor(&[2, 3, 1], &[1.0, 2.0, 4.0, 1.0, 2.0, 4.0]);
    let y = |mask: Tensor| {
        try_run(&*op(1, 1, &[]), &[q.clone(), v.clone(), v.clone(), None, Some(mask)]).unwrap()[0]
            .to_f64()
            .unwrap()
    };
    let ints = |shape: &[usize], values: &[i32]| Tensor::from_vec(shape, values.to_vec()).unwrap();
    let expected = y(ints(&[2], &[2, 1]));
    assert_eq!(expected, [1.5, 1.5, 1.0, 1.0]);
    assert_eq!(expected, y(ints(&[2, 3], &[1, 1, 0, 1, 0, 0])));
    assert_eq!(expected, y(ints(&[2, 2, 3], &[1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0])));
    assert_eq!(expected, y(ints(&[8], &[2, 1, 0, 2, 4, 0, 3, 6])));
    assert_eq!(y(ints(&[4], &[3, 2, 2, 0]))[..3], [4.0, 4.0, 1.5]);
}

#[test]
fn unfit_inputs_are_errors() {
    let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
    let fails = |inputs: &[Option<Tensor>]| try_run(&*op(2, 1, &[]), inputs).is_err();
    assert!(fails(&[zeros(&[1, 2, 3])]));
    assert!(fails(&[zeros(&[1, 2, 4])]));
    assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 6]), zeros(&[1, 2, 4])]));
    assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[1, 3, 4])]));
    assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[11])]));
    assert!(!fails(&[zeros(&[0, 2, 4]), zeros(&[0, 3, 4]), zeros(&[0, 3, 4])]));
}
