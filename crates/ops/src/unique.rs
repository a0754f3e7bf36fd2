//! `Unique` (<https://onnx.ai/onnx/operators/onnx__Unique.html>).

use std::cmp::Ordering;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::index::take_runs;
use crate::number::{Number, with_number};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Unique", 1, Unique::parse)];

/// Each element (or slice of an axis) once. Input: any type. Outputs: what is unique; then, all `[N]` int64, the index of the
/// first occurrence of each, for each element which unique one it is, and how often each occurs. NaN equals NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Unique {
    /// The axis whose slices are compared; negative counts from the end. The input is flattened when left out.
    pub axis: Option<i64>,
    /// Whether the unique ones ascend (NaN last, slices by their first difference), or stand in order of occurrence.
    pub sorted: bool,
    /// How many of the four outputs the node has.
    pub outputs: usize,
}

/// Which elements (or slices) are alike.
struct Groups {
    /// The first occurrence of each.
    first: Vec<usize>,
    /// For each element, its group.
    group: Vec<i64>,
    /// How many elements each group has.
    count: Vec<i64>,
}

impl Unique {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let outputs = def.outputs.len().clamp(1, 4);
        Ok(Arc::new(Unique { axis: def.int("axis")?, sorted: def.flag("sorted", true)?, outputs }))
    }

    /// Elements before the axis, along it, and behind it.
    fn extents(&self, data: &Tensor) -> Result<(usize, usize, usize), OpError> {
        Ok(match self.axis {
            None => (1, data.len(), 1),
            Some(axis) => data.shape().split_at_axis(axis_attr(axis, data.shape().rank())?),
        })
    }

    fn groups(&self, data: &Tensor) -> Result<Groups, OpError> {
        let (outer, items, inner) = self.extents(data)?;
        if data.is_empty() {
            // Slices without elements are all alike.
            let one = usize::from(items > 0);
            let count = vec![i64::try_from(items).unwrap_or(i64::MAX); one];
            return Ok(Groups { first: vec![0; one], group: zeroed(items)?, count });
        }
        let order = element_order(data)?;
        let compare = |a: usize, b: usize| {
            let places = (0..outer).flat_map(|row| (0..inner).map(move |i| (row, i)));
            let at = |item: usize, (row, i): (usize, usize)| (row * items + item) * inner + i;
            places
                .map(|place| order(at(a, place), at(b, place)))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..items).collect();
        sorted.sort_by(|&a, &b| compare(a, b));
        let mut alike: Vec<&[usize]> = sorted.chunk_by(|&a, &b| compare(a, b).is_eq()).collect();
        if !self.sorted {
            // The sort is stable, so that the first of a group is its first occurrence.
            alike.sort_by_key(|members| members[0]);
        }
        let mut group = zeroed::<i64>(items)?;
        for (i, members) in alike.iter().enumerate() {
            members.iter().for_each(|&member| group[member] = i as i64);
        }
        let first = alike.iter().map(|members| members[0]).collect();
        Ok(Groups { first, group, count: alike.iter().map(|members| members.len() as i64).collect() })
    }
}

/// The order of two elements of a tensor by their positions.
type ElementOrder<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;

fn element_order(data: &Tensor) -> Result<ElementOrder<'_>, OpError> {
    fn pairs<T: Copy + Into<f64>>(elements: &[[T; 2]]) -> ElementOrder<'_> {
        let part = |z: [T; 2], i: usize| -> f64 { z[i].into() };
        Box::new(move |a, b| {
            let (a, b) = (elements[a], elements[b]);
            part(a, 0).order(part(b, 0)).then(part(a, 1).order(part(b, 1)))
        })
    }
    Ok(match data.dtype() {
        DType::String => {
            let strings = data.as_strings()?;
            Box::new(move |a, b| strings[a].cmp(&strings[b]))
        }
        DType::Complex64 => pairs(data.as_slice::<[f32; 2]>()?),
        DType::Complex128 => pairs(data.as_slice::<[f64; 2]>()?),
        dtype => with_number!(dtype, N => {
            let numbers = N::read(data)?;
            Box::new(move |a, b| numbers[a].order(numbers[b]))
        }),
    })
}

