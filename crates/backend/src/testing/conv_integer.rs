//! `ConvInteger`.

use inferrum_ops::conv::Conv;
use inferrum_ops::conv_integer::ConvInteger;
use inferrum_tensor::DType;

use super::{Case, bytes, windows};

/// Shapes of images and weights with what convolves them.
pub(super) fn convolutions() -> Vec<(Vec<usize>, Vec<usize>, Conv)> {
    [
        (&[1usize, 3, 9, 8][..], &[16usize, 3, 3, 3][..], 1, 2, 1, 1),
        (&[2, 17, 7, 7], &[5, 17, 1, 1], 1, 1, 1, 0),
        (&[1, 8, 9, 9], &[8, 1, 3, 3], 8, 1, 2, 2),
        (&[2, 6, 5, 6], &[27, 2, 3, 3], 3, 1, 1, 1),
        (&[2, 13, 40], &[7, 13, 3], 1, 2, 1, 1),
        (&[1, 70, 12, 11], &[65, 70, 3, 2], 1, 1, 1, 1),
        (&[1, 4, 3, 3], &[1, 4, 3, 3], 1, 1, 1, 0),
        (&[0, 4, 3, 3], &[8, 4, 3, 3], 1, 1, 1, 0),
    ]
    .into_iter()
    .map(|(x, w, group, stride, dilation, pad)| {
        let window = windows(&w[2..], stride, dilation, [pad, pad + usize::from(pad > 0)]);
        (x.to_vec(), w.to_vec(), Conv { group, window })
    })
    .collect()
}

/// Strided, dilated, grouped and padded, with zero points and without.
pub fn windows_of_every_kind() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, w, conv) in convolutions() {
        for (dtype, weights) in [(DType::U8, DType::I8), (DType::I8, DType::U8)] {
            for constant in [false, true] {
                let zero = |dtype, shape: &[usize]| Some((bytes(dtype, shape, 5), constant));
                let case = |x_zero, w_zero| {
                    let (x, w) = (bytes(dtype, &x, 1), bytes(weights, &w, 2));
                    let inputs = vec![Some((x, false)), Some((w, constant)), x_zero, w_zero];
                    Case::new(ConvInteger { conv: conv.clone() }, inputs, 1)
                };
                cases.push(case(None, None));
                cases.push(case(zero(dtype, &[]), None));
                cases.push(case(zero(dtype, &[1]), zero(weights, &w[..1])));
            }
        }
    }
    cases
}
