//! Packing of B into panels.
//!
//! A panel holds `width` neighbouring columns, row after row: element (k, j) is at `k * width + j`. All panels are two
//! vectors wide, except that a last panel with at most one vector of columns is one wide. Missing columns are zero.

use super::buffer::Buffer;
use super::matrix::MatRef;
use super::scratch::with_scratch;
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::{Shared, Threads};
use std::fmt;
use std::ops::Range;

/// Floats of an unaligned operand that are copied at a time.
const UNALIGNED_FLOATS: usize = 64 << 10;

/// A right-hand operand in its natural layout.
#[derive(Clone, Copy, Debug)]
pub enum Unpacked<'a> {
    /// K x N, rows contiguous.
    Normal(MatRef<'a>),
    /// N x K: each column of B is contiguous (keys in attention, weights of linear layers).
    Transposed(MatRef<'a>),
}

impl<'a> Unpacked<'a> {
    /// `depth` x `cols` elements, or `cols` x `depth` if transposed.
    pub fn new(elements: &'a [f32], depth: usize, cols: usize, transposed: bool) -> Self {
        if transposed {
            Unpacked::Transposed(MatRef::new(elements, cols, depth))
        } else {
            Unpacked::Normal(MatRef::new(elements, depth, cols))
        }
    }
    /// K.
    pub fn depth(&self) -> usize {
        match self {
            Unpacked::Normal(b) => b.rows,
            Unpacked::Transposed(b) => b.cols,
        }
    }
    /// N.
    pub fn cols(&self) -> usize {
        match self {
            Unpacked::Normal(b) => b.cols,
            Unpacked::Transposed(b) => b.rows,
        }
    }
}

/// A right-hand operand as the bytes of a file: f32 in native order, perhaps unaligned.
#[derive(Clone, Copy, Debug)]
pub struct RawB<'a> {
    /// K x N, or N x K if transposed.
    pub bytes: &'a [u8],
    /// K.
    pub depth: usize,
    /// N.
    pub cols: usize,
    /// Whether each column is contiguous.
    pub transposed: bool,
}

impl RawB<'_> {
    /// Copies columns `columns` to `to`, in the same layout.
    fn copy(&self, columns: Range<usize>, to: &mut [f32]) {
        let (run, stride, start) = if self.transposed {
            (columns.len() * self.depth, columns.len() * self.depth, columns.start * self.depth)
        } else {
            (columns.len(), self.cols, columns.start)
        };
        let size = size_of::<f32>();
        for (i, to) in to.chunks_exact_mut(run).enumerate() {
            let from = (start + i * stride) * size;
            bytemuck::cast_slice_mut(to).copy_from_slice(&self.bytes[from..from + run * size]);
        }
    }
}

/// A right-hand operand packed for one instruction set, in memory of its own.
pub struct PackedB {
    isa: Isa,
    depth: usize,
    cols: usize,
    data: Buffer,
}

/// A right-hand operand packed for one instruction set, in borrowed memory.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    isa: Isa,
    depth: usize,
    cols: usize,
    /// Rows of each panel; more than `depth` where only the first rows are meant.
    stored: usize,
    data: &'a [f32],
}

impl PackedB {
    /// Packs `b`, in parallel.
    pub fn new(isa: Isa, threads: &Threads, b: Unpacked) -> Self {
        let mut data = Buffer::zeroed(packed_len(isa, b.depth(), b.cols()));
        Packed::pack(isa, threads, b, &mut data);
        PackedB { isa, depth: b.depth(), cols: b.cols(), data }
    }

