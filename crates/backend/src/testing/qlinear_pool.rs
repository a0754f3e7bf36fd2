//! `QLinearAveragePool` and `QLinearGlobalAveragePool`.

use inferrum_ops::pool::AveragePool;
use inferrum_ops::qlinear_pool::QLinearPool;
use inferrum_ops::window::WindowSpec;
use inferrum_tensor::{DType, Tensor};

use super::{Case, bytes, windows};

fn cases_of(op: &QLinearPool, dtype: DType, shape: &[usize]) -> Vec<Case> {
    let scales = [(0.05f32, 0.05f32), (0.02, 0.013), (1.0, 4.0), (0.5, 0.001)];
    let case = |(x_scale, y_scale)| {
        let scalar = |value: f32| Some((Tensor::scalar(value), true));
        let zero = |seed| Some((bytes(dtype, &[], seed), true));
        let x = Some((bytes(dtype, shape, 1), false));
        let inputs = vec![x, scalar(x_scale), zero(2), scalar(y_scale), zero(3)];
        Case::new(op.clone(), inputs, 1)
    };
    scales.into_iter().map(case).collect()
}

/// Means that lie between two integers are rounded as the operator says.
pub fn means_are_exact() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I8] {
        for shape in [&[2usize, 3, 4, 4][..], &[1, 17, 7, 5], &[2, 3, 9], &[2, 3, 4, 3, 5], &[0, 3, 2, 2]] {
            cases.extend(cases_of(&QLinearPool::Global, dtype, shape));
            for count_include_pad in [false, true] {
                let kernel = vec![2; shape.len() - 2];
                let window = WindowSpec { ceil: true, ..windows(&kernel, 2, 1, [1, 1]) };
                let op = QLinearPool::Window(AveragePool { window, count_include_pad });
                cases.extend(cases_of(&op, dtype, shape));
            }
        }
    }
    cases
}
