//! Products against plain loops in f64, on every instruction set present.

use super::activation::tests::{ALL, exact};
use super::test_data::Random;
use super::*;
use crate::simd::Isa;

const POISON: u32 = 0xABAB_ABAB;

/// A matrix stored with a row stride, at an odd address, between guards.
struct Stored {
    data: Vec<f32>,
    start: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Stored {
    fn random(random: &mut Random, rows: usize, cols: usize, slack: usize) -> Self {
        let mut stored = Self::poisoned(rows, cols, cols + slack);
        for i in 0..rows {
            let row = random.floats(cols);
            let at = stored.start + i * stored.stride;
            stored.data[at..at + cols].copy_from_slice(&row);
        }
        stored
    }
    fn poisoned(rows: usize, cols: usize, stride: usize) -> Self {
        let start = 3;
        Stored { data: vec![f32::from_bits(POISON); start + rows * stride + 40], start, rows, cols, stride }
    }
    fn get(&self, i: usize, j: usize) -> f32 {
        self.data[self.start + i * self.stride + j]
    }
    fn view(&self) -> MatRef<'_> {
        // Not a float more than the matrix needs.
        let len =
            if self.rows == 0 || self.cols == 0 { 0 } else { (self.rows - 1) * self.stride + self.cols };
        MatRef::strided(&self.data[self.start..][..len], self.rows, self.cols, self.stride)
    }
    fn view_mut(&mut self) -> MatMut<'_> {
        let (rows, cols, stride) = (self.rows, self.cols, self.stride);
        MatMut::strided(&mut self.data[self.start..], rows, cols, stride)
    }
    fn transposed(&self) -> Stored {
        let mut t = Self::poisoned(self.cols, self.rows, self.rows + 2);
        for i in 0..self.cols {
            for j in 0..self.rows {
                t.data[t.start + i * t.stride + j] = self.get(j, i);
            }
        }
        t
    }
    /// Panics if an element outside the matrix has changed.
    fn check_guards(&self) {
        for (i, x) in self.data.iter().enumerate() {
            let inside = i >= self.start
                && (i - self.start) / self.stride.max(1) < self.rows
                && (i - self.start) % self.stride.max(1) < self.cols;
            assert!(inside || x.to_bits() == POISON, "element {i} outside C was written");
        }
    }
}

/// How B is handed over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Packed,
    PackedTransposed,
    Normal,
    Transposed,
}
const FORMS: [Form; 4] = [Form::Packed, Form::PackedTransposed, Form::Normal, Form::Transposed];

/// One random product of the given shape, checked.
fn check(isa: Isa, threads: &Threads, (m, n, k): (usize, usize, usize), form: Form, seed: u64) {
    let mut random = Random(seed);
    let slack = [0, 1, 16, 1024 - k % 1024][random.below(4)];
    let a = Stored::random(&mut random, m, k, slack);
    let b = Stored::random(&mut random, k, n, 1);
    let bt = b.transposed();
    let residual = Stored::random(&mut random, m, n, 5);
    let bias = random.floats(m.max(n));
    let epilogue = Epilogue {
        alpha: [1.0, -0.5][random.below(2)],
        accumulate: random.below(3) == 0,
        in_order: random.below(2) == 0,
        bias: [Bias::None, Bias::Columns(&bias[..n]), Bias::Rows(&bias[..m])][random.below(3)],
        residual: (random.below(2) == 0).then(|| residual.view()),
        activation: ALL[random.below(ALL.len())],
    };
    let (old, mut c) = if epilogue.accumulate {
        let c = Stored::random(&mut random, m, n, 3);
        let copy = Stored { data: c.data.clone(), ..c };
        (Some(c), copy)
    } else {
        // Poison is never read: it is NaN-free but huge, and would show.
        (None, Stored::poisoned(m, n, n + 3))
    };
    let unpacked = match form {
        Form::Packed | Form::Normal => Unpacked::Normal(b.view()),
        Form::PackedTransposed | Form::Transposed => Unpacked::Transposed(bt.view()),
    };
    match form {
        Form::Packed | Form::PackedTransposed => {
            let packed = PackedB::new(isa, threads, unpacked);
            gemm(threads, a.view(), packed.view(), c.view_mut(), &epilogue);
        }
        Form::Normal | Form::Transposed => {
            matmul(isa, threads, a.view(), unpacked, c.view_mut(), &epilogue);
        }
    }
    c.check_guards();
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0;
            let mut size = 1.0;
            for l in 0..k {
                let p = a.get(i, l) as f64 * b.get(l, j) as f64;
                sum += p;
                size += p.abs();
            }
            sum *= epilogue.alpha as f64;
            sum += old.as_ref().map_or(0.0, |c| c.get(i, j) as f64);
            sum += match epilogue.bias {
                Bias::None => 0.0,
                Bias::Columns(b) => b[j] as f64,
                Bias::Rows(b) => b[i] as f64,
            };
            sum += epilogue.residual.map_or(0.0, |_| residual.get(i, j) as f64);
            let expected = exact(epilogue.activation, sum);
            let error = (c.get(i, j) as f64 - expected).abs();
            assert!(
                error <= 1e-6 * size,
                "{isa:?} {m}x{n}x{k} {form:?} {epilogue:?} at {i}, {j}: {} != {expected}",
                c.get(i, j)
            );
        }
    }
}

