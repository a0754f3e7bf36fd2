//! Pseudo-random choices.

/// SplitMix64 (Steele, Lea and Flood 2014): the same for the same seed on every machine.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Choices that follow from `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % (end as u64).max(1)).unwrap_or_default()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of some items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// One of some items, to be changed.
    pub fn pick_mut<'a, T>(&mut self, items: &'a mut [T]) -> Option<&'a mut T> {
        let index = self.below(items.len());
        items.get_mut(index)
    }

    /// A whole number that programs get wrong: small, negative, near a power of two, or the greatest there are.
    pub fn whole(&mut self) -> i64 {
        const NASTY: &[i64] = &[
            i64::MIN,
            i64::MIN + 1,
            i64::MAX,
            i64::MAX - 1,
            1_000_000_000_000_000_000,
            i32::MAX as i64,
            i32::MIN as i64,
            1 << 31,
            1 << 32,
            1 << 62,
            65_536,
            255,
            1024,
        ];
        match self.below(4) {
            0 => NASTY[self.below(NASTY.len())],
            _ => self.below(12) as i64 - 4,
        }
    }

    /// A float that programs get wrong.
    pub fn float(&mut self) -> f32 {
        const NASTY: &[f32] = &[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            1e18,
            -1e18,
            0.5,
        ];
        match self.below(3) {
            0 => NASTY[self.below(NASTY.len())],
            _ => self.below(9) as f32 - 4.0,
        }
    }
}
