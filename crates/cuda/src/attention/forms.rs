//! Ways to compute an attention, and which one is taken.

use inferrum_ops::sdpa::Sdpa;

use crate::abilities::Abilities;

/// Threads of a block of the form for few queries, and the keys that it looks at together.
pub(super) const FEW_THREADS: usize = 128;
pub(super) const FEW_KEYS: usize = 128;

/// Bytes that are read at once.
const WIDE: usize = 16;
/// Threads that share a row of a tile.
const LANES: usize = 16;
/// Numbers that a thread keeps without running out of registers.
const MOST_KEPT: usize = 80;
/// Rows from which tiles are better than a block for few of them.
const MANY_ROWS: usize = 16;
/// Parts of the keys, at most.
const MOST_SPLITS: usize = 128;
/// Keys of a part, at least.
const LEAST_KEYS: usize = 256;

/// A way to compute an attention.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What a form does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A tile of queries and keys in float32.
    Tile {
        /// Queries of a block.
        rows: usize,
        /// Queries and keys of a thread.
        each: [usize; 2],
    },
    /// A tile on tensor cores; each warp has 16 rows.
    Tensor {
        /// Warps of a block.
        warps: usize,
        /// Whether rows are those of all heads that share keys.
        packed: bool,
    },
    /// Few queries, of all heads that share keys, by so many.
    Few {
        /// Queries of a block.
        rows: usize,
    },
}

/// Every form, in the order in which they are tried for many queries.
pub(super) const FORMS: &[Form] = &[
    Form { name: "tensor 128", kind: Kind::Tensor { warps: 8, packed: false } },
    Form { name: "tensor 64", kind: Kind::Tensor { warps: 4, packed: false } },
    Form { name: "tensor 32", kind: Kind::Tensor { warps: 2, packed: false } },
    Form { name: "tensor 16 packed", kind: Kind::Tensor { warps: 1, packed: true } },
    Form { name: "tile 64x64", kind: Kind::Tile { rows: 64, each: [8, 4] } },
    Form { name: "tile 32x64", kind: Kind::Tile { rows: 32, each: [4, 4] } },
    Form { name: "tile 16x32", kind: Kind::Tile { rows: 16, each: [2, 2] } },
    Form { name: "few 8", kind: Kind::Few { rows: 8 } },
    Form { name: "few 4", kind: Kind::Few { rows: 4 } },
    Form { name: "few 2", kind: Kind::Few { rows: 2 } },
    Form { name: "few 1", kind: Kind::Few { rows: 1 } },
];

/// What a choice depends on.
pub(super) struct Question<'a> {
    pub(super) sdpa: &'a Sdpa,
    pub(super) abilities: &'a Abilities,
    /// The type of queries, keys and values, if it is the same.
    pub(super) element: Option<&'static str>,
    /// Bytes of elements of keys and of values.
    pub(super) bytes: [usize; 2],
    /// Whether rows come in multiples of 16 bytes.
    pub(super) wide: bool,
}

/// A form with what it is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) form: &'static Form,
    /// Parts of the keys, and the keys of each but the last.
    pub(super) splits: usize,
    pub(super) keys_of_split: usize,
}

/// How a row of few queries is shared out: lanes, and the pieces of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) lanes: usize,
    pub(super) chunks: usize,
    /// Elements of a piece.
    pub(super) side: usize,
}

impl Pieces {
    /// Those of a row of `width` elements.
    pub(super) fn of(width: usize, bytes: usize, wide: bool) -> Pieces {
        let side = if wide { WIDE / bytes } else { 1 };
        let pieces = width.div_ceil(side).max(1);
        let lanes = pieces.next_power_of_two().min(32);
        Pieces { lanes, chunks: pieces.div_ceil(lanes), side }
    }

    fn kept(self) -> usize {
        self.chunks * self.side
    }
}

/// Keys below which tensor cores are not worth their rounding.
const KEYS_FOR_TENSORS: usize = 32;

/// The width that tiles are made for.
pub(super) fn rounded(width: usize) -> usize {
    width.next_multiple_of(16).max(16)
}

