//! `Einsum` (<https://onnx.ai/onnx/operators/onnx__Einsum.html>). Opset 28 only added bfloat16.

mod contraction;

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::number::{Number, with_number};
use crate::types::NUMBERS;
use contraction::{Term, contract_all};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Einsum", OpEntry::VARIADIC, Einsum::parse)];

/// Products of elements summed over the axes that the output does not have. Inputs: any number of tensors of one float or
/// integer type. Axes with the same subscript have the same extent, or 1, which is broadcast; within one input they are its
/// diagonal.
#[derive(Debug, Clone, PartialEq)]
pub struct Einsum {
    /// For each input, the subscripts of its axes.
    pub inputs: Vec<Vec<Subscript>>,
    /// The subscripts of the output's axes.
    pub output: Vec<Subscript>,
}

/// The name of an axis in an equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subscript {
    /// The axes that are not named, which are broadcast from their ends.
    Ellipsis,
    /// A letter.
    Label(char),
}

/// Each axis as a number, the same for axes that go together. See [`Einsum::axes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EinsumAxes {
    /// For each input, its axes.
    pub inputs: Vec<Vec<usize>>,
    /// The output's axes.
    pub output: Vec<usize>,
    /// How many there are.
    pub count: usize,
}

impl Einsum {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let equation = def.string("equation")?;
        let equation = equation.ok_or_else(|| OpError::attribute("equation", "a text", "nothing"))?;
        Ok(Arc::new(Einsum::from_equation(&equation)?))
    }

    /// Reads an equation, such as `bij,bjk->bik`. Without an arrow, the output has the ellipsis and then the letters that
    /// occur once, sorted.
    ///
    /// # Errors
    /// It is not one.
    pub fn from_equation(equation: &str) -> Result<Einsum, OpError> {
        let wrong = |expected: &str| OpError::attribute("equation", expected, format!("`{equation}`"));
        let compact: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match compact.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (compact.as_str(), None),
        };
        let read = |term: &str| {
            subscripts(term).ok_or_else(|| wrong("letters and at most one `...` for each operand"))
        };
        let inputs = left.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        let count = |subscript: &Subscript| inputs.iter().flatten().filter(|s| *s == subscript).count();
        let output = match right {
            Some(right) => {
                let output = read(right)?;
                for (i, subscript) in output.iter().enumerate() {
                    if output[..i].contains(subscript) {
                        return Err(wrong("each subscript of the output once"));
                    }
                    if *subscript != Subscript::Ellipsis && count(subscript) == 0 {
                        return Err(wrong("an output whose letters occur in an operand"));
                    }
                }
                output
            }
            None => {
                let mut output: Vec<Subscript> = inputs.iter().flatten().copied().collect();
                output.sort_unstable();
                output.dedup();
                output.retain(|subscript| *subscript == Subscript::Ellipsis || count(subscript) == 1);
                output
            }
        };
        Ok(Einsum { inputs, output })
    }

    /// The axes of inputs of the given ranks, the ellipses unfolded.
    ///
    /// # Errors
    /// Another number of inputs than in the equation, or an input of another rank.
    pub fn axes(&self, ranks: &[usize]) -> Result<EinsumAxes, OpError> {
        if ranks.len() != self.inputs.len() {
            let (expected, got) = (self.inputs.len(), ranks.len());
            return Err(OpError::Invalid(format!(
                "the equation has {expected} operands, the node {got} inputs"
            )));
        }
        let mut hidden = Vec::with_capacity(ranks.len());
        for (index, (subscripts, &rank)) in self.inputs.iter().zip(ranks).enumerate() {
            let named = subscripts.iter().filter(|s| **s != Subscript::Ellipsis).count();
            let fits = if named < subscripts.len() { rank >= named } else { rank == named };
            if !fits {
                let most = if named < subscripts.len() { "at least " } else { "" };
                return Err(OpError::shape(index, format!("{most}{named} axes, as in the equation"), rank));
            }
            hidden.push(rank - named);
        }
        let widest = hidden.iter().copied().max().unwrap_or(0);
        let mut labels: Vec<Subscript> = self.inputs.iter().flatten().copied().collect();
        labels.retain(|subscript| *subscript != Subscript::Ellipsis);
        labels.sort_unstable();
        labels.dedup();
        // The axes of ellipses come first, counted so that the last ones of all inputs go together.
        let number = |subscripts: &[Subscript], hidden: usize| {
            let mut axes = Vec::new();
            for subscript in subscripts {
                match labels.binary_search(subscript) {
                    Ok(label) => axes.push(widest + label),
                    Err(_) => axes.extend(widest - hidden..widest),
                }
            }
            axes
        };
        let inputs =
            self.inputs.iter().zip(hidden).map(|(subscripts, hidden)| number(subscripts, hidden)).collect();
        Ok(EinsumAxes { inputs, output: number(&self.output, widest), count: widest + labels.len() })
    }
}

