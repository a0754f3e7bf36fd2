//! `Conv` and `FusedConv` of planar images: a matrix product whose rows are filters and whose columns are the elements of all images,
//! or, where a group has few filters, a thread for each element.

use std::any::Any;

use inferrum_backend::{Decline, Loops};
use inferrum_graph::Operator;
use inferrum_ops::conv::{Conv, ConvGeometry, FusedConv};
use inferrum_ops::fused_activation::FusedActivation;

use crate::conv_depthwise::{self, is_depthwise};
use crate::conv_direct;
use crate::epilogue::{Bias, Epilogue};
use crate::filters::Filters;
use crate::images::Read;
use crate::kernel::{Lowered, Lowering, Operand};
use crate::product::{Factor, Product, widest};

/// Position of the bias among the inputs.
const BIAS: usize = 2;
/// Position of the residual among the inputs.
const RESIDUAL: usize = 3;

/// Filters of a group below which tiles are mostly empty.
pub(crate) const FEW_FILTERS: usize = 4;

/// Channels of which a multiple is gone through tap by tap: the least depth of a tile.
pub(crate) const CHANNELS: usize = 16;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (conv, activation, ordered) = match (any.downcast_ref::<FusedConv>(), any.downcast_ref::<Conv>()) {
        (Some(fused), _) => (&fused.conv, fused.activation, fused.ordered),
        (None, Some(conv)) => (conv, None, false),
        (None, None) => return Err(Decline("another operator".into())),
    };
    lowering.require_floats(&[])?;
    let (x, w) = (lowering.shape(0)?, lowering.shape(1)?);
    let geometry = conv.geometry(&x, &w).map_err(|error| Decline(error.to_string()))?;
    let depth = geometry.in_channels * geometry.window.taps();
    let positions = geometry.window.positions();
    let epilogue =
        epilogue(geometry.batch, geometry.groups, geometry.out_channels, positions, activation, lowering);
    // The order of sums matters to quantised models, which are of float32.
    let block = (ordered && lowering.dtype(0)?.size() == 4).then(|| block(positions, depth));
    let few = geometry.out_channels < FEW_FILTERS;
    if few && is_depthwise(&geometry) {
        return conv_depthwise::lower(&geometry, &epilogue, lowering);
    }
    if (few && geometry.in_channels == 1) || (block.is_some() && geometry.out_channels == 1) {
        let read = read(&geometry, false);
        return conv_direct::lower(
            "conv direct",
            &read,
            geometry.out_channels,
            block.unwrap_or(depth),
            &epilogue,
            lowering,
        );
    }
    let constant = lowering.constant(1).is_some();
    let by_taps = constant && block.is_none() && geometry.in_channels.is_multiple_of(CHANNELS);
    product(&geometry, by_taps, epilogue, block, lowering)
}

/// What is done to the sums: a bias of each filter, and a residual, if the node has them.
pub(crate) fn epilogue(
    images: usize,
    groups: usize,
    filters: usize,
    positions: usize,
    activation: Option<FusedActivation>,
    lowering: &Lowering<'_>,
) -> Epilogue {
    let of_filter = Bias { input: BIAS, scale: 1.0, batch: filters, row: 1, by_column: false };
    Epilogue {
        alpha: 1.0,
        bias: lowering.has(BIAS).then_some(of_filter),
        residual: lowering.has(RESIDUAL).then_some(RESIDUAL),
        activation,
        batch: filters * positions,
        row: positions,
        images: (images > 1).then_some((positions, groups * filters * positions)),
    }
}

fn read(geometry: &ConvGeometry, by_taps: bool) -> Read<'_> {
    Read {
        window: &geometry.window,
        transposed: false,
        images: geometry.batch,
        groups: geometry.groups,
        channels: geometry.in_channels,
        by_taps,
    }
}

fn product(
    geometry: &ConvGeometry,
    by_taps: bool,
    epilogue: Epilogue,
    block: Option<usize>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let (window, channels) = (&geometry.window, geometry.in_channels);
    let (positions, images) = (window.positions(), geometry.batch);
    let read = read(geometry, by_taps);
    let filters = Filters {
        groups: geometry.groups,
        filters: geometry.out_channels,
        channels,
        taps: window.taps(),
        transposed: false,
        by_taps,
    };
    let (a, before) = filters.factor(lowering)?;
    let (m, n, k) = (geometry.out_channels, images * positions, channels * window.taps());
    let group = channels * read.plane();
    let dtype = lowering.dtype(0)?;
    let matrix = |strides| Factor::matrix(Operand::Input(0), dtype, strides, [n, k], &[group as isize]);
    let b = if window.is_pointwise() && images == 1 {
        matrix([1, positions])
    } else if window.is_pointwise() && positions == 1 {
        matrix([geometry.groups * channels, 1])
    } else {
        let width = if window.is_pointwise() { widest(dtype, &[positions]) } else { 1 };
        let images = if k == 0 { None } else { Some(read.images()?) };
        Factor { operand: Operand::Input(0), dtype, outer: 1, depth: 0, by_depth: false, width, images }
    };
    let batches = Loops::new(&[geometry.groups], &[&[filters.group(&a) as isize], &[group as isize]])?;
    Product { name: "conv", batches, m, n, k, a, b, epilogue, block, before }.lower(lowering)
}

/// Length of the blocks in which products are summed: ONNX Runtime's, since a sum of quantised values that falls to the other
/// side of a rounding moves a result by a whole step. (It goes on to 1024 with 16 pixels or fewer.)
fn block(pixels: usize, depth: usize) -> usize {
    let (mut across, mut along) = (128, 128);
    if pixels < depth {
        while across > 16 && across / 2 >= pixels {
            across /= 2;
            along *= 2;
        }
    }
    along.min(512)
}

#[cfg(test)]
mod tests;
