use super::*;
use crate::testing::{parse_in, run, try_run};
use inferrum_graph::Attr;

fn texts(texts: &[&str]) -> Attr {
    Attr::Strings(texts.iter().map(|s| s.as_bytes().to_vec()).collect())
}

/// Two stumps, each with two leaves that vote with `weights` for `ids`.
fn stumps(prefix: &str, ids: &[i64], weights: &[f32], more: &[(&str, Attr)]) -> Vec<(String, Attr)> {
    let ints = |values: &[i64]| Attr::Ints(values.to_vec());
    let modes = texts(&["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]);
    let mut attrs: Vec<(String, Attr)> = vec![
        ("nodes_treeids".into(), ints(&[0, 0, 0, 1, 1, 1])),
        ("nodes_nodeids".into(), ints(&[0, 1, 2, 0, 1, 2])),
        ("nodes_featureids".into(), ints(&[0, 0, 0, 1, 0, 0])),
        ("nodes_values".into(), Attr::Floats(vec![0.5, 0.0, 0.0, 1.0, 0.0, 0.0])),
        ("nodes_modes".into(), modes),
        ("nodes_truenodeids".into(), ints(&[1, 0, 0, 1, 0, 0])),
        ("nodes_falsenodeids".into(), ints(&[2, 0, 0, 2, 0, 0])),
        (format!("{prefix}_treeids"), ints(&[0, 0, 1, 1])),
        (format!("{prefix}_nodeids"), ints(&[1, 2, 1, 2])),
        (format!("{prefix}_ids"), ints(ids)),
        (format!("{prefix}_weights"), Attr::Floats(weights.to_vec())),
    ];
    attrs.extend(more.iter().map(|(name, attr)| (name.to_string(), attr.clone())));
    attrs
}

fn op(op_type: &str, opset: i64, attrs: &[(String, Attr)]) -> Arc<dyn Operator> {
    let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(name, attr)| (name.as_str(), attr.clone())).collect();
    parse_in("ai.onnx.ml", opset, op_type, &attrs)
}

fn x() -> Tensor {
    Tensor::from_vec([3, 2], vec![-1f32, 0.5, 2.0, -1.0, 0.25, 3.0]).unwrap()
}

fn close(got: &Tensor, expected: &[f32]) {
    let got = got.to_f64().unwrap();
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(&a, &b)| (a - f64::from(b)).abs() < 1e-5), "{got:?} {expected:?}");
}

fn classified(ids: &[i64], weights: &[f32], more: &[(&str, Attr)]) -> (Vec<i64>, Tensor) {
    let mut y = run(&*op("TreeEnsembleClassifier", 1, &stumps("class", ids, weights, more)), &[x()]);
    (y[0].as_slice().unwrap().to_vec(), y.remove(1))
}

/// The expected numbers are ONNX Runtime's, here and below.
#[test]
fn the_class_of_most_votes_is_chosen() {
    let labels = ("classlabels_int64s", Attr::Ints(vec![10, 20, 30]));
    let softmax = ("post_transform", Attr::String(b"SOFTMAX".to_vec()));
    let (classes, scores) = classified(&[0, 1, 2, 1], &[0.5, 0.25, 0.125, 1.0], &[labels.clone(), softmax]);
    assert_eq!(classes, [10, 20, 20]);
    close(
        &scores,
        &[
            0.435_954,
            0.264_419_47,
            0.299_626_53,
            0.292_639_5,
            0.375_756_56,
            0.331_604,
            0.307_195_9,
            0.506_480_4,
            0.186_323_73,
        ],
    );
    let base = ("base_values", Attr::Floats(vec![0.1, 0.2, 2.0]));
    let (classes, scores) = classified(&[0, 1, 2, 1], &[0.5, 0.25, 0.125, 1.0], &[labels, base]);
    assert_eq!(classes, [30, 30, 30]);
    close(&scores, &[0.6, 0.2, 2.125, 0.1, 0.45, 2.125, 0.6, 1.2, 2.0]);
}

#[test]
fn one_score_becomes_two_as_the_votes_signs_suggest() {
    let labels = ("classlabels_int64s", Attr::Ints(vec![10, 20]));
    let weights = [0.25, 0.5, 0.125, 0.75];
    let (classes, scores) = classified(&[0; 4], &weights, std::slice::from_ref(&labels));
    assert_eq!(classes, [10, 20, 20]);
    close(&scores, &[0.625, 0.375, 0.375, 0.625, 0.0, 1.0]);
    let (classes, scores) = classified(&[1; 4], &weights, std::slice::from_ref(&labels));
    assert_eq!(classes, [10, 20, 20]);
    close(&scores, &[0.0, 0.375, 0.0, 0.625, 0.0, 1.0]);
    let (classes, scores) = classified(&[0, 1, 0, 1], &weights, &[labels]);
    assert_eq!(classes, [1, 1, 1]);
    close(&scores, &[-0.375, 0.375, 0.125, 0.5, 0.25, 0.75]);
    let more =
        [("classlabels_strings", texts(&["n", "y"])), ("post_transform", Attr::String(b"LOGISTIC".to_vec()))];
    let op = op("TreeEnsembleClassifier", 3, &stumps("class", &[0; 4], &[-0.25, 0.5, 0.125, 0.75], &more));
    let y = run(&*op, &[x()]);
    assert_eq!(y[0].as_strings().unwrap(), ["n", "y", "y"]);
    close(&y[1], &[0.531_209_4, 0.468_790_6, 0.348_645_1, 0.651_354_9, 0.377_540_65, 0.622_459_35]);
}

