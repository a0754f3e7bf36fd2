//! Functions of bytes as tables.

use inferrum_ops::fused::table::Table;
use inferrum_tensor::{DType, Tensor};

use super::{Case, bytes};

/// Of one byte and of two.
pub fn functions_of_one_and_two_bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    let given = |tensor: Tensor| Some((tensor, false));
    for (dtype, to) in [(DType::U8, DType::U8), (DType::I8, DType::U8), (DType::U8, DType::I8)] {
        for shape in [&[][..], &[1], &[17], &[0, 3], &[3, 127]] {
            let table = Some((bytes(to, &[Table::ONE], 3), true));
            cases.push(Case::new(Table, vec![table, given(bytes(dtype, shape, 1))], 1));
        }
        for (a, b) in [
            (&[17][..], &[17][..]),
            (&[3, 1], &[1, 5]),
            (&[2, 3, 40], &[3, 1]),
            (&[], &[7, 30]),
            (&[4, 1, 3], &[2, 1]),
            (&[0, 3], &[3]),
        ] {
            let table = Some((bytes(to, &[Table::TWO], 4), true));
            let inputs = vec![table, given(bytes(dtype, a, 1)), given(bytes(dtype, b, 2))];
            cases.push(Case::new(Table, inputs, 1));
        }
    }
    cases
}
