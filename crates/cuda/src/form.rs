//! The ways to cut a matrix product into blocks, and which of them suits a product and a device.

use crate::abilities::Abilities;

/// How a block's sums are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// By multiply-adds of so many threads along columns and rows.
    Threads { across: usize, down: usize },
    /// By tensor cores, so many warps along columns and rows.
    Warps { across: usize, down: usize },
}

/// A block's part of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) n: usize,
    pub(crate) units: Units,
    /// Tiles of the factors that are on their way or in use.
    pub(crate) stages: usize,
}

/// Bytes of depth of a tile: 16 floats, or 32 of 16 bits by tensor cores.
const DEPTH_BYTES: usize = 64;
/// Depth of a tile whose products are multiply-adds.
const DEPTH: usize = 16;

/// Every tile that kernels are made with. Threads: rows and columns of each are multiples of four, warps have 8 x 4 of them. Warps: rows
/// and columns of each are multiples of 16.
pub(crate) const TILES: [Tile; 18] = [
    threads(128, 128, 16, 16),
    threads(128, 64, 16, 16),
    threads(64, 128, 16, 16),
    threads(64, 64, 16, 8),
    threads(64, 64, 16, 16),
    threads(32, 128, 32, 8),
    threads(32, 64, 16, 8),
    threads(64, 32, 8, 16),
    threads(32, 32, 8, 8),
    threads(16, 64, 16, 4),
    warps(128, 256, 4, 2, 3),
    warps(128, 128, 4, 2, 4),
    warps(128, 64, 2, 4, 4),
    warps(64, 128, 4, 2, 4),
    warps(64, 64, 2, 2, 4),
    warps(32, 64, 2, 2, 4),
    warps(16, 128, 4, 1, 4),
    warps(16, 64, 4, 1, 4),
];

const fn threads(m: usize, n: usize, across: usize, down: usize) -> Tile {
    Tile { m, n, units: Units::Threads { across, down }, stages: 3 }
}

const fn warps(m: usize, n: usize, across: usize, down: usize, stages: usize) -> Tile {
    Tile { m, n, units: Units::Warps { across, down }, stages }
}

impl Tile {
    /// Threads of a block.
    pub(crate) fn threads(self) -> usize {
        match self.units {
            Units::Threads { across, down } => across * down,
            Units::Warps { across, down } => 32 * across * down,
        }
    }

    /// Blocks whose registers a multiprocessor has room for, of which those for sums are the most.
    pub(crate) fn at_once(self) -> usize {
        let threads = match self.m * self.n / self.threads() {
            0..=16 => 768,
            17..=64 => 512,
            _ => 256,
        };
        (threads / self.threads()).max(1)
    }

    /// Depth of a tile of elements of so many bytes.
    pub(crate) fn depth(self, bytes: usize) -> usize {
        match self.units {
            Units::Threads { .. } => DEPTH,
            Units::Warps { .. } => DEPTH_BYTES / bytes,
        }
    }

    /// Elements of a factor's tile in shared memory (`Tile` of operand.cuh).
    pub(crate) fn elements(outer: usize, depth: usize, by_depth: bool, bytes: usize) -> usize {
        let apart = if !by_depth && bytes == 4 { 32 } else { 16 } / bytes;
        if by_depth { outer * (depth + apart) } else { depth * (outer + apart) }
    }

    /// Whether tensor cores compute it.
    pub(crate) fn is_tensor(self) -> bool {
        matches!(self.units, Units::Warps { .. })
    }
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// By tiles; the depth in `splits` parts, whose sums are added by a launch of their own.
    Tiles { tile: Tile, splits: usize },
    /// One factor is streamed past the few rows or columns of the other; `down` warps share a column of what lies by depth.
    Stream { few: usize, down: usize, columns: usize, splits: usize },
}

impl Form {
    /// A name for profiles and tuners.
    pub(crate) fn name(self) -> String {
        let (text, splits) = match self {
            Form::Tiles { tile, splits } => {
                let units = if tile.is_tensor() { "tensor" } else { "fma" };
                (format!("{units} {}x{} by {}", tile.m, tile.n, tile.threads()), splits)
            }
            Form::Stream { few, down, columns, splits } => {
                (format!("stream {few}x{columns} by {down}"), splits)
            }
        };
        if splits > 1 { format!("{text} in {splits}") } else { text }
    }

    /// In how many parts the depth goes.
    pub(crate) fn splits(self) -> usize {
        match self {
            Form::Tiles { splits, .. } | Form::Stream { splits, .. } => splits,
        }
    }
}

