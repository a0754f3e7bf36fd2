//! `Einsum` of one or two operands becomes sums, transposes and a matrix product.
//!
//! Axes of both operands and the output are batches, those of one operand and the output rows or columns, those of both operands
//! alone are summed by the product; what one operand alone has is summed before. Diagonals, more operands, and extents of 1 that
//! are repeated under a sum stay as they are.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId, Operator, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::einsum::Einsum;
use inferrum_ops::identity::Identity;
use inferrum_ops::matmul::MatMul;
use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_ops::reshape::Reshape;
use inferrum_ops::squeeze::Squeeze;
use inferrum_ops::transpose::Transpose;
use inferrum_ops::unsqueeze::Unsqueeze;
use inferrum_tensor::{DType, Tensor};

use crate::index::operator;

/// Rewrites every `Einsum` that is one of these.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let Some(equation) = Equation::of(graph, id) else { continue };
        let name = graph.nodes()[id.0].name.clone();
        let y = equation.write(&mut Writer { graph, name, count: 0 })?;
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Identity);
        node.inputs = vec![Some(y)];
        count += 1;
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

/// A value with the names of its axes.
#[derive(Clone)]
struct Term {
    value: ValueId,
    axes: Vec<usize>,
}

/// An equation that can be rewritten.
struct Equation {
    first: Term,
    second: Option<Term>,
    output: Vec<usize>,
    /// How many products go into each sum, where more than one axis is summed.
    depth: usize,
}

impl Equation {
    fn of(graph: &Graph, id: NodeId) -> Option<Equation> {
        let node = &graph.nodes()[id.0];
        let op = operator::<Einsum>(node)?;
        let values: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
        let facts: Vec<_> =
            values.iter().map(|&value| graph.fact(value).as_tensor()).collect::<Option<_>>()?;
        let numbers = [DType::F32, DType::F64, DType::F16, DType::I32, DType::I64];
        if !facts.iter().all(|fact| numbers.contains(&fact.dtype)) {
            return None;
        }
        let ranks: Vec<usize> = facts.iter().map(|fact| fact.shape.rank()).collect::<Option<_>>()?;
        let named = op.axes(&ranks).ok()?;
        let distinct = |axes: &[usize]| axes.iter().enumerate().all(|(i, axis)| !axes[..i].contains(axis));
        if !named.inputs.iter().all(|axes| distinct(axes)) {
            return None;
        }
        let term = |index: usize| Term { value: values[index], axes: named.inputs[index].clone() };
        let (first, second) = match values.len() {
            1 => (term(0), None),
            2 => (term(0), Some(term(1))),
            _ => return None,
        };
        let mut depth = 1usize;
        if let Some(second) = &second {
            let summed = difference(&shared(&first.axes, &second.axes), &named.output);
            for axis in &summed {
                let dim = |term: &Term, index: usize| {
                    let place = term.axes.iter().position(|other| other == axis)?;
                    Some(facts[index].shape.dim(place))
                };
                let (of_first, of_second) = (dim(&first, 0)?, dim(second, 1)?);
                if !of_first.same(&of_second) {
                    return None;
                }
                if summed.len() > 1 {
                    depth = depth.checked_mul(of_first.known()?)?;
                }
            }
        }
        Some(Equation { first, second, output: named.output, depth })
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<ValueId, GraphError> {
        let Some(second) = &self.second else {
            let only = writer.sum(&self.first, &difference(&self.first.axes, &self.output))?;
            return writer.ordered(&only, &self.output);
        };
        let alone =
            |term: &Term, other: &Term| difference(&difference(&term.axes, &other.axes), &self.output);
        let a = writer.sum(&self.first, &alone(&self.first, second))?;
        let b = writer.sum(second, &alone(second, &self.first))?;
        let summed = difference(&shared(&a.axes, &b.axes), &self.output);
        if summed.is_empty() {
            let operands = vec![writer.spread(&a, &self.output)?, writer.spread(&b, &self.output)?];
            return writer.node(Arc::new(Binary::new(BinaryKind::Mul)), operands);
        }
        self.product(writer, &a, &b, &summed)
    }

    /// The matrix product of two operands.
    fn product(
        &self,
        writer: &mut Writer<'_>,
        a: &Term,
        b: &Term,
        summed: &[usize],
    ) -> Result<ValueId, GraphError> {
        let of = |keep: &dyn Fn(&usize) -> bool| -> Vec<usize> {
            self.output.iter().copied().filter(keep).collect()
        };
        let batch = of(&|axis| a.axes.contains(axis) && b.axes.contains(axis));
        let rows = of(&|axis| a.axes.contains(axis) && !b.axes.contains(axis));
        let columns = of(&|axis| !a.axes.contains(axis) && b.axes.contains(axis));
        // The last rows and columns are the matrices'; what comes before them are batches of which the other operand has one.
        let (row, more_rows) = rows.split_last().map_or((None, &[][..]), |(last, rest)| (Some(*last), rest));
        let (column, more_columns) =
            columns.split_last().map_or((None, &[][..]), |(last, rest)| (Some(*last), rest));
        let lead: Vec<usize> = [&batch, more_rows, more_columns].concat();
        let side = |own: Option<usize>| -> Vec<usize> {
            lead.iter().copied().chain([own.unwrap_or(ONE)]).chain(summed.iter().copied()).collect()
        };
        let mut left = writer.spread(a, &side(row))?;
        let mut right = if summed.len() == 1 {
            let turned: Vec<usize> =
                lead.iter().copied().chain(summed.iter().copied()).chain([column.unwrap_or(ONE)]).collect();
            writer.spread(b, &turned)?
        } else {
            writer.spread(b, &side(column))?
        };
        if summed.len() > 1 {
            left = writer.joined(left, lead.len() + 1, self.depth)?;
            right = writer.joined(right, lead.len() + 1, self.depth)?;
            let mut perm: Vec<usize> = (0..lead.len() + 2).collect();
            perm.swap(lead.len(), lead.len() + 1);
            right = writer.node(Arc::new(Transpose { perm: Some(perm) }), vec![right])?;
        }
        let product = writer.node(Arc::new(MatMul), vec![left, right])?;
        let axes: Vec<usize> =
            lead.iter().copied().chain([row.unwrap_or(ONE), column.unwrap_or(ONE)]).collect();
        let extra: Vec<i64> =
            axes.iter().enumerate().filter(|(_, axis)| **axis == ONE).map(|(i, _)| i as i64).collect();
        let value = if extra.is_empty() {
            product
        } else {
            let extra = writer.ints("axes", extra);
            writer.node(Arc::new(Squeeze), vec![product, extra])?
        };
        let result = Term { value, axes: axes.into_iter().filter(|&axis| axis != ONE).collect() };
        writer.ordered(&result, &self.output)
    }
}

/// Stands for an axis of extent 1 that has no name.
const ONE: usize = usize::MAX;

/// The axes that both have.
fn shared(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().copied().filter(|axis| b.contains(axis)).collect()
}

/// The axes of the first that the second has not.
fn difference(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().copied().filter(|axis| !b.contains(axis)).collect()
}

/// Adds nodes to a graph.
struct Writer<'a> {
    graph: &'a mut Graph,
    name: String,
    count: usize,
}

