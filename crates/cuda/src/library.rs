//! Matrix products as libraries offer them: what is multiplied, and a plain reference.

use std::any::Any;

use half::{bf16, f16};

use crate::driver::Address;

/// A product that a library is ready to compute.
pub(crate) trait Prepared: Any + Send + Sync {
    /// Bytes of memory that it needs besides its operands.
    fn workspace(&self) -> usize;
}

/// Where the operands of a product are. What the product does not have is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) c: Address,
    pub(crate) bias: Address,
    pub(crate) d: Address,
    pub(crate) workspace: Address,
}

/// Types of elements that are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    F16,
    BF16,
    #[cfg_attr(not(test), expect(dead_code, reason = "products of integers have kernels of our own so far"))]
    I8,
    I32,
}

impl Element {
    /// Bytes of one.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::BF16 => 2,
            Element::I8 => 1,
        }
    }
}

/// How a matrix, or a batch of them, lies in memory; row by row. All in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Matrix {
    /// From a row, as it is stored, to the next.
    pub(crate) leading: usize,
    /// From a matrix of the batch to the next; 0 if all products share one.
    pub(crate) stride: usize,
    /// Whether rows and columns are exchanged before it is multiplied. Never of a result.
    pub(crate) transposed: bool,
}

impl Matrix {
    /// Elements from the first of all to the last, for `rows` by `columns` after any transposition.
    pub(crate) fn extent(&self, rows: usize, columns: usize, batch: usize) -> usize {
        let (rows, columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        if rows == 0 || columns == 0 || batch == 0 {
            return 0;
        }
        (batch - 1) * self.stride + (rows - 1) * self.leading + columns
    }

    /// With rows and columns exchanged.
    pub(crate) fn turned(self) -> Matrix {
        Matrix { transposed: !self.transposed, ..self }
    }

    fn at(&self, matrix: usize, row: usize, column: usize) -> usize {
        let (row, column) = if self.transposed { (column, row) } else { (row, column) };
        matrix * self.stride + row * self.leading + column
    }
}

/// What is done to each element of a result at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Activation {
    None,
    Relu,
    /// GELU by its approximation with tanh; libraries have no other.
    #[cfg_attr(not(test), expect(dead_code, reason = "no operator with a product has it so far"))]
    GeluTanh,
}

/// A batch of products `d = activation(a b + c + bias)`: `a` is m by k, `b` is k by n, `d` and `c` are m by n, of the same layout,
/// the bias is n numbers of the type of `d`, for all rows. Sums are kept in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) batch: usize,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) d: Matrix,
    /// Of `a` and `b`.
    pub(crate) factors: Element,
    /// Of `d`, `c` and the bias: as the factors, or F32 for F16 and BF16; I32 for I8.
    pub(crate) result: Element,
    /// Whether factors of F32 may be rounded to TF32.
    pub(crate) tf32: bool,
    /// Whether there is a `c`.
    pub(crate) added: bool,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    pub(crate) activation: Activation,
    /// Bytes that all addresses are multiples of.
    pub(crate) alignment: u32,
}

impl Product {
    /// Bytes of `a`, `b`, and `d`.
    pub(crate) fn bytes(&self) -> [usize; 3] {
        [
            self.a.extent(self.m, self.k, self.batch) * self.factors.bytes(),
            self.b.extent(self.k, self.n, self.batch) * self.factors.bytes(),
            self.d.extent(self.m, self.n, self.batch) * self.result.bytes(),
        ]
    }

    /// Computes it, element by element: sums of floats in double precision, of integers in 32 bits, which wrap. `d` has the bytes
    /// of [`Product::bytes`]; those between its rows stay.
    pub(crate) fn reference(&self, a: &[u8], b: &[u8], c: Option<&[u8]>, bias: Option<&[u8]>, d: &mut [u8]) {
        for batch in 0..self.batch {
            for row in 0..self.m {
                for column in 0..self.n {
                    let place = self.d.at(batch, row, column);
                    let ab = |i: usize| (self.a.at(batch, row, i), self.b.at(batch, i, column));
                    if self.result == Element::I32 {
                        let term = |i| byte(a, ab(i).0).wrapping_mul(byte(b, ab(i).1));
                        let mut sum = (0..self.k).fold(0_i32, |sum, i| sum.wrapping_add(term(i)));
                        for (added, place) in [(c, place), (bias, column)] {
                            sum =
                                added.map_or(sum, |it| sum.wrapping_add(i32::from_ne_bytes(word(it, place))));
                        }
                        let sum = if self.activation == Activation::Relu { sum.max(0) } else { sum };
                        d[place * 4..][..4].copy_from_slice(&sum.to_ne_bytes());
                        continue;
                    }
                    let term = |i| number(self.factors, a, ab(i).0) * number(self.factors, b, ab(i).1);
                    let mut sum: f64 = (0..self.k).map(term).sum();
                    for (added, place) in [(c, place), (bias, column)] {
                        sum += added.map_or(0.0, |it| number(self.result, it, place));
                    }
                    put(self.result, d, place, self.activated(sum));
                }
            }
        }
    }

