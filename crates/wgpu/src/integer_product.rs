//! Matrix products of 8-bit integers, exact, with what is done to their sums.

use inferrum_backend::{Decline, Loops, broadcast_strides};
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::{DType, Shape};

use crate::bindings::Bindings;
use crate::integer_tile::{IntegerTile, Sums};
use crate::integers::{Layout, Zeros, flip};
use crate::kernel::{Lowered, Lowering, Operand, word};
use crate::requantize::{Epilogue, QUANTIZED};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/integer_product.wgsl");

/// Places of a product's inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntegerProduct {
    pub(crate) a: usize,
    pub(crate) a_zero: usize,
    pub(crate) b: usize,
    pub(crate) b_zero: usize,
    /// Whether matrices are stored transposed.
    pub(crate) trans_a: bool,
    pub(crate) trans_b: bool,
}

/// A matrix as it stands in memory.
struct Side {
    dtype: DType,
    /// As the product sees it.
    shape: Shape,
    row: usize,
    column: usize,
}

impl Side {
    fn new(lowering: &Lowering<'_>, place: usize, transposed: bool) -> Result<Side, Decline> {
        let mut shape = lowering.shape(place)?;
        let dtype = lowering.dtype(place)?;
        let (mut row, mut column) = (shape.last().copied().unwrap_or(1), 1);
        if transposed {
            let &[rows, columns] = &shape[..] else { return Err(Decline("transposed batches".into())) };
            (row, column) = (column, row);
            shape = Shape::from([columns, rows]);
        }
        // A vector on the right is a column.
        if shape.rank() == 1 && place != 0 {
            (row, column) = (1, 0);
        }
        Ok(Side { dtype, shape, row, column })
    }
}

/// The kernel. `epilogue` adds the buffers that it reads, given rows and columns of the output's matrices.
///
/// # Errors
/// A type or shape that it does not take.
pub(crate) fn lower_integer_product(
    product: IntegerProduct,
    lowering: &Lowering<'_>,
    epilogue: impl FnOnce(&mut Bindings, &mut Vec<u32>) -> Result<Epilogue, Decline>,
) -> Result<Lowered, Decline> {
    let a = Side::new(lowering, product.a, product.trans_a)?;
    let b = Side::new(lowering, product.b, product.trans_b)?;
    let geometry = MatMulGeometry::new(&a.shape, &b.shape).map_err(|error| Decline(error.to_string()))?;
    let (n, k) = (geometry.n, geometry.k);
    // One right operand for all rows of the left one is a single product.
    let joined = geometry.b_batch.elements() == 1;
    let m = if joined { geometry.batch.elements() * geometry.m } else { geometry.m };
    let batch = if joined { Shape::scalar() } else { geometry.batch.clone() };
    let strides = |own: &Shape, each: usize| -> Result<Vec<isize>, Decline> {
        let own = if joined { Shape::scalar() } else { own.clone() };
        let strides = broadcast_strides(&batch, &own).ok_or_else(|| Decline("batches".into()))?;
        Ok(strides.iter().map(|stride| stride * each as isize).collect())
    };
    let (a_strides, b_strides) =
        (strides(&geometry.a_batch, geometry.m * k)?, strides(&geometry.b_batch, k * n)?);
    let loops = Loops::new(&batch, &[&a_strides, &b_strides])?;
    let mut params = Vec::new();
    for number in [m, n, k, a.row, a.column, b.row, b.column] {
        params.push(word(number)?);
    }
    let walk = offsets(loops.dims().len(), 2, params.len(), "batch");
    params.extend(loop_words(&loops, &[0, 1])?);

    let a_counts = if joined { vec![geometry.m, m] } else { vec![geometry.m] };
    let a_zeros = Zeros::of(lowering, a.dtype, product.a_zero, &a_counts)?;
    let b_zeros = Zeros::of(lowering, b.dtype, product.b_zero, &[n])?;
    let packed = joined && lowering.constant(product.b).is_some();
    let (line_stride, depth_stride) = (b.column, b.row);
    let layout = Layout { lines: n, depth: k, line_stride, depth_stride, lines_inner: true };
    let known_sums = packed && !a_zeros.vanish();
    let sums = Sums { a: !b_zeros.vanish(), b: !a_zeros.vanish() && !packed };
    let mut bindings = Bindings::default();
    let element = |dtype| storage::words(dtype).ok_or_else(|| Decline(format!("integers of {dtype}")));
    bindings.read("a", element(a.dtype)?, Operand::Input(product.a));
    if packed {
        bindings.read("b", "u32", layout.words(product.b, b.dtype)?);
    } else {
        bindings.read("b", element(b.dtype)?, Operand::Input(product.b));
    }
    if known_sums {
        bindings.read("b_sums", "i32", layout.sums(product.b, b.dtype)?);
    }
    let mut zeros = a_zeros.declare("zero_a", &mut bindings)?;
    zeros.push_str(&b_zeros.declare("zero_b", &mut bindings)?);
    let epilogue = epilogue(&mut bindings, &mut params)?;
    bindings.write("output", epilogue.element, Operand::Output(0));

    let tile = IntegerTile::of(m, n, packed);
    let template = Template::new("integer product", SOURCE)
        .including(FUNCTIONS)
        .including(QUANTIZED)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("offsets", walk)
        .with("flip_a", flip(a.dtype)?)
        .with("flip_b", flip(b.dtype)?)
        .with("zeros", zeros)
        .with("epilogue", epilogue.text)
        .switch("packed", packed)
        .switch("known_sums", known_sums);
    tile.lower("integer product", [batch.elements(), m, n], template, sums, &bindings, params)
}
