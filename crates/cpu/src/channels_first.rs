//! Convolutions and pools of [N, C, spatial axes] where the layout pass could not change that, such as in bodies, whose
//! shapes only a run knows: laid out channels last and back around the kernel.

use std::any::Any;
use std::sync::Arc;

use inferrum_backend::{BoundNode, Decline};
use inferrum_graph::{Fact, Node, OpError, Operator};
use inferrum_ops::conv::FusedConv;
use inferrum_ops::fused::channels_last::{ChannelsLast, to_channels_first, to_channels_last};
use inferrum_ops::pool::MaxPool;
use inferrum_tensor::{DType, Shape};
use smallvec::SmallVec;

use crate::copies::{Strided, StridedCopy};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel, View, ViewMut};
use crate::simd::Isa;
use crate::strided::dense_strides;

/// A kernel on channels-last images, with the transposes around it.
struct Around {
    kernel: Box<dyn NodeKernel>,
    /// For each input its channels-last form, if it is an image.
    images: Vec<Option<Image>>,
    output: Image,
    /// Bytes of scratch memory of the kernel itself.
    scratch: usize,
    isa: Isa,
}

/// The channels-last form of an input or output.
struct Image {
    shape: Shape,
    bytes: usize,
    copy: StridedCopy,
}

/// Places in scratch memory are multiples of this.
const ALIGNMENT: usize = 64;

pub(crate) fn lower<O: Operator + Clone>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if any.downcast_ref::<MaxPool>().is_some_and(|pool| pool.indices) || lowering.wants(1) {
        return Err(Decline("indices are wanted".into()));
    }
    let places = if any.is::<FusedConv>() { vec![0, 3] } else { vec![0] };
    let is_image = |index: usize| places.contains(&index);
    let inputs = lowering.bound.inputs.iter().enumerate();
    let facts: Vec<Option<Fact>> = inputs
        .map(|(index, fact)| match fact {
            Some(_) if is_image(index) => laid_out(lowering.dtype(index)?, &lowering.shape(index)?).map(Some),
            other => Ok(other.cloned()),
        })
        .collect::<Result<_, Decline>>()?;
    let first = lowering.output_shape(0)?;
    let output = laid_out(lowering.output_dtype(0)?, &first)?;
    let last = ChannelsLast { inner: Arc::new(op.clone()), images: places.clone() };
    let node = Node { op: Arc::new(last.clone()), ..lowering.bound.node.clone() };
    let inner = BoundNode {
        node: &node,
        inputs: facts.iter().map(Option::as_ref).collect(),
        outputs: vec![Some(&output)],
    };
    let inner = Lowering { bound: &inner, ..*lowering };
    let lowered = crate::channels_last::lower(&last, &inner)?;
    let Some(kernel) = lowered.kernel else { return Err(Decline("nothing to compute".into())) };
    let size = DType::F32.size();
    let mut images = Vec::new();
    for index in 0..lowering.bound.inputs.len() {
        let image = is_image(index) && lowering.has(index);
        images.push(image.then(|| Image::new(&lowering.shape(index)?, size, false)).transpose()?);
    }
    let output = Image::new(&first, size, true)?;
    let all = images.iter().flatten().chain([&output]);
    let scratch = all.map(|image| image.room()).sum::<usize>() + lowered.scratch.next_multiple_of(ALIGNMENT);
    let around = Around { kernel, images, output, scratch: lowered.scratch, isa: lowering.isa };
    Ok(Lowered::new(format!("{} between layouts", lowered.name), around)
        .packed(&lowered.packed)
        .scratch(scratch))
}

fn laid_out(dtype: DType, shape: &Shape) -> Result<Fact, Decline> {
    if dtype != DType::F32 || !matches!(shape.rank(), 3 | 4) {
        return Err(Decline(format!("images of {dtype}[{shape}]")));
    }
    Ok(Fact::tensor(dtype, last_shape(shape)))
}

fn last_shape(shape: &Shape) -> Shape {
    to_channels_last(shape.rank()).into_iter().map(|axis| shape[axis]).collect()
}

impl Image {
    /// The channels-last form of an image of shape `first`; the copy is from the form if `back`, else to it.
    fn new(first: &Shape, size: usize, back: bool) -> Result<Image, Decline> {
        let last = last_shape(first);
        let (from, to, perm) = if back {
            (&last, first, to_channels_first(first.rank()))
        } else {
            (first, &last, to_channels_last(first.rank()))
        };
        let strides = dense_strides(from);
        let source: Vec<isize> = perm.iter().map(|&axis| strides[axis]).collect();
        let copy = StridedCopy::new(
            size,
            to,
            Strided { start: 0, strides: &source },
            Strided { start: 0, strides: &dense_strides(to) },
        )?;
        Ok(Image { bytes: last.elements() * size, shape: last, copy })
    }

