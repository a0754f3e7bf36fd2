//! `MatMulNBits` of f32: products with constant weights of 2, 4 or 8 bits.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor};

use crate::bindings::{Bindings, fours};
use crate::epilogue::activate;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Packing, linear_groups, words};
use crate::product::Product;
use crate::shader::Template;
use crate::storage;

const ROWS: &str = include_str!("../../../shaders/matmul_nbits.wgsl");
const TILES: &str = include_str!("../../../shaders/matmul_nbits_tile.wgsl");

const WEIGHTS: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const BLOCK_OF_ROW: usize = 4;
const BIAS: usize = 5;

/// Rows that share what is unpacked, where they are few.
const FEW: usize = 4;

/// Rows from which tiles are full enough.
const MOST_FEW: usize = 2 * FEW;

/// Invocations of a workgroup that takes a few rows.
const TEAM: usize = 64;

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
    let (n, k) = (op.n, op.k);
    let m = lowering.output_shape(0)?.elements() / n.max(1);
    // Columns start at a vector.
    let words_of_column = (op.blocks() * op.block_bytes()).div_ceil(4).next_multiple_of(4);
    let vectors = words_of_column / 4;
    let few = m <= MOST_FEW;
    let form = Form::of(m, n, vectors);
    let (column_groups, row_groups) = form.groups(m, n);
    let groups = column_groups.saturating_mul(row_groups);
    let params = words([column_groups, groups, m, n, k, op.blocks(), op.block_size, vectors])?;
    // Four neighbours of a row are one vector where rows start at vectors.
    let whole = few && k.is_multiple_of(4);
    let mut bindings = Bindings::default();
    bindings.read("a", &fours(lowering.float(0)?, whole), Operand::Input(0));
    let column_bytes = op.blocks() * op.block_bytes();
    let name = format!("columns of {column_bytes} bytes in vectors");
    let pack = move |tensor: &Tensor| Ok(columns(tensor.bytes(), column_bytes, words_of_column));
    let bytes = n.saturating_mul(4 * words_of_column);
    bindings.read("weights", "vec4<u32>", packed(WEIGHTS, name, bytes, pack));
    bindings.read("scales", lowering.float(SCALES)?, Operand::Input(SCALES));
    let zero = lowering.has(ZEROS);
    if zero && lowering.dtype(ZEROS)? == DType::U8 {
        let own = op.clone();
        let form = format!("{} zero points of {} bits", op.blocks(), op.bits);
        let pack = move |tensor: &Tensor| unpacked(&own, tensor.bytes());
        let bytes = n.saturating_mul(4 * op.blocks());
        bindings.read("zeros", "f32", packed(ZEROS, form, bytes, pack));
    } else if zero {
        bindings.read("zeros", lowering.float(ZEROS)?, Operand::Input(ZEROS));
    }
    let bias = lowering.has(BIAS);
    let bits = [
        ("bits", op.bits.to_string()),
        ("of_word", (32 / op.bits).to_string()),
        ("mask", ((1u32 << op.bits) - 1).to_string()),
        ("half", (1u32 << (op.bits - 1)).to_string()),
    ];
    let switches = [("zero", zero), ("bias", bias), ("whole", whole)];
    let mut switches: Vec<&str> = switches.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
    if !few {
        let wide = n.is_multiple_of(4);
        let mut stores = Bindings::default();
        if bias {
            stores.read("bias", &fours(lowering.float(BIAS)?, wide), Operand::Input(BIAS));
        }
        stores.write("y", &fours(lowering.output_float(0)?, wide), Operand::Output(0));
        switches.push("b_by_depth");
        switches.extend(wide.then_some("wide_y"));
        let mut values = bits.to_vec();
        values.push(("activation", activate(None)?));
        return Product {
            name: "matmul nbits",
            source: TILES,
            included: None,
            block: None,
            factors: None,
            kind: format!("{} {} {}", op.bits, lowering.float(0)?, switches.join(" ")),
            batches: 1,
            m,
            n,
            k,
            loads: bindings,
            stores,
            params,
            values,
            switches,
        }
        .lower(lowering);
    }
    if bias {
        bindings.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
    }
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let mut template = Template::new("matmul nbits", ROWS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("rows", form.rows)
        .with("columns", form.columns)
        .with("sums", form.rows * form.columns)
        .with("lanes", form.lanes)
        .with("teams", TEAM / form.lanes);
    for (name, value) in bits {
        template = template.with(name, value);
    }
    let shader = switches.into_iter().fold(template, |template, name| template.switch(name, true)).build();
    let operands = bindings.operands().iter().cloned().collect();
    let groups = linear_groups(groups)?;
    Ok(Lowered::one(
        format!("matmul nbits rows {}", form.rows),
        Dispatch { shader, operands, params, groups },
    ))
}

/// How the sums of few rows are shared out: teams of so many invocations of a workgroup take so many rows and columns, and share
/// out the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    rows: usize,
    columns: usize,
    lanes: usize,
}

impl Form {
    /// The form for `m` rows and `n` columns of so many vectors.
    fn of(m: usize, n: usize, vectors: usize) -> Form {
        // Long enough for a team, whatever the depth is; several columns share what is read of the rows.
        let lanes = vectors.next_power_of_two().clamp(8, TEAM);
        let columns = if n >= 2048 { 4 } else { 2 };
        Form { rows: m.clamp(1, FEW), columns, lanes }
    }

    /// Workgroups along columns and rows.
    fn groups(self, m: usize, n: usize) -> (usize, usize) {
        (n.div_ceil(self.columns * (TEAM / self.lanes)), m.div_ceil(self.rows))
    }
}

/// Columns of so many bytes as columns of so many words; what a column lacks is 0.
fn columns(bytes: &[u8], column_bytes: usize, words: usize) -> Vec<u32> {
    let mut packed = Vec::with_capacity(bytes.len() / column_bytes.max(1) * words);
    for column in bytes.chunks_exact(column_bytes.max(1)) {
        let start = packed.len();
        packed.extend(storage::bytes_as_words(column));
        packed.resize(start + words, 0);
    }
    packed
}

fn packed(
    input: usize,
    form: String,
    bytes: usize,
    pack: impl Fn(&Tensor) -> Result<Vec<u32>, Decline> + Send + Sync + 'static,
) -> Operand {
    Operand::Packed(Packing { input, form, bytes, pack: Arc::new(pack) })
}

/// Packed zero points as f32, `[N, blocks]`.
fn unpacked(op: &MatMulNBits, bytes: &[u8]) -> Result<Vec<u32>, Decline> {
    let each = op.zero_point_bytes();
    if bytes.len() < op.n.saturating_mul(each) {
        return Err(Decline(format!("{} bytes of zero points, of {} columns", bytes.len(), op.n)));
    }
    let columns = bytes.chunks_exact(each).take(op.n);
    Ok(columns
        .flat_map(|column| (0..op.blocks()).map(|block| f32::from(op.unpack(column, block)).to_bits()))
        .collect())
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
