//! `RotaryEmbedding`.

use inferrum_ops::rotary_embedding::{Form, RotaryEmbedding};
use inferrum_tensor::Tensor;

use super::{Case, Given, random};

/// Both operators, both orders of pairs and of axes, all or some of a head; places that are given, or only the first one, or none.
pub fn forms_and_orders() -> Vec<Case> {
    let [batch, heads, len, head] = [2usize, 3, 5, 8];
    let given = |tensor: Tensor| -> Given { Some((tensor, false)) };
    let mut cases = Vec::new();
    for interleaved in [false, true] {
        for rotated in [None, Some(4)] {
            for shape in [&[batch, heads, len, head][..], &[batch, len, heads * head]] {
                let half = rotated.unwrap_or(head) / 2;
                let mut add = |form, inputs: Vec<Given>| {
                    let op = RotaryEmbedding { form, heads: Some(heads), rotated, interleaved };
                    cases.push(Case::new(op, inputs, 1));
                };
                let x = || given(random(shape, 1));
                let table = |seed| given(random(&[11, half], seed));
                let places: Vec<i64> = (0..batch * len).map(|i| (i as i64 * 7) % 11).collect();
                let places = given(Tensor::from_vec([batch, len], places).expect("as many as elements"));
                add(Form::Onnx, vec![x(), table(2), table(3), places.clone()]);
                let own = |seed| given(random(&[batch, len, half], seed));
                add(Form::Onnx, vec![x(), own(2), own(3)]);
                add(Form::Microsoft, vec![x(), places, table(2), table(3)]);
                let first = given(Tensor::vector(vec![4i64]));
                add(Form::Microsoft, vec![x(), first, table(2), table(3)]);
            }
        }
    }
    cases
}
