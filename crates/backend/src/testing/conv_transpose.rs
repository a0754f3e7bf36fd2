//! `ConvTranspose`.

use inferrum_ops::conv_transpose::ConvTranspose;
use inferrum_ops::window::{Extents, WindowSpec};

use super::{Case, random, windows};

/// Images of one to three axes, groups, strides and dilations; with a bias and without, filters that change and that do not.
pub fn windows_of_every_kind() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, w, group, stride, dilation, pads, extra) in [
        (&[2usize, 3, 5, 4][..], &[3usize, 4, 3, 2][..], 1, 2, 1, [0, 1], 0),
        (&[1, 4, 5, 4], &[4, 3, 2, 2], 2, 2, 1, [0, 0], 1),
        (&[1, 6, 7], &[6, 1, 4], 6, 3, 1, [1, 1], 2),
        (&[1, 2, 4, 5], &[2, 3, 3, 3], 1, 1, 2, [2, 1], 0),
        (&[1, 17, 3, 3], &[17, 5, 1, 1], 1, 3, 1, [0, 0], 0),
        (&[0, 3, 4], &[3, 2, 2], 1, 1, 1, [0, 0], 0),
        (&[2, 4, 3, 4, 2], &[4, 3, 2, 3, 2], 2, 2, 1, [1, 0], 1),
        (&[1, 3, 2, 3, 3], &[3, 2, 2, 1, 2], 1, 1, 2, [0, 1], 0),
        (&[2, 32, 4, 5], &[32, 10, 4, 4], 1, 2, 1, [1, 1], 0),
    ] {
        let window = WindowSpec { kernel: Extents::new(), ..windows(&w[2..], stride, dilation, pads) };
        let all = |n: usize| Extents::from_elem(n, x.len() - 2);
        let op = ConvTranspose { group, window, output_padding: all(extra), output_shape: Extents::new() };
        for constant in [false, true] {
            let mut inputs = vec![
                Some((random(x, 1), false)),
                Some((random(w, 2), constant)),
                Some((random(&[group * w[1]], 3), constant)),
            ];
            inputs.truncate(if constant { 3 } else { 2 });
            cases.push(Case::new(op.clone(), inputs, 1));
        }
    }
    cases
}
