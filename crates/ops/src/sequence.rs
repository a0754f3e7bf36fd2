//! `SequenceAt`, `SequenceConstruct`, `SequenceEmpty`, `SequenceErase`, `SequenceInsert`, `SequenceLength`
//! (<https://onnx.ai/onnx/operators/onnx__SequenceAt.html>), one version each, opset 11.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("SequenceAt", 2, |_| Ok(Arc::new(SequenceAt))),
    OpEntry::onnx("SequenceConstruct", OpEntry::VARIADIC, |_| Ok(Arc::new(SequenceConstruct))),
    OpEntry::onnx("SequenceEmpty", 0, SequenceEmpty::parse),
    OpEntry::onnx("SequenceErase", 2, |_| Ok(Arc::new(SequenceErase))),
    OpEntry::onnx("SequenceInsert", 3, |_| Ok(Arc::new(SequenceInsert))),
    OpEntry::onnx("SequenceLength", 1, |_| Ok(Arc::new(SequenceLength))),
];

/// One item of a sequence. Inputs: the sequence, its place (int32 or int64 scalar, negative: from the end).
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceAt;

/// The inputs, one or more of the same element type, as a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceConstruct;

/// A sequence without items.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceEmpty {
    /// The element type of the tensors that the sequence may hold.
    pub dtype: DType,
}

/// A sequence without one item. Inputs: the sequence, the item's place (as for [`SequenceAt`]; left out: the last).
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceErase;

/// A sequence with one more item. Inputs: the sequence, the item, its place in the result (int32 or int64 scalar,
/// negative: before that item from the end; left out: the end).
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceInsert;

/// The number of items of a sequence, an int64 scalar.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceLength;

/// What is known of the items of the sequence `index`.
///
/// # Errors
/// The input is left out, or certainly no sequence.
pub(crate) fn item_fact(inputs: Facts<'_>, index: usize) -> Result<Fact, OpError> {
    match inputs.require(index)? {
        Fact::Sequence(item) => Ok((**item).clone()),
        Fact::Unknown => Ok(Fact::Unknown),
        other => Err(OpError::Kind { index, expected: "a sequence", got: other.to_string() }),
    }
}

fn check_place(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    let Some(place) = inputs.optional(index)? else { return Ok(()) };
    if !matches!(place.dtype, DType::I32 | DType::I64) {
        return Err(OpError::dtype(index, "int32 or int64", place.dtype));
    }
    if place.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
        return Err(OpError::shape(index, "of one element", &place.shape));
    }
    Ok(())
}

/// A place that input `index` gives, counted from the start; `None` where it is left out.
fn place(inputs: Inputs<'_>, index: usize, places: usize, length: usize) -> Result<Option<usize>, OpError> {
    let Some(given) = inputs.optional_ints(index)? else { return Ok(None) };
    let given = given.first().copied().unwrap_or(0);
    let counted = if given < 0 { given.saturating_add(length as i64) } else { given };
    let counted = usize::try_from(counted).ok().filter(|&counted| counted < places);
    counted.map(Some).ok_or_else(|| {
        OpError::value(index, format!("place {given} lies outside a sequence of {length} items"))
    })
}

