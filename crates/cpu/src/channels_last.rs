//! Convolutions and pools of channels-last f32 images, with one or two spatial axes, and what follows them in that layout.

use std::any::Any;
use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::batch_norm::BatchNormalization;
use inferrum_ops::conv::{Conv, FusedConv};
use inferrum_ops::conv_transpose::ConvTranspose;
use inferrum_ops::crop::Crop;
use inferrum_ops::fused::channels_last::{ChannelsLast, to_channels_first, to_channels_last};
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::global_pool::GlobalPool;
use inferrum_ops::pad::Pad;
use inferrum_ops::pool::{AveragePool, MaxPool};
use inferrum_ops::reduce::Reduce;
use inferrum_ops::resize::Resize;
use inferrum_ops::window;
use inferrum_tensor::{DType, Shape};

use crate::conv::{self, Filter, TransposedFilter, Window};
use crate::epilogue::{Addends, activation};
use crate::gemm::{Activation, Epilogue, MatMut, MatRef};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::Isa;
use crate::weights::floats;

/// Positions of bias and residual among a convolution's inputs.
const BIAS: usize = 2;
const RESIDUAL: usize = 3;

pub(crate) fn lower(op: &ChannelsLast, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let inner = op.inner.as_ref() as &dyn Any;
    if let Some(lowered) = follower(inner, lowering) {
        return lowered;
    }
    lowering.require_dtype(DType::F32, &[])?;
    if let Some(fused) = inner.downcast_ref::<FusedConv>() {
        return convolution(&fused.conv, fused.activation, lowering);
    }
    if let Some(conv) = inner.downcast_ref::<Conv>() {
        return convolution(conv, None, lowering);
    }
    if let Some(conv) = inner.downcast_ref::<ConvTranspose>() {
        return transposed(conv, lowering);
    }
    if let Some(pool) = inner.downcast_ref::<MaxPool>() {
        return pooling(&pool.window, Kind::Max, lowering);
    }
    if let Some(pool) = inner.downcast_ref::<AveragePool>() {
        return pooling(&pool.window, Kind::Average { count_pads: pool.count_include_pad }, lowering);
    }
    match inner.downcast_ref::<GlobalPool>() {
        Some(GlobalPool::Average) => global(true, lowering),
        Some(GlobalPool::Max) => global(false, lowering),
        _ => Err(Decline(format!("no channels-last kernel for {}", op.inner.key()))),
    }
}

/// The kernel of an operator that takes axes in any order.
fn follower(inner: &dyn Any, lowering: &Lowering<'_>) -> Option<Result<Lowered, Decline>> {
    let order = match lowering.shape(0) {
        Ok(shape) => to_channels_last(shape.rank()),
        Err(decline) => return Some(Err(decline)),
    };
    if let Some(resize) = inner.downcast_ref::<Resize>() {
        return Some(crate::resize::lower_in(resize, &order, lowering));
    }
    if let Some(pad) = inner.downcast_ref::<Pad>() {
        return Some(crate::pad::lower_in(pad, &order, lowering));
    }
    if let Some(reduce) = inner.downcast_ref::<Reduce>() {
        return Some(crate::reduce::lower_in(reduce, &order, lowering));
    }
    if let Some(crop) = inner.downcast_ref::<Crop>() {
        return Some(crate::crop::lower_in(crop, &order, lowering));
    }
    if let Some(norm) = inner.downcast_ref::<BatchNormalization>() {
        return Some(crate::batch_norm::lower_last(norm, lowering));
    }
    crate::group_norm::last::lower(inner, lowering)
}

/// [N, C, spatial axes] of a channels-last image.
fn image_shape(lowering: &Lowering<'_>) -> Result<Shape, Decline> {
    let last = lowering.shape(0)?;
    if !matches!(last.rank(), 3 | 4) {
        return Err(Decline(format!("an image of {} axes", last.rank())));
    }
    Ok(to_channels_first(last.rank()).into_iter().map(|axis| last[axis]).collect())
}

