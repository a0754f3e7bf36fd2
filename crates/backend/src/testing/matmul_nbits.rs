//! `MatMulNBits`.

use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random};

/// Weights of every width, with zero points of either kind and without, for one row and many.
pub fn every_width() -> Vec<Case> {
    let mut cases = Vec::new();
    for (bits, k, n, block_size) in
        [(4, 64, 7, 32), (2, 100, 17, 16), (8, 33, 3, 16), (4, 600, 3, 128), (4, 256, 2051, 32)]
    {
        let op = MatMulNBits { k, n, bits, block_size, accuracy_level: 0 };
        let (blocks, zero_bytes) = (op.blocks(), op.zero_point_bytes());
        let bytes = |shape: &[usize], seed| {
            let noise = random(shape, seed).to_f64().expect("floats");
            let bytes: Vec<f64> = noise.iter().map(|x| ((x + 3.0) * 42.0).floor()).collect();
            Tensor::from_f64(DType::U8, shape, &bytes).expect("bytes")
        };
        let weights = bytes(&[n, blocks, op.block_bytes()], 1);
        for zero in [None, Some(bytes(&[n, zero_bytes], 3)), Some(random(&[n, blocks], 4))] {
            // On both sides of where tiles begin.
            for rows in [&[k][..], &[5, k], &[2, 4, k], &[9, k], &[0, k]] {
                let mut inputs = vec![
                    Some((random(rows, 5), false)),
                    Some((weights.clone(), true)),
                    Some((random(&[n, blocks], 2), true)),
                    zero.clone().map(|zero| (zero, true)),
                ];
                cases.push(Case::new(op.clone(), inputs.clone(), 1));
                inputs.extend([None, Some((random(&[n], 6), false))]);
                cases.push(Case::new(op.clone(), inputs, 1));
            }
        }
    }
    cases
}
