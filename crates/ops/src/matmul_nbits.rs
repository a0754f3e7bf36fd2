//! `MatMulNBits` of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::check_channels;
use crate::matmul::{MatMulGeometry, multiply, product_shape, transposed};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::microsoft("MatMulNBits", 6, MatMulNBits::parse)];

/// The matrix product with a weight matrix of 2, 4 or 8 bits that is quantised in blocks along K.
///
/// Inputs: A `[..., K]`, float32, float16 or bfloat16; B uint8 `[N, blocks, block_size * bits / 8]`, the lowest bits of a
/// byte first; scales `[N, blocks]` of A's type; optionally zero points, uint8 packed like B `[N, ceil(blocks * bits / 8)]`
/// or of A's type `[N, blocks]` (half of the range if left out); optionally int32 `[K]`, the block whose scale each row of
/// K has; optionally bias `[N]` of A's type. Output `[..., N]` of A's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatMulNBits {
    /// Rows of the weight matrix.
    pub k: usize,
    /// Columns of the weight matrix.
    pub n: usize,
    /// Bits of a weight: 2, 4 or 8.
    pub bits: usize,
    /// Weights of a block, a power of two and at least 16; the last block may be longer than what is left of K.
    pub block_size: usize,
    /// ONNX Runtime's hint how precise A must be kept: 0 unset, 1 float32, 2 float16, 3 bfloat16, 4 int8.
    pub accuracy_level: i64,
}

impl MatMulNBits {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mut number =
            |name: &str, fits: &dyn Fn(usize) -> bool, expected: &str| -> Result<usize, OpError> {
                let value = match (def.int(name)?, name) {
                    (Some(value), _) => value,
                    (None, "bits") => 4,
                    (None, _) => return Err(OpError::attribute(name, expected, "nothing")),
                };
                let fitting = usize::try_from(value).ok().filter(|&value| fits(value));
                fitting.ok_or_else(|| OpError::attribute(name, expected, value))
            };
        let k = number("K", &|k| k > 0, "1 or more")?;
        let n = number("N", &|n| n > 0, "1 or more")?;
        let bits = number("bits", &|bits| [2, 4, 8].contains(&bits), "2, 4 or 8")?;
        let is_block = |size: usize| size >= 16 && size.is_power_of_two();
        let block_size = number("block_size", &is_block, "a power of two from 16 on")?;
        let prepacked = def.int_or("weight_prepacked", 0)?;
        if prepacked != 0 {
            return Err(OpError::Unsupported(format!(
                "weights packed for one kind of GPU (attribute `weight_prepacked` = {prepacked}); export them unpacked"
            )));
        }
        let accuracy_level = def.int_or("accuracy_level", 0)?;
        Ok(Arc::new(MatMulNBits { k, n, bits, block_size, accuracy_level }))
    }

    /// Blocks along K.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block_size)
    }

    /// Bytes of one block of B.
    pub fn block_bytes(&self) -> usize {
        self.block_size / 8 * self.bits
    }

    /// Bytes of the packed zero points of one column.
    pub fn zero_point_bytes(&self) -> usize {
        self.blocks().div_ceil(8 / self.bits)
    }

    /// Checks that input `index`, if it is given, holds `N * each` elements, in rows or flat.
    fn check_count(&self, inputs: Facts<'_>, index: usize, each: usize) -> Result<(), OpError> {
        let Some(shape) = inputs.optional(index)?.and_then(|input| input.shape.concrete()) else {
            return Ok(());
        };
        let expected = self.n.checked_mul(each);
        if Some(shape.elements()) != expected || shape.elements() == usize::MAX {
            return Err(OpError::shape(index, format!("[{}, {each}] or as many elements", self.n), shape));
        }
        Ok(())
    }

    /// Number `index` of the numbers of `bits` bits that are packed in `bytes`.
    pub fn unpack(&self, bytes: &[u8], index: usize) -> u8 {
        let per_byte = 8 / self.bits;
        let mask = u8::MAX >> (8 - self.bits);
        (bytes[index / per_byte] >> (index % per_byte * self.bits)) & mask
    }

    /// The weights as floats, `[N, K]`.
    ///
    /// # Errors
    /// A block index of the fifth input is out of range; memory.
    pub fn dequantized(&self, inputs: Inputs<'_>) -> Result<Vec<f64>, OpError> {
        let (blocks, block_bytes) = (self.blocks(), self.block_bytes());
        let packed = inputs.tensor(1)?.as_slice::<u8>()?;
        let scales = inputs.tensor(2)?.to_f64()?;
        let zero_points = self.zero_points(inputs.optional(3)?)?;
        let of_row = inputs.optional_ints(4)?;
        let mut weights = zeroed::<f64>(self.n.saturating_mul(self.k))?;
        for (column, weights) in weights.chunks_exact_mut(self.k).enumerate() {
            let packed = &packed[column * blocks * block_bytes..][..blocks * block_bytes];
            for (row, weight) in weights.iter_mut().enumerate() {
                let block = match &of_row {
                    None => row / self.block_size,
                    Some(of_row) => usize::try_from(of_row[row])
                        .ok()
                        .filter(|&block| block < blocks)
                        .ok_or_else(|| {
                            OpError::value(
                                4,
                                format!("block {} is not among the {blocks} blocks", of_row[row]),
                            )
                        })?,
                };
                let parameters = column * blocks + block;
                // Blocks hold whole bytes, so they follow each other without gaps.
                let quantized = f64::from(self.unpack(packed, row));
                *weight = (quantized - zero_points[parameters]) * scales[parameters];
            }
        }
        Ok(weights)
    }

    /// The zero points `[N, blocks]`.
    fn zero_points(&self, given: Option<&Tensor>) -> Result<Vec<f64>, OpError> {
        let blocks = self.blocks();
        match given {
            Some(packed) if packed.dtype() == DType::U8 => {
                let bytes = packed.as_slice::<u8>()?;
                let columns = bytes.chunks_exact(self.zero_point_bytes());
                Ok(columns
                    .flat_map(|column| (0..blocks).map(|b| f64::from(self.unpack(column, b))))
                    .collect())
            }
            Some(floats) => Ok(floats.to_f64()?),
            None => {
                let mut half = zeroed::<f64>(self.n.saturating_mul(blocks))?;
                half.fill(f64::from(1u8 << (self.bits - 1)));
                Ok(half)
            }
        }
    }
}

