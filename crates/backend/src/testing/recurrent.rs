//! What the cases of `RNN`, `GRU` and `LSTM` have in common.

use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::recurrent::{Direction, Recurrence};
use inferrum_tensor::Tensor;

use super::{Given, random};

/// Optional inputs, a bit each.
pub const BIASES: usize = 1;
/// Lengths of the batch's sequences.
pub const LENGTHS: usize = 2;
/// First states.
pub const STATES: usize = 4;

/// Every direction, with either order of the axes.
pub fn directions() -> impl Iterator<Item = (Direction, bool)> {
    [Direction::Forward, Direction::Reverse, Direction::Bidirectional]
        .into_iter()
        .flat_map(|direction| [false, true].map(|batch_first| (direction, batch_first)))
}

/// A recurrence with the same activations in each direction.
pub fn recurrence(
    (direction, batch_first): (Direction, bool),
    activations: &[FusedActivation],
    outputs: usize,
) -> Recurrence {
    let activations = vec![activations.to_vec(); direction.count()];
    Recurrence { direction, hidden_size: None, activations, clip: None, batch_first, outputs }
}

/// Numbers small enough that sums of many saturate nothing.
pub(super) fn small(shape: &[usize], seed: u64) -> Tensor {
    let numbers = random(shape, seed);
    let numbers = numbers.as_slice::<f32>().expect("floats").iter().map(|x| x / 4.0).collect();
    Tensor::from_vec(shape, numbers).expect("as many numbers as elements")
}

/// The shape of a first state.
pub(super) fn state(recurrence: &Recurrence, batch: usize, hidden: usize) -> [usize; 3] {
    let directions = recurrence.direction.count();
    if recurrence.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] }
}

/// The inputs up to the first state, with the optional ones that `optional` has a bit for.
pub(super) fn inputs(
    recurrence: &Recurrence,
    gates: usize,
    [steps, batch, input, hidden]: [usize; 4],
    optional: usize,
) -> Vec<Given> {
    let directions = recurrence.direction.count();
    let x = if recurrence.batch_first { [batch, steps, input] } else { [steps, batch, input] };
    let lengths = (0..batch).map(|i| (i * 2 % (steps + 1)) as i32).collect();
    let given =
        |bit: usize, tensor: Tensor, constant: bool| (optional & bit > 0).then_some((tensor, constant));
    vec![
        Some((small(&x, 1), false)),
        Some((small(&[directions, gates * hidden, input], 2), true)),
        Some((small(&[directions, gates * hidden, hidden], 3), true)),
        given(BIASES, small(&[directions, 2 * gates * hidden], 4), true),
        given(LENGTHS, Tensor::vector(lengths), false),
        given(STATES, small(&state(recurrence, batch, hidden), 5), false),
    ]
}
