//! A function of one or two bytes as the table of its values.

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{AlignedBytes, DType, Tensor, Value};

use crate::Broadcast;
use crate::quantized::byte_type;

/// `table[x]`, or `table[256 x + y]`, element by element. Inputs: the table, `[256]` or `[65536]`; x; for the larger table y,
/// which broadcasts with x. All int8 or uint8; places are counted by the bits of x and y, so that -1 is 255. Output: of the
/// table's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table;

impl Table {
    /// Position of the table among the inputs.
    pub const TABLE: usize = 0;
    /// Position of the first operand.
    pub const X: usize = 1;
    /// Position of the second operand.
    pub const Y: usize = 2;

    /// Values of a function of one byte.
    pub const ONE: usize = 256;
    /// Values of a function of two bytes.
    pub const TWO: usize = 256 * 256;

    /// Every byte once, in the order of a table.
    pub fn operands(dtype: DType) -> Vec<i64> {
        (0..=u8::MAX)
            .map(|byte| if dtype == DType::I8 { i64::from(byte as i8) } else { i64::from(byte) })
            .collect()
    }
}

impl Operator for Table {
    fn key(&self) -> OpKey {
        OpKey::fused("Table")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = byte_type(inputs, Table::TABLE)?;
        byte_type(inputs, Table::X)?;
        let two = inputs.has(Table::Y);
        let values = if two { Table::TWO } else { Table::ONE };
        let table = inputs.shape(Table::TABLE)?;
        if table.concrete().is_some_and(|shape| shape.dims() != [values]) {
            return Err(OpError::shape(Table::TABLE, format!("[{values}]"), table));
        }
        let x = inputs.shape(Table::X)?;
        if !two {
            return Ok(vec![Fact::tensor(dtype, x.clone())]);
        }
        byte_type(inputs, Table::Y)?;
        let y = inputs.shape(Table::Y)?;
        let shape =
            x.broadcast(y).ok_or_else(|| OpError::shape(Table::Y, format!("that broadcasts with {x}"), y))?;
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (table, x) = (inputs.tensor(Table::TABLE)?, inputs.tensor(Table::X)?);
        let values = table.bytes();
        let at = |place: usize| values.get(place).copied().unwrap_or(0);
        let (shape, found): (_, Vec<u8>) = match inputs.optional(Table::Y)? {
            None => (x.shape().clone(), x.bytes().iter().map(|&x| at(usize::from(x))).collect()),
            Some(y) => {
                let broadcast = Broadcast::new(&[x.shape(), y.shape()])?;
                let (x, y) = (x.bytes(), y.bytes());
                let pairs = broadcast.indices(0).zip(broadcast.indices(1));
                let found = pairs.map(|(i, j)| at(256 * usize::from(x[i]) + usize::from(y[j]))).collect();
                (broadcast.shape().clone(), found)
            }
        };
        Ok(vec![Tensor::from_aligned(table.dtype(), shape, AlignedBytes::copy_of(&found)?)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    #[test]
    fn one_operand_by_its_bits() {
        let table =
            Tensor::from_i64(DType::I8, [256], &(0..256).map(|i| i / 2 - 64).collect::<Vec<_>>()).unwrap();
        let y = run(&Table, &[table.clone(), Tensor::from_vec([2, 1], vec![0i8, -1]).unwrap()]).remove(0);
        assert_eq!((y.shape().dims(), y.as_slice::<i8>().unwrap()), (&[2, 1][..], &[-64i8, 63][..]));
        let y = run(&Table, &[table, Tensor::vector(vec![7u8, 200])]).remove(0);
        assert_eq!(y.as_slice::<i8>().unwrap(), [-61, 36]);
    }

    #[test]
    fn two_operands_broadcast() {
        let difference = |x: usize, y: usize| (x as i64 - y as i64).clamp(0, 255);
        let values: Vec<i64> = (0..Table::TWO).map(|i| difference(i / 256, i % 256)).collect();
        let table = Tensor::from_i64(DType::U8, [Table::TWO], &values).unwrap();
        let x = Tensor::from_vec([2, 1], vec![10u8, 255]).unwrap();
        let y = run(&Table, &[table.clone(), x.clone(), Tensor::vector(vec![3u8, 20, 0])]).remove(0);
        assert_eq!(y.as_slice::<u8>().unwrap(), [7, 0, 10, 252, 235, 255]);
        assert!(try_run(&Table, &[Some(table), Some(x)]).is_err());
    }
}