#[test]
fn odd_shapes() {
    let sizes = [0, 1, 2, 3, 5, 13, 15, 17, 33, 65, 127];
    for isa in Isa::available() {
        let mut random = Random(1);
        for form in FORMS {
            for _ in 0..120 {
                let mut size = || sizes[random.below(sizes.len())];
                let shape = (size(), size(), size());
                check(isa, &Threads::single(), shape, form, random.next());
            }
        }
    }
}

#[test]
fn every_tile_height_and_width() {
    for isa in Isa::available() {
        for m in 1..=29 {
            for n in [1, 4, 5, 8, 9, 12, 16, 17, 31, 32, 33, 48, 63] {
                check(isa, &Threads::single(), (m, n, 9), FORMS[(m + n) % 4], (m * 100 + n) as u64);
            }
        }
    }
}

#[test]
fn several_blocks_and_threads() {
    let shapes =
        [(1, 1000, 5000), (4, 70, 9001), (3, 200, 700), (30, 65, 1300), (300, 40, 600), (260, 300, 513)];
    for isa in Isa::available() {
        for (i, shape) in shapes.into_iter().enumerate() {
            for form in FORMS {
                check(isa, &Threads::new(1 + i % 3), shape, form, i as u64);
            }
        }
    }
}

#[test]
fn crowded_rows_of_a() {
    for isa in Isa::available() {
        // Row strides of 4 KiB: A is copied, both with B resident and B streaming.
        for shape in [(40, 33, 1024), (300, 30, 1024), (20, 600, 2048)] {
            check(isa, &Threads::new(2), shape, Form::Packed, 12);
        }
    }
}

#[test]
fn nan_and_infinity_propagate() {
    for isa in Isa::available() {
        for form in FORMS {
            let (m, n, k) = (5, 37, 40);
            let mut a = vec![0.0; m * k];
            let mut b = vec![0.0; k * n];
            a[2 * k + 7] = f32::INFINITY;
            b[30 * n + 35] = f32::NAN;
            let bt: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
            let unpacked = match form {
                Form::Packed | Form::Normal => Unpacked::Normal(MatRef::new(&b, k, n)),
                _ => Unpacked::Transposed(MatRef::new(&bt, n, k)),
            };
            let mut c = vec![1.0; m * n];
            let (a, c_view, t) = (MatRef::new(&a, m, k), MatMut::new(&mut c, m, n), Threads::single());
            if form == Form::Packed {
                gemm(&t, a, PackedB::new(isa, &t, unpacked).view(), c_view, &Epilogue::default());
            } else {
                matmul(isa, &t, a, unpacked, c_view, &Epilogue::default());
            }
            for i in 0..m {
                for j in 0..n {
                    // Infinity times zero is NaN.
                    let nan = i == 2 || j == 35;
                    assert_eq!(c[i * n + j].is_nan(), nan, "{isa:?} {form:?} {i} {j}");
                }
            }
        }
    }
}

