//! `Slice` (<https://onnx.ai/onnx/operators/onnx__Slice.html>). Before opset 10 all but the data were attributes, and the
//! steps were 1.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;
use crate::axes::axes_input;
use crate::index::{PerAxis, check_index_list, offsets, strides, take};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Slice", 5, Slice::parse).before(&[(10, 1)])];

/// A range of each axis. Inputs: data of any type; starts `[S]`, ends `[S]`, and optionally axes `[S]` (the first ones) and
/// steps `[S]` (1), all int32 or int64. Negative starts and ends count from the end of the axis; beyond it they are clamped.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice;

/// The indices `start`, `start + step`, ... of one axis, `len` of them, all within the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisRange {
    /// The first index.
    pub start: usize,
    /// From one index to the next; not 0.
    pub step: isize,
    /// How many indices there are.
    pub len: usize,
}

/// What is asked of one axis.
struct Asked {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl AxisRange {
    /// All of an axis.
    pub fn all(extent: usize) -> AxisRange {
        AxisRange { start: 0, step: 1, len: extent }
    }

    /// What `start`, `end` and `step` select of an axis of `extent`; `None` when `step` is 0.
    pub fn of(extent: usize, start: i64, end: i64, step: i64) -> Option<AxisRange> {
        let dim = i128::try_from(extent).ok()?;
        let from_end = |at: i64| if at < 0 { i128::from(at) + dim } else { i128::from(at) };
        let (start, end, step_128) = (from_end(start), from_end(end), i128::from(step));
        let (start, distance) = match step {
            0 => return None,
            _ if extent == 0 => (0, 0),
            1.. => (start.clamp(0, dim), end.clamp(0, dim) - start.clamp(0, dim)),
            _ => (start.clamp(0, dim - 1), start.clamp(0, dim - 1) - end.clamp(-1, dim - 1)),
        };
        let len = distance.max(0).unsigned_abs().div_ceil(step_128.unsigned_abs());
        // An empty range may begin just behind the axis; a step longer than `isize` leads to one index only.
        let step = isize::try_from(step).unwrap_or(1);
        Some(AxisRange { start: usize::try_from(start).ok()?, step, len: usize::try_from(len).ok()? })
    }
}

impl Slice {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        def.lift_ints("starts", 1)?;
        def.lift_ints("ends", 2)?;
        if let Some(axes) = def.ints("axes")?.filter(|axes| !axes.is_empty()) {
            def.lift(3, inferrum_tensor::Tensor::vector(axes));
        }
        Ok(Arc::new(Slice))
    }

    /// The range of every axis of `shape`.
    ///
    /// # Errors
    /// Lists of different lengths, an axis out of range or listed twice, a step of 0.
    pub fn ranges(
        &self,
        shape: &Shape,
        starts: &[i64],
        ends: &[i64],
        axes: Option<&[i64]>,
        steps: Option<&[i64]>,
    ) -> Result<Vec<AxisRange>, OpError> {
        let mut ranges: Vec<AxisRange> = shape.iter().map(|&extent| AxisRange::all(extent)).collect();
        for Asked { axis, start, end, step } in asked(shape.rank(), starts, ends, axes, steps)? {
            ranges[axis] = AxisRange::of(shape[axis], start, end, step)
                .ok_or_else(|| OpError::value(4, "a step is 0"))?;
        }
        Ok(ranges)
    }
}

