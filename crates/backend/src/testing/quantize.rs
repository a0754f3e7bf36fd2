//! `QuantizeLinear` and `DequantizeLinear`.

use inferrum_ops::quantize::{DequantizeLinear, QuantizeLinear};
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, given_all, random, random_of};

fn scales(shape: &[usize]) -> Tensor {
    let numbers = random(shape, 7).to_f64().expect("floats");
    let values: Vec<f64> = numbers.iter().map(|x| 0.05 + x.abs() / 20.0).collect();
    Tensor::from_f64(DType::F32, shape, &values).expect("floats")
}

/// In float32, also of narrower numbers.
fn quantize(axis: i64, block_size: usize, output_dtype: Option<DType>) -> QuantizeLinear {
    let precision = Some(DType::F32);
    QuantizeLinear { axis, block_size, output_dtype, precision, saturate: true }
}

fn dequantize(axis: i64, block_size: usize) -> DequantizeLinear {
    DequantizeLinear { axis, block_size, output_dtype: None }
}

/// By tensors, axes and blocks, to every integer and back, with zero points and without.
pub fn tensors_axes_and_blocks() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I8, DType::U16, DType::I16] {
        for (shape, scale, axis, block_size) in [
            (&[2usize, 5, 7][..], &[][..], 1, 0),
            (&[2, 5, 7], &[5], 1, 0),
            (&[2, 5, 7], &[7], -1, 0),
            (&[2, 5, 7], &[2, 3, 7], 1, 2),
            (&[3, 4, 64], &[4], 1, 0),
            (&[2, 70], &[2, 5], -1, 16),
            (&[0, 3], &[3], 1, 0),
            (&[3], &[1], 0, 0),
        ] {
            let zero = random_of(dtype, scale, 3);
            let all = [random(shape, 1), scales(scale), zero.clone()];
            for inputs in [&all[..], &all[..2]] {
                let case = Case::new(quantize(axis, block_size, Some(dtype)), given_all(inputs.to_vec()), 1);
                cases.push(Case { slack: 0.0, ..case });
            }
            let all = [random_of(dtype, shape, 1), scales(scale), zero];
            for inputs in [&all[..], &all[..2]] {
                cases.push(Case::new(dequantize(axis, block_size), given_all(inputs.to_vec()), 1));
            }
        }
    }
    let inputs = given([random_of(DType::I32, &[2, 3], 1), scales(&[3])]);
    cases.push(Case::new(dequantize(1, 0), inputs, 1));
    cases
}

/// What no integer holds stays at the end of its type; NaN is 0.
pub fn out_of_range() -> Vec<Case> {
    let x = Tensor::vector(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 2.5, 3.5, -0.4]);
    let case = |zero: Tensor| {
        let inputs = given([x.clone(), Tensor::scalar(1f32), zero]);
        Case { slack: 0.0, ..Case::new(quantize(0, 0, None), inputs, 1) }
    };
    vec![case(Tensor::scalar(3i8)), case(Tensor::scalar(200u8))]
}

/// Quotients near halves, where the last digit decides.
pub fn near_halves() -> Vec<Case> {
    let case = |scale: f32| {
        let near = |step: i32| {
            let middle = (step as f32 + 0.5) * scale;
            [middle.next_down(), middle, middle.next_up()]
        };
        let x: Vec<f32> = (-130..130).flat_map(near).collect();
        let inputs = given([Tensor::vector(x), Tensor::scalar(scale), Tensor::scalar(0i8)]);
        Case { slack: 0.0, ..Case::new(quantize(0, 0, None), inputs, 1) }
    };
    [0.017_341_9f32, 0.004_056_34, 0.1, 3.3e-5, 0.037_4].map(case).into()
}

/// Narrow floats, whose quotients are rounded to their own type.
pub fn narrow_quotients() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::F16, DType::BF16] {
        for integers in [DType::U8, DType::I16] {
            let x = random_of(dtype, &[5, 127], 1);
            let inputs = given([x, random_of(dtype, &[127], 2), random_of(integers, &[127], 3)]);
            let op = QuantizeLinear { precision: None, ..quantize(1, 0, Some(integers)) };
            cases.push(Case { slack: 0.0, ..Case::new(op, inputs, 1) });
        }
    }
    cases
}
