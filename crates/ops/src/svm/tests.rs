use super::*;
use crate::testing::{parse_in, run, try_run};
use inferrum_graph::Attr;

fn op(op_type: &str, attrs: &[(&'static str, Attr)], kernel: &str) -> Arc<dyn Operator> {
    let mut all = vec![
        ("kernel_params", Attr::Floats(vec![0.5, 0.25, 2.0])),
        ("kernel_type", Attr::String(kernel.as_bytes().to_vec())),
        ("support_vectors", Attr::Floats(vec![0.5, -1.0, 1.0, 0.25, -0.5, 2.0, 0.0, 1.0])),
    ];
    all.extend(attrs.iter().cloned());
    parse_in("ai.onnx.ml", 1, op_type, &all)
}

fn x() -> Tensor {
    Tensor::from_vec([3, 2], vec![-1f32, 0.5, 2.0, -1.0, 0.25, 3.0]).unwrap()
}

fn close(got: &Tensor, expected: &[f32]) {
    let got = got.as_slice::<f32>().unwrap();
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
}

fn classifier(classes: usize, probabilities: bool) -> Arc<dyn Operator> {
    let pairs = classes * (classes - 1) / 2;
    let (vectors, coefficients, rho) = if classes == 2 {
        (vec![2, 2], vec![0.5, 1.0, -0.75, -0.75], vec![0.1])
    } else {
        (vec![1, 2, 1], vec![0.5, -0.25, -0.25, 0.75, -1.0, 0.3, 0.6, 0.1], vec![0.1, -0.2, 0.3])
    };
    let mut attrs = vec![
        ("vectors_per_class", Attr::Ints(vectors)),
        ("coefficients", Attr::Floats(coefficients)),
        ("rho", Attr::Floats(rho)),
        ("classlabels_ints", Attr::Ints(vec![10, 20, 30][..classes].to_vec())),
    ];
    if probabilities {
        attrs.push(("prob_a", Attr::Floats(vec![-1.5, -1.0, -0.5][..pairs].to_vec())));
        attrs.push(("prob_b", Attr::Floats(vec![0.1, 0.0, -0.1][..pairs].to_vec())));
    }
    op("SVMClassifier", &attrs, "RBF")
}

/// The expected numbers are ONNX Runtime's.
#[test]
fn pairs_of_classes_vote() {
    let y = run(&*classifier(2, false), &[x()]);
    assert_eq!(y[0].as_slice::<i64>().unwrap(), [20, 10, 20]);
    close(&y[1], &[0.332_453_64, -0.332_453_64, -0.525_913_4, 0.525_913_4, 0.324_385_08, -0.324_385_08]);
    let y = run(&*classifier(3, false), &[x()]);
    assert_eq!(y[0].as_slice::<i64>().unwrap(), [10, 10, 20]);
    close(
        &y[1],
        &[
            0.048_280_55,
            0.096_046_88,
            0.564_780_5,
            0.192_781_72,
            -0.510_915_76,
            0.385_431_4,
            -0.018_597_253,
            -0.101_946_56,
            0.592_978_95,
        ],
    );
}

#[test]
fn probabilities_follow_from_pairs() {
    let y = run(&*classifier(2, true), &[x()]);
    assert_eq!(y[0].as_slice::<i64>().unwrap(), [20, 10, 20]);
    close(&y[1], &[0.354_645_64, 0.645_354_45, 0.662_608_6, 0.337_391_38, 0.353_762_78, 0.646_237_25]);
    let y = run(&*classifier(3, true), &[x()]);
    close(
        &y[1],
        &[
            0.343_038_7,
            0.375_544_73,
            0.281_416_57,
            0.299_754_32,
            0.349_124_67,
            0.351_121_07,
            0.311_380_54,
            0.391_616_94,
            0.297_002_43,
        ],
    );
}

#[test]
fn without_support_vectors_it_is_linear() {
    let attrs = [
        ("coefficients", Attr::Floats(vec![0.5, 1.0, -1.0, 0.25])),
        ("rho", Attr::Floats(vec![0.1])),
        ("classlabels_strings", Attr::Strings(vec![b"n".to_vec(), b"y".to_vec()])),
        ("post_transform", Attr::String(b"SOFTMAX".to_vec())),
    ];
    let y = run(&*op("SVMClassifier", &attrs, "RBF"), &[x()]);
    assert_eq!(y[0].as_strings().unwrap(), ["y", "y", "y"]);
    close(&y[1], &[0.245_085, 0.754_915, 0.904_650_5, 0.095_349_46, 0.932_453_3, 0.067_546_7]);
}

fn regressor(kernel: &str, more: &[(&'static str, Attr)]) -> Tensor {
    let mut attrs = vec![
        ("coefficients", Attr::Floats(vec![0.5, 1.0, -0.75, -0.75])),
        ("rho", Attr::Floats(vec![0.1])),
        ("n_supports", Attr::Int(4)),
    ];
    attrs.extend(more.iter().cloned());
    run(&*op("SVMRegressor", &attrs, kernel), &[x()]).remove(0)
}

#[test]
fn every_kernel() {
    close(&regressor("LINEAR", &[]), &[-2.775, 5.85, -6.993_75]);
    close(&regressor("POLY", &[]), &[-0.771_093_7, 0.928_125, -8.549_414]);
    close(&regressor("RBF", &[]), &[-0.332_453_64, 0.525_913_4, -0.324_385_1]);
    close(&regressor("SIGMOID", &[]), &[-1.125_576, 2.153_344_4, -1.133_232_6]);
    close(&regressor("RBF", &[("one_class", Attr::Int(1))]), &[-1.0, 1.0, -1.0]);
    let linear = [
        ("coefficients", Attr::Floats(vec![0.5, 1.0])),
        ("rho", Attr::Floats(vec![0.1])),
        ("post_transform", Attr::String(b"NONE".to_vec())),
    ];
    close(&run(&*op("SVMRegressor", &linear, "RBF"), &[x()])[0], &[0.1, 0.1, 3.225]);
}

#[test]
fn attributes_must_fit_each_other() {
    let parse = |attrs: &[(&str, Attr)]| {
        let mut all: std::collections::BTreeMap<String, Attr> = [
            ("classlabels_ints", Attr::Ints(vec![1, 2])),
            ("vectors_per_class", Attr::Ints(vec![1, 1])),
            ("support_vectors", Attr::Floats(vec![0.5, 1.0])),
            ("coefficients", Attr::Floats(vec![0.5, 1.0])),
            ("rho", Attr::Floats(vec![0.5])),
        ]
        .map(|(name, attr)| (name.to_owned(), attr))
        .into();
        all.extend(attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())));
        SvmClassifier::parse(&mut NodeDef::new("SVMClassifier", 1, all))
    };
    assert!(parse(&[]).is_ok());
    assert!(parse(&[("support_vectors", Attr::Floats(vec![0.5]))]).is_err());
    assert!(parse(&[("vectors_per_class", Attr::Ints(vec![2]))]).is_err());
    assert!(parse(&[("vectors_per_class", Attr::Ints(vec![i64::MAX, i64::MAX]))]).is_err());
    assert!(parse(&[("vectors_per_class", Attr::Ints(vec![-1, 1]))]).is_err());
    assert!(parse(&[("coefficients", Attr::Floats(vec![0.5]))]).is_err());
    assert!(parse(&[("rho", Attr::Floats(Vec::new()))]).is_err());
    assert!(parse(&[("prob_a", Attr::Floats(vec![0.5]))]).is_err());
    assert!(parse(&[("kernel_params", Attr::Floats(vec![0.5]))]).is_err());
    let wide = Some(Tensor::zeros(DType::F32, [1, 3]).unwrap());
    assert!(try_run(&*parse(&[]).unwrap(), &[wide]).is_err());
}