fn decline(error: OpError) -> Decline {
    Decline(error.to_string())
}

/// One or two extents as height and width.
fn plane(extents: &[usize], missing: usize) -> [usize; 2] {
    match *extents {
        [width] => [missing, width],
        [height, width] => [height, width],
        _ => [missing; 2],
    }
}

pub(crate) fn window(of: &window::Window) -> Window {
    let (begin, end) = (plane(&of.pads_begin, 0), plane(&of.pads_end, 0));
    Window {
        input: plane(&of.input, 1),
        kernel: plane(&of.kernel, 1),
        stride: plane(&of.strides, 1),
        dilation: plane(&of.dilations, 1),
        pads: [begin[0], begin[1], end[0], end[1]],
        output: plane(&of.output, 1),
    }
}

/// The weights of a convolution.
enum Weights<F> {
    /// Constant, packed once.
    Packed(Arc<F>),
    /// Of the run: ONNX's shape, with height and width, and the groups.
    Given { shape: [usize; 4], groups: usize, isa: Isa },
}

/// A convolution with its epilogue.
struct Convolution {
    conv: conv::Conv,
    filters: usize,
    filter: Weights<Filter>,
    activation: Activation,
    addends: Addends,
}

fn convolution(
    conv: &Conv,
    fused: Option<FusedActivation>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let (x, w) = (image_shape(lowering)?, lowering.shape(1)?);
    let geometry = conv.geometry(&x, &w).map_err(decline)?;
    let (window, groups) = (window(&geometry.window), geometry.groups);
    let shape = [w[0], w[1], window.kernel[0], window.kernel[1]];
    let isa = lowering.isa;
    let filter = match lowering.constant(1) {
        None => Weights::Given { shape, groups, isa },
        Some(weights) => {
            let form = format!("filter of {groups}");
            Weights::Packed(lowering.weights.get(weights, &form, |weights| {
                let filter = Filter::new(isa, lowering.threads, &floats(weights), shape, groups);
                let bytes = filter.size_bytes();
                Ok::<_, Decline>((filter, bytes))
            })?)
        }
    };
    let packed: &[usize] = if matches!(filter, Weights::Packed(_)) { &[1] } else { &[] };
    let kernel = Convolution {
        conv: conv::Conv { batch: x[0], channels: x[1], window },
        filters: w[0],
        filter,
        activation: activation(fused)?,
        addends: Addends { bias: BIAS, residual: RESIDUAL, has_residual: lowering.has(RESIDUAL) },
    };
    let depthwise = if groups > 1 && w[1] == 1 { "depthwise conv" } else { "conv" };
    Ok(Lowered::new(format!("{depthwise} {}", isa.name()), kernel).in_place(&[RESIDUAL]).packed(packed))
}

impl NodeKernel for Convolution {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let window = &self.conv.window;
        let rows = self.conv.batch * window.output_pixels();
        let x = MatRef::new(io.input(0)?, self.conv.batch * window.input_pixels(), self.conv.channels);
        let epilogue = self.addends.epilogue(&io, rows, self.filters, self.activation)?;
        let y = MatMut::new(io.output(0)?, rows, self.filters);
        let run = |filter: &Filter| {
            conv::conv2d(io.threads, &self.conv, conv::Input::ChannelsLast(x), filter, y, &epilogue);
        };
        match &self.filter {
            Weights::Packed(filter) => run(filter),
            Weights::Given { shape, groups, isa } => {
                let weights: &[f32] = io.input(1)?;
                if weights.len() != shape.iter().product::<usize>() {
                    return Err(OpError::Invalid("a buffer does not fit its shape".into()));
                }
                run(&Filter::new(*isa, io.threads, weights, *shape, *groups));
            }
        }
        Ok(())
    }
}

/// A transposed convolution.
struct Transposed {
    conv: conv::ConvTranspose,
    filters: usize,
    filter: Weights<TransposedFilter>,
}

