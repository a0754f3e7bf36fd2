//! Functions of bytes as constant tables.

use std::sync::Arc;

use inferrum_backend::{Decline, Loops};
use inferrum_ops::fused::table::Table;
use inferrum_tensor::{DType, Tensor};

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Packing, word};
use crate::shader::Template;
use crate::storage;
use crate::strides::offset_function;

const SOURCE: &str = include_str!("../../../shaders/table.wgsl");

pub(crate) fn lower(_op: &Table, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if lowering.constant(Table::TABLE).is_none() {
        return Err(Decline("a table that is not constant".into()));
    }
    let two = lowering.has(Table::Y);
    let (dtype, shape) = (lowering.output_dtype(0)?, lowering.output_shape(0)?);
    let mut params = vec![word(shape.elements())?];
    let mut functions = String::new();
    let mut bindings = Bindings::default();
    let element = |dtype| storage::words(dtype).ok_or_else(|| Decline(format!("tables of {dtype}")));
    let pack = |tensor: &Tensor| Ok(storage::bytes_as_words(tensor.bytes()));
    let form = "bytes".to_owned();
    let bytes = lowering.shape(Table::TABLE)?.elements().next_multiple_of(4);
    bindings.read(
        "table",
        "u32",
        Operand::Packed(Packing { input: Table::TABLE, form, bytes, pack: Arc::new(pack) }),
    );
    bindings.read("x", element(lowering.dtype(Table::X)?)?, Operand::Input(Table::X));
    if two {
        bindings.read("y", element(lowering.dtype(Table::Y)?)?, Operand::Input(Table::Y));
        let loops = Loops::broadcast(&shape, &[&lowering.shape(Table::X)?, &lowering.shape(Table::Y)?])?;
        functions.push_str(&offset_function("place_x", &loops, 0, &mut params)?);
        functions.push_str(&offset_function("place_y", &loops, 1, &mut params)?);
    }
    bindings.write("output", element(dtype)?, Operand::Output(0));
    let shader = Template::new("table", SOURCE)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("functions", functions)
        .with("type", element(dtype)?)
        .switch("two", two)
        .build();
    let name = if two { "table of pairs" } else { "table" };
    debug_assert!(matches!(dtype, DType::I8 | DType::U8));
    Ok(Lowered::one(name, Dispatch::over(shape.elements(), shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes};

    #[test]
    fn functions_of_one_and_two_bytes() {
        for (dtype, to) in [(DType::U8, DType::U8), (DType::I8, DType::U8), (DType::U8, DType::I8)] {
            let given = |tensor: Tensor| Some((tensor, false));
            for shape in [&[][..], &[1], &[17], &[0, 3], &[3, 127]] {
                let table = Some((bytes(to, &[Table::ONE], 3), true));
                agree_with(Table, &[table, given(bytes(dtype, shape, 1))], 1, Tolerance::EXACT);
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
                let operands = [table, given(bytes(dtype, a, 1)), given(bytes(dtype, b, 2))];
                agree_with(Table, &operands, 1, Tolerance::EXACT);
            }
        }
    }
}
