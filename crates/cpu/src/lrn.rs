//! `LRN`, local response normalisation, of f32.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::lrn::LRN;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{Isa, Kernel, Simd, math};

struct Normalized {
    op: LRN,
    channels: usize,
    plane: usize,
    isa: Isa,
}

pub(crate) fn lower(op: &LRN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let shape = lowering.shape(0)?;
    if shape.rank() < 2 || shape.elements() == 0 {
        return Err(Decline("no channels".into()));
    }
    let plane = Shape::from(&shape[2..]).elements();
    Ok(Lowered::new("lrn", Normalized { op: op.clone(), channels: shape[1], plane, isa: lowering.isa }))
}

impl NodeKernel for Normalized {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, y): (&[f32], &mut [f32]) = (io.input(0)?, io.output(0)?);
        if x.len() != y.len() || !y.len().is_multiple_of(self.channels * self.plane) {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        io.threads.par_chunks_mut(y, self.plane, |index, y| {
            let (image, channel) = (index / self.channels, index % self.channels);
            let image = &x[image * self.channels * self.plane..][..self.channels * self.plane];
            self.isa.dispatch(Plane { of: self, image, y, channel });
        });
        Ok(())
    }
}

/// One channel of one image.
struct Plane<'a> {
    of: &'a Normalized,
    image: &'a [f32],
    y: &'a mut [f32],
    channel: usize,
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Plane { of, image, y, channel } = self;
        let neighbours = of.op.neighbours(channel, of.channels);
        let scale = s.splat(of.op.alpha / of.op.size as f32);
        let bias = s.splat(of.op.bias);
        for start in (0..of.plane).step_by(S::LANES) {
            let end = of.plane.min(start + S::LANES);
            let at = |c: usize| s.load_partial(&image[c * of.plane + start..c * of.plane + end]);
            let mut sum = s.zero();
            for c in neighbours.clone() {
                let x = at(c);
                sum = s.mul_add(x, x, sum);
            }
            let base = s.mul_add(sum, scale, bias);
            let divisor = if of.op.beta == 0.75 {
                let root = s.sqrt(base);
                s.mul(root, s.sqrt(root))
            } else {
                math::exp(s, s.mul(s.splat(of.op.beta), math::log(s, base)))
            };
            s.store_partial(&mut y[start..end], s.div(at(channel), divisor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};

    #[test]
    fn sizes_and_exponents() {
        for (size, beta) in [(5, 0.75), (4, 0.75), (3, 0.5), (1, 1.3), (20, 0.75)] {
            for shape in [&[2, 7, 5, 5][..], &[1, 3, 40], &[2, 9], &[1, 12, 17, 20]] {
                let op = LRN { alpha: 0.1, beta, bias: 1.5, size };
                agree(op, &[random(shape, 1)], Tolerance { relative: 2e-6, absolute: 1e-7 });
            }
        }
    }
}
