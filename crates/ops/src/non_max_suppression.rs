//! `NonMaxSuppression` (<https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("NonMaxSuppression", 5, NonMaxSuppression::parse)];

/// Keeps the boxes of greatest score that do not overlap one kept before.
///
/// Inputs: boxes `[B, N, 4]` and scores `[B, C, N]`, f32; optional scalars: most boxes of a class (int64, 0 by default),
/// greatest overlap as intersection over union (f32, 0 by default), least score (f32, exclusive). Output: int64 `[K, 3]`
/// as batch, class, box; how many depends on the elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonMaxSuppression {
    /// Whether a box is given as x and y of its middle, width and height; else as y1, x1, y2, x2 of any two corners.
    pub center_point: bool,
}

/// A box by its edges.
#[derive(Debug, Clone, Copy)]
struct Edges {
    x: (f32, f32),
    y: (f32, f32),
}

impl Edges {
    /// Area of both over the area of either. In single precision, as thresholds are compared with it.
    fn overlap(&self, other: &Edges) -> f32 {
        let shared = |a: (f32, f32), b: (f32, f32)| a.1.min(b.1) - a.0.max(b.0);
        let (width, height) = (shared(self.x, other.x), shared(self.y, other.y));
        let area = |edges: &Edges| (edges.x.1 - edges.x.0) * (edges.y.1 - edges.y.0);
        let both = width * height;
        let either = area(self) + area(other) - both;
        let empty = width <= 0.0 || height <= 0.0 || area(self) <= 0.0 || area(other) <= 0.0 || either <= 0.0;
        if empty { 0.0 } else { both / either }
    }
}

impl NonMaxSuppression {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(NonMaxSuppression { center_point: def.flag("center_point_box", false)? }))
    }

    fn edges(&self, given: &[f32]) -> Edges {
        let &[a, b, c, d] = given else { return Edges { x: (0.0, 0.0), y: (0.0, 0.0) } };
        if self.center_point {
            Edges { x: (a - c / 2.0, a + c / 2.0), y: (b - d / 2.0, b + d / 2.0) }
        } else {
            Edges { x: (b.min(d), b.max(d)), y: (a.min(c), a.max(c)) }
        }
    }

    /// The kept boxes of one class, greatest score first; of equal scores the lower box first.
    fn select(
        &self,
        boxes: &[Edges],
        scores: &[f32],
        most: usize,
        overlap: f32,
        least: Option<f32>,
    ) -> Vec<usize> {
        let mut candidates: Vec<usize> =
            (0..boxes.len()).filter(|&i| least.is_none_or(|least| scores[i] > least)).collect();
        candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut kept: Vec<usize> = Vec::new();
        for candidate in candidates {
            if kept.len() >= most {
                break;
            }
            // Disjoint boxes stay whatever the threshold, as an overlap of 0 is not above it.
            if !kept.iter().any(|&i| boxes[candidate].overlap(&boxes[i]) > overlap) {
                kept.push(candidate);
            }
        }
        kept
    }
}