impl Question<'_> {
    /// The best form that can be taken.
    pub(super) fn choose(&self) -> Option<Choice> {
        #[cfg(test)]
        if let Some(forced) = FORCED.get()
            && let Some(form) = FORMS.iter().find(|form| form.name == forced && self.fits(form))
        {
            return Some(self.split(form));
        }
        let form = self.form()?;
        Some(self.split(form))
    }

    fn form(&self) -> Option<&'static Form> {
        let sdpa = self.sdpa;
        let rows = sdpa.q_len.saturating_mul(self.group());
        let few = |form: &&Form| matches!(form.kind, Kind::Few { .. }) && self.fits(form);
        let fewest = || {
            // Every key is read once if there is a row for each query.
            let enough = |form: &&Form| matches!(form.kind, Kind::Few { rows: own } if own >= rows);
            FORMS.iter().rev().filter(few).find(enough).or_else(|| FORMS.iter().find(few))
        };
        // Tensor cores round the scores' exponentials to 16 bits, which a few keys do not pay for.
        let many_keys = sdpa.kv_len >= KEYS_FOR_TENSORS;
        let packed = FORMS.iter().find(|form| {
            many_keys && matches!(form.kind, Kind::Tensor { packed: true, .. }) && self.fits(form)
        });
        if rows <= 2 || (rows <= MANY_ROWS && packed.is_none()) {
            return fewest();
        }
        if rows <= MANY_ROWS {
            return packed;
        }
        let tensor = |form: &Form| many_keys && matches!(form.kind, Kind::Tensor { packed: false, .. });
        let tile = |form: &Form| matches!(form.kind, Kind::Tile { .. });
        self.widest(tensor).or_else(|| self.widest(tile)).or_else(fewest)
    }

    /// The largest form that gives every multiprocessor two blocks, or at least one; else the smallest.
    fn widest(&self, of_kind: impl Fn(&Form) -> bool) -> Option<&'static Form> {
        let fitting: Vec<&'static Form> =
            FORMS.iter().filter(|form| of_kind(form) && self.fits(form)).collect();
        let multiprocessors = self.abilities.multiprocessors as usize;
        let busy = |each: usize| {
            fitting.iter().copied().find(|form| self.blocks(form) >= each.saturating_mul(multiprocessors))
        };
        busy(2).or_else(|| busy(1)).or_else(|| fitting.last().copied())
    }

    fn group(&self) -> usize {
        self.sdpa.q_heads.checked_div(self.sdpa.kv_heads).unwrap_or(1).max(1)
    }

    /// Blocks of a form, if keys are not shared out.
    pub(super) fn blocks(&self, form: &Form) -> usize {
        let Sdpa { batch, q_heads, kv_heads, q_len, .. } = *self.sdpa;
        let packed = |rows: usize| kv_heads.saturating_mul(q_len.saturating_mul(self.group()).div_ceil(rows));
        let of_batch = match form.kind {
            Kind::Tile { rows, .. } => q_heads.saturating_mul(q_len.div_ceil(rows)),
            Kind::Tensor { warps, packed: false } => q_heads.saturating_mul(q_len.div_ceil(16 * warps)),
            Kind::Tensor { warps, packed: true } => packed(16 * warps),
            Kind::Few { rows } => packed(rows),
        };
        batch.saturating_mul(of_batch)
    }

    /// Whether registers and shared memory suffice, and the device knows the instructions.
    fn fits(&self, form: &Form) -> bool {
        let Sdpa { head, v_head, .. } = *self.sdpa;
        if self.shared(form) > self.abilities.shared_bytes as usize {
            return false;
        }
        match form.kind {
            Kind::Tile { each: [rows, _], .. } => rows * rounded(v_head) / LANES <= MOST_KEPT,
            Kind::Tensor { .. } => {
                self.abilities.capability >= 80
                    && self.element.is_some_and(|element| element != "float")
                    && self.wide
                    && rounded(head) <= 256
                    && rounded(v_head) <= 256
            }
            Kind::Few { rows } => {
                let [k, v] = self.pieces();
                rows == 1 || rows * k.kept().max(v.kept()) <= MOST_KEPT
            }
        }
    }

    /// How few queries share out keys and values.
    pub(super) fn pieces(&self) -> [Pieces; 2] {
        let Sdpa { head, v_head, .. } = *self.sdpa;
        [Pieces::of(head, self.bytes[0], self.wide), Pieces::of(v_head, self.bytes[1], self.wide)]
    }

    /// Bytes of dynamic shared memory.
    pub(super) fn shared(&self, form: &Form) -> usize {
        let (head, v_head) = (rounded(self.sdpa.head), rounded(self.sdpa.v_head));
        match form.kind {
            Kind::Tile { rows, each } => {
                let keys = keys(form);
                debug_assert_eq!(rows % each[0], 0);
                4 * ((rows + keys) * (head + 4) + keys * v_head + rows * (keys + 4))
            }
            Kind::Tensor { warps, .. } => {
                2 * ((16 * warps + keys(form)) * (head + 8) + keys(form) * (v_head + 8))
            }
            Kind::Few { rows } => {
                let [_, v] = self.pieces();
                4 * (FEW_THREADS / 32) * rows * v.lanes * v.kept()
            }
        }
    }

    /// Shares keys out where there are not blocks enough.
    fn split(&self, form: &'static Form) -> Choice {
        let kv_len = self.sdpa.kv_len;
        let multiprocessors = self.abilities.multiprocessors.max(1) as usize;
        // Blocks that a multiprocessor has at a time, more or less.
        let wanted = match form.kind {
            Kind::Few { .. } | Kind::Tensor { warps: 1, .. } => 8 * multiprocessors,
            _ => 2 * multiprocessors,
        };
        let least = LEAST_KEYS.max(keys(form));
        let splits = (wanted / self.blocks(form).max(1)).min(kv_len / least).clamp(1, MOST_SPLITS);
        let keys_of_split = kv_len.div_ceil(splits).next_multiple_of(keys(form));
        Choice { form, splits: kv_len.div_ceil(keys_of_split.max(1)).max(1), keys_of_split }
    }
}

