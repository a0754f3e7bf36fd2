//! `DepthToSpace`, `SpaceToDepth` (<https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>).
//!
//! The mode of `DepthToSpace` came with opset 11, that of `SpaceToDepth` with opset 28.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;
use crate::extents;
use crate::transpose::permuted;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("DepthToSpace", 1, |def| {
        let (block_size, column_major) = parse(def)?;
        Ok(Arc::new(DepthToSpace { block_size, column_major }))
    }),
    OpEntry::onnx("SpaceToDepth", 1, |def| {
        let (block_size, column_major) = parse(def)?;
        Ok(Arc::new(SpaceToDepth { block_size, column_major }))
    }),
];

/// Channels spread into square blocks of the image. `[N, C * B * B, H, W]` to `[N, C, H * B, W * B]`, any type.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthToSpace {
    /// `B`, the side of a block.
    pub block_size: usize,
    /// Mode `CRD`: a channel's elements of a block are neighbours in depth. Otherwise (`DCR`) a block's place holds all
    /// channels as neighbours.
    pub column_major: bool,
}

/// Square blocks of the image gathered into channels. `[N, C, H * B, W * B]` to `[N, C * B * B, H, W]`, any type.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceToDepth {
    /// `B`, the side of a block.
    pub block_size: usize,
    /// As [`DepthToSpace::column_major`].
    pub column_major: bool,
}

fn parse(def: &mut NodeDef) -> Result<(usize, bool), OpError> {
    let block = def.int("blocksize")?;
    let block = block.ok_or_else(|| OpError::attribute("blocksize", "an integer", "nothing"))?;
    let size = usize::try_from(block).ok().filter(|&size| size > 0);
    let column_major = match def.string_or("mode", "DCR")?.as_str() {
        "DCR" => false,
        "CRD" => true,
        other => return Err(OpError::attribute("mode", "DCR or CRD", other)),
    };
    Ok((size.ok_or_else(|| OpError::attribute("blocksize", "a number above 0", block))?, column_major))
}

/// The input's four extents, if its rank is known.
fn image<'a>(inputs: Facts<'a>) -> Result<Option<&'a [SymDim; 4]>, OpError> {
    let shape = inputs.shape(0)?;
    let four = |dims: &'a [SymDim]| dims.try_into().map_err(|_| OpError::shape(0, "[N, C, H, W]", shape));
    shape.dims().map(four).transpose()
}

/// A dimension divided by a factor of it.
fn divided(dim: &SymDim, by: usize, what: &str) -> Result<SymDim, OpError> {
    match dim.known() {
        Some(extent) if !extent.is_multiple_of(by) => {
            Err(OpError::shape(0, format!("{what} that are a multiple of {by}"), extent))
        }
        _ => Ok(dim.map(|extent| extent / by)),
    }
}

fn multiplied(dim: &SymDim, by: usize) -> SymDim {
    extents::product(&[dim.clone(), SymDim::Known(by)])
}

impl Operator for DepthToSpace {
    fn key(&self) -> OpKey {
        OpKey::onnx("DepthToSpace")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let Some([n, c, h, w]) = image(inputs)? else {
            return Ok(vec![Fact::tensor(dtype, vec![SymDim::Unknown; 4])]);
        };
        let b = self.block_size;
        let channels = divided(c, b.saturating_mul(b), "channels")?;
        Ok(vec![Fact::tensor(dtype, vec![n.clone(), channels, multiplied(h, b), multiplied(w, b)])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let out = extents::output_shape(self, inputs)?;
        let &[n, _, h, w] = data.shape().dims() else {
            return Err(OpError::shape(0, "[N, C, H, W]", data.shape()));
        };
        let (b, c) = (self.block_size, out[1]);
        Ok(vec![
            if self.column_major {
                permuted(data, &Shape::from([n, c, b, b, h, w]), &[0, 1, 4, 2, 5, 3], out)?
            } else {
                permuted(data, &Shape::from([n, b, b, c, h, w]), &[0, 3, 4, 1, 5, 2], out)?
            }
            .into(),
        ])
    }
}

impl Operator for SpaceToDepth {
    fn key(&self) -> OpKey {
        OpKey::onnx("SpaceToDepth")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let Some([n, c, h, w]) = image(inputs)? else {
            return Ok(vec![Fact::tensor(dtype, vec![SymDim::Unknown; 4])]);
        };
        let b = self.block_size;
        let channels = multiplied(c, b.saturating_mul(b));
        Ok(vec![Fact::tensor(
            dtype,
            vec![n.clone(), channels, divided(h, b, "rows")?, divided(w, b, "columns")?],
        )])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let out = extents::output_shape(self, inputs)?;
        let (&[n, c, ..], b) = (data.shape().dims(), self.block_size) else {
            return Err(OpError::shape(0, "[N, C, H, W]", data.shape()));
        };
        let view = Shape::from([n, c, out[2], b, out[3], b]);
        let perm = if self.column_major { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        Ok(vec![permuted(data, &view, &perm, out)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn modes_order_blocks_differently() {
        let data = Tensor::from_vec([1, 8, 1, 1], (0i16..8).collect()).unwrap();
        let attrs = |mode: &str| [("blocksize", Attr::Int(2)), ("mode", Attr::String(mode.into()))];
        let spread = |mode: &str| {
            run(&*parse_at(13, "DepthToSpace", &attrs(mode)), std::slice::from_ref(&data))[0].clone()
        };
        assert_eq!(spread("DCR"), Tensor::from_vec([1, 2, 2, 2], vec![0i16, 2, 4, 6, 1, 3, 5, 7]).unwrap());
        assert_eq!(spread("CRD"), Tensor::from_vec([1, 2, 2, 2], (0i16..8).collect()).unwrap());
        for mode in ["DCR", "CRD"] {
            let gathered = run(&*parse_at(28, "SpaceToDepth", &attrs(mode)), &[spread(mode)]).remove(0);
            assert_eq!(gathered, data, "{mode}");
        }
    }

    #[test]
    fn unfit_extents_are_errors() {
        let data = |shape: [usize; 4]| [Some(Tensor::zeros(DType::F32, shape).unwrap())];
        let spread = DepthToSpace { block_size: 2, column_major: false };
        assert!(try_run(&spread, &data([1, 6, 1, 1])).is_err());
        assert!(try_run(&SpaceToDepth { block_size: 2, column_major: false }, &data([1, 1, 2, 3])).is_err());
        assert!(try_run(&spread, &[Some(Tensor::scalar(1f32))]).is_err());
        assert_eq!(try_run(&spread, &data([0, 4, 1, 3])).unwrap()[0].shape().dims(), [0, 1, 2, 6]);
        let zero = [("blocksize".to_owned(), Attr::Int(0))];
        assert!(crate::parse("", &mut NodeDef::new("DepthToSpace", 13, zero.into())).unwrap().is_err());
    }
}
