//! Attention a tile of scores at a time, which never leaves the cache (Dao et al., 2022, <https://arxiv.org/abs/2205.14135>).
//!
//! A task takes rows of queries that share a head of keys. It packs keys and values once; then each block of rows meets
//! one block of keys after the other: products, softmax so far, sum of values so far. Few rows (a token that is decoded)
//! read keys and values once, where they lie.

use inferrum_ops::fused::attention::Layout;
use inferrum_ops::sdpa::{Reach, Sdpa};
use std::ops::Range;

use super::mask::{BoundMask, hides};
use super::tile::{GreatestNorm, MaskRows, Scale, Softmax};
use crate::gemm::{self, Epilogue, MatMut, MatRef, Packed, Unpacked, crowded, packed_len, with_scratch};
use crate::simd::Isa;
use crate::threads::{Shared, Threads};

/// Most rows of a block.
const ROWS: usize = 64;
/// Most keys of a block.
const KEYS: usize = 512;
/// Up to this many rows, packing keys and values would take longer than it saves.
const FEW: usize = 8;

/// Distances of neighbouring batches, heads and rows; the elements of a row follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strides([usize; 3]);

impl Strides {
    /// Those of a tensor of batch, heads, length and width in a layout.
    pub(super) fn dense(layout: Layout, extents: [usize; 4]) -> Strides {
        let axes = layout.axes();
        let after = |axis: usize| -> usize {
            axes.iter().zip(&extents).filter(|(other, _)| **other > axis).map(|(_, extent)| extent).product()
        };
        Strides([after(axes[0]), after(axes[1]), after(axes[2])])
    }

    /// Where a row starts.
    pub(super) fn at(self, batch: usize, head: usize, row: usize) -> usize {
        batch * self.0[0] + head * self.0[1] + row * self.0[2]
    }

    /// Where heads are taken for rows: `group` heads, of one row each.
    fn heads_as_rows(self, group: usize) -> Strides {
        Strides([self.0[0], self.0[1] * group, self.0[1]])
    }
}

/// What becomes of a query whose softmax is not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Undefined {
    /// It stays so, also where the query sees no key.
    Nan,
    /// A query that sees no key gives zeros.
    ZeroIfHidden,
    /// It gives zeros.
    Zero,
}

/// An attention of fixed shapes.
#[derive(Debug)]
pub(super) struct Flash {
    isa: Isa,
    sdpa: Sdpa,
    /// Of queries, keys, values, output.
    strides: [Strides; 4],
    /// The place of the first query among the keys.
    first_place: usize,
    /// Whether the rows of a block are heads of one query.
    heads_as_rows: bool,
    undefined: Undefined,
}

/// What a run works on.
pub(super) struct Operands<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) mask: Option<BoundMask<'a>>,
}

/// Working memory of a task.
struct Work<'a> {
    scores: &'a mut [f32],
    /// Sums of values.
    out: &'a mut [f32],
    greatest: &'a mut [f32],
    sums: &'a mut [f32],
}

/// A head of keys and values.
struct Side<'a> {
    keys: MatRef<'a>,
    values: MatRef<'a>,
    /// Both, for each block of keys; none where they are read as they lie.
    packed: Vec<(Packed<'a>, Packed<'a>)>,
    /// Greatest length of a key.
    norm: f32,
}

/// Some rows of queries.
struct Block {
    batch: usize,
    head: usize,
    rows: Range<usize>,
    /// What each row sees.
    seen: [[usize; 2]; ROWS],
}

impl Flash {
    /// An attention whose first query is at `first_place` among the keys.
    pub(super) fn new(
        isa: Isa,
        sdpa: Sdpa,
        strides: [Strides; 4],
        first_place: usize,
        undefined: Undefined,
    ) -> Flash {
        let mut flash = Flash { isa, sdpa, strides, first_place, heads_as_rows: false, undefined };
        let group = flash.group();
        if flash.sdpa.q_len == 1 && group > 1 {
            flash.heads_as_rows = true;
            flash.sdpa = Sdpa { q_heads: flash.sdpa.kv_heads, q_len: group, ..flash.sdpa };
            for index in [0, 3] {
                flash.strides[index] = flash.strides[index].heads_as_rows(group);
            }
        }
        flash
    }