fn transposed(conv: &ConvTranspose, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (x, w) = (image_shape(lowering)?, lowering.shape(1)?);
    let geometry = conv.geometry(&x, &w).map_err(decline)?;
    let (window, groups) = (window(&geometry.window), geometry.groups);
    let shape = [w[0], w[1], window.kernel[0], window.kernel[1]];
    let isa = lowering.isa;
    let filter = match lowering.constant(1) {
        None => Weights::Given { shape, groups, isa },
        Some(weights) => {
            let form = format!("transposed filter of {groups}");
            Weights::Packed(lowering.weights.get(weights, &form, |weights| {
                let filter = TransposedFilter::new(isa, lowering.threads, &floats(weights), shape, groups);
                Ok::<_, Decline>((filter, weights.bytes().len()))
            })?)
        }
    };
    let packed: &[usize] = if matches!(filter, Weights::Packed(_)) { &[1] } else { &[] };
    let conv = conv::ConvTranspose { batch: x[0], channels: x[1], window };
    let kernel = Transposed { conv, filters: w[1] * groups, filter };
    Ok(Lowered::new(format!("transposed conv {}", isa.name()), kernel).packed(packed))
}

impl NodeKernel for Transposed {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let window = &self.conv.window;
        let x = MatRef::new(io.input(0)?, self.conv.batch * window.output_pixels(), self.conv.channels);
        let addends = Addends { bias: BIAS, residual: usize::MAX, has_residual: false };
        let rows = self.conv.batch * window.input_pixels();
        let epilogue: Epilogue<'_> = addends.epilogue(&io, rows, self.filters, Activation::None)?;
        let y = MatMut::new(io.output(0)?, rows, self.filters);
        let run = |filter: &TransposedFilter| {
            conv::conv_transpose2d(io.threads, &self.conv, x, filter, y, &epilogue);
        };
        match &self.filter {
            Weights::Packed(filter) => run(filter),
            Weights::Given { shape, groups, isa } => {
                let weights: &[f32] = io.input(1)?;
                if weights.len() != shape.iter().product::<usize>() {
                    return Err(OpError::Invalid("a buffer does not fit its shape".into()));
                }
                run(&TransposedFilter::new(*isa, io.threads, weights, *shape, *groups));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Max,
    Average { count_pads: bool },
}

/// A pool.
struct Pooling {
    kind: Kind,
    batch: usize,
    channels: usize,
    window: Window,
    isa: Isa,
}

fn pooling(spec: &window::WindowSpec, kind: Kind, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let x = image_shape(lowering)?;
    let window = window(&spec.pool(&x).map_err(decline)?);
    let kernel = Pooling { kind, batch: x[0], channels: x[1], window, isa: lowering.isa };
    Ok(Lowered::new(format!("pool {}", lowering.isa.name()), kernel))
}

impl NodeKernel for Pooling {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let &Pooling { kind, batch, channels, window, isa } = self;
        let x = MatRef::new(io.input(0)?, batch * window.input_pixels(), channels);
        let y = MatMut::new(io.output(0)?, batch * window.output_pixels(), channels);
        match kind {
            Kind::Max => conv::max_pool(isa, io.threads, batch, &window, x, y),
            Kind::Average { count_pads } => {
                conv::average_pool(isa, io.threads, batch, &window, count_pads, x, y)
            }
        }
        Ok(())
    }
}

/// A pool over the whole image.
struct Global {
    average: bool,
    batch: usize,
    channels: usize,
    extents: [usize; 2],
    isa: Isa,
}

fn global(average: bool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let x = image_shape(lowering)?;
    if x[2..].contains(&0) {
        return Err(Decline("an image without pixels".into()));
    }
    let kernel =
        Global { average, batch: x[0], channels: x[1], extents: plane(&x[2..], 1), isa: lowering.isa };
    Ok(Lowered::new(format!("global pool {}", lowering.isa.name()), kernel))
}

impl NodeKernel for Global {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let &Global { average, batch, channels, extents, isa } = self;
        let pixels = extents[0] * extents[1];
        let x = MatRef::new(io.input(0)?, batch * pixels, channels);
        let y = MatMut::new(io.output(0)?, batch, channels);
        if average {
            conv::global_average_pool(isa, io.threads, batch, pixels, x, y);
        } else {
            let window = Window::new(extents, extents, [1, 1], [1, 1], [0; 4]);
            conv::max_pool(isa, io.threads, batch, &window, x, y);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, declined, random, random_of, windows};
    use inferrum_graph::{Attr, NodeDef, Operator};
    use inferrum_ops::group_norm::GroupNormalization;
    use inferrum_ops::instance_norm::InstanceNormalization;
    use inferrum_ops::pad::PadMode;
    use inferrum_ops::reduce::Reduction;
    use inferrum_ops::window::{Extents, Padding, WindowSpec};
    use inferrum_tensor::Tensor;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    fn last(inner: impl Operator, images: &[usize]) -> ChannelsLast {
        ChannelsLast { inner: Arc::new(inner), images: images.to_vec() }
    }

