//! `MatMulNBits` of f32: products with constant weights of 2, 4 or 8 bits.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor};

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, Packing, words};
use crate::rows::Rows;
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/matmul_nbits.wgsl");

const WEIGHTS: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const BLOCK_OF_ROW: usize = 4;
const BIAS: usize = 5;

/// Rows that share what is unpacked.
const ROWS: usize = 4;

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
    let bytes = lowering.constant(WEIGHTS).map_or(0, |weights| weights.bytes().len() as u64);
    let most = lowering.abilities.limits.max_storage_buffer_binding_size;
    if bytes > most {
        return Err(Decline(format!(
            "packed weights of {bytes} bytes; the adapter's max_storage_buffer_binding_size is {most}"
        )));
    }
    let (n, k, blocks) = (op.n, op.k, op.blocks());
    let m = lowering.output_shape(0)?.elements() / n.max(1);
    let rows_at_once = if m == 1 { 1 } else { ROWS };
    let groups = m.div_ceil(rows_at_once).saturating_mul(n);
    let params = words([groups, m, n, k, blocks, op.block_size, blocks * op.block_bytes() / 4])?;
    let mut bindings = Bindings::default();
    bindings.read("a", lowering.float(0)?, Operand::Input(0));
    bindings.read(
        "weights",
        "u32",
        packed(WEIGHTS, "bytes".into(), |tensor| Ok(bytes_as_words(tensor.bytes()))),
    );
    bindings.read("scales", lowering.float(SCALES)?, Operand::Input(SCALES));
    let zero = lowering.has(ZEROS);
    if zero && lowering.dtype(ZEROS)? == DType::U8 {
        let own = op.clone();
        let form = format!("{} zero points of {} bits", blocks, op.bits);
        bindings.read("zeros", "f32", packed(ZEROS, form, move |tensor| unpacked(&own, tensor.bytes())));
    } else if zero {
        bindings.read("zeros", lowering.float(ZEROS)?, Operand::Input(ZEROS));
    }
    let bias = lowering.has(BIAS);
    if bias {
        bindings.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
    }
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    // Long enough for a workgroup of 64, whatever the depth is.
    let rows = Rows::of(groups, 64, true);
    let template = Template::new("matmul nbits", SOURCE).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .with("rows", rows_at_once)
        .with("bits", op.bits)
        .with("of_word", 32 / op.bits)
        .with("half", 1usize << (op.bits - 1))
        .switch("zero", zero)
        .switch("bias", bias)
        .build();
    Ok(Lowered::one("matmul nbits", rows.dispatch(shader, bindings.operands(), params)?))
}

fn packed(
    input: usize,
    form: String,
    pack: impl Fn(&Tensor) -> Result<Vec<u32>, Decline> + Send + Sync + 'static,
) -> Operand {
    Operand::Packed(Packing { input, form, pack: Arc::new(pack) })
}

/// Bytes as little-endian words; the last one is padded.
fn bytes_as_words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(four)
    };
    bytes.chunks(4).map(word).collect()
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
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    #[test]
    fn every_width_with_and_without_zero_points() {
        for (bits, k, n, block_size) in [(4, 64, 7, 32), (2, 100, 17, 16), (8, 33, 3, 16), (4, 600, 3, 128)] {
            let op = MatMulNBits { k, n, bits, block_size, accuracy_level: 0 };
            let (blocks, zero_bytes) = (op.blocks(), op.zero_point_bytes());
            let bytes = |shape: &[usize], seed| {
                let noise = random(shape, seed).to_f64().unwrap();
                let bytes: Vec<f64> = noise.iter().map(|x| ((x + 3.0) * 42.0).floor()).collect();
                Tensor::from_f64(DType::U8, shape, &bytes).unwrap()
            };
            let weights = bytes(&[n, blocks, op.block_bytes()], 1);
            for zero in [None, Some(bytes(&[n, zero_bytes], 3)), Some(random(&[n, blocks], 4))] {
                for rows in [&[k][..], &[5, k], &[2, 3, k], &[0, k]] {
                    let mut inputs = vec![
                        Some((random(rows, 5), false)),
                        Some((weights.clone(), true)),
                        Some((random(&[n, blocks], 2), true)),
                        zero.clone().map(|zero| (zero, true)),
                    ];
                    let tolerance = Tolerance { relative: 1e-4, absolute: 3e-2 };
                    agree_with(op.clone(), &inputs, 1, tolerance);
                    inputs.extend([None, Some((random(&[n], 6), false))]);
                    agree_with(op.clone(), &inputs, 1, tolerance);
                }
            }
        }
    }
}
