//! The processor's arithmetic peak, measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Isa, Kernel, Simd};
use crate::threads::Threads;

/// Independent chains of multiply-adds: more than latency times units of any processor (4 x 2), fewer than registers.
const CHAINS: usize = 12;

/// Time that one measurement takes at least.
const SHORTEST: Duration = Duration::from_millis(4);

/// Measurements of which the best counts: others suffer from other processes.
const MEASUREMENTS: usize = 5;

/// Multiply-adds in registers only.
struct Chains {
    rounds: usize,
}

impl Kernel for Chains {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // Opaque and different numbers, so that the compiler neither solves the loop nor merges the chains.
        let mut start = 0.0;
        let mut chains = [s.zero(); CHAINS].map(|_| {
            start += 0.25;
            s.splat(black_box(start))
        });
        let (scale, step) = (s.splat(black_box(0.5)), s.splat(black_box(0.5)));
        for _ in 0..self.rounds {
            for chain in &mut chains {
                *chain = s.mul_add(*chain, scale, step);
            }
        }
        s.sum(chains.into_iter().fold(s.zero(), |total, chain| s.add(total, chain)))
    }
}

/// Arithmetic operations a second on all of `threads`; a multiply-add counts 2.
pub(crate) fn measure(isa: Isa, threads: &Threads) -> f64 {
    let mut rounds = 1 << 14;
    while timed(isa, threads, rounds) < SHORTEST && rounds < 1 << 30 {
        rounds *= 2;
    }
    let best = (0..MEASUREMENTS).map(|_| timed(isa, threads, rounds)).min().unwrap_or(SHORTEST);
    let operations = 2.0 * (CHAINS * isa.lanes()) as f64 * rounds as f64 * threads.count() as f64;
    operations / best.as_secs_f64().max(1e-9)
}

/// The time of `rounds` rounds on each thread at once.
fn timed(isa: Isa, threads: &Threads, rounds: usize) -> Duration {
    threads.enter(|| {
        let start = Instant::now();
        threads.par_for(threads.count(), |_| {
            black_box(isa.dispatch(Chains { rounds: black_box(rounds) }));
        });
        start.elapsed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_finite_peak() {
        for isa in Isa::available() {
            let peak = measure(isa, &Threads::single());
            // No core does 10^13 operations a second: more would mean that the loop was folded away.
            assert!(peak > 1e6 && peak < 1e13, "{isa:?}: {peak}");
        }
    }

    #[test]
    fn the_chains_converge_to_one() {
        // Each step halves the distance from 1.
        for isa in Isa::available() {
            let sum = isa.dispatch(Chains { rounds: 1000 });
            let want = (CHAINS * isa.lanes()) as f32;
            assert!((sum - want).abs() < 1e-3 * want, "{isa:?}: {sum}");
        }
    }
}
