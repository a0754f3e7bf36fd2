//! `MatMulNBits`: products with constant weights of 2, 4 or 8 bits.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor};

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, Packing, word, words};
use crate::source::Template;

const ROWS: &str = include_str!("../../../kernels/matmul_nbits.cu");
const TILES: &str = include_str!("../../../kernels/matmul_nbits_tile.cu");
const TENSOR_CORES: &str = include_str!("../../../kernels/matmul_nbits_mma.cu");
const MMA: &str = include_str!("../../../kernels/mma.cuh");

const WEIGHTS: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const BLOCK_OF_ROW: usize = 4;
const BIAS: usize = 5;

/// Rows that share what is unpacked, where they are few, and up to which they are.
const FEW: usize = 4;
const MOST_FEW: usize = 2 * FEW;

/// Warps of a block.
const WARPS: usize = BLOCK / 32;

/// Columns from which a warp takes four of them, not two.
const MANY_COLUMNS: usize = 512;

/// Bytes of rows that a block holds.
const HELD: usize = 40 << 10;

/// Blocks of a multiprocessor from which it is busy.
const BUSY: usize = 4;

/// Side of a tile.
const TILE: usize = 64;

/// Bytes that are read together.
const VECTOR: usize = 16;

/// What both kernels read.
struct Room<'a> {
    op: &'a MatMulNBits,
    lowering: &'a Lowering<'a>,
    m: usize,
    /// Runs of 16 bytes of a column.
    vectors: usize,
}

pub(crate) fn lower(op: &MatMulNBits, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[WEIGHTS, ZEROS, BLOCK_OF_ROW])?;
    if lowering.has(BLOCK_OF_ROW) {
        return Err(Decline("rows of blocks in an order of their own (g_idx)".into()));
    }
    for input in [WEIGHTS, ZEROS] {
        if lowering.has(input) && lowering.constant(input).is_none() {
            return Err(Decline(format!("input {input} is not constant")));
        }
    }
    let m = lowering.output_shape(0)?.elements() / op.n.max(1);
    // Columns start at a vector.
    let vectors = (op.blocks() * op.block_bytes()).div_ceil(VECTOR);
    word(op.n.saturating_mul(vectors).saturating_mul(4))?;
    word(m.saturating_mul(op.k))?;
    let room = Room { op, lowering, m, vectors };
    if m <= MOST_FEW { room.rows() } else { room.tiles() }
}