impl Operator for Unique {
    fn key(&self) -> OpKey {
        OpKey::onnx("Unique")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let (unique, items) = match (data.shape.dims(), self.axis) {
            (Some(dims), Some(axis)) => {
                let (axis, mut dims) = (axis_attr(axis, dims.len())?, dims.to_vec());
                let items = std::mem::replace(&mut dims[axis], SymDim::Unknown);
                (dims.into(), items)
            }
            (Some(dims), None) => (ShapeFact::of_rank(1), crate::extents::product(dims)),
            (None, Some(_)) => (ShapeFact::unknown(), SymDim::Unknown),
            (None, None) => (ShapeFact::of_rank(1), SymDim::Unknown),
        };
        let list = |dim: SymDim| Fact::tensor(DType::I64, vec![dim]);
        let mut facts =
            vec![Fact::tensor(data.dtype, unique), list(SymDim::Unknown), list(items), list(SymDim::Unknown)];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let (outer, items, inner) = self.extents(data)?;
        let Groups { first, group, count } = self.groups(data)?;
        let mut shape = data.shape().clone();
        match self.axis {
            None => shape = [first.len()].into(),
            Some(axis) => shape.dims_mut()[axis_attr(axis, data.shape().rank())?] = first.len(),
        }
        let places = &first;
        let starts = (0..outer).flat_map(|row| places.iter().map(move |item| (row * items + item) * inner));
        let unique = take_runs(data, shape, inner, starts)?;
        let indices = first.iter().map(|&index| index as i64).collect();
        let mut outputs =
            vec![unique, Tensor::vector::<i64>(indices), Tensor::vector(group), Tensor::vector(count)];
        outputs.truncate(self.outputs);
        Ok(outputs.into_iter().map(Value::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, run};
    use inferrum_graph::Attr;

    fn unique(attrs: &[(&str, Attr)], data: Tensor) -> (Tensor, [Vec<i64>; 3]) {
        let outputs = run(&*parse_node("", 11, "Unique", attrs, 4), &[data]);
        let ints = |i: usize| outputs[i].to_i64().unwrap();
        (outputs[0].clone(), [ints(1), ints(2), ints(3)])
    }

    #[test]
    fn elements_are_sorted_or_in_order_of_occurrence() {
        let data = Tensor::vector(vec![2f32, 1.0, 1.0, 3.0, 4.0, 3.0]);
        let (y, lists) = unique(&[("sorted", Attr::Int(0))], data.clone());
        assert_eq!(y, Tensor::vector(vec![2f32, 1.0, 3.0, 4.0]));
        assert_eq!(lists, [vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
        let (y, lists) = unique(&[], data);
        assert_eq!(y, Tensor::vector(vec![1f32, 2.0, 3.0, 4.0]));
        assert_eq!(lists, [vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]]);
    }

    #[test]
    fn slices_of_an_axis_are_compared() {
        let rows = Tensor::from_vec([3, 3], vec![1i32, 0, 0, 1, 0, 0, 0, 3, 4]).unwrap();
        let (y, lists) = unique(&[("axis", Attr::Int(0))], rows.clone());
        assert_eq!(y, Tensor::from_vec([2, 3], vec![0i32, 3, 4, 1, 0, 0]).unwrap());
        assert_eq!(lists, [vec![2, 0], vec![1, 1, 0], vec![1, 2]]);
        let (y, lists) = unique(&[("axis", Attr::Int(-1)), ("sorted", Attr::Int(0))], rows);
        assert_eq!(y, Tensor::from_vec([3, 3], vec![1i32, 0, 0, 1, 0, 0, 0, 3, 4]).unwrap());
        assert_eq!(lists[1], [0, 1, 2]);
    }

    #[test]
    fn strings_complex_numbers_and_nan_pass() {
        let text = Tensor::from_strings([3], ["b", "a", "b"].map(String::from).to_vec()).unwrap();
        assert_eq!(unique(&[], text).0.as_strings().unwrap(), ["a", "b"]);
        let complex = Tensor::vector(vec![[1f32, 2.0], [1.0, -2.0], [1.0, 2.0]]);
        assert_eq!(unique(&[], complex).1, [vec![1, 0], vec![1, 0, 1], vec![1, 2]]);
        let nan = Tensor::vector(vec![f32::NAN, 1.0, f32::NAN]);
        assert_eq!(unique(&[], nan).1, [vec![1, 0], vec![1, 0, 1], vec![1, 2]]);
    }

    #[test]
    fn empty_tensors_pass_and_outputs_may_be_fewer() {
        let (y, lists) = unique(&[], Tensor::zeros(DType::U8, [0]).unwrap());
        assert_eq!((y.len(), lists), (0, [vec![], vec![], vec![]]));
        let (y, lists) = unique(&[("axis", Attr::Int(0))], Tensor::zeros(DType::U8, [3, 0]).unwrap());
        assert_eq!((y.shape().dims(), lists), (&[1, 0][..], [vec![0], vec![0, 0, 0], vec![3]]));
        let op = parse_node("", 11, "Unique", &[], 1);
        assert_eq!(run(&*op, &[Tensor::scalar(1u8)]).len(), 1);
    }
}
