//! Activations that exporters spell out: GELU (Hendrycks and Gimpel, 2016, both forms), SiLU, HardSwish.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId, Operator};
use inferrum_ops::activation::Activation;
use inferrum_ops::binary::BinaryKind;
use inferrum_ops::clip::Clip;
use inferrum_ops::unary::{Unary, UnaryKind};

use crate::Index;
use crate::pattern::{Pattern, any, binary, op, scalar, unary};

/// The forms of each activation, and the operator that computes it.
fn table() -> Vec<(Pattern, Arc<dyn Operator>)> {
    let x = || any("x");
    let gelu = || -> Arc<dyn Operator> { Arc::new(Activation::Gelu) };
    let gelu_tanh = || -> Arc<dyn Operator> { Arc::new(Activation::GeluTanh) };
    let silu = || -> Arc<dyn Operator> { Arc::new(Activation::Swish { alpha: 1.0 }) };
    let hard_swish = || -> Arc<dyn Operator> { Arc::new(Unary { kind: UnaryKind::HardSwish }) };

    let erf = || unary(UnaryKind::Erf, x() / std::f64::consts::SQRT_2) + 1.0;
    let erf_by_factor = || unary(UnaryKind::Erf, x() * std::f64::consts::FRAC_1_SQRT_2) + 1.0;
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    let cube = || [binary(BinaryKind::Pow, x(), scalar(3.0)), x() * x() * x(), x() * (x() * x())];
    let tanh = |cube: Pattern| unary(UnaryKind::Tanh, (x() + cube * 0.044715) * scale) + 1.0;
    let tanh_factored =
        |square: Pattern| unary(UnaryKind::Tanh, x() * scale * (square * 0.044715 + 1.0)) + 1.0;

    let mut rows = vec![(x() * unary(UnaryKind::Sigmoid, x()), silu())];
    let halves =
        |weight: Pattern| [x() * weight.clone() * 0.5, x() * 0.5 * weight.clone(), x() * (weight * 0.5)];
    for weight in [erf(), erf_by_factor()] {
        rows.extend(halves(weight).map(|pattern| (pattern, gelu())));
    }
    for weight in cube().map(tanh).into_iter().chain([tanh_factored(x() * x())]) {
        rows.extend(halves(weight).map(|pattern| (pattern, gelu_tanh())));
    }
    let hard_sigmoid = |op: &Activation| matches!(op, Activation::HardSigmoid { alpha, beta } if (alpha - 1.0 / 6.0).abs() < 1e-6 && (beta - 0.5).abs() < 1e-6);
    rows.push((x() * op::<Activation>(hard_sigmoid, vec![x()]), hard_swish()));
    let relu6 = || op::<Clip>(|clip| clip.has_min && clip.has_max, vec![x() + 3.0, any("low"), scalar(6.0)]);
    rows.push((x() * (relu6() / 6.0), hard_swish()));
    rows.push((x() * relu6() / 6.0, hard_swish()));
    rows
}

/// Replaces each form by its operator.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let table = table();
    let index = Index::new(graph);
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let found = table.iter().find_map(|(pattern, op)| {
            let found = pattern.find(graph, &index, id)?;
            // Relu6's lower bound must be zero, which no relative comparison can tell.
            let low = found.get("low").map(|low| crate::pattern::scalar_constant(graph, low));
            let zero = low.is_none_or(|low| low == Some(0.0));
            zero.then_some(())?;
            Some((found.get("x")?, Arc::clone(op)))
        });
        let Some((x, op)) = found else { continue };
        // Broadcasting of the scalars must not have changed the shape.
        let node = &graph.nodes()[id.0];
        let output = node.outputs.first().copied().flatten().map(|output| graph.fact(output));
        let ranks = output.zip(Some(graph.fact(x))).map(|(y, x)| (rank(y), rank(x)));
        if !ranks.is_some_and(|(y, x)| y.is_some() && y == x) {
            continue;
        }
        let node = &mut graph.nodes_mut()[id.0];
        node.op = op;
        node.inputs = vec![Some(x)];
        count += 1;
    }
    Ok(count)
}

fn rank(fact: &inferrum_graph::Fact) -> Option<usize> {
    fact.as_tensor()?.shape.rank()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, optimized};

    #[test]
    fn gelu_by_erf() {
        let mut b = Builder::new();
        let x = b.input(&[2, 5]);
        let (root, half, one) = (b.scalar(std::f32::consts::SQRT_2), b.scalar(0.5), b.scalar(1.0));
        let scaled = b.op("Div", &[], &[x, root]);
        let erf = b.op("Erf", &[], &[scaled]);
        let weight = b.op("Add", &[], &[erf, one]);
        let product = b.op("Mul", &[], &[x, weight]);
        let y = b.op("Mul", &[], &[product, half]);
        assert_eq!(optimized(b, y), ["Gelu"]);
    }

    #[test]
    fn gelu_by_tanh() {
        let mut b = Builder::new();
        let x = b.input(&[2, 5]);
        let three = b.scalar(3.0);
        let cube = b.op("Pow", &[], &[x, three]);
        let factor = b.scalar(0.044715);
        let small = b.op("Mul", &[], &[factor, cube]);
        let sum = b.op("Add", &[], &[x, small]);
        let scale = b.scalar(0.797_884_6);
        let scaled = b.op("Mul", &[], &[sum, scale]);
        let tanh = b.op("Tanh", &[], &[scaled]);
        let one = b.scalar(1.0);
        let weight = b.op("Add", &[], &[one, tanh]);
        let half = b.scalar(0.5);
        let halved = b.op("Mul", &[], &[half, x]);
        let y = b.op("Mul", &[], &[halved, weight]);
        assert_eq!(optimized(b, y), ["Gelu"]);
    }

    #[test]
    fn silu_but_not_the_gate_of_another_value() {
        let mut b = Builder::new();
        let (x, z) = (b.input(&[3]), b.input(&[3]));
        let gate = b.op("Sigmoid", &[], &[x]);
        let silu = b.op("Mul", &[], &[gate, x]);
        let gate = b.op("Sigmoid", &[], &[z]);
        let y = b.op("Mul", &[], &[gate, silu]);
        assert_eq!(optimized(b, y), ["Swish", "Sigmoid", "Mul"]);
    }
}