    #[test]
    fn convolutions_agree() {
        let cases = [
            // image, weights, groups, stride, dilation, pad
            (&[1usize, 9, 8, 3][..], &[16usize, 3, 3, 3][..], 1, 2, 1, 1),
            (&[2, 7, 7, 17], &[5, 17, 1, 1], 1, 1, 1, 0),
            (&[1, 9, 9, 8], &[8, 1, 3, 3], 8, 1, 2, 2),
            (&[1, 6, 5, 6], &[9, 2, 3, 3], 3, 1, 1, 1),
            (&[2, 13, 4], &[7, 4, 3], 1, 2, 1, 1),
        ];
        for (x, w, group, stride, dilation, pad) in cases {
            let conv = Conv { group, window: windows(&w[2..], stride, dilation, [pad, pad + 1]) };
            for activation in [None, Some(FusedActivation::Relu)] {
                let op = last(FusedConv::new(conv.clone(), activation), &[0, 3]);
                for constant in [true, false] {
                    let inputs = [
                        Some((random(x, 1), false)),
                        Some((random(w, 2), constant)),
                        Some((random(&w[..1], 3), true)),
                    ];
                    agree_with(op.clone(), &inputs, 1, CLOSE);
                }
            }
        }
    }

    #[test]
    fn a_residual_is_added() {
        let conv = Conv { group: 1, window: windows(&[1, 1], 1, 1, [0, 1]) };
        let conv = Conv { window: WindowSpec { padding: Padding::Valid, ..conv.window }, ..conv };
        let op = last(FusedConv::new(conv, Some(FusedActivation::Silu)), &[0, 3]);
        let inputs = [
            Some((random(&[1, 5, 5, 6], 1), false)),
            Some((random(&[4, 6, 1, 1], 2), true)),
            None,
            Some((random(&[1, 5, 5, 4], 3), false)),
        ];
        agree_with(op, &inputs, 1, CLOSE);
    }

    #[test]
    fn transposed_convolutions_agree() {
        let window = WindowSpec { padding: Padding::default(), ..windows(&[3, 2], 2, 1, [0, 1]) };
        let op =
            ConvTranspose { group: 1, window, output_padding: Extents::new(), output_shape: Extents::new() };
        let inputs = [
            Some((random(&[2, 4, 5, 3], 1), false)),
            Some((random(&[3, 7, 3, 2], 2), true)),
            Some((random(&[7], 3), true)),
        ];
        agree_with(last(op, &[0]), &inputs, 1, CLOSE);
    }

    #[test]
    fn pools_agree() {
        let x = || [Some((random(&[2, 7, 9, 19], 1), false))];
        for (stride, pad) in [(1, 0), (2, 1)] {
            let window = windows(&[3, 3], stride, 1, [pad, pad + 1]);
            let max = MaxPool { window: window.clone(), column_major: false, indices: false };
            agree_with(last(max, &[0]), &x(), 1, Tolerance::EXACT);
            for count_include_pad in [false, true] {
                let average = AveragePool { window: window.clone(), count_include_pad };
                agree_with(last(average, &[0]), &x(), 1, CLOSE);
            }
        }
        agree_with(last(GlobalPool::Average, &[0]), &x(), 1, CLOSE);
        agree_with(last(GlobalPool::Max, &[0]), &x(), 1, Tolerance::EXACT);
    }

