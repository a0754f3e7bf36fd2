//! Divisors as an argument of kernels.

use inferrum_backend::Decline;

use crate::kernel::word;

/// The struct `Divisor` (division.cuh).
pub(crate) const SOURCE: &str = include_str!("../../../kernels/division.cuh");

/// The words of a `Divisor`; 0 divides as 1, since nothing is divided by it.
///
/// With `s` the smallest number for which `2^s >= divisor`, and `factor` = ceil(2^(31 + s) / divisor), the quotient of `x < 2^31` is
/// floor(x * factor / 2^(31 + s)): the factor is less than a `divisor`-th of 2^s too great, which is less than 1 in the result.
///
/// # Errors
/// It does not fit a word.
pub(crate) fn divisor(divisor: usize) -> Result<[u32; 3], Decline> {
    let divisor = word(divisor.max(1))?;
    let bits = divisor.next_power_of_two().trailing_zeros();
    let factor = (1u64 << (31 + bits)).div_ceil(u64::from(divisor));
    Ok([divisor, factor as u32, bits.saturating_sub(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_exact() {
        let numbers =
            [1usize, 2, 3, 5, 7, 9, 49, 127, 128, 196, 3136, 65535, 65537, 1 << 30, i32::MAX as usize];
        for of in numbers {
            let [divisor, factor, shift] = divisor(of).unwrap();
            for x in numbers
                .iter()
                .flat_map(|&x| [x - 1, x, (x * of).min(i32::MAX as usize), (x * of).saturating_sub(1)])
            {
                let Ok(x) = u32::try_from(x.min(i32::MAX as usize)) else { continue };
                let high = (u64::from(x) * u64::from(factor)) >> 32;
                let quotient = if divisor == 1 { x } else { (high as u32) >> shift };
                assert_eq!(quotient, x / of as u32, "{x} / {of}");
            }
        }
    }
}