/// Keys that a block looks at together.
pub(super) fn keys(form: &Form) -> usize {
    match form.kind {
        Kind::Tile { each: [_, keys], .. } => LANES * keys,
        Kind::Tensor { .. } => 64,
        Kind::Few { .. } => FEW_KEYS,
    }
}

#[cfg(test)]
thread_local! {
    /// The form that tests ask for, where it can be taken.
    static FORCED: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Does something while this form is taken wherever it can be.
#[cfg(test)]
pub(super) fn forcing(name: &'static str, run: impl FnOnce()) {
    FORCED.set(Some(name));
    run();
    FORCED.set(None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_ops::sdpa::Reach;

    const H200: Abilities = Abilities {
        capability: 90,
        multiprocessors: 132,
        shared_bytes: 227 << 10,
        memory: 141 << 30,
        tf32: false,
    };

    fn choice(
        [batch, heads, kv_heads, q_len, kv_len, head]: [usize; 6],
        element: &'static str,
    ) -> (&'static str, usize) {
        let sdpa = Sdpa {
            batch,
            q_heads: heads,
            kv_heads,
            q_len,
            kv_len,
            head,
            v_head: head,
            scale: 1.0,
            softcap: 0.0,
            reach: Reach::default(),
        };
        let bytes = if element == "float" { 4 } else { 2 };
        let question =
            Question { sdpa: &sdpa, abilities: &H200, element: Some(element), bytes: [bytes; 2], wide: true };
        let choice = question.choose().expect("a form");
        (choice.form.name, choice.splits)
    }

    #[test]
    fn forms_by_shape_and_type() {
        // BERT, ViT, prompts.
        assert_eq!(choice([32, 12, 12, 512, 512, 64], "f16"), ("tensor 128", 1));
        assert_eq!(choice([1, 12, 12, 197, 197, 64], "f16"), ("tensor 32", 1));
        assert_eq!(choice([32, 12, 12, 512, 512, 64], "float"), ("tile 64x64", 1));
        // Single tokens: every key is read once, and every multiprocessor reads.
        assert_eq!(choice([1, 12, 12, 1, 1024, 64], "f16"), ("few 1", 4));
        assert_eq!(choice([1, 32, 8, 1, 8192, 128], "f16"), ("tensor 16 packed", 32));
        assert_eq!(choice([1, 32, 8, 1, 8192, 128], "float"), ("few 4", 32));
        assert_eq!(choice([1, 8, 8, 3, 4096, 300], "float").0, "few 4");
        // Rows that are too wide for tiles.
        assert_eq!(choice([1, 1, 1, 64, 64, 4096], "float").0, "few 1");
    }

    #[test]
    fn parts_cover_the_keys() {
        for kv_len in [0, 1, 127, 128, 1000, 5000, 100_000] {
            for form in FORMS {
                let mut made = None;
                forcing(form.name, || made = Some(choice([1, 2, 1, 3, kv_len, 64], "f16")));
                assert!(
                    made.is_some_and(|(_, splits)| (1..=MOST_SPLITS).contains(&splits)),
                    "{form:?} {kv_len}"
                );
            }
        }
    }
}
