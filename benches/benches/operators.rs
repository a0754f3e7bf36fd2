//! Single operators at the shapes of ResNet-50, MobileNetV2 and BERT-base: `cargo bench -p inferrum-benches --bench operators`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inferrum::graph::Attr;
use inferrum_benches::single;

/// Rows, depth, columns of a product; image, filters, kernel, stride, groups of a convolution.
const PRODUCTS: &[[usize; 3]] = &[[128, 768, 768], [128, 768, 3072], [512, 512, 512], [1, 2048, 1000]];
const CONVOLUTIONS: &[[usize; 5]] = &[
    [56, 64, 64, 3, 1],
    [14, 256, 1024, 1, 1],
    [7, 512, 512, 3, 1],
    [112, 32, 32, 3, 32],
    [224, 3, 64, 7, 1],
];

fn run(
    criterion: &mut Criterion,
    group: &str,
    name: String,
    flops: usize,
    op: &str,
    attrs: &[(&str, Attr)],
    inputs: &[(&[usize], bool)],
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(flops as u64));
    for threads in [1, 2] {
        let (session, feeds) = single(op, attrs, inputs, threads);
        group.bench_function(format!("{name}/{threads} threads"), |bencher| {
            bencher.iter(|| session.run(feeds.clone()).expect("the node runs"));
        });
    }
}

fn gemm(criterion: &mut Criterion) {
    for &[m, k, n] in PRODUCTS {
        run(
            criterion,
            "gemm",
            format!("{m}x{k}x{n}"),
            2 * m * k * n,
            "MatMul",
            &[],
            &[(&[m, k], false), (&[k, n], true)],
        );
    }
}

fn conv(criterion: &mut Criterion) {
    for &[size, channels, filters, kernel, groups] in CONVOLUTIONS {
        let pad = (kernel / 2) as i64;
        let attrs = [("pads", Attr::Ints(vec![pad; 4])), ("group", Attr::Int(groups as i64))];
        let weights = [filters, channels / groups, kernel, kernel];
        let flops = 2 * size * size * weights.iter().product::<usize>();
        let name = format!("{channels}x{size}x{size} to {filters}, {kernel}x{kernel}, {groups} groups");
        run(
            criterion,
            "conv",
            name,
            flops,
            "Conv",
            &attrs,
            &[(&[1, channels, size, size], false), (&weights, true)],
        );
    }
}

fn rows(criterion: &mut Criterion) {
    let shape: &[usize] = &[12, 128, 128];
    let elements = shape.iter().product();
    run(criterion, "softmax", "12x128x128".into(), elements, "Softmax", &[], &[(shape, false)]);
    let (shape, scale): (&[usize], &[usize]) = (&[128, 768], &[768]);
    let inputs = [(shape, false), (scale, true), (scale, true)];
    run(criterion, "norm", "128x768".into(), 128 * 768, "LayerNormalization", &[], &inputs);
}

fn elementwise(criterion: &mut Criterion) {
    let shape: &[usize] = &[1, 64, 112, 112];
    let elements = shape.iter().product();
    for op in ["Relu", "Sigmoid", "Erf"] {
        run(criterion, "element-wise", op.into(), elements, op, &[], &[(shape, false)]);
    }
    run(criterion, "element-wise", "Add".into(), elements, "Add", &[], &[(shape, false), (shape, false)]);
}

criterion_group!(operators, gemm, conv, rows, elementwise);
criterion_main!(operators);