    /// Packs the bytes of a file, in parallel; unaligned bytes are first copied, some panels at a time. Panics if there are
    /// not as many bytes as it takes.
    pub fn from_raw(isa: Isa, threads: &Threads, b: RawB) -> Self {
        let RawB { bytes, depth, cols, transposed } = b;
        assert_eq!(bytes.len(), depth * cols * size_of::<f32>(), "bytes of a {depth} x {cols} operand");
        if let Ok(elements) = bytemuck::try_cast_slice(bytes) {
            return PackedB::new(isa, threads, Unpacked::new(elements, depth, cols, transposed));
        }
        let mut data = Buffer::zeroed(packed_len(isa, depth, cols));
        // A whole number of panels, of about a quarter of the second-level cache.
        let width = 2 * isa.lanes();
        let at_once = (UNALIGNED_FLOATS / depth.max(1)).max(1).next_multiple_of(width);
        threads.par_chunks_mut(&mut data, (at_once * depth).max(1), |i, panels| {
            let columns = i * at_once..cols.min((i + 1) * at_once);
            with_scratch(columns.len() * depth, |copy| {
                b.copy(columns.clone(), copy);
                Packed::pack(
                    isa,
                    &Threads::single(),
                    Unpacked::new(copy, depth, columns.len(), transposed),
                    panels,
                );
            });
        });
        PackedB { isa, depth, cols, data }
    }

    /// A view, as the products take it.
    pub fn view(&self) -> Packed<'_> {
        let PackedB { isa, depth, cols, ref data } = *self;
        Packed { isa, depth, cols, stored: depth, data }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
    }
}

impl fmt::Debug for PackedB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl fmt::Debug for Packed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({:?}, {} x {})", self.isa, self.depth, self.cols)
    }
}

/// Floats that a packed `depth` x `cols` operand takes.
pub fn packed_len(isa: Isa, depth: usize, cols: usize) -> usize {
    let padded = cols.next_multiple_of(isa.lanes());
    depth.checked_mul(padded).expect("a packed operand larger than the address space")
}

impl<'a> Packed<'a> {
    /// Packs `b` into the first [`packed_len`] elements of `dst` (best aligned to 64 bytes), in parallel. Panics if
    /// `dst` is shorter.
    pub fn pack(isa: Isa, threads: &Threads, b: Unpacked, dst: &'a mut [f32]) -> Packed<'a> {
        let (depth, cols) = (b.depth(), b.cols());
        let len = packed_len(isa, depth, cols);
        assert!(dst.len() >= len, "{} elements cannot hold a packed {depth} x {cols}", dst.len());
        let dst = &mut dst[..len];
        if len > 0 {
            let width = 2 * isa.lanes();
            let panels = cols.div_ceil(width);
            // Enough work per task to be worth a hand-over.
            let per_task = (16 * 1024 / (width * depth)).max(1);
            let start = Shared(dst.as_mut_ptr());
            threads.par_for(panels.div_ceil(per_task), |task| {
                for p in task * per_task..panels.min((task + 1) * per_task) {
                    let columns = p * width..cols.min((p + 1) * width);
                    let width = columns.len().next_multiple_of(isa.lanes());
                    // SAFETY: panels follow each other within `dst`, which is borrowed for the call; this one is ours.
                    let panel = unsafe {
                        std::slice::from_raw_parts_mut(start.get().add(columns.start * depth), width * depth)
                    };
                    isa.dispatch(PackPanel { b, first: columns.start, cols: columns.len(), panel, width });
                }
            });
        }
        Packed { isa, depth, cols, stored: depth, data: dst }
    }

    /// K.
    pub fn depth(&self) -> usize {
        self.depth
    }
    /// N.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// The elements, panel by panel.
    #[cfg(test)]
    pub(crate) fn elements(&self) -> &'a [f32] {
        self.data
    }
    /// The instruction set it is packed for, which products with it then use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
    /// The first `depth` rows. Panics if there are fewer.
    pub(crate) fn first_rows(self, depth: usize) -> Packed<'a> {
        assert!(depth <= self.depth);
        Packed { depth, ..self }
    }
    /// The first columns: at least `cols`, in whole panels. Panics if there are fewer.
    pub(crate) fn first_panels(self, cols: usize) -> Packed<'a> {
        assert!(cols <= self.cols);
        Packed { cols: cols.next_multiple_of(2 * self.isa.lanes()).min(self.cols), ..self }
    }
}

