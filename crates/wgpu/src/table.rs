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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::table;

    #[test]
    fn functions_of_one_and_two_bytes() {
        agree_on(table::functions_of_one_and_two_bytes(), Tolerance::EXACT);
    }
}