impl Operator for NonMaxSuppression {
    fn key(&self) -> OpKey {
        OpKey::onnx("NonMaxSuppression")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let expected = [(0, DType::F32), (1, DType::F32), (2, DType::I64), (3, DType::F32), (4, DType::F32)];
        for (index, dtype) in expected {
            if index > 1 && !inputs.has(index) {
                continue;
            }
            let fact = inputs.tensor(index)?;
            if fact.dtype != dtype {
                return Err(OpError::dtype(index, dtype.to_string(), fact.dtype));
            }
            if index > 1 && fact.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
                return Err(OpError::shape(index, "one element", &fact.shape));
            }
        }
        let (boxes, scores) = (inputs.shape(0)?, inputs.shape(1)?);
        let count = boxes.dim(1).merge(&scores.dim(2));
        let batch = boxes.dim(0).merge(&scores.dim(0));
        let four = boxes.dim(2).merge(&SymDim::Known(4));
        if boxes.rank().is_some_and(|rank| rank != 3) || four.is_none() {
            return Err(OpError::shape(0, "[B, N, 4]", boxes));
        }
        if scores.rank().is_some_and(|rank| rank != 3) || count.is_none() || batch.is_none() {
            return Err(OpError::shape(1, format!("[{}, C, {}]", boxes.dim(0), boxes.dim(1)), scores));
        }
        Ok(vec![Fact::tensor(DType::I64, vec![SymDim::Unknown, SymDim::Known(3)])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (boxes, scores) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (classes, count) = (scores.shape()[1], scores.shape()[2]);
        let scalar = |index| -> Result<Option<f32>, OpError> {
            Ok(inputs.optional(index)?.map(Tensor::to_scalar::<f32>).transpose()?)
        };
        let most = inputs.optional_ints(2)?.and_then(|most| most.first().copied()).unwrap_or(0).max(0);
        let overlap = scalar(3)?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&overlap) {
            return Err(OpError::value(3, format!("the overlap is 0 to 1, got {overlap}")));
        }
        let least = scalar(4)?;
        let edges: Vec<Edges> =
            boxes.as_slice::<f32>()?.chunks_exact(4).map(|given| self.edges(given)).collect();
        let scores = scores.as_slice::<f32>()?;
        let mut selected: Vec<i64> = Vec::new();
        if count > 0 {
            for (row, scores) in scores.chunks_exact(count).enumerate() {
                let (batch, class) = (row / classes, row % classes);
                let boxes = &edges[batch * count..][..count];
                for kept in self.select(boxes, scores, most as usize, overlap, least) {
                    selected.extend([batch as i64, class as i64, kept as i64]);
                }
            }
        }
        Ok(vec![Tensor::from_vec([selected.len() / 3, 3], selected)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn suppress(
        center: i64,
        boxes: &[f32],
        scores: &[f32],
        rest: [Option<f32>; 3],
    ) -> Result<Vec<i64>, OpError> {
        let op = parse_at(11, "NonMaxSuppression", &[("center_point_box", Attr::Int(center))]);
        let inputs = [
            Some(Tensor::from_vec([1, boxes.len() / 4, 4], boxes.to_vec()).unwrap()),
            Some(Tensor::from_vec([1, 1, scores.len()], scores.to_vec()).unwrap()),
            rest[0].map(|most| Tensor::scalar(most as i64)),
            rest[1].map(Tensor::scalar),
            rest[2].map(|least| Tensor::vector(vec![least])),
        ];
        let y = try_run(&*op, &inputs)?.remove(0);
        Ok(y.as_slice::<i64>().unwrap().chunks_exact(3).map(|row| row[2]).collect())
    }

    const BOXES: [f32; 16] = [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 2.0, 1.0, 3.0, 3.0, 1.5, 1.5, 9.0, 9.0, 9.0, 9.0];

    #[test]
    fn overlapping_boxes_go() {
        let scores = [0.5, 0.9, 0.9, 0.1];
        let keep = |rest| suppress(0, &BOXES, &scores, rest).unwrap();
        assert_eq!(keep([Some(9.0), Some(0.4), None]), [1, 2, 3]);
        assert_eq!(keep([Some(9.0), Some(0.5), None]), [1, 2, 0, 3]);
        assert_eq!(keep([Some(9.0), None, Some(0.1)]), [1, 2]);
        assert_eq!(keep([Some(1.0), Some(0.5), None]), [1]);
        assert!(keep([None, Some(0.5), None]).is_empty());
    }

    #[test]
    fn boxes_may_be_given_by_their_middles() {
        let boxes = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 1.8, 5.0, 5.0, 2.0, 2.0];
        assert_eq!(suppress(1, &boxes, &[0.1, 0.2, 0.3], [Some(5.0), Some(0.5), None]).unwrap(), [2, 1]);
    }

    #[test]
    fn unfit_inputs_are_errors() {
        assert!(suppress(0, &BOXES, &[0.0; 3], [None; 3]).is_err());
        assert!(suppress(0, &BOXES, &[0.0; 4], [Some(1.0), Some(1.5), None]).is_err());
        assert!(suppress(0, &BOXES, &[0.0; 4], [Some(1.0), Some(f32::NAN), None]).is_err());
        assert_eq!(suppress(0, &[], &[], [Some(1.0), None, None]).unwrap(), []);
    }
}
