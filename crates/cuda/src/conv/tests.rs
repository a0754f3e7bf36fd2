use inferrum_backend::testing::{Case, conv, random};
use inferrum_ops::conv::FusedConv;

use crate::form::{Form, TILES};
use crate::product::tests::{SUMS, agree_in};
use crate::testing::{Tolerance, agree_on};

#[test]
fn windows_of_every_kind() {
    agree_on(conv::windows_of_every_kind(), SUMS);
}

#[test]
fn images_without_channels() {
    agree_on(conv::without_channels(), SUMS);
}

#[test]
fn channels_alone() {
    agree_on(conv::channels_alone(), Tolerance { relative: 1e-5, absolute: 1e-5 });
}

#[test]
fn a_residual_is_added() {
    agree_on(conv::a_residual_is_added(), SUMS);
}

/// Tap by tap, by tables, and without windows; on both kinds of units.
#[test]
fn forms_that_are_not_the_likeliest() {
    let cases = || {
        let windows = [
            (&[2usize, 64, 5, 5][..], &[40usize, 64, 3, 3][..], 1),
            (&[2, 5, 6, 7], &[40, 5, 3, 3], 1),
            (&[2, 32, 4, 8], &[40, 32, 1, 1], 0),
        ];
        windows.map(|(x, w, pad)| {
            let inputs = vec![Some((random(x, 1), false)), Some((random(w, 2), true))];
            Case::new(conv::conv(w, 1, 1, 1, pad), inputs, 1)
        })
    };
    agree_in(
        |form| matches!(form, Form::Tiles { tile, splits: 1 } if *tile == TILES[0]),
        cases(),
        "a large tile",
    );
    agree_in(|form| matches!(form, Form::Tiles { tile, splits: 2 } if *tile == TILES[8]), cases(), "a split");
    agree_in(
        |form| matches!(form, Form::Tiles { tile, splits: 1 } if *tile == TILES[15]),
        cases(),
        "matrices",
    );
}

#[test]
fn ordered_sums_are_those_of_the_processor() {
    let (channels, pixels, filters) = (300, 144, 9);
    let (x, w) = (random(&[1, channels, 12, 12], 1), random(&[filters, channels, 1, 1], 2));
    let op = FusedConv {
        ordered: true,
        ..FusedConv::new(conv::conv(&[filters, channels, 1, 1], 1, 1, 1, 0), None)
    };
    let (elements, weights) = (x.as_slice::<f32>().unwrap(), w.as_slice::<f32>().unwrap());
    assert_eq!(super::block(pixels, channels), 128);
    let sum = |filter: usize, pixel: usize| {
        let depths: Vec<usize> = (0..channels).collect();
        let of_block = |depths: &[usize]| {
            depths.iter().fold(0.0f32, |sum, &depth| {
                weights[filter * channels + depth].mul_add(elements[depth * pixels + pixel], sum)
            })
        };
        depths.chunks(128).map(of_block).fold(0.0f32, |sum, block| sum + block)
    };
    let want: Vec<f32> = (0..filters * pixels).map(|at| sum(at / pixels, at % pixels)).collect();
    let inputs = [Some((x.clone(), false)), Some((w.clone(), true))];
    let got = crate::testing::outputs(op, &inputs, &[1, filters, 12, 12]);
    assert_eq!(got[0].as_slice::<f32>().unwrap(), want);
}
