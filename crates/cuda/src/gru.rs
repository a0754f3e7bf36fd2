//! `GRU`: steps have two phases where the reset gate scales the state before its product.

use inferrum_backend::Decline;
use inferrum_ops::gru::GRU;

use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cells};

pub(crate) fn lower(op: &GRU, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let linear = op.linear_before_reset;
    let cells = Cells {
        name: "gru",
        source: include_str!("../../../kernels/gru.cu"),
        gates: 3,
        sums: if linear { 4 } else { 2 },
        // What the reset gate scales holds the second bias of its gate.
        biased: if linear { 2 } else { 3 },
        phases: if linear { 1 } else { 2 },
        has_c: false,
        switches: vec![("LINEAR", linear)],
    };
    recurrent::lower(&op.recurrence, &cells, lowering)
}

#[cfg(test)]
mod tests {
    use crate::recurrent::tests::{CLOSE, wide};
    use crate::testing::agree_on;
    use inferrum_backend::testing::gru;
    use inferrum_ops::fused_activation::FusedActivation::{Sigmoid, Tanh};
    use inferrum_ops::gru::GRU;

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(gru::directions_layouts_and_optional_inputs(), CLOSE);
    }

    #[test]
    fn wide_states() {
        for linear_before_reset in [false, true] {
            wide(|recurrence| GRU { recurrence, linear_before_reset }, &[Sigmoid, Tanh], 3, 2);
        }
    }
}
