//! `GroupNormalization`, `InstanceNormalization` of f32.

pub(crate) mod last;

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::moments::Moments;
use crate::simd::{Isa, Kernel, Simd};

/// Groups of `channels` planes.
struct Groups {
    groups: usize,
    channels: usize,
    plane: usize,
    epsilon: f32,
    /// Whether scale and bias have one entry for each group, and not for each channel.
    per_group: bool,
    isa: Isa,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let shape = lowering.shape(0)?;
    if shape.rank() < 2 || shape.elements() == 0 {
        return Err(Decline("no channels".into()));
    }
    let any = op as &dyn Any;
    let (groups, epsilon, per_group) = if let Some(op) = any.downcast_ref::<GroupNormalization>() {
        (op.groups, op.epsilon, op.per_group)
    } else if let Some(op) = any.downcast_ref::<InstanceNormalization>() {
        (shape[1], op.epsilon, false)
    } else {
        return Err(Decline("another operator".into()));
    };
    let (channels, plane) = (shape[1] / groups, Shape::from(&shape[2..]).elements());
    let kernel = Groups { groups, channels, plane, epsilon, per_group, isa: lowering.isa };
    Ok(Lowered::new("group norm", kernel).in_place(&[0]))
}

impl NodeKernel for Groups {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.optional::<f32>(0)?;
        let (scale, bias): (&[f32], &[f32]) = (io.input(1)?, io.input(2)?);
        let y: &mut [f32] = io.output(0)?;
        let entries = if self.per_group { self.groups } else { self.groups * self.channels };
        let group = self.channels * self.plane;
        let fits = x.is_none_or(|x| x.len() == y.len())
            && y.len().is_multiple_of(self.groups * group)
            && scale.len() == entries
            && bias.len() == entries;
        if !fits {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let groups = ((1 << 14) / group).max(1);
        io.threads.par_chunks_mut(y, groups * group, |index, y| {
            let first = index * groups;
            let x = x.map(|x| &x[first * group..][..y.len()]);
            self.isa.dispatch(Chunk { of: self, x, y, scale, bias, first });
        });
        Ok(())
    }
}

/// Some groups, of which the first is number `first`.
struct Chunk<'a> {
    of: &'a Groups,
    x: Option<&'a [f32]>,
    y: &'a mut [f32],
    scale: &'a [f32],
    bias: &'a [f32],
    first: usize,
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { of, x, y, scale, bias, first } = self;
        let elements = of.channels * of.plane;
        for (i, y) in y.chunks_exact_mut(elements).enumerate() {
            let x = x.map(|x| &x[i * elements..(i + 1) * elements]);
            let group = (first + i) % of.groups;
            let moments = Moments::of(s, x.unwrap_or(y), of.epsilon);
            for (channel, y) in y.chunks_exact_mut(of.plane).enumerate() {
                let x = x.map(|x| &x[channel * of.plane..(channel + 1) * of.plane]);
                let entry = if of.per_group { group } else { group * of.channels + channel };
                moments.normalize_all(s, x, y, scale[entry], bias[entry]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};

    const CLOSE: Tolerance = Tolerance { relative: 3e-6, absolute: 3e-6 };

    #[test]
    fn groups_and_instances() {
        for shape in [&[2, 6, 5, 7][..], &[1, 12, 40, 41], &[3, 6, 127], &[2, 6, 3, 2, 5]] {
            let channels = shape[1];
            let vector = |length: usize, seed| random(&[length], seed);
            for groups in [1, 2, 3, channels] {
                for per_group in [false, true] {
                    let entries = if per_group { groups } else { channels };
                    let op = GroupNormalization { groups, epsilon: 1e-5, per_group, stash: DType::F32 };
                    agree(op, &[random(shape, 1), vector(entries, 2), vector(entries, 3)], CLOSE);
                }
            }
            let op = InstanceNormalization { epsilon: 1e-5 };
            agree(op, &[random(shape, 1), vector(channels, 2), vector(channels, 3)], CLOSE);
        }
    }
}
