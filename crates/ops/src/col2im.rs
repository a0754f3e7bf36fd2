//! `Col2Im` (<https://onnx.ai/onnx/operators/onnx__Col2Im.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::window::{Extents, Window, WindowSpec, explicit_pads, positive};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Col2Im", 3, Col2Im::parse)];

/// Adds the columns of sliding blocks up to an image. Inputs: columns `[N, C * block elements, blocks]`, any real type;
/// the image's and the block's extents, int64 `[axes]` each. Output `[N, C, image extents]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Col2Im {
    /// Strides, dilations and padding; the kernel is the block.
    pub window: WindowSpec,
}

impl Col2Im {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let window = WindowSpec {
            strides: positive(def, "strides")?,
            dilations: positive(def, "dilations")?,
            padding: explicit_pads(def)?,
            ..WindowSpec::default()
        };
        Ok(Arc::new(Col2Im { window }))
    }

    /// The blocks of an image as a window, and the number of channels if the columns' second extent is known.
    fn blocks(
        &self,
        columns: &ShapeFact,
        image: &[i64],
        block: &[i64],
    ) -> Result<(Window, Option<usize>), OpError> {
        let window = self.window.resolve(&numbers(2, block)?, &numbers(1, image)?)?;
        let (taps, blocks) = (window.taps(), window.positions());
        let expected = || OpError::shape(0, format!("[N, C * {taps}, {blocks}]"), columns);
        if columns.rank().is_some_and(|rank| rank != 3) || columns.dim(2).known().is_some_and(|n| n != blocks)
        {
            return Err(expected());
        }
        let channels = match columns.dim(1).known() {
            Some(rows) if taps == 0 || !rows.is_multiple_of(taps) => return Err(expected()),
            rows => rows.map(|rows| rows / taps),
        };
        Ok((window, channels))
    }
}

/// Positive extents.
fn numbers(index: usize, values: &[i64]) -> Result<Extents, OpError> {
    let number = |&n: &i64| {
        let error = || OpError::value(index, format!("extents are 1 or more, got {n}"));
        usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(error)
    };
    values.iter().map(number).collect()
}

impl Operator for Col2Im {
    fn key(&self) -> OpKey {
        OpKey::onnx("Col2Im")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let columns = inputs.tensor(0)?;
        if matches!(columns.dtype, DType::String | DType::Complex64 | DType::Complex128) {
            return Err(OpError::dtype(0, "a real type", columns.dtype));
        }
        for index in [1, 2] {
            if inputs.dtype(index)? != DType::I64 {
                return Err(OpError::dtype(index, "int64", inputs.dtype(index)?));
            }
        }
        let shape = match (inputs.ints(1)?, inputs.ints(2)?) {
            (Some(image), Some(block)) => {
                let (window, channels) = self.blocks(&columns.shape, &image, &block)?;
                let channels = channels.map_or(SymDim::Unknown, SymDim::Known);
                let image = window.input.iter().map(|&n| SymDim::Known(n));
                [columns.shape.dim(0), channels].into_iter().chain(image).collect()
            }
            _ => match inputs.shape(1)?.dims() {
                Some([SymDim::Known(axes)]) => ShapeFact::of_rank(axes.saturating_add(2)),
                _ => ShapeFact::unknown(),
            },
        };
        Ok(vec![Fact::tensor(columns.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let columns = inputs.tensor(0)?;
        let (window, channels) = self.blocks(&columns.shape().into(), &inputs.ints(1)?, &inputs.ints(2)?)?;
        let channels = channels.unwrap_or(0);
        let shape: Shape =
            [columns.shape()[0], channels].into_iter().chain(window.input.iter().copied()).collect();
        Ok(vec![if columns.dtype().is_integer() {
            let y = summed(&window, shape.elements(), &columns.to_i64()?, |y: &mut i64, x| {
                *y = y.wrapping_add(x)
            })?;
            Tensor::from_i64(columns.dtype(), shape, &y)?.into()
        } else {
            let y = summed(&window, shape.elements(), &columns.to_f64()?, |y: &mut f64, x| *y += x)?;
            Tensor::from_f64(columns.dtype(), shape, &y)?.into()
        }])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1, 2]
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        inputs.get(0).and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64)
    }
}

fn summed<T: Copy + bytemuck::Zeroable>(
    window: &Window,
    elements: usize,
    columns: &[T],
    add: impl Fn(&mut T, T),
) -> Result<Vec<T>, OpError> {
    let (blocks, plane) = (window.positions(), window.input_elements());
    let of_channel = window.taps().saturating_mul(blocks);
    let mut y = zeroed::<T>(elements)?;
    if of_channel == 0 {
        return Ok(y);
    }
    for (y, columns) in y.chunks_exact_mut(plane).zip(columns.chunks_exact(of_channel)) {
        for (tap, row) in columns.chunks_exact(blocks).enumerate() {
            window.for_each_run(tap, |run| {
                let written = y[run.input..].iter_mut().step_by(window.run_stride());
                written.zip(&row[run.output..][..run.len]).for_each(|(y, &x)| add(y, x));
            });
        }
    }
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn overlapping_blocks_add_up() {
        let op = parse_at(18, "Col2Im", &[("pads", Attr::Ints(vec![0, 1, 0, 0]))]);
        // Blocks of 1x2 over an image of 1x3 that has one column of padding: three blocks.
        let columns = Tensor::from_vec([1, 2, 3], vec![1i32, 2, 3, 10, 20, 30]).unwrap();
        let y = run(&*op, &[columns, Tensor::vector(vec![1i64, 3]), Tensor::vector(vec![1i64, 2])]).remove(0);
        assert_eq!(y.shape().dims(), [1, 1, 1, 3]);
        assert_eq!(y.as_slice::<i32>().unwrap(), [10 + 2, 20 + 3, 30]);
    }

    #[test]
    fn misfits_are_errors() {
        let op = parse_at(18, "Col2Im", &[]);
        let columns = || Some(Tensor::zeros(DType::F32, [1, 4, 3]).unwrap());
        for (image, block) in [([3, 3], [2, 2]), ([2, 4], [2, 3]), ([2, 4], [2, 0]), ([2, -4], [2, 2])] {
            let extents = |dims: [i64; 2]| Some(Tensor::vector(dims.to_vec()));
            assert!(
                try_run(&*op, &[columns(), extents(image), extents(block)]).is_err(),
                "{image:?} {block:?}"
            );
        }
    }
}