    /// Bytes of scratch memory.
    fn room(&self) -> usize {
        self.bytes.next_multiple_of(ALIGNMENT)
    }
}

impl NodeKernel for Around {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let short = || OpError::Invalid("scratch memory is too short".into());
        let target = io.output_bytes(0)?;
        let mut scratch = std::mem::take(&mut io.scratch);
        let mut take = |room: usize, bytes: usize| {
            let (part, rest) = std::mem::take(&mut scratch).split_at_mut_checked(room).ok_or_else(short)?;
            scratch = rest;
            Ok::<_, OpError>(&mut part[..bytes])
        };
        let own = take(self.scratch.next_multiple_of(ALIGNMENT), self.scratch)?;
        let output = take(self.output.room(), self.output.bytes)?;
        let mut inputs: SmallVec<[Option<View<'_>>; 8]> = SmallVec::new();
        for (index, image) in self.images.iter().enumerate() {
            let view = io.view(index);
            inputs.push(match (image, view) {
                (Some(image), Some(view)) => {
                    let part = take(image.room(), image.bytes)?;
                    image.copy.run(self.isa, io.threads, view.bytes, part)?;
                    Some(View { dtype: view.dtype, shape: &image.shape, bytes: part })
                }
                (_, view) => view,
            });
        }
        let view = ViewMut { dtype: DType::F32, shape: &self.output.shape, bytes: &mut *output };
        let outputs = SmallVec::from_iter([Some(view)]);
        self.kernel.run(Io { inputs, outputs, scratch: own, threads: io.threads })?;
        self.output.copy.run(self.isa, io.threads, output, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random, windows};
    use inferrum_ops::conv::Conv;
    use inferrum_ops::conv_transpose::ConvTranspose;
    use inferrum_ops::fused_activation::FusedActivation;
    use inferrum_ops::global_pool::GlobalPool;
    use inferrum_ops::pool::AveragePool;
    use inferrum_ops::window::{Extents, Padding, WindowSpec};

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    fn spec(kernel: &[usize]) -> WindowSpec {
        windows(kernel, 2, 1, [1, 0])
    }

    #[test]
    fn convolutions_with_constant_and_other_weights() {
        for (x, w, group) in [
            (&[2usize, 3, 9, 8][..], &[5usize, 3, 3, 2][..], 1),
            (&[1, 6, 20], &[6, 1, 3], 6),
            (&[1, 6, 7, 7], &[12, 1, 3, 3], 6),
            (&[1, 4, 5, 5], &[6, 2, 1, 1], 2),
        ] {
            for constant in [false, true] {
                let conv = Conv { group, window: spec(&w[2..]) };
                let inputs = [
                    Some((random(x, 1), false)),
                    Some((random(w, 2), constant)),
                    Some((random(&w[..1], 3), constant)),
                ];
                agree_with(conv.clone(), &inputs, 1, CLOSE);
                let fused = FusedConv::new(conv, Some(FusedActivation::Relu));
                agree_with(fused, &inputs, 1, CLOSE);
            }
        }
    }

    #[test]
    fn a_residual_is_laid_out_too() {
        let conv = Conv { group: 1, window: WindowSpec { padding: Padding::Valid, ..spec(&[1, 1]) } };
        let inputs = [
            Some((random(&[2, 3, 4, 6], 1), false)),
            Some((random(&[5, 3, 1, 1], 2), true)),
            None,
            Some((random(&[2, 5, 2, 3], 3), false)),
        ];
        agree_with(FusedConv::new(conv, None), &inputs, 1, CLOSE);
    }

    #[test]
    fn transposed_convolutions_and_pools() {
        let x = || Some((random(&[2, 3, 5, 7], 1), false));
        for constant in [false, true] {
            let window = WindowSpec { padding: Padding::default(), ..spec(&[3, 2]) };
            let op = ConvTranspose {
                group: 1,
                window,
                output_padding: Extents::new(),
                output_shape: Extents::new(),
            };
            agree_with(op, &[x(), Some((random(&[3, 4, 3, 2], 2), constant))], 1, CLOSE);
        }
        let max = MaxPool { window: spec(&[3, 3]), column_major: false, indices: false };
        agree_with(max, &[x()], 1, Tolerance::EXACT);
        agree_with(AveragePool { window: spec(&[2, 3]), count_include_pad: true }, &[x()], 1, CLOSE);
        agree_with(GlobalPool::Average, &[x()], 1, CLOSE);
        agree_with(GlobalPool::Max, &[x()], 1, Tolerance::EXACT);
    }
}
