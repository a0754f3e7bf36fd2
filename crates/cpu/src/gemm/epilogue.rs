//! What is done to a product before it is stored.

use super::activation::Activation;
use super::matrix::MatRef;

/// A vector added to the product.
#[derive(Clone, Copy, Debug, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// One value per column of C; length N.
    Columns(&'a [f32]),
    /// One value per row of C; length M.
    Rows(&'a [f32]),
}

/// `C = activation(alpha A B + bias + residual)`, with the old C added too where `accumulate` is set.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether the old contents of C are added. If not, they are never read.
    pub accumulate: bool,
    /// Whether the products of an element, up to 512 of them, must be added one after the other. If not, small products
    /// have several sums, which is faster.
    pub in_order: bool,
    /// Vector added.
    pub bias: Bias<'a>,
    /// Matrix added, of the shape of C.
    pub residual: Option<MatRef<'a>>,
    /// Applied last.
    pub activation: Activation,
}

impl Default for Epilogue<'_> {
    /// The plain product.
    fn default() -> Self {
        Epilogue {
            alpha: 1.0,
            accumulate: false,
            in_order: false,
            bias: Bias::None,
            residual: None,
            activation: Activation::None,
        }
    }
}

impl<'a> Epilogue<'a> {
    /// The epilogue of a part of C, given by first row, rows, first column, columns.
    pub(crate) fn part(&self, row: usize, rows: usize, col: usize, cols: usize) -> Epilogue<'a> {
        let bias = match self.bias {
            Bias::None => Bias::None,
            Bias::Columns(bias) => Bias::Columns(&bias[col..][..cols]),
            Bias::Rows(bias) => Bias::Rows(&bias[row..][..rows]),
        };
        Epilogue { bias, residual: self.residual.map(|r| r.part(row, rows, col, cols)), ..*self }
    }

    /// Panics unless bias and residual fit a C of `m` x `n`.
    pub(crate) fn check(&self, m: usize, n: usize) {
        match self.bias {
            Bias::None => {}
            Bias::Columns(bias) => assert_eq!(bias.len(), n, "bias per column"),
            Bias::Rows(bias) => assert_eq!(bias.len(), m, "bias per row"),
        }
        if let Some(residual) = self.residual {
            assert_eq!((residual.rows, residual.cols), (m, n), "residual and C differ in shape");
        }
    }
}
