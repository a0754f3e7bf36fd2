//! `LSTM`.

use inferrum_backend::Decline;
use inferrum_ops::lstm::LSTM;

use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cells};

pub(crate) fn lower(op: &LSTM, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let cells = Cells {
        name: "lstm",
        source: include_str!("../../../kernels/lstm.cu"),
        gates: 4,
        sums: 4,
        biased: 4,
        phases: 1,
        has_c: true,
        switches: vec![("INPUT_FORGET", op.input_forget)],
    };
    recurrent::lower(&op.recurrence, &cells, lowering)
}

#[cfg(test)]
mod tests {
    use crate::recurrent::tests::{CLOSE, wide};
    use crate::testing::agree_on;
    use inferrum_backend::testing::lstm;
    use inferrum_ops::fused_activation::FusedActivation::{Sigmoid, Tanh};
    use inferrum_ops::lstm::LSTM;

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(lstm::directions_layouts_and_optional_inputs(), CLOSE);
    }

    #[test]
    fn other_activations_clips_and_coupled_gates() {
        agree_on(lstm::activations_clips_and_coupled_gates(), CLOSE);
    }

    #[test]
    fn wide_states() {
        wide(|recurrence| LSTM { recurrence, input_forget: false }, &[Sigmoid, Tanh, Tanh], 4, 3);
    }
}