impl Writer<'_> {
    fn node(&mut self, op: Arc<dyn Operator>, inputs: Vec<ValueId>) -> Result<ValueId, GraphError> {
        self.count += 1;
        let name = format!("{}.part{}", self.name, self.count);
        Ok(self.graph.add_node(name, op, inputs.into_iter().map(Some).collect())?)
    }

    fn ints(&mut self, what: &str, values: Vec<i64>) -> ValueId {
        self.count += 1;
        self.graph.add_constant(format!("{}.{what}{}", self.name, self.count), Tensor::vector(values))
    }

    /// The sum over some axes.
    fn sum(&mut self, term: &Term, over: &[usize]) -> Result<Term, GraphError> {
        if over.is_empty() {
            return Ok(term.clone());
        }
        let places = term.axes.iter().enumerate().filter(|(_, axis)| over.contains(axis));
        let places = places.map(|(place, _)| place as i64).collect();
        let places = self.ints("axes", places);
        let sum = Reduce { reduction: Reduction::Sum, keep_dims: false, noop_with_empty_axes: false };
        let value = self.node(Arc::new(sum), vec![term.value, places])?;
        Ok(Term { value, axes: difference(&term.axes, over) })
    }

    /// The axes in the order of `axes`, of which the term may lack some.
    fn ordered(&mut self, term: &Term, axes: &[usize]) -> Result<ValueId, GraphError> {
        let own = shared(axes, &term.axes);
        let perm: Vec<usize> =
            own.iter().filter_map(|axis| term.axes.iter().position(|other| other == axis)).collect();
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(term.value);
        }
        self.node(Arc::new(Transpose { perm: Some(perm) }), vec![term.value])
    }

    /// The axes in this order, with extents of 1 for those that the term lacks.
    fn spread(&mut self, term: &Term, axes: &[usize]) -> Result<ValueId, GraphError> {
        let ordered = self.ordered(term, axes)?;
        let lacking = axes.iter().enumerate().filter(|(_, axis)| !term.axes.contains(axis));
        let lacking: Vec<i64> = lacking.map(|(place, _)| place as i64).collect();
        if lacking.is_empty() {
            return Ok(ordered);
        }
        let lacking = self.ints("axes", lacking);
        self.node(Arc::new(Unsqueeze), vec![ordered, lacking])
    }

    /// The axes from `first` on as one, of `extent`.
    fn joined(&mut self, value: ValueId, first: usize, extent: usize) -> Result<ValueId, GraphError> {
        // Where 0 stands, the extent stays.
        let shape = std::iter::repeat_n(0, first).chain([extent as i64]).collect();
        let shape = self.ints("shape", shape);
        self.node(Arc::new(Reshape { allow_zero: false }), vec![value, shape])
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fusions::testing::{Builder, optimized};
    use inferrum_graph::Attr;

    /// The operators that are left of an equation, once it is clear that they give the same.
    fn left(equation: &str, shapes: &[&[usize]]) -> Vec<String> {
        let mut b = Builder::new();
        let operands: Vec<_> = shapes.iter().map(|shape| b.input(shape)).collect();
        let y = b.op("Einsum", &[("equation", Attr::String(equation.into()))], &operands);
        optimized(b, y)
    }

    #[test]
    fn products_of_every_kind() {
        for (equation, a, b) in [
            ("ij,jk->ik", &[3usize, 17][..], &[17usize, 5][..]),
            ("ij,kj->ki", &[3, 17], &[5, 17]),
            ("bhqd,bhkd->bhqk", &[2, 3, 5, 7], &[2, 3, 4, 7]),
            ("bqhd,bkhd->bhqk", &[2, 5, 3, 7], &[2, 4, 3, 7]),
            ("bhqk,bkhd->bqhd", &[2, 3, 5, 4], &[2, 4, 3, 7]),
            ("abc,cd->abd", &[2, 3, 17], &[17, 5]),
            ("abcd,bcde->ae", &[2, 3, 4, 5], &[3, 4, 5, 6]),
            ("abc,dcb->da", &[2, 3, 4], &[6, 4, 3]),
            ("abc,bde->adec", &[2, 3, 4], &[3, 5, 6]),
            ("i,i->", &[17], &[17]),
            ("i,ij->j", &[17], &[17, 3]),
            ("...ij,...jk->...ik", &[2, 3, 5, 7], &[3, 7, 4]),
            ("bij,bjk->bik", &[1, 3, 5], &[4, 5, 2]),
            ("abx,bcy->ac", &[2, 3, 4], &[3, 5, 6]),
            ("ij,jk->ik", &[3, 0], &[0, 5]),
        ] {
            let ops = left(equation, &[a, b]);
            assert!(!ops.iter().any(|op| op == "Einsum"), "{equation}: {ops:?}");
            assert_eq!(
                ops.iter().filter(|op| *op == "MatMul" || *op == "Linear").count(),
                1,
                "{equation}: {ops:?}"
            );
        }
    }

    #[test]
    fn what_sums_nothing_is_an_elementwise_product() {
        for (equation, a, b) in [
            ("i,j->ij", &[3usize][..], &[4usize][..]),
            ("i,j->ji", &[3], &[4]),
            ("bi,ib->ib", &[3, 4], &[4, 3]),
            ("ix,j->ij", &[3, 5], &[4]),
        ] {
            let ops = left(equation, &[a, b]);
            assert!(!ops.iter().any(|op| op == "Einsum" || op == "MatMul"), "{equation}: {ops:?}");
        }
    }

    #[test]
    fn one_operand_is_summed_and_turned() {
        assert_eq!(left("ijk->ki", &[&[2, 3, 4]]), ["ReduceSum", "Transpose"]);
        assert_eq!(left("...ij->...ji", &[&[2, 3, 4]]), ["Transpose"]);
        assert_eq!(left("ij->", &[&[3, 4]]), ["ReduceSum"]);
    }

    #[test]
    fn other_equations_stay() {
        assert_eq!(left("ii->i", &[&[3, 3]]), ["Einsum"]);
        assert_eq!(left("ij,jk->ik", &[&[3, 1], &[5, 2]]), ["Einsum"]);
        assert_eq!(left("ij,jk,kl->il", &[&[3, 4], &[4, 5], &[5, 6]]), ["Einsum"]);
    }
}
