//! `BatchNormalization`.

use inferrum_ops::batch_norm::BatchNormalization;
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, random};

/// Parameters by channel and by element.
pub fn channels_elements_and_vectors() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, parameters, spatial) in [
        (&[2usize, 3, 5, 7][..], &[3usize][..], true),
        (&[2, 3, 4, 6], &[3], true),
        (&[2, 17], &[17], true),
        (&[2, 16], &[16], true),
        (&[9], &[1], true),
        (&[2, 3, 4], &[3, 4], false),
        (&[0, 3, 4], &[3], true),
    ] {
        let op = BatchNormalization { epsilon: 1e-3, momentum: 0.9, spatial, training: None };
        let numbers = random(parameters, 5).to_f64().expect("floats");
        let variance: Vec<f64> = numbers.iter().map(|x| x.abs()).collect();
        let variance = Tensor::from_f64(DType::F32, parameters, &variance).expect("floats");
        let [scale, bias, mean] = [2, 3, 4].map(|seed| random(parameters, seed));
        cases.push(Case::new(op, given([random(shape, 1), scale, bias, mean, variance]), 1));
    }
    cases
}
