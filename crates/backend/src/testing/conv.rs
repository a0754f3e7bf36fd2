//! `Conv` and `FusedConv`.

use inferrum_ops::conv::{Conv, FusedConv};
use inferrum_ops::fused_activation::FusedActivation;

use super::{Case, random, windows};

/// A convolution of `x` by `w`, padded by one more at the end than at the start, if at all.
pub fn conv(w: &[usize], group: usize, stride: usize, dilation: usize, pad: usize) -> Conv {
    Conv { group, window: windows(&w[2..], stride, dilation, [pad, pad + usize::from(pad > 0)]) }
}

/// Images of one to three axes, groups, windows within and beyond them; with bias and activation or in order, and without.
pub fn windows_of_every_kind() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = [
        (&[1usize, 3, 9, 8][..], &[16usize, 3, 3, 3][..], 1, 2, 1, 1),
        (&[2, 17, 7, 7], &[5, 17, 1, 1], 1, 1, 1, 0),
        (&[1, 8, 9, 9], &[8, 1, 3, 3], 8, 1, 2, 2),
        (&[2, 6, 5, 6], &[27, 2, 3, 3], 3, 1, 1, 1),
        (&[2, 13, 40], &[7, 13, 3], 1, 2, 1, 1),
        (&[1, 70, 12, 11], &[65, 70, 3, 2], 1, 1, 1, 1),
        (&[1, 4, 3, 3], &[1, 4, 3, 3], 1, 1, 1, 0),
        (&[0, 4, 3, 3], &[8, 4, 3, 3], 1, 1, 1, 0),
        (&[2, 3, 5, 6, 7], &[18, 3, 3, 2, 3], 1, 2, 1, 1),
        (&[1, 4, 5, 4, 5], &[4, 1, 2, 2, 2], 4, 1, 2, 1),
        (&[2, 64, 5, 5], &[24, 64, 3, 3], 1, 1, 1, 1),
        (&[3, 16, 4, 8], &[20, 16, 1, 1], 1, 1, 1, 0),
        (&[1, 16, 4, 8], &[20, 16, 1, 1], 1, 1, 1, 0),
        (&[5, 33, 1, 1], &[12, 33, 1, 1], 1, 1, 1, 0),
        (&[2, 12, 6, 6], &[8, 12, 1, 1], 1, 2, 1, 0),
    ];
    for (place, (x, w, group, stride, dilation, pad)) in all.into_iter().enumerate() {
        let conv = conv(w, group, stride, dilation, pad);
        let inputs =
            vec![Some((random(x, 1), false)), Some((random(w, 2), true)), Some((random(&w[..1], 3), true))];
        let ordered = place % 2 == 0;
        let activation = (!ordered).then_some(FusedActivation::Relu);
        cases.push(Case::new(FusedConv { conv: conv.clone(), activation, ordered }, inputs.clone(), 1));
        let changing = inputs[..2].iter().flatten().map(|(tensor, _)| Some((tensor.clone(), false)));
        cases.push(Case::new(conv, changing.collect(), 1));
    }
    cases
}

/// Images without channels, of which a bias is left.
pub fn without_channels() -> Vec<Case> {
    let (x, w) = ([1, 0, 3, 3], [4, 0, 2, 2]);
    let inputs =
        vec![Some((random(&x, 1), false)), Some((random(&w, 2), true)), Some((random(&w[..1], 3), true))];
    vec![Case::new(conv(&w, 1, 1, 1, 0), inputs, 1)]
}

/// One channel by each filter, or by a few.
pub fn channels_alone() -> Vec<Case> {
    let mut cases = Vec::new();
    for (channels, multiplier, size, kernel, stride, dilation, pad) in [
        (5usize, 1usize, [9usize, 11usize], [3usize, 3usize], 1, 1, 1),
        (3, 1, [8, 6], [5, 5], 2, 1, 2),
        (4, 2, [7, 9], [3, 2], 2, 2, 1),
        (2, 3, [6, 5], [1, 4], 3, 1, 0),
        (3, 1, [1, 1], [3, 3], 1, 1, 1),
        (1, 1, [12, 13], [7, 7], 1, 1, 3),
    ] {
        let (x, w) = ([2, channels, size[0], size[1]], [channels * multiplier, 1, kernel[0], kernel[1]]);
        let conv = conv(&w, channels, stride, dilation, pad);
        let inputs =
            vec![Some((random(&x, 1), false)), Some((random(&w, 2), true)), Some((random(&w[..1], 3), true))];
        cases.push(Case::new(conv.clone(), inputs[..2].to_vec(), 1));
        cases.push(Case::new(FusedConv::new(conv, Some(FusedActivation::HardSwish)), inputs, 1));
    }
    cases
}

/// A residual without a bias.
pub fn a_residual_is_added() -> Vec<Case> {
    let inputs = |x: &[usize], w: &[usize], y: &[usize]| {
        vec![Some((random(x, 1), false)), Some((random(w, 2), true)), None, Some((random(y, 3), false))]
    };
    let silu = |conv: Conv| FusedConv::new(conv, Some(FusedActivation::Silu));
    let (filters, alone) = ([9, 6, 3, 3], [6, 1, 3, 3]);
    vec![
        Case::new(silu(conv(&filters, 1, 1, 1, 0)), inputs(&[2, 6, 7, 7], &filters, &[2, 9, 5, 5]), 1),
        Case::new(silu(conv(&alone, 6, 1, 1, 0)), inputs(&[2, 6, 7, 7], &alone, &[2, 6, 5, 5]), 1),
    ]
}
