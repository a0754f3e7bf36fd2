//! Functions of bytes as tables.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::fused::table::Table;
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, word};
use crate::loops::{self, loop_operand};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/table.cu");

/// Bytes of a thread.
const TOGETHER: usize = 16;

pub(crate) fn lower(_op: &Table, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let two = lowering.has(Table::Y);
    for input in [Table::TABLE, Table::X, Table::Y].into_iter().filter(|&input| lowering.has(input)) {
        let dtype = lowering.dtype(input)?;
        if !matches!(dtype, DType::I8 | DType::U8) {
            return Err(Decline(format!("tables of {dtype}")));
        }
    }
    let shape = lowering.output_shape(0)?;
    let count = shape.elements();
    let template = Template::new("table", SOURCE).switch("TWO", two);
    if !two {
        word(count.saturating_add(BLOCK * TOGETHER))?;
        let operands = [
            Operand::Input(Table::TABLE),
            Operand::Input(Table::X),
            Operand::Output(0),
            Operand::word(count)?,
        ];
        let kernel = Kernel::over(count.div_ceil(TOGETHER), template.build(), &operands)?;
        return Ok(Lowered::one("table", kernel));
    }
    let loops = Loops::broadcast(&shape, &[&lowering.shape(Table::X)?, &lowering.shape(Table::Y)?])?;
    let source = template.including(loops::SOURCE).define("RANK", loops.dims().len()).build();
    let operands = [
        Operand::Input(Table::TABLE),
        Operand::Input(Table::X),
        Operand::Input(Table::Y),
        Operand::Output(0),
        Operand::word(count)?,
        loop_operand(&loops, &[0, 1])?,
    ];
    Ok(Lowered::one("table of pairs", Kernel::over(count, source, &operands)?))
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