/// The subscripts of one operand, if they are letters and at most one ellipsis.
fn subscripts(term: &str) -> Option<Vec<Subscript>> {
    let (before, after) = match term.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (term, None),
    };
    let labels = |text: &str| {
        text.chars()
            .map(|c| c.is_ascii_alphabetic().then_some(Subscript::Label(c)))
            .collect::<Option<Vec<_>>>()
    };
    let mut all = labels(before)?;
    if let Some(after) = after {
        all.push(Subscript::Ellipsis);
        all.extend(labels(after)?);
    }
    Some(all)
}

/// The extent of each axis: that of all inputs which have it, of which those that are 1 are broadcast.
fn extents(axes: &EinsumAxes, shapes: &[&[SymDim]]) -> Result<Vec<SymDim>, OpError> {
    let mut extents = vec![SymDim::Known(1); axes.count];
    for (index, (axes, dims)) in axes.inputs.iter().zip(shapes).enumerate() {
        for (&axis, dim) in axes.iter().zip(*dims) {
            let both = [&extents[axis], dim].map(|dim| ShapeFact::from(vec![dim.clone()]));
            let common = both[0].broadcast(&both[1]).ok_or_else(|| {
                let shape = ShapeFact::from(dims.to_vec());
                OpError::shape(
                    index,
                    format!("{} at a subscript of the equation, or 1", extents[axis]),
                    shape,
                )
            })?;
            extents[axis] = common.dim(0);
        }
    }
    Ok(extents)
}