impl Room<'_> {
    fn rows(&self) -> Result<Lowered, Decline> {
        let (op, n) = (self.op, self.op.n);
        let rows = self.m.clamp(1, FEW);
        let columns = if n >= MANY_COLUMNS { 4 } else { 2 };
        // Teams of more warps make more blocks, of which a device is to be full; but each lane has something to do.
        let blocks_of = |split: usize| n.div_ceil(columns * (WARPS / split));
        let enough = BUSY * self.lowering.abilities.multiprocessors as usize;
        let mut split = 1;
        while split < WARPS && blocks_of(split) < enough && 2 * split * 32 <= self.vectors {
            split *= 2;
        }
        let run = 8 * VECTOR / op.bits;
        let held_bytes = rows * (run + 4) * size_of::<f32>();
        let held = (HELD / held_bytes / 32 * 32).max(32).min(self.vectors.next_multiple_of(32));
        let numbers = [self.m, n, op.k, op.blocks(), self.vectors];
        let shift = op.block_size.trailing_zeros() as usize;
        let params = words(numbers.into_iter().chain([shift, held, blocks_of(split)]))?;
        let template = Template::new("matmul_nbits", ROWS)
            .define("ROWS", format!("{rows}u"))
            .define("COLUMNS", format!("{columns}u"))
            .define("SPLIT", format!("{split}u"))
            .switch("ONE_BLOCK", op.block_size >= run);
        let (template, operands) = self.fill(template, params)?;
        let blocks = blocks_of(split).saturating_mul(self.m.div_ceil(rows));
        let kernel = Kernel::blocks(blocks, BLOCK, template.build(), &operands)?;
        let kernel = Kernel { shared: word(held * held_bytes)?, ..kernel };
        Ok(Lowered::one(format!("matmul nbits rows {rows}"), kernel))
    }

    fn tiles(&self) -> Result<Lowered, Decline> {
        let (op, n) = (self.op, self.op.n);
        let column_tiles = n.div_ceil(TILE);
        let shift = op.block_size.trailing_zeros() as usize;
        let params = words([self.m, n, op.k, op.blocks(), self.vectors, shift, column_tiles])?;
        let (name, template) = match self.multiply()? {
            Some(multiply) => {
                // Products of depth 16 that have the same scale, of the four in a step.
                let products = (op.block_size / 16).clamp(1, 4);
                let template = Template::new("matmul_nbits_mma", TENSOR_CORES)
                    .including(MMA)
                    .define("MULTIPLY", multiply)
                    .define("PRODUCTS", format!("{products}u"))
                    .switch("WHOLE_A", op.k.is_multiple_of(8));
                ("matmul nbits tensor cores", template)
            }
            None => ("matmul nbits tiles", Template::new("matmul_nbits_tile", TILES)),
        };
        let (template, operands) = self.fill(template, params)?;
        let blocks = column_tiles.saturating_mul(self.m.div_ceil(TILE));
        let kernel = Kernel::blocks(blocks, BLOCK, template.build(), &operands)?;
        Ok(Lowered::one(name, kernel))
    }

    /// The function of mma.cuh that multiplies; None where tensor cores do not take these numbers, or round them.
    fn multiply(&self) -> Result<Option<&'static str>, Decline> {
        let capability = self.lowering.abilities.capability;
        if self.float_zeros()? {
            return Ok(None);
        }
        Ok(match self.lowering.dtype(0)? {
            DType::F16 => Some("mma_f16"),
            DType::BF16 if capability >= 80 => Some("mma_bf16"),
            _ => None,
        })
    }

    /// Whether zero points are floats, which may lie between integers.
    fn float_zeros(&self) -> Result<bool, Decline> {
        Ok(self.lowering.has(ZEROS) && self.lowering.dtype(ZEROS)? != DType::U8)
    }

    /// Types and operands.
    fn fill(&self, template: Template, params: Vec<u32>) -> Result<(Template, Vec<Operand>), Decline> {
        let (op, lowering) = (self.op, self.lowering);
        let column_bytes = op.blocks() * op.block_bytes();
        let padded = self.vectors * VECTOR;
        let weights = packed(WEIGHTS, format!("columns of {column_bytes} bytes in vectors"), move |tensor| {
            Ok(columns(tensor.bytes(), column_bytes, padded))
        });
        let floats = self.float_zeros()?;
        let (zero_type, zeros) = if floats {
            (lowering.float(ZEROS)?, Operand::Input(ZEROS))
        } else if lowering.has(ZEROS) {
            let own = op.clone();
            let form = format!("{} zero points of {} bits", op.blocks(), op.bits);
            ("float", packed(ZEROS, form, move |tensor| unpacked(&own, tensor.bytes())))
        } else {
            ("float", Operand::Nothing)
        };
        let template = template
            .define("BITS", op.bits)
            .define("IN", lowering.float(0)?)
            .define("SCALE", lowering.float(SCALES)?)
            .define("ZERO", zero_type)
            .define("OUT", lowering.output_float(0)?)
            .switch("ZEROS", lowering.has(ZEROS))
            .switch("FLOAT_ZEROS", floats);
        let operands = vec![
            Operand::Input(0),
            weights,
            Operand::Input(SCALES),
            zeros,
            lowering.optional(BIAS),
            Operand::Output(0),
            Operand::words(&params),
        ];
        Ok((template, operands))
    }
}

/// Columns of so many bytes as columns of more; what a column lacks is 0.
fn columns(bytes: &[u8], column_bytes: usize, padded: usize) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() / column_bytes.max(1) * padded);
    for column in bytes.chunks_exact(column_bytes.max(1)) {
        let start = packed.len();
        packed.extend(column);
        packed.resize(start + padded, 0);
    }
    packed
}

fn packed(
    input: usize,
    form: String,
    pack: impl Fn(&Tensor) -> Result<Vec<u8>, Decline> + Send + Sync + 'static,
) -> Operand {
    Operand::Packed(Packing { input, form, pack: Arc::new(pack) })
}

/// Packed zero points as float32, `[N, blocks]`.
fn unpacked(op: &MatMulNBits, bytes: &[u8]) -> Result<Vec<u8>, Decline> {
    let each = op.zero_point_bytes();
    if bytes.len() < op.n.saturating_mul(each) {
        return Err(Decline(format!("{} bytes of zero points, of {} columns", bytes.len(), op.n)));
    }
    let columns = bytes.chunks_exact(each).take(op.n);
    let numbers =
        columns.flat_map(|column| (0..op.blocks()).map(|block| f32::from(op.unpack(column, block))));
    Ok(numbers.flat_map(f32::to_ne_bytes).collect())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::matmul_nbits;

    #[test]
    fn every_width() {
        agree_on(matmul_nbits::every_width(), Tolerance { relative: 1e-5, absolute: 1e-2 });
    }
}
