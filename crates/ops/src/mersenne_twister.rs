//! The random numbers of the operators: the Mersenne Twister MT19937, with the numbers that NumPy's `RandomState` gives for
//! a seed.
//!
//! M. Matsumoto, T. Nishimura: Mersenne twister, ACM Transactions on Modeling and Computer Simulation 8 (1998).

use std::hash::{BuildHasher, Hasher, RandomState};

const LENGTH: usize = 624;
const MIDDLE: usize = 397;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct MersenneTwister {
    state: Vec<u32>,
    next: usize,
    /// The second of two normal numbers, which are made in pairs.
    spare: Option<f64>,
}

impl MersenneTwister {
    /// The stream of a seed.
    pub(crate) fn new(seed: u32) -> MersenneTwister {
        let mut state = Vec::with_capacity(LENGTH);
        let mut last = seed;
        for i in 0..LENGTH as u32 {
            if i > 0 {
                last = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i);
            }
            state.push(last);
        }
        MersenneTwister { state, next: LENGTH, spare: None }
    }

    /// The stream of an operator's seed. Without one, or with NaN, each stream is another.
    pub(crate) fn seeded(seed: Option<f32>) -> MersenneTwister {
        match seed.filter(|seed| !seed.is_nan()) {
            Some(seed) if seed.fract() == 0.0 && (0.0..=u32::MAX as f32).contains(&seed) => {
                MersenneTwister::new(seed as u32)
            }
            Some(seed) => MersenneTwister::new(seed.to_bits()),
            // The keys of the standard library's hash maps are random.
            None => MersenneTwister::new(RandomState::new().build_hasher().finish() as u32),
        }
    }

    fn bits(&mut self) -> u32 {
        if self.next == LENGTH {
            self.renew();
        }
        let mut bits = self.state[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9D2C_5680;
        bits ^= (bits << 15) & 0xEFC6_0000;
        bits ^ (bits >> 18)
    }

    fn renew(&mut self) {
        for i in 0..LENGTH {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % LENGTH] & 0x7FFF_FFFF);
            let twisted = (joined >> 1) ^ if joined & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % LENGTH] ^ twisted;
        }
        self.next = 0;
    }

    /// A number from 0 up to but not 1, with 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A normal number of mean 0 and deviation 1, by Marsaglia's polar method.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numpy_s() {
        // `numpy.random.RandomState(0).random_sample(3)` and `.standard_normal(3)`; `RandomState(1234567)` alike.
        let mut twister = MersenneTwister::new(0);
        assert_eq!(
            [(); 3].map(|()| twister.uniform()),
            [0.5488135039273248, 0.7151893663724195, 0.6027633760716439]
        );
        let mut twister = MersenneTwister::new(0);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-15;
        assert!(close(twister.normal(), 1.764052345967664) && close(twister.normal(), 0.4001572083672233));
        assert!(close(twister.normal(), 0.9787379841057392));
        let mut twister = MersenneTwister::new(1_234_567);
        let thousandth = (0..1000).map(|_| twister.uniform()).last().unwrap();
        assert_eq!(thousandth, 0.7367113465158037);
    }

    #[test]
    fn streams_without_a_seed_differ() {
        assert_ne!(MersenneTwister::seeded(None).uniform(), MersenneTwister::seeded(None).uniform());
        assert_eq!(MersenneTwister::seeded(Some(7.0)).uniform(), MersenneTwister::new(7).uniform());
        let mut fraction = MersenneTwister::seeded(Some(0.5));
        assert_ne!(fraction.uniform(), MersenneTwister::new(0).uniform());
    }
}