/// What the choice of a form depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) batches: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Bytes of an element of the factors.
    pub(crate) bytes: usize,
    /// Whether each factor lies by depth.
    pub(crate) by_depth: [bool; 2],
    /// Elements of each that are read at once.
    pub(crate) widths: [usize; 2],
    /// Whether tensor cores take the factors.
    pub(crate) tensor: bool,
    /// Whether both factors are matrices in memory.
    pub(crate) matrices: bool,
    /// Whether products are to be added in the depth's order.
    pub(crate) ordered: bool,
}

/// Rows or columns up to which the other factor is streamed.
pub(crate) const MOST_FEW: usize = 8;

impl Question {
    /// The forms to choose from, the likeliest first.
    pub(crate) fn forms(&self, abilities: &Abilities) -> Vec<Form> {
        let mut rated: Vec<(f64, Form)> = Vec::new();
        for tile in TILES.into_iter().filter(|tile| self.takes(tile, abilities)) {
            for splits in [1, 2, 4, 8, 16] {
                let form = Form::Tiles { tile, splits };
                if splits == 1 || (!self.ordered && self.may_split(splits, 8 * tile.depth(self.bytes))) {
                    rated.push((self.nanoseconds(tile, splits, abilities), form));
                }
            }
        }
        rated.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let streams = self.streams(abilities);
        streams.into_iter().chain(rated.into_iter().map(|(_, form)| form)).collect()
    }

    fn takes(&self, tile: &Tile, abilities: &Abilities) -> bool {
        // Whole sums and those of a block are more than registers hold.
        let fits_ordered = match tile.units {
            Units::Threads { across, down } => tile.m * tile.n <= 32 * across * down,
            Units::Warps { .. } => false,
        };
        (!tile.is_tensor() || self.tensor)
            && (!self.ordered || fits_ordered)
            && self.shared_bytes(*tile) <= abilities.shared_bytes as usize
    }

    /// Bytes of shared memory of a block that has all its stages.
    fn shared_bytes(&self, tile: Tile) -> usize {
        let depth = tile.depth(self.bytes);
        let elements = Tile::elements(tile.m, depth, self.by_depth[0], self.bytes)
            + Tile::elements(tile.n, depth, self.by_depth[1], self.bytes);
        tile.stages * elements * self.bytes
    }

    fn may_split(&self, splits: usize, least: usize) -> bool {
        let parts = [self.batches, splits, self.m, self.n.next_multiple_of(4)];
        self.k >= splits.saturating_mul(least)
            && parts.into_iter().fold(1, usize::saturating_mul) <= (i32::MAX / 4) as usize
    }

    /// What a form takes, roughly, on a nominal device of as many multiprocessors: enough to tell forms apart.
    fn nanoseconds(&self, tile: Tile, splits: usize, abilities: &Abilities) -> f64 {
        // Of a multiprocessor, each nanosecond: multiply-adds, and bytes that come from the second cache.
        let (rate, bytes_of_cache) =
            (if tile.is_tensor() { 1800.0 * 2.0 / self.bytes as f64 } else { 200.0 }, 40.0);
        let worth = match tile.units {
            Units::Threads { across, down } => {
                let (rows, columns) = ((tile.m / down) as f64, (tile.n / across) as f64);
                (rows * columns / (rows + columns) / 4.0).powf(0.4)
            }
            Units::Warps { across, down } => {
                let (rows, columns) = ((tile.m / down) as f64, (tile.n / across) as f64);
                (rows * columns / (rows + columns) / 21.0).sqrt().min(1.1)
            }
        };
        let threads = tile.threads();
        let side_by_side = tile.at_once().min(200 * 1024 / self.shared_bytes(tile).max(1)).max(1);
        // What one block makes of a multiprocessor, if it is alone there.
        let alone = 0.7 * (threads as f64 / 256.0).min(1.0);
        let depth = self.k.div_ceil(splits) as f64;
        let round = |blocks: usize| {
            let blocks = blocks as f64;
            let sums = (tile.m * tile.n) as f64 * depth * blocks / (rate * worth * (blocks * alone).min(1.0));
            let loads = ((tile.m + tile.n) * self.bytes) as f64 * depth * blocks / bytes_of_cache;
            sums.max(loads) + 1500.0
        };
        let multiprocessors = (abilities.multiprocessors as usize).max(1);
        let blocks = [self.m.div_ceil(tile.m), self.n.div_ceil(tile.n), self.batches, splits];
        let blocks = blocks.into_iter().fold(1, usize::saturating_mul);
        let rounds = blocks / (multiprocessors * side_by_side);
        let left = (blocks % (multiprocessors * side_by_side)).div_ceil(multiprocessors);
        let parts =
            if splits > 1 { (self.batches * self.m * self.n * (splits + 1)) as f64 * 4.0 } else { 0.0 };
        let adding = if splits > 1 { 2500.0 + parts / (25.0 * multiprocessors as f64) } else { 0.0 };
        rounds as f64 * round(side_by_side) + if left > 0 { round(left) } else { 0.0 } + adding
    }

