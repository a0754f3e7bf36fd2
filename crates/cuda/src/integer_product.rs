//! Matrix products of 8-bit integers, exact, with what is done to their sums.

use inferrum_backend::{Decline, Loops, broadcast_strides};
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::{DType, Shape};

use crate::integer_tile::{IntegerTile, Sums};
use crate::integers::{self, Layout, Zeros, flip};
use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, word, words};
use crate::loops::{self, loop_words};
use crate::requantize::Epilogue;
use crate::source::Template;

const TILES: &str = include_str!("../../../kernels/integer_product.cu");
const ROWS: &str = include_str!("../../../kernels/integer_rows.cu");

/// Rows that a block takes at once where they are few, and up to which they are.
const FEW: usize = 4;
const MOST_FEW: usize = 2 * FEW;

/// Columns of a warp that takes a few rows.
const COLUMNS: usize = 2;

/// Vectors of 16 bytes of a row that a block holds.
const VECTORS: usize = 512;

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
        word(shape.elements())?;
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

/// A product that is being lowered.
struct Problem {
    a: Side,
    b: Side,
    m: usize,
    n: usize,
    k: usize,
    /// Loops over the batch: a's and b's first elements.
    loops: Loops,
    batch: usize,
    a_zeros: Zeros,
    b_zeros: Zeros,
    /// Whether the right operand is a single constant matrix.
    packed: bool,
}

impl Problem {
    fn new(product: IntegerProduct, lowering: &Lowering<'_>) -> Result<Problem, Decline> {
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
        let a_counts = if joined { vec![geometry.m, m] } else { vec![geometry.m] };
        let a_zeros = Zeros::of(lowering, a.dtype, product.a_zero, &a_counts)?;
        let b_zeros = Zeros::of(lowering, b.dtype, product.b_zero, &[n])?;
        let packed = joined && lowering.constant(product.b).is_some();
        word(lowering.output_shape(0)?.elements())?;
        Ok(Problem { a, b, m, n, k, loops, batch: batch.elements(), a_zeros, b_zeros, packed })
    }

    /// Sums of the right operand that are found before the run.
    fn known(&self, product: IntegerProduct, layout: Layout) -> Result<Operand, Decline> {
        let needed = self.packed && !self.a_zeros.vanish();
        if needed { layout.sums(product.b, self.b.dtype) } else { Ok(Operand::Nothing) }
    }

    fn layout(&self, words: usize) -> Layout {
        let (line_stride, depth_stride) = (self.b.column, self.b.row);
        Layout { lines: self.n, depth: self.k, line_stride, depth_stride, words }
    }

    /// By warps that go through the depth.
    fn rows(&self, product: IntegerProduct, epilogue: Epilogue) -> Result<Lowered, Decline> {
        let words_of_column = self.k.div_ceil(4).next_multiple_of(4);
        let layout = self.layout(words_of_column);
        let rows = self.m.clamp(1, FEW);
        let warps = BLOCK / 32;
        let column_blocks = self.n.div_ceil(warps * COLUMNS);
        let numbers = [self.m, self.n, self.k, column_blocks, self.a.row, self.a.column, words_of_column];
        let mut params = words(numbers)?;
        params.push(u32::from(flip(self.a.dtype)?));
        params.extend(self.a_zeros.words()?);
        params.extend(self.b_zeros.words()?);
        word(words_of_column.saturating_mul(self.n))?;
        let template = Template::new("integer_rows", ROWS)
            .including(integers::SOURCE)
            .define("ROWS", format!("{rows}u"))
            .define("COLUMNS", format!("{COLUMNS}u"))
            .define("VECTORS", format!("{VECTORS}u"))
            .switch("SUMS_A", !self.b_zeros.vanish());
        let source = epilogue.fill(template).build();
        let mut operands = vec![
            Operand::Input(product.a),
            layout.packed(product.b, self.b.dtype)?,
            self.known(product, layout)?,
            self.a_zeros.operand(),
            self.b_zeros.operand(),
            Operand::Output(0),
            Operand::words(&params),
        ];
        operands.extend(epilogue.operands());
        let blocks = column_blocks.saturating_mul(self.m.div_ceil(rows));
        let kernel = Kernel::blocks(blocks, BLOCK, source, &operands)?;
        Ok(Lowered::one(format!("integer product rows {rows}"), kernel))
    }

    /// By tiles.
    fn tiles(&self, product: IntegerProduct, epilogue: Epilogue) -> Result<Lowered, Decline> {
        let layout = self.layout(self.k.div_ceil(4));
        let tile = IntegerTile::of(self.m, self.n);
        let (column_tiles, row_tiles) = tile.tiles(self.m, self.n);
        // Packed lines have words for neighbours in depth.
        let b_column = if self.packed { layout.words } else { self.b.column };
        let numbers = [self.m, self.n, self.k, column_tiles, row_tiles];
        let mut params = words(numbers.into_iter().chain([self.a.row, self.a.column, self.b.row, b_column]))?;
        for dtype in [self.a.dtype, self.b.dtype] {
            params.push(u32::from(flip(dtype)?));
        }
        params.extend(self.a_zeros.words()?);
        params.extend(self.b_zeros.words()?);
        params.extend(loop_words(&self.loops, &[0, 1])?);
        // Four neighbours in depth are a word where rows begin at words.
        let whole = self.a.column == 1 && self.k.is_multiple_of(4) && self.a.row.is_multiple_of(4);
        let sums = Sums { a: !self.b_zeros.vanish(), b: !self.a_zeros.vanish() && !self.packed };
        let template = Template::new("integer_product", TILES)
            .including(integers::SOURCE)
            .including(loops::SOURCE)
            .define("RANK", self.loops.dims().len())
            .switch("PACKED", self.packed)
            .switch("WHOLE_A", whole);
        let template = tile.fill(template, sums, self.packed || self.b.row == 1);
        let source = epilogue.fill(template).build();
        let b = if self.packed { layout.packed(product.b, self.b.dtype)? } else { Operand::Input(product.b) };
        let mut operands = vec![
            Operand::Input(product.a),
            b,
            self.known(product, layout)?,
            self.a_zeros.operand(),
            self.b_zeros.operand(),
            Operand::Output(0),
            Operand::words(&params),
        ];
        operands.extend(epilogue.operands());
        let blocks = column_tiles.saturating_mul(row_tiles).saturating_mul(self.batch);
        let kernel = Kernel::blocks(blocks, BLOCK, source, &operands)?;
        Ok(Lowered::one(tile.name("integer product"), kernel))
    }
}

/// The kernel. `epilogue` is given the number of columns; `row` and `column` are there those of a sum in a matrix of the output.
///
/// # Errors
/// A type or shape that it does not take.
pub(crate) fn lower_integer_product(
    product: IntegerProduct,
    lowering: &Lowering<'_>,
    epilogue: impl FnOnce(usize) -> Result<Epilogue, Decline>,
) -> Result<Lowered, Decline> {
    let problem = Problem::new(product, lowering)?;
    let epilogue = epilogue(problem.n)?;
    if problem.packed && problem.m <= MOST_FEW {
        return problem.rows(product, epilogue);
    }
    problem.tiles(product, epilogue)
}
