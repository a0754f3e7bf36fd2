//! `ConvTranspose` (<https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::{check_channels, group, same_float_types};
use crate::window::{Extents, Window, WindowSpec, extents, positive, transposed_window};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ConvTranspose", 3, ConvTranspose::parse)];

/// Transposed convolution: each input element adds a scaled kernel to the output. Inputs: X `[N, C, D1, ...]`,
/// W `[C, M / group, K1, ...]`, optionally B `[M]`; output `[N, M, O1, ...]`. Any float; at least one spatial axis.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose {
    /// Into how many groups the channels are divided.
    pub group: usize,
    /// Kernel, strides, dilations and padding; the padding is cut off the output.
    pub window: WindowSpec,
    /// Elements that the output is longer at the end of each axis; empty when all are 0.
    pub output_padding: Extents,
    /// The output's spatial extents, from which the padding follows; empty when the padding is stated.
    pub output_shape: Extents,
}

/// The extents of one transposed convolution, all known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvTransposeGeometry {
    /// N.
    pub batch: usize,
    /// Number of groups.
    pub groups: usize,
    /// Input channels of one group.
    pub in_channels: usize,
    /// Output channels of one group.
    pub out_channels: usize,
    /// The spatial axes: `output` are the extents of X, `input` those of Y.
    pub window: Window,
}

impl ConvTranspose {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let op = ConvTranspose {
            group: group(def)?,
            window: WindowSpec::parse(def)?,
            output_padding: extents(def, "output_padding", 0)?,
            output_shape: positive(def, "output_shape")?,
        };
        Ok(Arc::new(op))
    }

    /// The extents for X of shape `x` and W of shape `w`.
    ///
    /// # Errors
    /// The shapes do not fit each other or the attributes.
    pub fn geometry(&self, x: &Shape, w: &Shape) -> Result<ConvTransposeGeometry, OpError> {
        self.output_shape(&x.into(), &w.into())?;
        Ok(ConvTransposeGeometry {
            batch: x[0],
            groups: self.group,
            in_channels: x[1] / self.group,
            out_channels: w[1],
            window: self.resolve(&w[2..], &x[2..])?,
        })
    }

    fn resolve(&self, kernel: &[usize], read: &[usize]) -> Result<Window, OpError> {
        if !self.window.kernel.is_empty() && self.window.kernel[..] != *kernel {
            let got = format!("{:?}", self.window.kernel);
            return Err(OpError::attribute("kernel_shape", format!("that of the weights, {kernel:?}"), got));
        }
        transposed_window(&self.window, &self.output_padding, &self.output_shape, kernel, read)
    }

    /// The output's shape, as far as it is known.
    ///
    /// # Errors
    /// As [`ConvTranspose::geometry`].
    pub fn output_shape(&self, x: &ShapeFact, w: &ShapeFact) -> Result<ShapeFact, OpError> {
        let rank = match (x.rank(), w.rank()) {
            (Some(x), Some(w)) if x != w => return Err(OpError::shape(1, format!("of rank {x}, like X"), w)),
            (Some(rank), _) | (_, Some(rank)) => rank,
            (None, None) => return Ok(ShapeFact::unknown()),
        };
        if rank < 3 {
            return Err(OpError::shape(0, "[N, C, D1, ...]", x));
        }
        if x.dim(1).known().is_some_and(|channels| !channels.is_multiple_of(self.group)) {
            return Err(OpError::shape(0, format!("[N, a multiple of {} groups, ...]", self.group), x));
        }
        if x.dim(1).merge(&w.dim(0)).is_none() {
            return Err(OpError::shape(1, format!("[{} channels, M / group, ...]", x.dim(1)), w));
        }
        let known = |fact: &ShapeFact| (2..rank).map(|a| fact.dim(a).known()).collect::<Option<Extents>>();
        let kernel =
            known(w).or_else(|| Some(self.window.kernel.clone()).filter(|kernel| !kernel.is_empty()));
        let spatial: Vec<SymDim> = match (kernel, known(x)) {
            (Some(kernel), Some(read)) => {
                self.resolve(&kernel, &read)?.input.iter().map(|&n| SymDim::Known(n)).collect()
            }
            _ => (0..rank - 2)
                .map(|a| self.output_shape.get(a).map_or(SymDim::Unknown, |&n| n.into()))
                .collect(),
        };
        let maps = match w.dim(1).known() {
            Some(of_group) => SymDim::Known(of_group.checked_mul(self.group).ok_or_else(|| {
                OpError::attribute("group", "so few that the output's channels can be counted", self.group)
            })?),
            None if self.group == 1 => w.dim(1),
            None => SymDim::Unknown,
        };
        Ok([x.dim(0), maps].into_iter().chain(spatial).collect())
    }
}

impl ConvTransposeGeometry {
    /// `[N, M, O1, ...]`.
    pub fn output_shape(&self) -> Shape {
        let maps = self.groups * self.out_channels;
        [self.batch, maps].into_iter().chain(self.window.input.iter().copied()).collect()
    }
}