impl Operator for MatMulNBits {
    fn key(&self) -> OpKey {
        OpKey::microsoft("MatMulNBits")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let a = inputs.tensor(0)?;
        if !matches!(a.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(OpError::dtype(0, "float32, float16 or bfloat16", a.dtype));
        }
        let like_a = |index: usize| match inputs.optional(index)? {
            Some(input) if input.dtype != a.dtype => {
                Err(OpError::dtype(index, format!("{}, like input 0", a.dtype), input.dtype))
            }
            _ => Ok(()),
        };
        if inputs.dtype(1)? != DType::U8 {
            return Err(OpError::dtype(1, "uint8", inputs.dtype(1)?));
        }
        inputs.require(2)?;
        like_a(2)?;
        like_a(5)?;
        let zero_points = inputs.optional(3)?.map(|zero_points| zero_points.dtype);
        if zero_points != Some(DType::U8) {
            like_a(3)?;
        }
        let blocks = self.blocks();
        self.check_count(inputs, 1, blocks.saturating_mul(self.block_bytes()))?;
        self.check_count(inputs, 2, blocks)?;
        let packed = zero_points == Some(DType::U8);
        self.check_count(inputs, 3, if packed { self.zero_point_bytes() } else { blocks })?;
        if let Some(of_row) = inputs.optional(4)? {
            if of_row.dtype != DType::I32 {
                return Err(OpError::dtype(4, "int32", of_row.dtype));
            }
            // ONNX Runtime's tools pad it to whole blocks.
            if of_row.shape.concrete().is_some_and(|shape| shape.rank() != 1 || shape[0] < self.k) {
                return Err(OpError::shape(4, format!("[{}]", self.k), &of_row.shape));
            }
        }
        check_channels(inputs, 5, &SymDim::Known(self.n))?;
        let weights = ShapeFact::from([self.k, self.n]);
        let shape = match product_shape(&a.shape, &weights, 1) {
            Ok(shape) => shape,
            Err(_) => return Err(OpError::shape(0, format!("[..., {}]", self.k), &a.shape)),
        };
        Ok(vec![Fact::tensor(a.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let a = inputs.tensor(0)?;
        let weights = transposed(&self.dequantized(inputs)?, self.n, self.k)?;
        let geometry = MatMulGeometry::new(a.shape(), &Shape::from([self.k, self.n]))?;
        let mut y = multiply(&geometry, &a.to_f64()?, &weights)?;
        if let Some(bias) = inputs.optional(5)? {
            let bias = bias.to_f64()?;
            y.iter_mut().zip(bias.iter().cycle()).for_each(|(y, bias)| *y += bias);
        }
        Ok(vec![Tensor::from_f64(a.dtype(), geometry.output, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let elements =
            inputs.get(0).and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64);
        elements.saturating_mul(2).saturating_mul(self.n as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, try_run};
    use inferrum_graph::Attr;

    fn op(k: i64, n: i64, bits: i64) -> Arc<dyn Operator> {
        let attrs =
            [("K", k), ("N", n), ("bits", bits), ("block_size", 16)].map(|(name, x)| (name, Attr::Int(x)));
        parse_in("com.microsoft", 1, "MatMulNBits", &attrs)
    }

    /// Row `which` of the unit matrix, so that the product is one row of the weights.
    fn unit(k: usize, which: usize) -> Tensor {
        Tensor::from_vec([1, k], (0..k).map(|i| f32::from(i == which)).collect()).unwrap()
    }

    #[test]
    fn weights_are_unpacked_from_the_lowest_bits() {
        for (bits, byte, which, default_zero) in [(4, 0xA3u8, 3, 8.0), (2, 0xB4, 5, 2.0), (8, 0x81, 2, 128.0)]
        {
            let mask = (1u32 << bits) - 1;
            let per_byte = 8 / bits as usize;
            let weight = f64::from((u32::from(byte) >> (which % per_byte * bits as usize)) & mask);
            let packed = Tensor::from_vec([1, 2, 2 * bits as usize], vec![byte; 4 * bits as usize]).unwrap();
            let scales = Tensor::from_vec([1, 2], vec![0.5f32, 4.0]).unwrap();
            let inputs = [Some(unit(20, which)), Some(packed), Some(scales)];
            let y = try_run(&*op(20, 1, bits), &inputs).unwrap().remove(0);
            assert_eq!(y.to_f64().unwrap(), [(weight - default_zero) * 0.5], "{bits} bits");
        }
    }

    #[test]
    fn zero_points_block_indices_and_bias() {
        let packed = Some(Tensor::from_vec([1, 2, 8], vec![0x77u8; 16]).unwrap());
        let scales = Some(Tensor::from_vec([1, 2], vec![1f32, 10.0]).unwrap());
        let run =
            |which: usize, zero_points: Option<Tensor>, of_row: Option<Tensor>, bias: Option<Tensor>| {
                let inputs =
                    [Some(unit(32, which)), packed.clone(), scales.clone(), zero_points, of_row, bias];
                try_run(&*op(32, 1, 4), &inputs).map(|y| y[0].to_f64().unwrap()[0])
            };
        let bytes = Tensor::from_vec([1, 1], vec![0x52u8]).unwrap();
        assert_eq!(run(0, Some(bytes.clone()), None, None).unwrap(), 5.0);
        assert_eq!(run(31, Some(bytes.clone()), None, None).unwrap(), 20.0);
        let floats = Tensor::from_vec([1, 2], vec![0.5f32, 7.5]).unwrap();
        assert_eq!(run(0, Some(floats.clone()), None, None).unwrap(), 6.5);
        assert_eq!(run(16, Some(floats), None, None).unwrap(), -5.0);
        let of_row = Tensor::vector([vec![1i32; 31], vec![0]].concat());
        assert_eq!(run(0, Some(bytes), Some(of_row), Some(Tensor::vector(vec![0.25f32]))).unwrap(), 20.25);
        assert!(run(0, None, Some(Tensor::vector(vec![2i32; 32])), None).is_err());
        assert!(run(0, Some(Tensor::vector(vec![0u8; 2])), None, None).is_err());
    }

    #[test]
    fn wrong_extents_are_errors() {
        let a = Some(Tensor::zeros(DType::F32, [1, 31]).unwrap());
        let packed = Some(Tensor::zeros(DType::U8, [1, 2, 8]).unwrap());
        let scales = Some(Tensor::zeros(DType::F32, [1, 2]).unwrap());
        assert!(try_run(&*op(32, 1, 4), &[a, packed.clone(), scales.clone()]).is_err());
        let a = Some(Tensor::zeros(DType::F16, [1, 32]).unwrap());
        assert!(try_run(&*op(32, 1, 4), &[a, packed, scales]).is_err());
    }
}