impl Operator for Einsum {
    fn key(&self) -> OpKey {
        OpKey::onnx("Einsum")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        NUMBERS.check(0, dtype)?;
        let mut shapes = Some(Vec::new());
        for index in 0..inputs.len() {
            let input = inputs.tensor(index)?;
            if input.dtype != dtype {
                return Err(OpError::dtype(index, format!("{dtype} as the first input"), input.dtype));
            }
            shapes = shapes.and_then(|mut shapes| {
                shapes.push(input.shape.dims()?);
                Some(shapes)
            });
        }
        let Some(shapes) = shapes else { return Ok(vec![Fact::of_dtype(dtype)]) };
        let ranks: Vec<usize> = shapes.iter().map(|dims| dims.len()).collect();
        let axes = self.axes(&ranks)?;
        let extents = extents(&axes, &shapes)?;
        let shape: ShapeFact = axes.output.iter().map(|&axis| extents[axis].clone()).collect();
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let operands = (0..inputs.len()).map(|index| inputs.tensor(index)).collect::<Result<Vec<_>, _>>()?;
        let ranks: Vec<usize> = operands.iter().map(|operand| operand.shape().rank()).collect();
        let axes = self.axes(&ranks)?;
        let mut extents = vec![1; axes.count];
        for (axes, operand) in axes.inputs.iter().zip(&operands) {
            for (&axis, &extent) in axes.iter().zip(operand.shape().iter()) {
                extents[axis] = if extent == 1 { extents[axis] } else { extent };
            }
        }
        let dtype = inputs.tensor(0)?.dtype();
        let shape = axes.output.iter().map(|&axis| extents[axis]).collect();
        Ok(vec![with_number!(dtype, N => {
            let terms = operands.iter().zip(&axes.inputs);
            let terms = terms.map(|(operand, axes)| Ok(Term::new(operand.shape(), axes, N::read(operand)?)));
            let sums = contract_all::<N>(terms.collect::<Result<_, OpError>>()?, &extents, &axes.output)?;
            N::write(dtype, shape, &sums)?.into()
        })])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shapes: Option<Vec<&[SymDim]>> =
            (0..inputs.len()).map(|index| inputs.get(index)?.as_tensor()?.shape.dims()).collect();
        let Some(shapes) = shapes else { return 0 };
        let ranks: Vec<usize> = shapes.iter().map(|dims| dims.len()).collect();
        let extents = self.axes(&ranks).and_then(|axes| extents(&axes, &shapes)).unwrap_or_default();
        let products = crate::extents::product(&extents).known().unwrap_or(0) as u64;
        products.saturating_mul(inputs.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    fn einsum(equation: &str, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
        let op = parse_at(12, "Einsum", &[("equation", Attr::String(equation.into()))]);
        Ok(try_run(&*op, &inputs.iter().map(|&input| Some(input.clone())).collect::<Vec<_>>())?.remove(0))
    }

    fn ints(shape: &[usize], from: i64) -> Tensor {
        let elements = (from..).take(shape.iter().product()).collect();
        Tensor::from_vec(shape, elements).unwrap()
    }

    #[test]
    fn one_operand_is_turned_summed_or_a_diagonal() {
        let m = ints(&[2, 3], 0);
        assert_eq!(einsum("ij->ji", &[&m]).unwrap().to_i64().unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(einsum("ba", &[&m]).unwrap(), einsum("ij->ji", &[&m]).unwrap());
        assert_eq!(einsum(" i j -> i ", &[&m]).unwrap().to_i64().unwrap(), [3, 12]);
        assert_eq!(einsum("ij->", &[&m]).unwrap(), Tensor::scalar(15i64));
        let square = ints(&[3, 3], 0);
        assert_eq!(einsum("ii->i", &[&square]).unwrap().to_i64().unwrap(), [0, 4, 8]);
        assert_eq!(einsum("ii", &[&square]).unwrap(), Tensor::scalar(12i64));
        assert_eq!(einsum("...ii->...i", &[&ints(&[2, 2, 2], 0)]).unwrap().to_i64().unwrap(), [0, 3, 4, 7]);
    }

    #[test]
    fn products_are_summed_over_shared_axes() {
        let (a, b) = (ints(&[2, 3], 0), ints(&[3, 2], 1));
        assert_eq!(einsum("ij,jk->ik", &[&a, &b]).unwrap().to_i64().unwrap(), [13, 16, 40, 52]);
        assert_eq!(einsum("ij,jk", &[&a, &b]).unwrap().to_i64().unwrap(), [13, 16, 40, 52]);
        let row = ints(&[3], 1);
        assert_eq!(einsum("i,i", &[&row, &row]).unwrap(), Tensor::scalar(14i64));
        assert_eq!(einsum("i,j->ji", &[&row, &ints(&[2], 1)]).unwrap().to_i64().unwrap(), [1, 2, 3, 2, 4, 6]);
        assert_eq!(einsum("ij,j,->", &[&a, &row, &Tensor::scalar(2i64)]).unwrap(), Tensor::scalar(68i64));
    }

    #[test]
    fn ellipses_and_ones_are_broadcast() {
        let (a, b) = (ints(&[2, 1, 2], 0), ints(&[3, 2], 0));
        let out = einsum("...i,...i->...", &[&a, &b]).unwrap();
        assert_eq!(out, Tensor::from_vec([2, 3], vec![1i64, 3, 5, 3, 13, 23]).unwrap());
        let out = einsum("i,i,i->i", &[&ints(&[1], 2), &ints(&[1], 5), &ints(&[3], 1)]).unwrap();
        assert_eq!(out.to_i64().unwrap(), [10, 20, 30]);
        let out = einsum("i...->...", &[&ints(&[2, 2], 0)]).unwrap();
        assert_eq!(out.to_i64().unwrap(), [2, 4]);
    }

    #[test]
    fn empty_axes_sum_to_zero() {
        let empty = |shape: [usize; 2]| Tensor::zeros(DType::F32, shape).unwrap();
        let out = einsum("ij,jk->ik", &[&empty([2, 0]), &empty([0, 2])]).unwrap();
        assert_eq!(out, Tensor::from_vec([2, 2], vec![0f32; 4]).unwrap());
        assert_eq!(einsum("ij->i", &[&empty([0, 3])]).unwrap().len(), 0);
    }

    #[test]
    fn equations_that_are_none_and_unfit_inputs_are_errors() {
        for wrong in ["ij->k", "i1->i", "i......->i", "ij->ii", "i->j->i", "i.->i"] {
            assert!(Einsum::from_equation(wrong).is_err(), "{wrong}");
        }
        let m = ints(&[2, 3], 0);
        assert!(einsum("ij,jk->ik", &[&m]).is_err());
        assert!(einsum("ij,jk->ik", &[&m, &m]).is_err());
        assert!(einsum("i->i", &[&m]).is_err());
        assert!(einsum("ijk...->i", &[&m]).is_err());
        assert!(einsum("ii->i", &[&m]).is_err());
        assert!(einsum("ij,ij->ij", &[&m, &Tensor::zeros(DType::F32, [2, 3]).unwrap()]).is_err());
    }
}