#[test]
fn packed_layout_is_reported() {
    for isa in Isa::available() {
        let b = vec![1.0; 5 * 37];
        let packed = PackedB::new(isa, &Threads::single(), Unpacked::Normal(MatRef::new(&b, 5, 37)));
        assert_eq!((packed.view().depth(), packed.view().cols(), packed.view().isa()), (5, 37, isa));
        assert_eq!(packed.size_bytes(), 4 * packed_len(isa, 5, 37));
    }
}

#[test]
fn unaligned_bytes_are_packed_alike() {
    let threads = Threads::new(2);
    for isa in Isa::available() {
        // The last has several pieces, and a part of a panel at the end.
        for (k, n) in [(0, 5), (5, 0), (1, 1), (3, 37), (17, 64), (5000, 139)] {
            let b: Vec<f32> = (0..k * n).map(|i| i as f32 + 0.5).collect();
            for offset in 0..3 {
                let mut file = vec![0xABu8; offset];
                file.extend_from_slice(bytemuck::cast_slice(&b));
                for transposed in [false, true] {
                    let aligned = if transposed {
                        Unpacked::Transposed(MatRef::new(&b, n, k))
                    } else {
                        Unpacked::Normal(MatRef::new(&b, k, n))
                    };
                    let raw = RawB { bytes: &file[offset..], depth: k, cols: n, transposed };
                    let (raw, aligned) =
                        (PackedB::from_raw(isa, &threads, raw), PackedB::new(isa, &threads, aligned));
                    assert!(raw.view().elements() == aligned.view().elements(), "{isa:?} {k} x {n}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "A has 3 columns, B 4 rows")]
fn shapes_must_fit() {
    let b = [0.0; 8];
    let packed = PackedB::new(Isa::best(), &Threads::single(), Unpacked::Normal(MatRef::new(&b, 4, 2)));
    let (a, mut c) = ([0.0; 6], [0.0; 4]);
    let (a, c) = (MatRef::new(&a, 2, 3), MatMut::new(&mut c, 2, 2));
    gemm(&Threads::single(), a, packed.view(), c, &Epilogue::default());
}

#[test]
fn batches_interleaved_and_shared() {
    // Attention-like: heads side by side in A and C, one B for two heads.
    for isa in Isa::available() {
        for (heads, m, n, k, transposed) in
            [(4, 7, 9, 5, true), (6, 1, 64, 33, false), (2, 70, 40, 64, true), (2, 0, 3, 4, false)]
        {
            let mut random = Random(9);
            let a = random.floats(m * heads * k);
            let b = random.floats(heads * n * k);
            let b_stride = if transposed { k } else { n };
            let items: Vec<Item> =
                (0..heads).map(|h| Item { a: h * k, b: h / 2 * n * k, c: h * n }).collect();
            let mut c = vec![f32::NAN; m * heads * n + 1];
            let (a_op, b_op) =
                (Operand { data: &a, stride: heads * k }, Operand { data: &b, stride: b_stride });
            let (b_transposed, c_stride) = (transposed, heads * n);
            let batch = Batch { a: a_op, b: b_op, c_stride, m, n, k, b_transposed, items: &items };
            let epilogue = Epilogue { alpha: 0.125, ..Epilogue::default() };
            matmul_batch(isa, &Threads::new(2), &batch, &mut c, &epilogue);
            assert!(c[m * heads * n].is_nan());
            for h in 0..heads {
                for i in 0..m {
                    for j in 0..n {
                        let b_at = |l: usize| h / 2 * n * k + if transposed { j * k + l } else { l * n + j };
                        let expected: f64 = (0..k)
                            .map(|l| a[i * heads * k + h * k + l] as f64 * b[b_at(l)] as f64 / 8.0)
                            .sum();
                        let got = c[i * heads * n + h * n + j] as f64;
                        assert!((got - expected).abs() < 1e-5, "{isa:?} {h} {i} {j}: {got} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "overlap")]
fn batches_must_not_overlap() {
    let items = [Item { c: 0, ..Item::default() }, Item { c: 2, ..Item::default() }];
    let one = Operand { data: &[1.0; 8], stride: 3 };
    let batch = Batch { a: one, b: one, c_stride: 6, m: 2, n: 3, k: 1, b_transposed: false, items: &items };
    matmul_batch(Isa::best(), &Threads::single(), &batch, &mut [0.0; 64], &Epilogue::default());
}