impl Operator for SequenceAt {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceAt")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        inputs.require(1)?;
        check_place(inputs, 1)?;
        Ok(vec![item_fact(inputs, 0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let items = inputs.sequence(0)?;
        let place = place(inputs, 1, items.len(), items.len())?.ok_or(OpError::MissingInput { index: 1 })?;
        Ok(vec![items[place].clone()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for SequenceConstruct {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceConstruct")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let mut item = crate::body::without_value(inputs.require(0)?);
        for index in 1..inputs.len() {
            let other = inputs.require(index)?;
            check_same_type(&item, other, index)?;
            item = item.either(other);
        }
        Ok(vec![Fact::Sequence(Box::new(item))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let items =
            (0..inputs.len()).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
        Ok(vec![Value::Sequence(items)])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

/// That two items may stand in one sequence, as far as is known.
fn check_same_type(item: &Fact, other: &Fact, index: usize) -> Result<(), OpError> {
    match (item, other) {
        (Fact::Tensor(item), Fact::Tensor(other)) if item.dtype != other.dtype => {
            Err(OpError::dtype(index, item.dtype.name(), other.dtype))
        }
        _ => Ok(()),
    }
}

impl SequenceEmpty {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let code = def.int_or("dtype", i64::from(DType::F32.onnx_code()))?;
        let dtype = i32::try_from(code).ok().and_then(DType::from_onnx_code);
        let dtype = dtype.ok_or_else(|| OpError::attribute("dtype", "an element type", code))?;
        Ok(Arc::new(SequenceEmpty { dtype }))
    }
}

impl Operator for SequenceEmpty {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceEmpty")
    }

    fn infer(&self, _inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::Sequence(Box::new(Fact::of_dtype(self.dtype)))])
    }

    fn reference(&self, _inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![Value::Sequence(Vec::new())])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for SequenceErase {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceErase")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_place(inputs, 1)?;
        Ok(vec![Fact::Sequence(Box::new(item_fact(inputs, 0)?))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let mut items = inputs.sequence(0)?.to_vec();
        let last = items.len().checked_sub(1);
        let last = last.ok_or_else(|| OpError::value(0, "nothing can be erased from an empty sequence"))?;
        items.remove(place(inputs, 1, items.len(), items.len())?.unwrap_or(last));
        Ok(vec![Value::Sequence(items)])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for SequenceInsert {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceInsert")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_place(inputs, 2)?;
        let (items, item) = (item_fact(inputs, 0)?, inputs.require(1)?);
        check_same_type(&items, item, 1)?;
        let joined = match (&items, item) {
            // Nothing is known of the items of an empty sequence but that they have the new one's type.
            (Fact::Unknown, Fact::Tensor(tensor)) => Fact::of_dtype(tensor.dtype),
            (items, item) => items.either(item),
        };
        Ok(vec![Fact::Sequence(Box::new(joined))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let mut items = inputs.sequence(0)?.to_vec();
        let place = place(inputs, 2, items.len() + 1, items.len())?.unwrap_or(items.len());
        items.insert(place, inputs.require(1)?.clone());
        Ok(vec![Value::Sequence(items)])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for SequenceLength {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceLength")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        item_fact(inputs, 0)?;
        Ok(vec![Fact::tensor(DType::I64, [])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![Tensor::scalar(inputs.sequence(0)?.len() as i64).into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse_at;
    use inferrum_graph::Attr;

    /// Runs an operator on a sequence of scalars and other values.
    fn run(op_type: &str, items: &[u8], others: Vec<Value>) -> Result<Value, OpError> {
        let mut values = vec![sequence(items)];
        values.extend(others);
        let refs: Vec<Option<&Value>> = values.iter().map(Some).collect();
        let op = parse_at(11, op_type, &[]);
        let fact = Inputs(&refs).with_facts(|facts| op.infer(facts))?.remove(0);
        let output = op.reference(Inputs(&refs))?.remove(0);
        assert!(fact.merge(&Fact::of(&output)).is_some(), "{fact} but {}", output.describe());
        Ok(output)
    }

    fn sequence(items: &[u8]) -> Value {
        Value::Sequence(items.iter().map(|&item| Tensor::scalar(item).into()).collect())
    }

    fn items(value: &Value) -> Vec<u8> {
        match value {
            Value::Sequence(items) => {
                items.iter().map(|item| item.as_tensor().unwrap().to_scalar().unwrap()).collect()
            }
            Value::Tensor(tensor) => vec![tensor.to_scalar().unwrap()],
            other => panic!("{}", other.describe()),
        }
    }

    fn i64s(value: i64) -> Value {
        Tensor::scalar(value).into()
    }

    #[test]
    fn places_count_from_either_end() {
        let at = |place| run("SequenceAt", &[5, 6, 7], vec![i64s(place)]).map(|v| items(&v)[0]);
        assert_eq!([at(0).unwrap(), at(2).unwrap(), at(-1).unwrap(), at(-3).unwrap()], [5, 7, 7, 5]);
        for outside in [3, -4, i64::MIN, i64::MAX] {
            assert!(at(outside).is_err());
        }
    }

    #[test]
    fn items_are_inserted_and_erased() {
        let insert = |place: Option<i64>| {
            let mut others = vec![Value::Tensor(Tensor::scalar(9u8))];
            others.extend(place.map(i64s));
            run("SequenceInsert", &[5, 6], others).map(|v| items(&v))
        };
        assert_eq!(insert(None).unwrap(), [5, 6, 9]);
        assert_eq!(insert(Some(2)).unwrap(), [5, 6, 9]);
        assert_eq!(insert(Some(-1)).unwrap(), [5, 9, 6]);
        assert_eq!(insert(Some(-2)).unwrap(), [9, 5, 6]);
        assert!(insert(Some(3)).is_err() && insert(Some(-3)).is_err());
        assert_eq!(items(&run("SequenceErase", &[5, 6], vec![]).unwrap()), [5]);
        assert_eq!(items(&run("SequenceErase", &[5, 6], vec![i64s(-2)]).unwrap()), [6]);
        assert!(run("SequenceErase", &[], vec![]).is_err());
        assert!(run("SequenceErase", &[5], vec![i64s(1)]).is_err());
    }

    #[test]
    fn lengths_and_empty_sequences() {
        let length = run("SequenceLength", &[1, 2, 3], vec![]).unwrap();
        assert_eq!(length.as_tensor().unwrap().to_scalar(), Ok(3i64));
        let empty = parse_at(11, "SequenceEmpty", &[("dtype", Attr::Int(7))]);
        let fact = empty.infer(Facts(&[])).unwrap().remove(0);
        assert_eq!(fact, Fact::Sequence(Box::new(Fact::of_dtype(DType::I64))));
        assert_eq!(items(&empty.reference(Inputs(&[])).unwrap()[0]), [0u8; 0]);
    }

    #[test]
    fn items_of_one_sequence_share_a_type() {
        let (a, b) = (Fact::tensor(DType::F32, [2, 3]), Fact::tensor(DType::F32, [2, 4]));
        let fact = SequenceConstruct.infer(Facts(&[Some(&a), Some(&b)])).unwrap().remove(0);
        assert_eq!(fact.to_string(), "sequence of float32[2x?]");
        let c = Fact::of_dtype(DType::F64);
        assert!(SequenceConstruct.infer(Facts(&[Some(&a), Some(&c)])).is_err());
        assert!(SequenceInsert.infer(Facts(&[Some(&fact), Some(&c)])).is_err());
        assert!(SequenceLength.infer(Facts(&[Some(&a)])).is_err());
    }
}
