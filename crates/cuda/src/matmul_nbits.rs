//! `MatMulNBits`: products with constant weights of 2, 4 or 8 bits.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor};

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, Packing, word, words};
use crate::source::Template;

const ROWS: &str = include_str!("../../../kernels/matmul_nbits.cu");
const TILES: &str = include_str!("../../../kernels/matmul_nbits_tile.cu");

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
        let (template, operands) = self.fill(Template::new("matmul_nbits_tile", TILES), params)?;
        let blocks = column_tiles.saturating_mul(self.m.div_ceil(TILE));
        let kernel = Kernel::blocks(blocks, BLOCK, template.build(), &operands)?;
        Ok(Lowered::one("matmul nbits tiles", kernel))
    }

    /// Types and operands.
    fn fill(&self, template: Template, params: Vec<u32>) -> Result<(Template, Vec<Operand>), Decline> {
        let (op, lowering) = (self.op, self.lowering);
        let column_bytes = op.blocks() * op.block_bytes();
        let padded = self.vectors * VECTOR;
        let weights = packed(WEIGHTS, format!("columns of {column_bytes} bytes in vectors"), move |tensor| {
            Ok(columns(tensor.bytes(), column_bytes, padded))
        });
        let floats = lowering.has(ZEROS) && lowering.dtype(ZEROS)? != DType::U8;
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
            .define("A", lowering.float(0)?)
            .define("S", lowering.float(SCALES)?)
            .define("Z", zero_type)
            .define("Y", lowering.output_float(0)?)
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
    let numbers = columns.flat_map(|column| (0..op.blocks()).map(|block| f32::from(op.unpack(column, block))));
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
