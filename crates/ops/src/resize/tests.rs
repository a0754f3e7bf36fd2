use super::*;
use crate::testing::{parse_at, run, try_run};
use inferrum_graph::{Attr, NodeDef};

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_vec(shape, values.to_vec()).unwrap()
}

fn scaled(attrs: &[(&str, &str)], x: &Tensor, scales: &[f32]) -> Vec<f64> {
    let attrs: Vec<(&str, Attr)> =
        attrs.iter().map(|(name, text)| (*name, Attr::String((*text).into()))).collect();
    let op = parse_at(19, "Resize", &attrs);
    let inputs = [Some(x.clone()), None, Some(Tensor::vector(scales.to_vec()))];
    try_run(&*op, &inputs).unwrap()[0].to_f64().unwrap()
}

#[test]
fn linear_modes_place_their_samples() {
    let x = tensor(&[2], &[0.0, 3.0]);
    let y = |mode: &str| scaled(&[("mode", "linear"), ("coordinate_transformation_mode", mode)], &x, &[2.0]);
    assert_eq!(y("half_pixel"), [0.0, 0.75, 2.25, 3.0]);
    assert_eq!(y("align_corners"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(y("asymmetric"), [0.0, 1.5, 3.0, 3.0]);
}

#[test]
fn nearest_takes_any_type() {
    let op = parse_at(13, "Resize", &[]);
    let scales = || Some(Tensor::vector(vec![2f32]));
    let strings = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
    let y = try_run(&*op, &[Some(strings), None, scales()]).unwrap().remove(0);
    assert_eq!(y.as_strings().unwrap(), ["a", "a", "b", "b"]);
    let flags = Tensor::from_vec([2], vec![true, false]).unwrap();
    let y = try_run(&*op, &[Some(flags), None, scales()]).unwrap().remove(0);
    assert_eq!(y.as_slice::<bool>().unwrap(), [true, true, false, false]);
}

#[test]
fn upsample_is_resize_of_its_time() {
    let mut def = NodeDef::new("Upsample", 7, [("scales".to_string(), Attr::Floats(vec![1.5]))].into());
    let op = crate::parse("", &mut def).unwrap().unwrap();
    let lifted = def.finish().unwrap().remove(0);
    assert_eq!((lifted.0, op.key()), (1, OpKey::onnx("Resize")));
    let x = tensor(&[4], &[0.0, 1.0, 2.0, 3.0]);
    let y = run(&*op, &[x, lifted.1]).remove(0);
    assert_eq!(y.to_f64().unwrap(), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
}

#[test]
fn sizes_keep_the_aspect_ratio() {
    let shape = |policy: &str| {
        let op = parse_at(18, "Resize", &[("keep_aspect_ratio_policy", Attr::String(policy.into()))]);
        let sizes = Tensor::vector(vec![7i64, 8]);
        let y =
            try_run(&*op, &[Some(tensor(&[2, 4], &[0.0; 8])), None, None, Some(sizes)]).unwrap().remove(0);
        y.shape().dims().to_vec()
    };
    assert_eq!(shape("stretch"), [7, 8]);
    assert_eq!(shape("not_larger"), [4, 8]);
    assert_eq!(shape("not_smaller"), [7, 14]);
}

#[test]
fn integers_are_rounded_and_kept_in_range() {
    let op = parse_at(13, "Resize", &[("mode", Attr::String("cubic".into()))]);
    let x = Tensor::from_vec([4], vec![0u8, 255, 255, 0]).unwrap();
    let y = try_run(&*op, &[Some(x), None, Some(Tensor::vector(vec![2f32]))]).unwrap().remove(0);
    let y = y.as_slice::<u8>().unwrap().to_vec();
    assert_eq!((y[0], y[3], y[4]), (0, 255, 255));
}

#[test]
fn a_region_may_reach_outside() {
    let attrs = [
        ("coordinate_transformation_mode", Attr::String("tf_crop_and_resize".into())),
        ("mode", Attr::String("linear".into())),
        ("extrapolation_value", Attr::Float(9.0)),
    ];
    let op = parse_at(13, "Resize", &attrs);
    let inputs = [
        Some(tensor(&[3], &[1.0, 2.0, 3.0])),
        Some(Tensor::vector(vec![0.5f32, 1.5])),
        None,
        Some(Tensor::vector(vec![3i64])),
    ];
    assert_eq!(try_run(&*op, &inputs).unwrap()[0].to_f64().unwrap(), [2.0, 3.0, 9.0]);
}

#[test]
fn unfit_arguments_are_errors() {
    let op = parse_at(19, "Resize", &[]);
    let x = || Some(tensor(&[2, 2], &[0.0; 4]));
    let fails = |scales: &[f32]| try_run(&*op, &[x(), None, Some(Tensor::vector(scales.to_vec()))]).is_err();
    assert!(
        fails(&[1.0])
            && fails(&[1.0, 0.0])
            && fails(&[1.0, -1.0])
            && fails(&[f32::NAN, 1.0])
            && fails(&[1e30, 1e30])
    );
    assert!(fails(&[f32::INFINITY, 1.0]) && fails(&[]) && !fails(&[0.1, 1.0]));
    let sizes = |sizes: &[i64]| try_run(&*op, &[x(), None, None, Some(Tensor::vector(sizes.to_vec()))]);
    assert!(sizes(&[-1, 2]).is_err() && sizes(&[i64::MAX, 2]).is_err());
    assert_eq!(sizes(&[0, 3]).unwrap()[0].shape().dims(), [0, 3]);
    let empty = Some(tensor(&[0], &[]));
    assert!(try_run(&*op, &[empty, None, None, Some(Tensor::vector(vec![3i64]))]).is_err());
}

#[test]
fn symbols_survive_where_nothing_changes() {
    let op = parse_at(13, "Resize", &[]);
    let n = SymDim::Symbol("N".into());
    let x = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(3), n.clone()]);
    let scales = Fact::constant(Tensor::vector(vec![1f32, 2.0, 2.0]));
    let facts = op.infer(Facts(&[Some(&x), None, Some(&scales)])).unwrap();
    assert_eq!(facts, [Fact::tensor(DType::F32, vec![n, SymDim::Known(6), SymDim::Unknown])]);
}
