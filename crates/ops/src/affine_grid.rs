//! `AffineGrid` (<https://onnx.ai/onnx/operators/onnx__AffineGrid.html>), since opset 20.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("AffineGrid", 2, AffineGrid::parse)];

/// The places of an evenly spaced grid from -1 to 1 under affine maps.
///
/// Inputs: maps `[N, r, r + 1]` of floats, size int64 `[r + 2]` as `N, C, D1, ..., Dr`, with `r` 2 or 3. Output:
/// `[N, D1, ..., Dr, r]`, coordinates last axis first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffineGrid {
    /// Whether -1 and 1 are the middles of the elements at the edges; else their outer edges.
    pub align_corners: bool,
}

impl AffineGrid {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(AffineGrid { align_corners: def.flag("align_corners", false)? }))
    }

    /// The output's shape.
    ///
    /// # Errors
    /// The size does not fit the maps.
    pub fn output_shape(&self, theta: &Shape, size: &[i64]) -> Result<Shape, OpError> {
        let axes = size.len().saturating_sub(2);
        if !(2..=3).contains(&axes) {
            return Err(OpError::shape(1, "[4] or [5]", size.len()));
        }
        let out_of_range = |n| OpError::value(1, format!("sizes are 0 or more, got {n}"));
        let size: Vec<usize> = size
            .iter()
            .map(|&n| usize::try_from(n).map_err(|_| out_of_range(n)))
            .collect::<Result<_, _>>()?;
        if theta.dims() != [size[0], axes, axes + 1] {
            return Err(OpError::shape(0, format!("[{}, {axes}, {}]", size[0], axes + 1), theta));
        }
        Ok([size[0]].into_iter().chain(size[2..].iter().copied()).chain([axes]).collect())
    }

    /// Coordinate `index` of `extent` between -1 and 1.
    fn coordinate(&self, index: usize, extent: usize) -> f64 {
        let (index, extent) = (index as f64, extent as f64);
        match self.align_corners {
            true if extent <= 1.0 => -1.0,
            true => 2.0 * index / (extent - 1.0) - 1.0,
            false => (2.0 * index + 1.0) / extent - 1.0,
        }
    }
}

impl Operator for AffineGrid {
    fn key(&self) -> OpKey {
        OpKey::onnx("AffineGrid")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let theta = inputs.tensor(0)?;
        if !theta.dtype.is_float() {
            return Err(OpError::dtype(0, "a float type", theta.dtype));
        }
        if inputs.dtype(1)? != DType::I64 {
            return Err(OpError::dtype(1, "int64", inputs.dtype(1)?));
        }
        let shape = match (inputs.ints(1)?, theta.shape.concrete()) {
            (Some(size), Some(theta)) => self.output_shape(&theta, &size)?.into(),
            _ => match theta.shape.dim(1) {
                SymDim::Known(axes) if axes <= 3 => {
                    let dims = [theta.shape.dim(0)].into_iter().chain(vec![SymDim::Unknown; axes]);
                    dims.chain([SymDim::Known(axes)]).collect()
                }
                _ => ShapeFact::unknown(),
            },
        };
        Ok(vec![Fact::tensor(theta.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let theta = inputs.tensor(0)?;
        let shape = self.output_shape(theta.shape(), &inputs.ints(1)?)?;
        let axes = shape[shape.rank() - 1];
        let dims = &shape[1..shape.rank() - 1];
        let maps = theta.to_f64()?;
        let mut grid: Vec<f64> = zeroed(shape.elements())?;
        for (index, place) in grid.chunks_exact_mut(axes).enumerate() {
            // Homogeneous coordinates of the grid, last axis first.
            let mut point = [0.0, 0.0, 0.0, 1.0];
            let mut rest = index;
            for (coordinate, &extent) in point.iter_mut().zip(dims.iter().rev()) {
                *coordinate = self.coordinate(rest % extent, extent);
                rest /= extent;
            }
            point[axes] = 1.0;
            let map = &maps[rest * axes * (axes + 1)..][..axes * (axes + 1)];
            for (to, row) in place.iter_mut().zip(map.chunks_exact(axes + 1)) {
                *to = row.iter().zip(&point).map(|(a, b)| a * b).sum();
            }
        }
        Ok(vec![Tensor::from_f64(theta.dtype(), shape, &grid)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn grid(align: i64, size: &[i64]) -> Vec<f64> {
        let op = parse_at(20, "AffineGrid", &[("align_corners", Attr::Int(align))]);
        // x' = 2 x + 10, y' = y
        let theta = Tensor::from_vec([1, 2, 3], vec![2f32, 0.0, 10.0, 0.0, 1.0, 0.0]).unwrap();
        run(&*op, &[theta, Tensor::vector(size.to_vec())])[0].to_f64().unwrap()
    }

    #[test]
    fn x_comes_first() {
        assert_eq!(grid(1, &[1, 1, 2, 2]), [8.0, -1.0, 12.0, -1.0, 8.0, 1.0, 12.0, 1.0]);
        assert_eq!(grid(0, &[1, 1, 1, 2]), [9.0, 0.0, 11.0, 0.0]);
        assert!(grid(0, &[1, 1, 0, 2]).is_empty());
    }

    #[test]
    fn sizes_are_checked() {
        let op = parse_at(20, "AffineGrid", &[]);
        let theta = Some(Tensor::zeros(DType::F32, [1, 2, 3]).unwrap());
        for size in
            [&[1i64, 1, 2][..], &[2, 1, 2, 2], &[1, 1, -2, 2], &[1, 1, 2, 2, 2], &[1, 1, i64::MAX, i64::MAX]]
        {
            assert!(try_run(&*op, &[theta.clone(), Some(Tensor::vector(size.to_vec()))]).is_err());
        }
    }
}