    #[test]
    fn pools_of_no_pixels_are_the_references() {
        for op in [GlobalPool::Average, GlobalPool::Max] {
            for shape in [[2, 0, 9, 19], [2, 7, 0, 19], [1, 0, 0, 1]] {
                let reason = declined(last(op, &[0]), &[random(&shape, 1)]);
                assert!(reason.contains("without pixels"), "{op:?} {shape:?}: {reason}");
            }
        }
    }

    #[test]
    fn followers_agree() {
        let x = |dtype| Some((random_of(dtype, &[2, 7, 5, 19], 1), false));
        let list = |values: &[i64]| Some((Tensor::vector(values.to_vec()), true));
        for dtype in [DType::F32, DType::U8] {
            for mode in [PadMode::Constant, PadMode::Edge, PadMode::Reflect] {
                let pads = list(&[0, 1, 2, 0, 0, 2, -1, 3]);
                agree_with(last(Pad { mode }, &[0]), &[x(dtype), pads], 1, Tolerance::EXACT);
            }
        }
        let op = Crop { border: [1, 1, 2, 0], scale: None };
        agree_with(last(op, &[0]), &[x(DType::F32)], 1, Tolerance::EXACT);
        for axes in [&[1i64][..], &[2, 3], &[-1], &[0, 1]] {
            for reduction in [Reduction::Mean, Reduction::Max, Reduction::L2] {
                let op = Reduce { reduction, keep_dims: true, noop_with_empty_axes: false };
                agree_with(last(op, &[0]), &[x(DType::F32), list(axes)], 1, CLOSE);
            }
        }
    }

    #[test]
    fn resizing_agrees() {
        let attrs = |mode: &str| vec![("mode".to_owned(), Attr::String(mode.into()))];
        for (mode, scales) in [
            ("nearest", [1f32, 1.0, 2.0, 3.0]),
            ("linear", [1.0, 1.0, 2.0, 0.5]),
            ("cubic", [1.0, 1.0, 1.0, 1.5]),
        ] {
            let mut def = NodeDef::new("Resize", 13, attrs(mode).into_iter().collect());
            def.inputs = vec![true; 3];
            let inner = inferrum_ops::parse("", &mut def).unwrap().unwrap();
            let scales = Tensor::vector(scales.to_vec());
            let inputs = [Some((random(&[2, 6, 4, 19], 1), false)), None, Some((scales, true))];
            agree_with(ChannelsLast { inner, images: vec![0] }, &inputs, 1, CLOSE);
        }
    }

    #[test]
    fn normalizations_agree() {
        for shape in [&[2usize, 7, 9, 6][..], &[1, 70, 90, 36], &[3, 127, 12], &[1, 1, 1, 6]] {
            let channels = shape[shape.len() - 1];
            let x = || Some((random(shape, 1), false));
            let vector = |length: usize, seed| Some((random(&[length], seed), true));
            let variance = Tensor::vector((0..channels).map(|i| 0.1 + i as f32).collect());
            let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, spatial: true, training: None };
            let inputs =
                [x(), vector(channels, 2), vector(channels, 3), vector(channels, 4), Some((variance, true))];
            agree_with(last(op, &[0]), &inputs, 1, CLOSE);
            let inputs = [x(), vector(channels, 2), vector(channels, 3)];
            agree_with(last(InstanceNormalization { epsilon: 1e-5 }, &[0]), &inputs, 1, CLOSE);
            for (groups, per_group) in [(1, false), (3, true), (3, false), (channels, true)] {
                let entries = if per_group { groups } else { channels };
                let op = GroupNormalization { groups, epsilon: 1e-5, per_group, stash: DType::F32 };
                agree_with(last(op, &[0]), &[x(), vector(entries, 2), vector(entries, 3)], 1, CLOSE);
            }
        }
    }
}