fn asked(
    rank: usize,
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Asked>, OpError> {
    let count = starts.len();
    let lengths = [(2, Some(ends)), (3, axes), (4, steps)];
    if let Some((index, list)) = lengths.into_iter().find(|(_, list)| list.is_some_and(|l| l.len() != count))
    {
        return Err(OpError::value(index, format!("expected {count} numbers as in starts, got {list:?}")));
    }
    let axes = match axes {
        Some(axes) => axes_input(3, axes, rank)?,
        None if count <= rank => (0..count).collect(),
        None => {
            return Err(OpError::value(1, format!("{count} starts, but the data has {rank} dimensions")));
        }
    };
    let step = |i: usize| steps.and_then(|steps| steps.get(i)).copied().unwrap_or(1);
    let rows = axes.into_iter().zip(starts.iter().zip(ends)).enumerate();
    Ok(rows.map(|(i, (axis, (&start, &end)))| Asked { axis, start, end, step: step(i) }).collect())
}

/// The extent of a sliced axis, as far as it is known.
fn sliced(dim: &SymDim, asked: &Asked) -> Result<SymDim, OpError> {
    // Files state "to the end" by a number that no extent reaches.
    const END: i64 = i32::MAX as i64;
    let range = |extent| {
        AxisRange::of(extent, asked.start, asked.end, asked.step)
            .ok_or_else(|| OpError::value(4, "a step is 0"))
    };
    Ok(match (dim.known(), asked) {
        (Some(extent), _) => SymDim::Known(range(extent)?.len),
        (None, Asked { start: 0, end: END.., step: 1, .. }) => dim.clone(),
        (None, Asked { start: -1 | END.., end: ..=-2_147_483_647, step: -1, .. }) => dim.clone(),
        (None, _) => range(0).map(|_| SymDim::Unknown)?,
    })
}

impl Operator for Slice {
    fn key(&self) -> OpKey {
        OpKey::onnx("Slice")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        inputs.require(1)?;
        inputs.require(2)?;
        (1..5).try_for_each(|index| check_index_list(inputs, index))?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let mut dims = dims.to_vec();
        let (starts, ends, axes, steps) =
            (inputs.ints(1)?, inputs.ints(2)?, inputs.ints(3)?, inputs.ints(4)?);
        let known = |index: usize, list: &Option<Vec<i64>>| list.is_some() || !inputs.has(index);
        match (starts, ends) {
            (Some(starts), Some(ends)) if known(3, &axes) && known(4, &steps) => {
                for asked in asked(dims.len(), &starts, &ends, axes.as_deref(), steps.as_deref())? {
                    dims[asked.axis] = sliced(&dims[asked.axis], &asked)?;
                }
            }
            _ => {
                let touched = match (&axes, inputs.shape(1)?.dim(0).known()) {
                    (Some(axes), _) => axes_input(3, axes, dims.len())?,
                    (None, Some(count)) if !inputs.has(3) => (0..count.min(dims.len())).collect(),
                    (None, _) => (0..dims.len()).collect(),
                };
                touched.into_iter().for_each(|axis| dims[axis] = SymDim::Unknown);
            }
        }
        Ok(vec![Fact::tensor(data.dtype, ShapeFact::from(dims))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let (axes, steps) = (inputs.optional_ints(3)?, inputs.optional_ints(4)?);
        let (starts, ends) = (inputs.ints(1)?, inputs.ints(2)?);
        let ranges = self.ranges(data.shape(), &starts, &ends, axes.as_deref(), steps.as_deref())?;
        let extents: PerAxis<usize> = ranges.iter().map(|range| range.len).collect();
        let unit = strides(data.shape());
        let steps: PerAxis<isize> =
            ranges.iter().zip(&unit).map(|(range, stride)| stride.wrapping_mul(range.step)).collect();
        let first = ranges
            .iter()
            .zip(&unit)
            .fold(0usize, |at, (range, &stride)| at.wrapping_add(range.start.wrapping_mul(stride as usize)));
        Ok(vec![take(data, extents.as_slice(), offsets(&extents, &steps, first))?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1, 2, 3, 4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    /// Start, end, step, and the indices they select of five.
    type Case = (i64, i64, i64, &'static [i64]);

    const CASES: &[Case] = &[
        (0, 5, 1, &[0, 1, 2, 3, 4]),
        (1, i64::MAX, 2, &[1, 3]),
        (-2, 100, 1, &[3, 4]),
        (3, 1, 1, &[]),
        (9, 12, 1, &[]),
        (-1, i64::MIN, -1, &[4, 3, 2, 1, 0]),
        (4, 0, -3, &[4, 1]),
        (100, -100, -2, &[4, 2, 0]),
        (-100, i64::MIN, -1, &[0]),
        (1, 3, i64::MAX, &[1]),
        (3, 1, i64::MIN, &[3]),
    ];

    #[test]
    fn ranges_follow_the_standard() {
        for &(start, end, step, expected) in CASES {
            let data = Tensor::vector(vec![0i64, 1, 2, 3, 4]);
            let ints = |x: i64| Tensor::vector(vec![x]);
            let out = run(&Slice, &[data, ints(start), ints(end), ints(-1), ints(step)]).remove(0);
            assert_eq!(out.as_slice::<i64>().unwrap(), expected, "{start} {end} {step}");
        }
        assert_eq!(AxisRange::of(0, -1, i64::MIN, -1).unwrap().len, 0);
        assert_eq!(AxisRange::of(3, 0, 1, 0), None);
    }

    #[test]
    fn axes_are_sliced_on_their_own() {
        let data = Tensor::from_vec([2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let ints = |x: &[i32]| Some(Tensor::vector(x.to_vec()));
        let out = try_run(&Slice, &[Some(data.clone()), ints(&[1, 0]), ints(&[2, -1])]).unwrap();
        assert_eq!(out[0], Tensor::from_vec([1, 2], vec![4u8, 5]).unwrap());
        let steps = [Some(data.clone()), ints(&[2, 1]), ints(&[-9, -9]), ints(&[1, 0]), ints(&[-1, -1])];
        let out = try_run(&Slice, &steps).unwrap();
        assert_eq!(out[0], Tensor::from_vec([2, 3], vec![6u8, 5, 4, 3, 2, 1]).unwrap());
        assert!(try_run(&Slice, &[Some(data.clone()), ints(&[0]), ints(&[1]), ints(&[2])]).is_err());
        assert!(
            try_run(&Slice, &[Some(data.clone()), ints(&[0, 0]), ints(&[1, 1]), ints(&[1, -1])]).is_err()
        );
        assert!(try_run(&Slice, &[Some(data.clone()), ints(&[0]), ints(&[1, 1])]).is_err());
        assert!(try_run(&Slice, &[Some(data), ints(&[0, 0, 0]), ints(&[1, 1, 1])]).is_err());
    }

    #[test]
    fn old_attributes_become_inputs() {
        let attrs = [("starts", vec![0]), ("ends", vec![1]), ("axes", vec![1])]
            .map(|(name, ints)| (name.to_owned(), Attr::Ints(ints)));
        let mut def = NodeDef::new("Slice", 9, attrs.into());
        crate::parse("", &mut def).unwrap().unwrap();
        assert_eq!(def.finish().unwrap().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn untouched_and_whole_axes_keep_their_symbols() {
        let n = SymDim::Symbol("n".into());
        let data = Fact::tensor(DType::F32, vec![n.clone(), n.clone(), n.clone()]);
        let ints = |x: &[i64]| Fact::constant(Tensor::vector(x.to_vec()));
        let (starts, ends, axes) = (ints(&[0, 1]), ints(&[i64::MAX, 3]), ints(&[0, 1]));
        let facts = Slice.infer(Facts(&[Some(&data), Some(&starts), Some(&ends), Some(&axes)])).unwrap();
        let expected = ShapeFact::from(vec![n.clone(), SymDim::Unknown, n.clone()]);
        assert_eq!(facts[0].as_tensor().unwrap().shape, expected);
        let unknown = Fact::tensor(DType::I64, [1]);
        let facts = Slice.infer(Facts(&[Some(&data), Some(&unknown), Some(&unknown)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![SymDim::Unknown, n.clone(), n].into());
    }
}
