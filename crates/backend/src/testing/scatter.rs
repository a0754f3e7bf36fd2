//! `ScatterElements` and `ScatterND`.

use inferrum_ops::scatter_elements::{ScatterElements, ScatterReduction};
use inferrum_ops::scatter_nd::ScatterND;
use inferrum_tensor::{DType, Shape, Tensor};

use super::{Case, given, random_of};

/// Slices and elements by tuples, each of which is named at most once.
pub fn by_tuples(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (data, indices, tuples, updates) in [
            (&[5, 4][..], &[3, 1][..], vec![4i64, -5, 2], &[3, 4][..]),
            (&[5, 3], &[2, 1], vec![1, -1], &[2, 3]),
            (&[5, 4], &[2, 2, 2], vec![0, 1, -1, 3, 2, -4, 2, 1], &[2, 2]),
            (&[2, 3, 8], &[2, 2], vec![0, -1, 1, 0], &[2, 8]),
            (&[7], &[0, 1], vec![], &[0]),
            (&[7], &[1], vec![-3], &[]),
        ] {
            let indices = Tensor::from_i64(DType::I64, indices, &tuples).expect("integers");
            let inputs = given([random_of(dtype, data, 1), indices, random_of(dtype, updates, 2)]);
            cases.push(Case::new(ScatterND { reduction: ScatterReduction::None }, inputs, 1));
        }
    }
    cases
}

/// Elements along every axis, at distinct places.
pub fn along_every_axis(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for index_type in [DType::I32, DType::I64] {
            for (data, axis, part) in [
                (&[9, 5][..], 0i64, &[4, 5][..]),
                (&[9, 5], -1, &[3, 5]),
                (&[2, 7, 3], 1, &[2, 7, 2]),
                (&[3], 0, &[0]),
            ] {
                let place = axis.rem_euclid(data.len() as i64) as usize;
                let (extent, inner) =
                    (data[place] as i64, part[place + 1..].iter().product::<usize>() as i64);
                // Along the axis the indices are distinct.
                let at = |i: i64| (i / inner % part[place] as i64 + i % inner) % extent;
                let signed = |i: i64| if i % 2 == 0 { at(i) } else { at(i) - extent };
                let values: Vec<i64> = (0..Shape::from(part).elements() as i64).map(signed).collect();
                let indices = Tensor::from_i64(index_type, part, &values).expect("integers");
                let inputs = given([random_of(dtype, data, 1), indices, random_of(dtype, part, 2)]);
                let op = ScatterElements { axis, reduction: ScatterReduction::None };
                cases.push(Case::new(op, inputs, 1));
            }
        }
    }
    cases
}

/// Many updates of one place, joined; sums and products of floats depend on the order.
pub fn joined_in_one_place(dtype: DType, reductions: &[ScatterReduction]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &reduction in reductions {
        let floats = matches!(reduction, ScatterReduction::Add | ScatterReduction::Mul) && dtype.is_float();
        let slack = if floats { 1.0 } else { 0.0 };
        // Products of as many numbers grow beyond what floats hold.
        let count = if reduction == ScatterReduction::Mul { 9 } else { 70 };
        let inputs = |indices: &[usize], place: i64| {
            let places = vec![place; Shape::from(indices).elements()];
            let indices = Tensor::from_i64(DType::I64, indices, &places).expect("integers");
            given([random_of(dtype, &[5, 3], 1), indices, random_of(dtype, &[count, 3], 2)])
        };
        let slices = Case::new(ScatterND { reduction }, inputs(&[count, 1], 2), 1);
        let elements = Case::new(ScatterElements { axis: 0, reduction }, inputs(&[count, 3], -4), 1);
        cases.extend([slices, elements].map(|case| Case { slack, ..case }));
    }
    cases
}

/// As [`super::gather::out_of_range`].
pub fn out_of_range() -> Vec<(ScatterND, [Tensor; 3], Shape, String)> {
    let case = |index: i64| {
        let indices = Tensor::from_i64(DType::I64, [3, 1], &[1, index, 2]).expect("integers");
        let inputs = [random_of(DType::F32, &[5], 1), indices, random_of(DType::F32, &[3], 2)];
        let told = format!("index {index} is out of range for an axis of 5");
        (ScatterND { reduction: ScatterReduction::None }, inputs, Shape::from([5]), told)
    };
    [5, -6, 1 << 32].map(case).into()
}
