//! `RNN`.

use inferrum_backend::Decline;
use inferrum_ops::rnn::RNN;

use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cells};

pub(crate) fn lower(op: &RNN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let cells = Cells {
        name: "rnn",
        source: include_str!("../../../kernels/rnn.cu"),
        gates: 1,
        sums: 1,
        biased: 1,
        phases: 1,
        has_c: false,
        switches: Vec::new(),
    };
    recurrent::lower(&op.recurrence, &cells, lowering)
}

#[cfg(test)]
mod tests {
    use crate::recurrent::tests::{CLOSE, wide};
    use crate::testing::agree_on;
    use inferrum_backend::testing::rnn;
    use inferrum_ops::fused_activation::FusedActivation::Tanh;
    use inferrum_ops::rnn::RNN;

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(rnn::directions_layouts_and_optional_inputs(), CLOSE);
    }

    #[test]
    fn wide_states() {
        wide(|recurrence| RNN { recurrence }, &[Tanh], 1, 2);
    }
}