    /// The streams, if one factor has few rows or columns.
    fn streams(&self, abilities: &Abilities) -> Vec<Form> {
        if self.m.min(self.n) > MOST_FEW || !self.matrices || self.ordered {
            return Vec::new();
        }
        let few = self.m.min(self.n).next_power_of_two().max(1);
        let many = self.m.max(self.n) * self.batches;
        let enough = 2 * abilities.multiprocessors as usize;
        let streamed = usize::from(self.m <= self.n);
        let splits = |blocks: usize, least: usize| {
            let fits = |&splits: &usize| self.may_split(splits, least) && blocks * splits <= 2 * enough;
            [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
        };
        if !self.by_depth[streamed] {
            let blocks = many.div_ceil(8 * self.widths[streamed]);
            let splits = splits(blocks, 512);
            return vec![Form::Stream { few, down: 1, columns: 8 * self.widths[streamed], splits }];
        }
        let columns = if few > 2 { 2 } else { 1 };
        let narrow = Form::Stream { few, down: 1, columns, splits: 1 };
        let deep = Form::Stream { few, down: 8, columns, splits: splits(many.div_ceil(columns), 4096) };
        if many >= 8 * columns * enough { vec![narrow, deep] } else { vec![deep, narrow] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question([batches, m, n, k]: [usize; 4], bytes: usize) -> Question {
        let tensor = bytes == 2;
        let (by_depth, widths) = ([true, false], [16 / bytes; 2]);
        Question { batches, m, n, k, bytes, by_depth, widths, tensor, matrices: true, ordered: false }
    }

    fn large() -> Abilities {
        Abilities {
            capability: 90,
            multiprocessors: 132,
            shared_bytes: 227 << 10,
            memory: 80 << 30,
            tf32: false,
        }
    }

    #[test]
    fn tiles_keep_what_the_kernels_assume() {
        for tile in TILES {
            match tile.units {
                Units::Threads { across, down } => {
                    assert_eq!((across % 8, down % 4), (0, 0), "{tile:?}");
                    assert_eq!((tile.m / down % 4, tile.n / across % 4), (0, 0), "{tile:?}");
                }
                Units::Warps { across, down } => {
                    assert_eq!((tile.m / down % 16, tile.n / across % 16), (0, 0), "{tile:?}");
                }
            }
            assert_eq!((tile.m % 8, tile.n % 8), (0, 0), "{tile:?}: a read of 16 bytes goes over its end");
            assert!(tile.threads() <= 256 && tile.stages >= 2, "{tile:?}");
        }
    }

    #[test]
    fn the_likeliest_form_fits_the_product() {
        let first = |extents, bytes| question(extents, bytes).forms(&large())[0];
        let size = |form| match form {
            Form::Tiles { tile, splits } => (tile.m * tile.n, splits),
            Form::Stream { .. } => (0, 1),
        };
        assert_eq!(size(first([1, 4096, 4096, 4096], 4)), (128 * 128, 1));
        assert_eq!(size(first([1, 8192, 8192, 8192], 2)).1, 1);
        assert!(size(first([1, 8192, 8192, 8192], 2)).0 >= 128 * 128);
        // A few large tiles would leave most of the device idle.
        assert!(size(first([1, 64, 64, 8192], 2)).1 > 1);
        assert!(size(first([1, 128, 768, 768], 2)).0 < 128 * 128);
        assert!(matches!(first([1, 1, 4096, 4096], 2), Form::Stream { few: 1, .. }));
        let ordered = Question { ordered: true, ..question([1, 12, 20, 4096], 4) };
        let forms = ordered.forms(&large());
        assert!(!forms.is_empty() && forms.iter().all(|form| form.splits() == 1 && size(*form).0 > 0));
    }
}