    fn activated(&self, x: f64) -> f64 {
        match self.activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }
}

fn byte(bytes: &[u8], place: usize) -> i32 {
    i32::from(bytes[place] as i8)
}

fn word(bytes: &[u8], place: usize) -> [u8; 4] {
    let at = &bytes[place * 4..][..4];
    [at[0], at[1], at[2], at[3]]
}

fn half_word(bytes: &[u8], place: usize) -> [u8; 2] {
    [bytes[place * 2], bytes[place * 2 + 1]]
}

fn number(element: Element, bytes: &[u8], place: usize) -> f64 {
    match element {
        Element::F32 => f32::from_ne_bytes(word(bytes, place)).into(),
        Element::F16 => f16::from_ne_bytes(half_word(bytes, place)).into(),
        Element::BF16 => bf16::from_ne_bytes(half_word(bytes, place)).into(),
        Element::I8 => byte(bytes, place).into(),
        Element::I32 => i32::from_ne_bytes(word(bytes, place)).into(),
    }
}

fn put(element: Element, bytes: &mut [u8], place: usize, x: f64) {
    match element {
        Element::F32 => bytes[place * 4..][..4].copy_from_slice(&(x as f32).to_ne_bytes()),
        Element::F16 => bytes[place * 2..][..2].copy_from_slice(&f16::from_f64(x).to_ne_bytes()),
        Element::BF16 => bytes[place * 2..][..2].copy_from_slice(&bf16::from_f64(x).to_ne_bytes()),
        Element::I8 => bytes[place] = (x as i8) as u8,
        Element::I32 => bytes[place * 4..][..4].copy_from_slice(&(x as i32).to_ne_bytes()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plain(m: usize, n: usize, k: usize, factors: Element, result: Element) -> Product {
        let matrix = |leading| Matrix { leading, stride: 0, transposed: false };
        Product {
            m,
            n,
            k,
            batch: 1,
            a: matrix(k),
            b: matrix(n),
            d: matrix(n),
            factors,
            result,
            tf32: false,
            added: false,
            bias: false,
            activation: Activation::None,
            alignment: 256,
        }
    }

    fn bytes(numbers: &[f32]) -> &[u8] {
        bytemuck::cast_slice(numbers)
    }

    #[test]
    fn rows_are_multiplied_by_columns() {
        let (a, b) = ([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0_f32, -1.0, 0.5, 2.0, 0.0, 3.0]);
        let mut d = [f32::NAN; 4];
        let product = plain(2, 2, 3, Element::F32, Element::F32);
        product.reference(bytes(&a), bytes(&b), None, None, bytemuck::cast_slice_mut(&mut d));
        assert_eq!(d, [2.0, 12.0, 6.5, 24.0]);
        // The same with both stored the other way round, a bias, an addend and ReLU.
        let (a, b) = ([1.0_f32, 4.0, 2.0, 5.0, 3.0, 6.0], [1.0_f32, 0.5, 0.0, -1.0, 2.0, 3.0]);
        let turned = |leading| Matrix { leading, stride: 0, transposed: true };
        let product = Product {
            a: turned(2),
            b: turned(3),
            bias: true,
            added: true,
            activation: Activation::Relu,
            ..product
        };
        let (c, bias) = ([0.0_f32, 0.0, 0.0, 1.0], [-5.0_f32, 0.5]);
        let given = (Some(bytes(&c)), Some(bytes(&bias)));
        product.reference(bytes(&a), bytes(&b), given.0, given.1, bytemuck::cast_slice_mut(&mut d));
        assert_eq!(d, [0.0, 12.5, 1.5, 25.5]);
        assert_eq!(product.bytes(), [24, 24, 16]);
    }

    #[test]
    fn batches_share_what_has_no_stride_and_gaps_stay() {
        let a = [1_i8, 2, 3, 4];
        let b = [2_i8, -128];
        let row = |leading, stride| Matrix { leading, stride, transposed: false };
        let product = Product {
            batch: 2,
            a: row(2, 2),
            b: row(1, 0),
            d: row(1, 3),
            ..plain(1, 1, 2, Element::I8, Element::I32)
        };
        let mut d = [7_i32; 4];
        let (a, b) = (bytemuck::cast_slice(&a), bytemuck::cast_slice(&b));
        product.reference(a, b, None, None, bytemuck::cast_slice_mut(&mut d));
        assert_eq!(d, [2 - 256, 7, 7, 6 - 512]);
        assert_eq!(product.bytes(), [4, 2, 16]);
    }
}