impl Operator for ConvTranspose {
    fn key(&self) -> OpKey {
        OpKey::onnx("ConvTranspose")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 3)?;
        let shape = self.output_shape(inputs.shape(0)?, inputs.shape(1)?)?;
        check_channels(inputs, 2, &shape.dim(1))?;
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = self.geometry(x.shape(), w.shape())?;
        let ConvTransposeGeometry { groups, in_channels, out_channels, ref window, .. } = geometry;
        let shape = geometry.output_shape();
        let (x_plane, y_plane, taps) = (window.positions(), window.input_elements(), window.taps());
        let (xs, ws) = (x.to_f64()?, w.to_f64()?);
        let bias = inputs.optional(2)?.map(Tensor::to_f64).transpose()?;
        let mut y = zeroed::<f64>(shape.elements())?;
        let maps = groups * out_channels;
        let stride = window.run_stride();
        for (index, y) in y.chunks_exact_mut(y_plane.max(1)).enumerate() {
            let (image, map) = (index / maps, index % maps);
            let (group, of_group) = (map / out_channels, map % out_channels);
            for channel in group * in_channels..(group + 1) * in_channels {
                let x = &xs[(image * groups * in_channels + channel) * x_plane..][..x_plane];
                let w = &ws[(channel * out_channels + of_group) * taps..][..taps];
                for (tap, &w) in w.iter().enumerate() {
                    window.for_each_run(tap, |run| {
                        let written = y[run.input..].iter_mut().step_by(stride);
                        written.zip(&x[run.output..][..run.len]).for_each(|(y, &x)| *y += w * x);
                    });
                }
            }
            if let Some(bias) = &bias {
                y.iter_mut().for_each(|y| *y += bias[map]);
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(w)) = (shape(0), shape(1)) else { return 0 };
        // Each element of X meets each element of the kernels of its channel.
        let per_channel =
            w.get(1..).map_or(1, |rest| rest.iter().fold(1u64, |p, &n| p.saturating_mul(n as u64)));
        (x.elements() as u64).saturating_mul(per_channel).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn ramp(shape: &[usize]) -> Tensor {
        let shape = Shape::from(shape);
        Tensor::from_vec(shape.clone(), (1..=shape.elements()).map(|x| x as f32).collect()).unwrap()
    }

    #[test]
    fn agrees_with_onnx_runtime() {
        let ints = |values: &[i64]| Attr::Ints(values.to_vec());
        let table: [(&[(&str, Attr)], &[f32]); 5] = [
            (&[("strides", ints(&[2])), ("output_shape", ints(&[6]))], &[2., 5., 4., 9., 6., 9.]),
            (
                &[("strides", ints(&[2])), ("auto_pad", Attr::String(b"SAME_UPPER".to_vec()))],
                &[1., 2., 5., 4., 9., 6.],
            ),
            (
                &[("strides", ints(&[2])), ("output_padding", ints(&[1])), ("pads", ints(&[1, 0]))],
                &[2., 5., 4., 9., 6., 9., 0.],
            ),
            (&[], &[1., 4., 10., 12., 9.]),
            (&[("dilations", ints(&[2]))], &[1., 2., 5., 4., 9., 6., 9.]),
        ];
        for (attrs, expected) in table {
            let op = parse_at(11, "ConvTranspose", attrs);
            let y = run(&*op, &[ramp(&[1, 1, 3]), ramp(&[1, 1, 3])]).remove(0);
            assert_eq!(y.as_slice::<f32>().unwrap(), expected, "{attrs:?}");
        }
    }

    #[test]
    fn groups_have_their_own_kernels_and_bias() {
        let op = parse_at(11, "ConvTranspose", &[("group", Attr::Int(2))]);
        let x = Tensor::from_vec([1, 2, 1], vec![10f32, 100.]).unwrap();
        let y = run(&*op, &[x, ramp(&[2, 2, 2]), ramp(&[4])]).remove(0);
        assert_eq!(y.shape().dims(), [1, 4, 2]);
        assert_eq!(y.as_slice::<f32>().unwrap(), [11., 21., 32., 42., 503., 603., 704., 804.]);
    }

    #[test]
    fn empty_and_unfit_inputs() {
        let op = parse_at(11, "ConvTranspose", &[]);
        assert_eq!(run(&*op, &[ramp(&[0, 1, 3]), ramp(&[1, 2, 3])]).remove(0).shape().dims(), [0, 2, 5]);
        assert_eq!(run(&*op, &[ramp(&[1, 1, 0]), ramp(&[1, 2, 3])]).remove(0).shape().dims(), [1, 2, 0]);
        assert!(try_run(&*op, &[Some(ramp(&[1, 2, 3])), Some(ramp(&[1, 2, 3]))]).is_err());
        assert!(try_run(&*op, &[Some(ramp(&[1, 2, 3])), Some(ramp(&[2, 2, 3, 1]))]).is_err());
    }
}