/// The right-hand operand of a product: packed, or rows of which all panels are full, in place.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) isa: Isa,
    pub(crate) depth: usize,
    pub(crate) cols: usize,
    data: &'a [f32],
    /// Rows of each panel, if packed.
    stored: usize,
    /// Distance of rows; None if packed.
    stride: Option<usize>,
}

impl<'a> From<Packed<'a>> for Right<'a> {
    fn from(b: Packed<'a>) -> Self {
        Right { isa: b.isa, depth: b.depth, cols: b.cols, data: b.data, stored: b.stored, stride: None }
    }
}

impl<'a> Right<'a> {
    /// The first columns of `b` that make full panels, in place.
    pub(crate) fn full_panels(isa: Isa, b: MatRef<'a>) -> Self {
        let cols = b.cols - b.cols % (2 * isa.lanes());
        Right { isa, depth: b.rows, cols, data: b.data, stored: b.rows, stride: Some(b.stride) }
    }

    /// Whether rows of a panel follow each other in memory.
    pub(crate) fn is_packed(&self) -> bool {
        self.stride.is_none()
    }

    /// Address of row `k` of the panel from column `first` on, and the distance of its rows. All `depth - k` rows can be
    /// read from there, each as whole vectors.
    #[inline(always)]
    pub(crate) fn panel<S: Simd>(&self, first: usize, k: usize) -> (*const f32, usize) {
        let width = (2 * S::LANES).min((self.cols - first).next_multiple_of(S::LANES));
        let (start, stride) = match self.stride {
            None => (first * self.stored + k * width, width),
            Some(stride) => (first + k * stride, stride),
        };
        (self.data.as_ptr().wrapping_add(start), stride)
    }
}

/// Packs columns `first..first + cols` into a panel `width` wide.
struct PackPanel<'a> {
    b: Unpacked<'a>,
    first: usize,
    cols: usize,
    panel: &'a mut [f32],
    width: usize,
}

impl Kernel for PackPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.b {
            Unpacked::Normal(b) => self.pack_rows(s, b),
            Unpacked::Transposed(b) => self.pack_columns(s, b),
        }
    }
}

impl PackPanel<'_> {
    #[inline(always)]
    fn pack_rows<S: Simd>(self, s: S, b: MatRef) {
        for (k, row) in self.panel.chunks_exact_mut(self.width).enumerate() {
            let src = &b.data[k * b.stride + self.first..][..self.cols];
            for (j, dst) in row.chunks_exact_mut(S::LANES).enumerate() {
                // Past the columns this loads nothing, and stores zeros.
                s.store(dst, s.load_partial(src.get(j * S::LANES..).unwrap_or_default()));
            }
        }
    }

    #[inline(always)]
    fn pack_columns<S: Simd>(self, s: S, b: MatRef) {
        let (depth, width) = (b.cols, self.width);
        let full_depth = depth - depth % S::LANES;
        let full_cols = self.cols - self.cols % S::LANES;
        for j in (0..full_cols).step_by(S::LANES) {
            let src = &b.data[(self.first + j) * b.stride..];
            assert!(src.len() >= (S::LANES - 1) * b.stride + depth && self.panel.len() >= depth * width);
            for k in (0..full_depth).step_by(S::LANES) {
                let dst = &mut self.panel[k * width + j..];
                // SAFETY: LANES columns of depth >= k + LANES elements each, and as many rows of the panel from k on,
                // are in bounds by the assertion.
                unsafe { s.transpose_ptr(src.as_ptr().add(k), b.stride, dst.as_mut_ptr(), width) };
            }
        }
        for j in 0..width {
            let whole = j < full_cols;
            let from = if whole { full_depth } else { 0 };
            for k in from..depth {
                let inside = j < self.cols;
                self.panel[k * width + j] =
                    if inside { b.data[(self.first + j) * b.stride + k] } else { 0.0 };
            }
        }
    }
}
