//! `TopK`.

use inferrum_ops::top_k::TopK;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random, random_of};

fn both(x: &Tensor, k: i64, axis: i64) -> [Case; 2] {
    [true, false].map(|largest| {
        let inputs = vec![Some((x.clone(), false)), Some((Tensor::vector(vec![k]), true))];
        Case::new(TopK { axis, largest, sorted: true }, inputs, 2)
    })
}

/// Rows side by side and apart, of which some or all elements are wanted.
pub fn along_every_axis() -> Vec<Case> {
    let shapes = [
        (&[17usize][..], 5, 0),
        (&[3, 500], 20, -1),
        (&[9, 129], 3, -1),
        (&[70, 3], 70, 0),
        (&[2, 9, 5], 1, 1),
        (&[2, 300, 3], 300, 1),
        (&[0, 3], 2, 1),
    ];
    shapes.into_iter().flat_map(|(shape, k, axis)| both(&random(shape, 1), k, axis)).collect()
}

/// What is no number, what has no bounds, and what is there many times.
pub fn equals_and_nan() -> Vec<Case> {
    let rows = [6, 70, 300].map(|length| {
        let values = (0..length).map(|i| match i % 5 {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            2 => f32::INFINITY,
            _ => 1.0,
        });
        (Tensor::vector(values.collect::<Vec<f32>>()), length as i64)
    });
    let zeros = Tensor::vector((0..300).map(|i| if i % 2 == 0 { 0.0 } else { -0.0f32 }).collect::<Vec<_>>());
    rows.into_iter().chain([(zeros, 150)]).flat_map(|(row, k)| both(&row, k, 0)).collect()
}

/// Integers, of which many are equal, and a long row.
pub fn of_every_type() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::I32, DType::I64, DType::U8, DType::I8, DType::F64] {
        for (shape, k) in [(&[2usize, 40][..], 13), (&[2, 1500], 700)] {
            cases.extend(both(&random_of(dtype, shape, 1), k, 1));
        }
    }
    cases.extend(both(&random(&[9000], 1), 50, 0));
    cases
}
