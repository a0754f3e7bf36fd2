use super::*;
use crate::testing::{parse_node, try_run};
use inferrum_graph::Attr;

fn op(q_heads: i64, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
    let heads = [("num_heads", Attr::Int(q_heads)), ("kv_num_heads", Attr::Int(1))];
    let attrs: Vec<(&str, Attr)> = attrs.iter().cloned().chain(heads).collect();
    parse_node("com.microsoft", 1, "GroupQueryAttention", &attrs, 3)
}

fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
    Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
}

fn ints(values: &[i32]) -> Option<Tensor> {
    Some(Tensor::vector(values.to_vec()))
}

#[test]
fn each_batch_has_its_own_past() {
    let q = tensor(&[2, 1, 1], &[0.0, 0.0]);
    let v = tensor(&[2, 1, 1], &[8.0, 9.0]);
    let cache = tensor(&[2, 1, 2, 1], &[1.0, 3.0, 5.0, 7.0]);
    let inputs = [q.clone(), q, v, cache.clone(), cache, ints(&[2, 1]), ints(&[3])];
    let outputs = try_run(&*op(1, &[]), &inputs).unwrap();
    assert_eq!(outputs[0].to_f64().unwrap(), [4.0, 7.0]);
    assert_eq!(outputs[2].to_f64().unwrap(), [1.0, 3.0, 8.0, 5.0, 9.0, 0.0]);
}

#[test]
fn a_window_counts_its_own_place() {
    let q = tensor(&[1, 3, 1], &[0.0; 3]);
    let v = tensor(&[1, 3, 1], &[1.0, 3.0, 9.0]);
    let inputs = [q.clone(), q, v, None, None, ints(&[2]), ints(&[3])];
    let y = |attrs: &[(&str, Attr)]| try_run(&*op(1, attrs), &inputs).unwrap()[0].to_f64().unwrap();
    assert_eq!(y(&[("local_window_size", Attr::Int(2))]), [1.0, 2.0, 6.0]);
    assert_eq!(y(&[("local_window_size", Attr::Int(1))]), [1.0, 3.0, 9.0]);
    assert_eq!(y(&[("smooth_softmax", Attr::Int(1))])[0], 0.5);
}

#[test]
fn packed_and_separate_operands_agree() {
    let packed: Vec<f32> = (0..2 * 2 * 4 * 2).map(|i| (i as f32 * 0.9).cos()).collect();
    let part = |columns: std::ops::Range<usize>| -> Vec<f32> {
        packed.chunks_exact(8).flat_map(|row| row[columns.clone()].to_vec()).collect()
    };
    let rest = [None, None, ints(&[1, 1]), ints(&[2])];
    let separate =
        [tensor(&[2, 2, 4], &part(0..4)), tensor(&[2, 2, 2], &part(4..6)), tensor(&[2, 2, 2], &part(6..8))];
    let a = try_run(&*op(2, &[]), &separate.into_iter().chain(rest.clone()).collect::<Vec<_>>()).unwrap();
    let all = [tensor(&[2, 2, 8], &packed), None, None];
    let b = try_run(&*op(2, &[]), &all.into_iter().chain(rest).collect::<Vec<_>>()).unwrap();
    assert_eq!(a, b);
}

#[test]
fn a_window_cache_holds_the_last_keys() {
    let attrs = [("local_window_size", Attr::Int(2)), ("sliding_window_cache", Attr::Int(1))];
    let q = |value| tensor(&[1, 1, 1], &[value]);
    // Positions 2 and 3 are held when position 4 comes; with 2 places the older one goes.
    let cache = tensor(&[1, 1, 2, 1], &[2.0, 3.0]);
    let inputs = [q(0.0), q(4.0), q(4.0), cache.clone(), cache, ints(&[4]), ints(&[5])];
    let outputs = try_run(&*op(1, &attrs), &inputs).unwrap();
    assert_eq!(outputs[0].to_f64().unwrap(), [3.5]);
    assert_eq!(outputs[1].to_f64().unwrap(), [3.0, 4.0]);
}

#[test]
fn a_quantised_cache_is_scaled() {
    let attrs = [
        ("k_quant_type", Attr::String("PER_TENSOR".into())),
        ("v_quant_type", Attr::String("PER_CHANNEL".into())),
        ("kv_cache_bit_width", Attr::Int(4)),
    ];
    let x = tensor(&[1, 1, 2], &[0.0, 0.0]);
    let v = tensor(&[1, 1, 2], &[1.2, -40.0]);
    let cache = |byte: u8| Some(Tensor::from_vec([1, 1, 1, 1], vec![byte]).unwrap());
    let mut inputs = vec![x.clone(), x, v, cache(0x88), cache(0x9A), ints(&[1]), ints(&[2])];
    inputs.extend([None, None, None, None, None, tensor(&[1], &[1.0]), tensor(&[1, 1, 1, 2], &[0.5, 4.0])]);
    let outputs = try_run(&*op(1, &attrs), &inputs).unwrap();
    // Cached (2, 1) stands for (1, 4); new (1.2, -40) becomes (2, -8), which stands for (1, -32).
    assert_eq!(outputs[0].to_f64().unwrap(), [1.0, -14.0]);
    assert_eq!(outputs[2].as_slice::<u8>().unwrap(), [0x9A, 0x0A]);
}

#[test]
fn lengths_that_cannot_be_are_errors() {
    let q = tensor(&[1, 1, 1], &[0.0]);
    let cache = tensor(&[1, 1, 2, 1], &[1.0, 3.0]);
    let run = |last: &[i32], total: i32| {
        let inputs =
            [q.clone(), q.clone(), q.clone(), cache.clone(), cache.clone(), ints(last), ints(&[total])];
        try_run(&*op(1, &[]), &inputs)
    };
    assert!(run(&[2], 3).is_ok());
    assert!(
        run(&[3], 4).is_err() && run(&[3], 3).is_err() && run(&[-2], 3).is_err() && run(&[1, 1], 3).is_err()
    );
    assert!(run(&[i32::MAX], i32::MAX).is_err());
}
