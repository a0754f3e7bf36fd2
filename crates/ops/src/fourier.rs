//! The discrete Fourier transform of one signal, by mixed radices (<https://doi.org/10.1090/S0025-5718-1965-0178586-1>).

use inferrum_graph::OpError;
use inferrum_tensor::zeroed;

/// A complex number: real and imaginary part.
pub(crate) type Complex = [f64; 2];

fn multiply(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// Transforms signals of one length.
pub(crate) struct Fourier {
    /// `exp(-2 pi i k / n)`.
    roots: Vec<Complex>,
    /// The prime factors of the length, in the order in which they are split off.
    factors: Vec<usize>,
    scratch: Vec<Complex>,
}

impl Fourier {
    pub(crate) fn new(length: usize) -> Result<Fourier, OpError> {
        let mut roots: Vec<Complex> = zeroed(length)?;
        for (k, root) in roots.iter_mut().enumerate() {
            let angle = -2.0 * std::f64::consts::PI * k as f64 / length as f64;
            *root = [angle.cos(), angle.sin()];
        }
        let factors = prime_factors(length);
        let scratch = zeroed(factors.last().copied().unwrap_or(1))?;
        Ok(Fourier { roots, factors, scratch })
    }

    /// `Y[k] = sum of x[n] exp(-2 pi i k n / N)`; `x` and `y` are as long as the transform.
    pub(crate) fn forward(&mut self, x: &[Complex], y: &mut [Complex]) {
        if !x.is_empty() {
            self.split(x, 1, 0, y);
        }
    }

    /// `x[n] = 1/N sum of Y[k] exp(2 pi i k n / N)`.
    pub(crate) fn inverse(&mut self, y: &[Complex], x: &mut [Complex]) -> Result<(), OpError> {
        // The inverse is the forward transform with conjugated ends.
        let mut conjugate: Vec<Complex> = zeroed(y.len())?;
        for (to, from) in conjugate.iter_mut().zip(y) {
            *to = [from[0], -from[1]];
        }
        self.forward(&conjugate, x);
        let scale = 1.0 / y.len() as f64;
        x.iter_mut().for_each(|x| *x = [x[0] * scale, -x[1] * scale]);
        Ok(())
    }

    /// Transforms every `stride`th element of `x`, splitting off the factors from `level` on.
    fn split(&mut self, x: &[Complex], stride: usize, level: usize, y: &mut [Complex]) {
        let length = y.len();
        let Some(&radix) = self.factors.get(level) else {
            y.copy_from_slice(&x[..length]);
            return;
        };
        let part = length / radix;
        for (residue, y) in y.chunks_exact_mut(part).enumerate() {
            self.split(&x[residue * stride..], stride * radix, level + 1, y);
        }
        let step = self.roots.len() / length;
        for k in 0..part {
            for residue in 0..radix {
                self.scratch[residue] = y[residue * part + k];
            }
            for q in 0..radix {
                let place = k + q * part;
                let mut sum = [0.0, 0.0];
                for (residue, &value) in self.scratch[..radix].iter().enumerate() {
                    let product = multiply(value, self.roots[residue * place % length * step]);
                    sum = [sum[0] + product[0], sum[1] + product[1]];
                }
                y[place] = sum;
            }
        }
    }
}

/// The prime factors in ascending order.
fn prime_factors(mut n: usize) -> Vec<usize> {
    let mut factors = Vec::new();
    let mut candidate = 2;
    while n > 1 {
        if candidate * candidate > n {
            candidate = n;
        }
        while n.is_multiple_of(candidate) {
            factors.push(candidate);
            n /= candidate;
        }
        candidate += 1;
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(n: usize) -> Vec<Complex> {
        (0..n).map(|i| [(i as f64 * 1.7).sin(), (i as f64 * 0.3).cos()]).collect()
    }

    #[test]
    fn it_is_the_sum_that_defines_it() {
        for n in [1, 2, 3, 4, 6, 17, 30, 127, 128] {
            let x = signal(n);
            let mut y = vec![[0.0; 2]; n];
            Fourier::new(n).unwrap().forward(&x, &mut y);
            for (k, y) in y.iter().enumerate() {
                let sum = x.iter().enumerate().fold([0.0, 0.0], |sum: Complex, (i, &x)| {
                    let angle = -2.0 * std::f64::consts::PI * (i * k % n) as f64 / n as f64;
                    let product = multiply(x, [angle.cos(), angle.sin()]);
                    [sum[0] + product[0], sum[1] + product[1]]
                });
                assert!((sum[0] - y[0]).abs() < 1e-9 && (sum[1] - y[1]).abs() < 1e-9, "{n} {k}");
            }
        }
    }

    #[test]
    fn the_inverse_undoes_it() {
        for n in [1, 12, 13] {
            let x = signal(n);
            let (mut y, mut z) = (vec![[0.0; 2]; n], vec![[0.0; 2]; n]);
            let mut fourier = Fourier::new(n).unwrap();
            fourier.forward(&x, &mut y);
            fourier.inverse(&y, &mut z).unwrap();
            assert!(
                x.iter().zip(&z).all(|(x, z)| (x[0] - z[0]).abs() < 1e-12 && (x[1] - z[1]).abs() < 1e-12)
            );
        }
        assert_eq!(prime_factors(360), [2, 2, 2, 3, 3, 5]);
    }
}