fn regressed(targets: i64, aggregate: &str, more: &[(&str, Attr)]) -> Tensor {
    let ids = if targets == 1 { [0; 4] } else { [0, 1, 0, 1] };
    let mut all = vec![
        ("n_targets", Attr::Int(targets)),
        ("aggregate_function", Attr::String(aggregate.as_bytes().to_vec())),
    ];
    all.extend(more.iter().cloned());
    let attrs = stumps("target", &ids, &[-0.25, 0.5, 0.125, 0.75], &all);
    run(&*op("TreeEnsembleRegressor", 1, &attrs), &[x()]).remove(0)
}

#[test]
fn votes_are_joined_for_each_target() {
    let one = [("base_values", Attr::Floats(vec![10.0]))];
    let two = [("base_values", Attr::Floats(vec![10.0, 20.0]))];
    close(&regressed(1, "SUM", &one), &[9.875, 10.625, 10.5]);
    close(&regressed(2, "SUM", &two), &[9.875, 0.0, 10.125, 20.5, 9.75, 20.75]);
    close(&regressed(1, "AVERAGE", &one), &[9.9375, 10.3125, 10.25]);
    close(&regressed(2, "AVERAGE", &two), &[9.9375, 0.0, 10.0625, 20.25, 9.875, 20.375]);
    close(&regressed(1, "MIN", &one), &[9.75, 10.125, 9.75]);
    close(&regressed(2, "MAX", &two), &[10.125, 0.0, 10.125, 20.5, 9.75, 20.75]);
    let logistic = [("post_transform", Attr::String(b"LOGISTIC".to_vec()))];
    close(
        &regressed(2, "SUM", &logistic),
        &[0.468_790_6, 0.5, 0.531_209_4, 0.622_459_35, 0.437_823_47, 0.679_178_7],
    );
    close(&regressed(1, "SUM", &logistic), &[-0.125, 0.625, 0.5]);
}

#[test]
fn of_a_leafs_votes_for_the_only_target_the_first_counts() {
    let votes = |targets: i64, ids: &[i64]| {
        let mut attrs = stumps("target", ids, &[1.0, 2.0, 4.0, 8.0], &[("n_targets", Attr::Int(targets))]);
        // The first leaf votes twice, the second and third once, the fourth not at all.
        for (name, attr) in &mut attrs {
            match name.as_str() {
                "target_treeids" => *attr = Attr::Ints(vec![0, 0, 0, 1]),
                "target_nodeids" => *attr = Attr::Ints(vec![1, 1, 2, 1]),
                _ => {}
            }
        }
        run(&*op("TreeEnsembleRegressor", 1, &attrs), &[x()]).remove(0)
    };
    close(&votes(1, &[0, 0, 0, 0]), &[9.0, 12.0, 1.0]);
    close(&votes(2, &[1, 1, 1, 1]), &[0.0, 11.0, 0.0, 12.0, 0.0, 3.0]);
}

#[test]
fn many_examples_of_any_type_are_scored_alike() {
    let attrs = stumps("target", &[0; 4], &[1.0, 2.0, 3.0, 4.0], &[]);
    let op = op("TreeEnsembleRegressor", 1, &attrs);
    let rows: Vec<i64> = (0..2 * 127).map(|i| i % 5 - 2).collect();
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        let y = run(&*op, &[Tensor::from_i64(dtype, [127, 2], &rows).unwrap()]).remove(0);
        let expected: Vec<f32> = rows
            .chunks(2)
            .map(|x| (if x[0] <= 0 { 1.0 } else { 2.0 }) + (if x[1] < 1 { 3.0 } else { 4.0 }))
            .collect();
        close(&y, &expected);
    }
    assert!(run(&*op, &[Tensor::zeros(DType::F32, [0, 2]).unwrap()])[0].is_empty());
    close(&run(&*op, &[Tensor::vector(vec![0f32, 0.0])])[0], &[4.0]);
    assert!(try_run(&*op, &[Some(Tensor::zeros(DType::F32, [1, 1]).unwrap())]).is_err());
}

#[test]
fn thresholds_may_be_of_double_precision() {
    let close_to_half = 0.5 + 1e-12;
    let doubles = |values: Vec<f64>| Attr::Tensor(Tensor::vector(values));
    let mut attrs = stumps(
        "target",
        &[0; 4],
        &[],
        &[
            ("nodes_values_as_tensor", doubles(vec![0.5, 0.0, 0.0, 1.0, 0.0, 0.0])),
            ("target_weights_as_tensor", doubles(vec![1.0, 2.0, 0.0, 0.0])),
        ],
    );
    attrs.retain(|(name, _)| name != "nodes_values" && name != "target_weights");
    let op = op("TreeEnsembleRegressor", 3, &attrs);
    let x = Tensor::from_vec([2, 2], vec![0.5, 0.0, close_to_half, 0.0]).unwrap();
    close(&run(&*op, &[x])[0], &[1.0, 2.0]);
}