    /// The instruction set it computes with.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Heads of queries for each head of keys.
    fn group(&self) -> usize {
        self.sdpa.q_heads.checked_div(self.sdpa.kv_heads).unwrap_or(0)
    }

    /// Rows of a block: whole register tiles.
    fn block_rows(&self) -> usize {
        let tile = gemm::rows_per_tile(self.isa);
        (ROWS / tile).max(1) * tile
    }

    /// Number and size of the blocks of keys.
    fn key_blocks(&self) -> (usize, usize) {
        let keys = self.sdpa.kv_len;
        let count = keys.div_ceil(KEYS).max(1);
        let size = keys.div_ceil(count).next_multiple_of(2 * self.isa.lanes()).min(KEYS);
        (keys.div_ceil(size), size)
    }

    /// Computes every element of `y`, which is as large as shapes say.
    pub(super) fn run(&self, threads: &Threads, operands: &Operands<'_>, y: &mut [f32]) {
        let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, v_head, .. } = self.sdpa;
        assert_eq!(y.len(), batch * q_heads * q_len * v_head, "elements of the output");
        if y.is_empty() {
            return;
        }
        if kv_len == 0 {
            return y.fill(0.0);
        }
        let y = Shared(y.as_mut_ptr());
        let (groups, group) = (batch * kv_heads, self.group());
        let blocks = q_len.div_ceil(self.block_rows());
        let units = group * blocks;
        let wanted = if threads.count() == 1 { 1 } else { (4 * threads.count()).div_ceil(groups) };
        let per_task = units.div_ceil(wanted.min(units));
        let tasks = units.div_ceil(per_task);
        threads.par_for(groups * tasks, |task| {
            let first = task % tasks * per_task;
            self.task(operands, task / tasks, first..units.min(first + per_task), y);
        });
    }

    /// The blocks `units` of the queries that share head `group` of the keys.
    fn task(&self, operands: &Operands<'_>, group: usize, units: Range<usize>, y: Shared<f32>) {
        let &Sdpa { kv_heads, q_len, kv_len, head, v_head, .. } = &self.sdpa;
        let [_, k, v, _] = self.strides;
        let (batch, kv_head) = (group / kv_heads, group % kv_heads);
        let keys = MatRef::strided(&operands.k[k.at(batch, kv_head, 0)..], kv_len, head, k.0[2]);
        let values = MatRef::strided(&operands.v[v.at(batch, kv_head, 0)..], kv_len, v_head, v.0[2]);
        let soft = operands.mask.as_ref().is_some_and(|mask| mask.soft);
        let norm = if soft { self.norm(keys) } else { 0.0 };
        let blocks = q_len.div_ceil(self.block_rows());
        let rows = units.len() * q_len.div_ceil(blocks);
        let (count, size) = self.key_blocks();
        let (one_keys, one_values) = (packed_len(self.isa, head, size), packed_len(self.isa, size, v_head));
        let packed_floats = if rows > FEW { count * (one_keys + one_values) } else { 0 };
        with_scratch(packed_floats, |buffer| {
            let mut packed = Vec::new();
            let mut buffer = buffer;
            for block in 0..if rows > FEW { count } else { 0 } {
                let (start, len) = (block * size, size.min(kv_len - block * size));
                let (for_keys, rest) = std::mem::take(&mut buffer).split_at_mut(one_keys);
                let (for_values, rest) = rest.split_at_mut(one_values);
                buffer = rest;
                let threads = Threads::single();
                let keys = Unpacked::Transposed(keys.part(start, len, 0, head));
                let values = Unpacked::Normal(values.part(start, len, 0, v_head));
                let keys = Packed::pack(self.isa, &threads, keys, for_keys);
                packed.push((keys, Packed::pack(self.isa, &threads, values, for_values)));
            }
            let side = Side { keys, values, packed, norm };
            let stride = self.scores_stride();
            let height = self.block_rows().min(q_len);
            with_scratch(height * (stride + v_head + 2), |work| {
                let (scores, work) = work.split_at_mut(height * stride);
                let (out, work) = work.split_at_mut(height * v_head);
                let (greatest, sums) = work.split_at_mut(height);
                let mut work = Work { scores, out, greatest, sums };
                for unit in units {
                    let (in_group, i) = (unit / blocks, unit % blocks);
                    let rows = i * q_len / blocks..(i + 1) * q_len / blocks;
                    let head = kv_head * self.group() + in_group;
                    let mut block = Block { batch, head, rows, seen: [[0; 2]; ROWS] };
                    self.look(operands, &side, &mut block);
                    self.block(operands, &side, &block, &mut work);
                    self.finish(&block, &work, y);
                }
            });
        });
    }

    /// Distance of the rows of a tile of scores.
    fn scores_stride(&self) -> usize {
        let mut stride = self.key_blocks().1 + 16;
        while crowded(stride) {
            stride += 16;
        }
        stride
    }

    fn norm(&self, rows: MatRef<'_>) -> f32 {
        let MatRef { data, rows, cols, stride } = rows;
        self.isa.dispatch(GreatestNorm { values: data, rows, stride, width: cols })
    }

    fn queries<'a>(&self, operands: &Operands<'a>, block: &Block) -> MatRef<'a> {
        let q = self.strides[0];
        let start = q.at(block.batch, block.head, block.rows.start);
        MatRef::strided(&operands.q[start..], block.rows.len(), self.sdpa.head, q.0[2])
    }

    /// Where a row's values in the mask start.
    fn mask_at(&self, mask: &BoundMask<'_>, batch: usize, head: usize, row: usize) -> usize {
        let [batches, heads, rows] = mask.plan.strides;
        // A row may be a head of the group.
        let (head, row) = if self.heads_as_rows { (head * self.sdpa.q_len + row, 0) } else { (head, row) };
        batch * batches + head * heads + row * rows
    }

    /// Finds which keys each row of the block sees.
    fn look(&self, operands: &Operands<'_>, side: &Side<'_>, block: &mut Block) {
        let keys = self.sdpa.kv_len;
        let mask = operands.mask.as_ref();
        let bound = match mask {
            Some(mask) if mask.soft => {
                let norm = self.norm(self.queries(operands, block));
                (self.sdpa.scale as f32).abs() * norm * side.norm
            }
            _ => 0.0,
        };
        let Reach { left, right } = self.sdpa.reach;
        for (row, seen) in block.rows.clone().zip(&mut block.seen) {
            *seen = match mask {
                Some(mask) => mask.seen(self.mask_at(mask, block.batch, block.head, row), keys, hides(bound)),
                None => [0, keys],
            };
            let place = self.first_place + if self.heads_as_rows { 0 } else { row };
            let first = left.map_or(0, |left| place.saturating_sub(left));
            let end = right.map_or(keys, |right| place.saturating_add(right).saturating_add(1));
            let end = seen[1].min(end);
            *seen = [seen[0].max(first).min(end), end];
        }
    }

    /// Adds up the values that the block's rows see.
    fn block(&self, operands: &Operands<'_>, side: &Side<'_>, block: &Block, work: &mut Work<'_>) {
        let (height, stride, v_head) = (block.rows.len(), self.scores_stride(), self.sdpa.v_head);
        let seen = &block.seen[..height];
        work.greatest.fill(f32::NEG_INFINITY);
        work.sums.fill(0.0);
        let q = self.queries(operands, block);
        let (count, size) = self.key_blocks();
        let mut first = true;
        for index in 0..count {
            let start = index * size;
            let end = self.sdpa.kv_len.min(start + size);
            let some = seen.iter().filter(|[from, to]| from.max(&start) < to.min(&end));
            let Some(furthest) = some.map(|[_, to]| *to.min(&end)).max() else { continue };
            let keys = start..furthest;
            let mut within = [[0; 2]; ROWS];
            for (within, &[from, to]) in within.iter_mut().zip(seen) {
                let to = to.min(keys.end).max(start);
                *within = [from.max(start).min(to) - start, to - start];
            }
            self.scores(side, index, &keys, q, work.scores);
            self.isa.dispatch(Softmax {
                scores: work.scores,
                stride,
                width: keys.len(),
                seen: &within[..height],
                mask: operands.mask.as_ref().map(|mask| self.mask_rows(mask, block, start)),
                softcap: self.sdpa.softcap as f32,
                greatest: work.greatest,
                sums: work.sums,
                out: if first { &mut [] } else { &mut *work.out },
                out_width: v_head,
            });
            let probabilities = MatRef::strided(work.scores, height, keys.len(), stride);
            let out = MatMut::new(work.out, height, v_head);
            self.combine(side, index, &keys, probabilities, out, !first);
            first = false;
        }
        if first {
            work.out.fill(0.0);
        }
    }

    fn mask_rows<'a>(&self, mask: &BoundMask<'a>, block: &Block, start: usize) -> MaskRows<'a> {
        let (batch, head, row) = (block.batch, block.head, block.rows.start);
        let offset = self.mask_at(mask, batch, head, row);
        let stride = self.mask_at(mask, batch, head, row + 1) - offset;
        let offset = offset + if mask.plan.constant { 0 } else { start };
        MaskRows {
            // Past the end of a short mask no key is seen.
            values: mask.values.get(offset..).unwrap_or_default(),
            stride,
            constant: mask.plan.constant,
            replaces: mask.plan.bool_fill.is_some(),
        }
    }

    /// Products of queries and keys; perhaps also of some keys after these.
    fn scores(&self, side: &Side<'_>, index: usize, keys: &Range<usize>, q: MatRef<'_>, to: &mut [f32]) {
        let epilogue = Epilogue { alpha: self.sdpa.scale as f32, ..Epilogue::default() };
        let (threads, stride) = (Threads::single(), self.scores_stride());
        match side.packed.get(index) {
            Some((packed, _)) => {
                let packed = packed.first_panels(keys.len());
                let to = MatMut::strided(to, q.rows(), packed.cols(), stride);
                gemm::gemm(&threads, q, packed, to, &epilogue);
            }
            None => {
                let to = MatMut::strided(to, q.rows(), keys.len(), stride);
                let keys = Unpacked::Transposed(side.keys.part(keys.start, keys.len(), 0, self.sdpa.head));
                gemm::matmul(self.isa, &threads, q, keys, to, &epilogue);
            }
        }
    }

    /// Products of probabilities and values.
    fn combine(
        &self,
        side: &Side<'_>,
        index: usize,
        keys: &Range<usize>,
        probabilities: MatRef<'_>,
        to: MatMut<'_>,
        accumulate: bool,
    ) {
        let epilogue = Epilogue { accumulate, ..Epilogue::default() };
        let threads = Threads::single();
        match side.packed.get(index) {
            Some((_, packed)) => {
                gemm::gemm(&threads, probabilities, packed.first_rows(keys.len()), to, &epilogue);
            }
            None => {
                let values = Unpacked::Normal(side.values.part(keys.start, keys.len(), 0, self.sdpa.v_head));
                gemm::matmul(self.isa, &threads, probabilities, values, to, &epilogue);
            }
        }
    }

    /// Divides by the sums of the exponentials, and stores.
    fn finish(&self, block: &Block, work: &Work<'_>, y: Shared<f32>) {
        let width = self.sdpa.v_head;
        for (i, row) in block.rows.clone().enumerate() {
            let at = self.strides[3].at(block.batch, block.head, row);
            // SAFETY: `run` checks that the output holds every row that `strides`, those of a dense tensor of its
            // shape, give; a row belongs to one block of one task.
            let to = unsafe { std::slice::from_raw_parts_mut(y.get().add(at), width) };
            let (sum, undefined) = (work.sums[i], self.undefined);
            if sum == 0.0 {
                to.fill(if undefined == Undefined::Nan { f32::NAN } else { 0.0 });
            } else if sum.is_nan() && undefined == Undefined::Zero {
                to.fill(0.0);
            } else {
                let from = &work.out[i * width..][..width];
                self.isa.dispatch(Scale { from, to, factor: 1.0 / sum });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_follow_the_layout() {
        let extents = [2, 3, 5, 7];
        assert_eq!(Strides::dense(Layout::HeadsFirst, extents), Strides([105, 35, 7]));
        assert_eq!(Strides::dense(Layout::LengthFirst, extents), Strides([105, 7, 21]));
        assert_eq!(Strides::dense(Layout::LengthOuter, extents), Strides([21, 7, 42]));
    }
}
