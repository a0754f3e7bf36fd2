//! `LayerNormalization` and `RMSNormalization`.

use inferrum_ops::layer_norm::{LayerNormalization, RMSNormalization};
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, random};

fn layer(axis: i64, outputs: usize) -> LayerNormalization {
    LayerNormalization { axis, epsilon: 1e-5, stash: DType::F32, outputs }
}

fn rms(axis: i64, outputs: usize) -> RMSNormalization {
    RMSNormalization { axis, epsilon: 1e-5, stash: DType::F32, outputs }
}

/// One or several axes, parameters that broadcast.
pub fn rows_of_every_length() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, axis, parameters) in [
        (&[3usize, 1][..], -1, &[1usize][..]),
        (&[3, 17], -1, &[17]),
        (&[2, 5, 127], 1, &[5, 127]),
        (&[2, 5, 127], 1, &[127]),
        (&[2, 5, 768], -1, &[768]),
        (&[2, 5, 6], -1, &[5, 1]),
        (&[2, 5000], 1, &[5000]),
        (&[2, 5000], 1, &[1]),
        (&[2, 40_000], 1, &[40_000]),
        (&[4, 3], 0, &[4, 3]),
        (&[0, 3], 1, &[3]),
    ] {
        let [x, scale, bias] = [random(shape, 1), random(parameters, 2), random(parameters, 3)];
        cases.push(Case::new(layer(axis, 1), given([x.clone(), scale.clone(), bias]), 1));
        cases.push(Case::new(layer(axis, 1), given([x.clone(), scale.clone()]), 1));
        cases.push(Case::new(rms(axis, 1), given([x, scale]), 1));
    }
    cases
}

/// Means and inverse deviations beside the result.
pub fn statistics_are_outputs() -> Vec<Case> {
    let mut cases = Vec::new();
    for extent in [7, 256, 40_000] {
        let [x, scale, bias] = [random(&[3, extent], 1), random(&[extent], 2), random(&[extent], 3)];
        cases.push(Case::new(layer(-1, 3), given([x.clone(), scale.clone(), bias]), 3));
        cases.push(Case::new(rms(-1, 2), given([x, scale]), 2));
    }
    cases
}

/// Elements whose mean is far greater than their deviation, where the mean of squares has lost all digits.
pub fn far_from_zero() -> Vec<Case> {
    let case = |extent: usize| {
        let numbers = random(&[3, extent], 1).to_f64().expect("floats");
        let far: Vec<f32> = numbers.iter().map(|x| 4096.0 + *x as f32).collect();
        let x = Tensor::from_vec([3, extent], far).expect("as many numbers as elements");
        let wide = |tensor| Some((tensor, true));
        let parameters = [random(&[extent], 2), random(&[extent], 3)].map(wide);
        let inputs = [Some((x, false))].into_iter().chain(parameters).collect();
        Case::new(layer(-1, 1), inputs, 1)
    };
    [30, 768, 20_000, 40_001].map(case).into()
}