fn ensemble(dtype: DType, post_transform: i64) -> Arc<dyn Operator> {
    let floats = |values: &[f64]| Attr::Tensor(Tensor::from_f64(dtype, [values.len()], values).unwrap());
    let ints = |values: &[i64]| Attr::Ints(values.to_vec());
    // x0 in {1, 3} ? leaf 0 : (x1 >= 0 ? leaf 1 : leaf 2), and one tree more that begins at that second node.
    parse_in(
        "ai.onnx.ml",
        5,
        "TreeEnsemble",
        &[
            ("n_targets", Attr::Int(2)),
            ("post_transform", Attr::Int(post_transform)),
            ("tree_roots", ints(&[0, 1])),
            ("nodes_modes", Attr::Tensor(Tensor::vector(vec![6u8, 2]))),
            ("nodes_splits", floats(&[0.0, 0.0])),
            ("nodes_featureids", ints(&[0, 1])),
            ("nodes_truenodeids", ints(&[0, 1])),
            ("nodes_trueleafs", ints(&[1, 1])),
            ("nodes_falsenodeids", ints(&[1, 2])),
            ("nodes_falseleafs", ints(&[0, 1])),
            ("leaf_targetids", ints(&[0, 1, 0])),
            ("leaf_weights", floats(&[1.0, 2.0, 4.0])),
            ("membership_values", floats(&[3.0, 1.0])),
        ],
    )
}

#[test]
fn the_new_form_shares_nodes_and_knows_sets() {
    let x = |dtype| Tensor::from_f64(dtype, [3, 2], &[3.0, 0.0, 2.0, 0.0, 2.0, -1.0]).unwrap();
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let y = run(&*ensemble(dtype, 0), &[x(dtype)]).remove(0);
        assert_eq!(y.dtype(), dtype);
        close(&y, &[1.0, 2.0, 0.0, 4.0, 8.0, 0.0]);
    }
    let logistic = run(&*ensemble(DType::F32, 2), &[x(DType::F32)]).remove(0);
    close(&logistic, &[0.731_058_6, 0.880_797_1, 0.5, 0.982_013_8, 0.999_664_6, 0.5]);
    assert!(try_run(&*ensemble(DType::F32, 0), &[Some(x(DType::F64))]).is_err());
}

#[test]
fn what_is_no_tree_is_an_error() {
    let parse = |name: &str, attr: Attr| {
        let labels = ("classlabels_int64s", Attr::Ints(vec![1, 2]));
        let mut attrs: std::collections::BTreeMap<String, Attr> =
            stumps("class", &[0, 1, 0, 1], &[1.0; 4], &[labels]).into_iter().collect();
        attrs.insert(name.to_owned(), attr);
        TreeEnsembleClassifier::parse(&mut NodeDef::new("TreeEnsembleClassifier", 1, attrs))
    };
    let ints = |values: &[i64]| Attr::Ints(values.to_vec());
    assert!(parse("post_transform", Attr::String(b"NONE".to_vec())).is_ok());
    assert!(parse("nodes_truenodeids", ints(&[0, 0, 0, 1, 0, 0])).is_err());
    assert!(parse("nodes_truenodeids", ints(&[7, 0, 0, 1, 0, 0])).is_err());
    assert!(parse("nodes_truenodeids", ints(&[1])).is_err());
    assert!(parse("nodes_nodeids", ints(&[0, 1, 1, 0, 1, 2])).is_err());
    assert!(parse("nodes_featureids", ints(&[-1, 0, 0, 1, 0, 0])).is_err());
    assert!(parse("class_ids", ints(&[0, 2, 0, 1])).is_err());
    assert!(parse("class_ids", ints(&[0, -1, 0, 1])).is_err());
    assert!(parse("class_nodeids", ints(&[1, 9, 1, 2])).is_err());
    assert!(parse("class_weights", Attr::Floats(vec![1.0])).is_err());
    assert!(parse("base_values", Attr::Floats(vec![0.0; 3])).is_err());
    assert!(parse("nodes_modes", texts(&["LEAF"; 7])).is_err());
    assert!(parse("classlabels_int64s", ints(&[])).is_err());
}

#[test]
fn debug_texts_tell_trees_apart() {
    let text = |weight: f32| {
        let attrs = stumps("target", &[0; 4], &[1.0, 2.0, 3.0, weight], &[]);
        format!("{:?}", op("TreeEnsembleRegressor", 1, &attrs))
    };
    assert_eq!(text(1.0), text(1.0));
    assert_ne!(text(1.0), text(1.5));
    assert!(text(1.0).len() < 300, "{}", text(1.0));
}
