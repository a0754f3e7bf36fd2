//! Convolutions of planar images: those that the layout pass leaves so for their order of summation, or cannot change.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::conv::FusedConv;
use inferrum_tensor::DType;

use crate::channels_first;
use crate::channels_last::window;
use crate::conv::{self, Planar};
use crate::epilogue::activation;
use crate::gemm::Activation;
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::Isa;
use crate::weights::floats;

/// Position of the bias among the inputs.
const BIAS: usize = 2;
/// Position of the residual among the inputs.
const RESIDUAL: usize = 3;

struct Convolution {
    conv: conv::Conv,
    groups: usize,
    filters: usize,
    /// None if they are no constant.
    weights: Option<Arc<Vec<f32>>>,
    activation: Activation,
    isa: Isa,
}

pub(crate) fn lower(op: &FusedConv, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let (x, w) = (lowering.shape(0)?, lowering.shape(1)?);
    if !matches!(x.rank(), 3 | 4) {
        return Err(Decline(format!("an image of {} axes", x.rank())));
    }
    if lowering.has(RESIDUAL) {
        return channels_first::lower(op, lowering);
    }
    let geometry = op.conv.geometry(&x, &w).map_err(|error| Decline(error.to_string()))?;
    let aligned = |weights| {
        lowering.weights.get(weights, "planar", |weights| {
            let elements = floats(weights).into_owned();
            Ok::<_, Decline>((elements, weights.bytes().len()))
        })
    };
    let weights = lowering.constant(1).map(aligned).transpose()?;
    let packed: &[usize] = if weights.is_some() { &[1] } else { &[] };
    let kernel = Convolution {
        conv: conv::Conv { batch: x[0], channels: x[1], window: window(&geometry.window) },
        groups: geometry.groups,
        filters: w[0],
        weights,
        activation: activation(op.activation)?,
        isa: lowering.isa,
    };
    Ok(Lowered::new(format!("planar conv {}", lowering.isa.name()), kernel).packed(packed))
}

impl NodeKernel for Convolution {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let Convolution { ref conv, groups, filters, ref weights, activation, isa } = *self;
        let weights = match weights {
            Some(weights) => weights,
            None => io.input(1)?,
        };
        let bias = io.optional(BIAS)?;
        let planar = Planar { isa, conv, groups, filters, weights, bias, activation };
        planar.run(io.threads, io.input(0)?, io.output(0)?);
        Ok(())
    }
}
