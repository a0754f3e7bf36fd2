//! Convolutions and matrix products of quantised integers as products of floats, where these are exact.
//!
//! Centred integers are floats, and so are their sums up to 2^24: then the float operator gives the very sum, which is scaled and
//! quantised as before. Sums that may grow larger, by the weights as they are, stay integers.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId, Operator, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::cast::{Cast, Conversion};
use inferrum_ops::gemm::Gemm;
use inferrum_ops::matmul::MatMul;
use inferrum_ops::matmul_integer::MatMulInteger;
use inferrum_ops::qgemm::QGemm;
use inferrum_ops::qlinear_conv::QLinearConv;
use inferrum_ops::qlinear_matmul::QLinearMatMul;
use inferrum_ops::quantize::{DequantizeLinear, QuantizeLinear};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::index::operator;

/// Sums from which not every integer is a float.
const EXACT: i64 = 1 << 24;

/// `QLinearConv`, `QLinearMatMul`, `QGemm` and `MatMulInteger` become a float operator between exact steps.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        if let Some(product) = Product::of(graph, &graph.nodes()[id.0]) {
            product.rewrite(graph, id)?;
        } else if let Some(sums) = Sums::of(graph, &graph.nodes()[id.0]) {
            sums.rewrite(graph, id)?;
        } else {
            continue;
        }
        count += 1;
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

/// A product of integers whose sums are exact as floats.
struct Product {
    /// On floats.
    op: Arc<dyn Operator>,
    a: Side,
    b: Side,
    /// What is added to the sums, int32.
    addend: Option<ValueId>,
    /// What the sums are multiplied by, in a shape that broadcasts.
    factor: Tensor,
    zero_point: ValueId,
    dtype: DType,
}

/// A `MatMulInteger` whose sums are exact as floats.
struct Sums {
    a: Side,
    b: Side,
}

impl Sums {
    fn of(graph: &Graph, node: &Node) -> Option<Sums> {
        operator::<MatMulInteger>(node)?;
        let single =
            |value: ValueId| graph.fact(value).concrete_shape().is_some_and(|shape| shape.elements() == 1);
        let (a, b, a_zero) = (input(node, 0)?, input(node, 1)?, input(node, 2));
        let weights = graph.constant(b).filter(|weights| weights.shape().rank() >= 2)?;
        let b_zero = zero_points(graph, node, 3)?;
        let columns = *weights.shape().last()?;
        if a_zero.is_some_and(|zero| !single(zero)) || ![1, columns].contains(&b_zero.len()) {
            return None;
        }
        // The zero point may be any, as the run finds it.
        if greatest_sum(weights, -1, &b_zero, 255, &[])? >= EXACT {
            return None;
        }
        let several = (b_zero.len() > 1).then_some((-1, columns));
        Some(Sums {
            a: Side { value: a, zero_point: a_zero, axis: None },
            b: Side { value: b, zero_point: input(node, 3), axis: several },
        })
    }

    fn rewrite(self, graph: &mut Graph, id: NodeId) -> Result<(), GraphError> {
        let name = graph.nodes()[id.0].name.clone();
        let operands = vec![
            Some(self.a.centred(graph, &format!("{name}.a"))?),
            Some(self.b.centred(graph, &format!("{name}.b"))?),
        ];
        let sums = graph.add_node(format!("{name}.sums"), Arc::new(MatMul), operands)?;
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Cast { to: DType::I32, conversion: Conversion::default() });
        node.inputs = vec![Some(sums)];
        Ok(())
    }
}

/// An operand.
struct Side {
    value: ValueId,
    zero_point: Option<ValueId>,
    /// Along which axis zero points differ, and how many there are; none if there is one.
    axis: Option<(i64, usize)>,
}

impl Product {
    fn of(graph: &Graph, node: &Node) -> Option<Product> {
        if let Some(op) = operator::<QLinearConv>(node) {
            let rank = graph.fact(input(node, 0)?).as_tensor()?.shape.rank()?;
            let dims = |filters| [1, filters].into_iter().chain(std::iter::repeat_n(1, rank - 2)).collect();
            return Product::new(graph, node, Arc::new(op.conv.clone()), 1.0, (0, 8), [6, 7], dims);
        }
        if operator::<QLinearMatMul>(node).is_some() {
            return Product::new(graph, node, Arc::new(MatMul), 1.0, (-1, usize::MAX), [6, 7], |n| {
                Shape::from([n])
            });
        }
        let op = operator::<QGemm>(node)?;
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: op.trans_a, trans_b: op.trans_b };
        let axis = if op.trans_b { 0 } else { -1 };
        Product::new(graph, node, Arc::new(gemm), op.alpha, (axis, 6), [7, 8], |n| Shape::from([n]))
    }

    /// `axis` is where the weights' scales may differ, `addend`, `y_scale` and `y_zero` are places of inputs, and `spread` gives
    /// a shape for so many factors.
    fn new(
        graph: &Graph,
        node: &Node,
        op: Arc<dyn Operator>,
        alpha: f32,
        (axis, addend): (i64, usize),
        [y_scale, y_zero]: [usize; 2],
        spread: impl Fn(usize) -> Shape,
    ) -> Option<Product> {
        let floats = |place: usize| {
            let constant =
                graph.constant(input(node, place)?).filter(|tensor| tensor.dtype() == DType::F32)?;
            constant.as_slice::<f32>().ok().map(<[f32]>::to_vec)
        };
        let (&[a_scale], b_scales, &[y_scale]) = (&floats(1)?[..], floats(4)?, &floats(y_scale)?[..]) else {
            return None;
        };
        let (a_zero, b_zero) = (zero_points(graph, node, 2)?, zero_points(graph, node, 5)?);
        let zero_point = input(node, y_zero)?;
        let dtype = graph.fact(zero_point).as_tensor()?.dtype;
        let &[a_zero] = &a_zero[..] else { return None };
        graph.constant(zero_point).filter(|tensor| tensor.len() == 1)?;
        let (a, b) = (input(node, 0)?, input(node, 3)?);
        let bytes = |dtype| matches!(dtype, DType::I8 | DType::U8);
        let a_dtype = graph.fact(a).as_tensor()?.dtype;
        if !bytes(a_dtype) || !bytes(dtype) {
            return None;
        }
        let weights = graph.constant(b).filter(|tensor| bytes(tensor.dtype()))?;
        let rank = weights.shape().rank();
        let extent = *weights.shape().get(usize::try_from(axis).ok().unwrap_or(rank.checked_sub(1)?))?;
        if rank < 2 || ![1, extent].contains(&b_zero.len()) || ![1, extent].contains(&b_scales.len()) {
            return None;
        }
        let addend = input(node, addend);
        let added = match addend.map(|value| graph.constant(value)) {
            None => Vec::new(),
            Some(constant) => constant?.to_i64().ok()?,
        };
        if greatest_sum(weights, axis, &b_zero, reach(a_dtype, a_zero), &added)? >= EXACT {
            return None;
        }
        let factors: Vec<f32> = b_scales.iter().map(|b_scale| alpha * a_scale * b_scale / y_scale).collect();
        let shape = if factors.len() == 1 { Shape::scalar() } else { spread(factors.len()) };
        let several = |count: usize| (count > 1).then_some((axis, count));
        Some(Product {
            op,
            a: Side { value: a, zero_point: input(node, 2), axis: None },
            b: Side { value: b, zero_point: input(node, 5), axis: several(b_zero.len()) },
            addend,
            factor: Tensor::from_vec(shape, factors).ok()?,
            zero_point,
            dtype,
        })
    }

    fn rewrite(self, graph: &mut Graph, id: NodeId) -> Result<(), GraphError> {
        let name = graph.nodes()[id.0].name.clone();
        let mut inputs = vec![
            Some(self.a.centred(graph, &format!("{name}.a"))?),
            Some(self.b.centred(graph, &format!("{name}.b"))?),
        ];
        if let Some(addend) = self.addend {
            let cast = Arc::new(Cast { to: DType::F32, conversion: Conversion::default() });
            inputs.push(Some(graph.add_node(format!("{name}.addend"), cast, vec![Some(addend)])?));
        }
        let sums = graph.add_node(format!("{name}.sums"), self.op, inputs)?;
        let factor = graph.add_constant(format!("{name}.factor"), self.factor);
        let multiply = Arc::new(Binary::new(BinaryKind::Mul));
        let scaled = graph.add_node(format!("{name}.scaled"), multiply, vec![Some(sums), Some(factor)])?;
        let one = graph.add_constant(format!("{name}.one"), Tensor::scalar(1f32));
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(QuantizeLinear {
            axis: 1,
            block_size: 0,
            output_dtype: Some(self.dtype),
            precision: None,
            saturate: true,
        });
        node.inputs = vec![Some(scaled), Some(one), Some(self.zero_point)];
        Ok(())
    }
}

impl Side {
    /// The operand less its zero point, as floats.
    fn centred(&self, graph: &mut Graph, name: &str) -> Result<ValueId, GraphError> {
        let (axis, scale) = match self.axis {
            None => (1, Tensor::scalar(1f32)),
            Some((axis, count)) => (axis, Tensor::vector(vec![1f32; count])),
        };
        let scale = graph.add_constant(format!("{name}.scale"), scale);
        let op = Arc::new(DequantizeLinear { axis, block_size: 0, output_dtype: None });
        let inputs = vec![Some(self.value), Some(scale), self.zero_point];
        Ok(graph.add_node(format!("{name}.centred"), op, inputs)?)
    }
}

fn input(node: &Node, place: usize) -> Option<ValueId> {
    node.inputs.get(place).copied().flatten()
}

/// Constant zero points; 0 if they are left out.
fn zero_points(graph: &Graph, node: &Node, place: usize) -> Option<Vec<i64>> {
    match input(node, place) {
        None => Some(vec![0]),
        Some(value) => graph.constant(value)?.to_i64().ok(),
    }
}

/// The greatest distance of a value of the type from a zero point.
fn reach(dtype: DType, zero_point: i64) -> i64 {
    let (least, most) = if dtype == DType::I8 { (-128, 127) } else { (0, 255) };
    (zero_point - least).max(most - zero_point)
}

/// No sum of products with operands of `reach` is greater; None if it is beyond counting.
fn greatest_sum(weights: &Tensor, axis: i64, zeros: &[i64], reach: i64, added: &[i64]) -> Option<i64> {
    let axis = weights.shape().axis(axis)?;
    let (_, extent, inner) = weights.shape().split_at_axis(axis);
    let mut sums = vec![0i64; extent];
    for (i, weight) in weights.to_i64().ok()?.into_iter().enumerate() {
        let of = i / inner.max(1) % extent.max(1);
        sums[of] += (weight - zeros[of % zeros.len()]).abs();
    }
    let added = added.iter().map(|added| added.abs()).max().unwrap_or(0);
    sums.into_iter().max().unwrap_or(0).checked_mul(reach)?.checked_add(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_graph::{Fact, interpret};
    use inferrum_ops::conv::Conv;
    use inferrum_ops::window::WindowSpec;
    use inferrum_tensor::Value;

    fn numbers(count: usize, step: usize, least: i64, most: i64) -> Vec<i64> {
        (0..count).map(|i| least + (i * step + i / 7) as i64 % (most - least + 1)).collect()
    }

    fn tensor(dtype: DType, shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::from_i64(dtype, shape, values).unwrap()
    }

    /// The rewritten graph gives the same integers; how often it was rewritten.
    fn check(op: impl Operator, x: Tensor, constants: Vec<Option<Tensor>>) -> usize {
        let mut graph = Graph::new("test");
        let mut inputs = vec![Some(graph.add_input("x", Fact::tensor(x.dtype(), x.shape())))];
        for (i, constant) in constants.into_iter().enumerate() {
            inputs.push(constant.map(|tensor| graph.add_constant(format!("c{i}"), tensor)));
        }
        let y = graph.add_node("node", Arc::new(op), inputs).unwrap();
        graph.outputs = vec![y];
        let feeds = || vec![Value::Tensor(x.clone())];
        let want = interpret(&graph, feeds()).unwrap();
        let count = run(&mut graph).unwrap();
        let got = interpret(&graph, feeds()).unwrap();
        assert_eq!(got[0].as_tensor(), want[0].as_tensor());
        count
    }

    fn conv_constants(filters: usize, channels: usize, scales: Vec<f32>) -> Vec<Option<Tensor>> {
        let weights =
            tensor(DType::I8, &[filters, channels, 3, 3], &numbers(filters * channels * 9, 31, -128, 127));
        vec![
            Some(Tensor::scalar(0.02f32)),
            Some(Tensor::scalar(117u8)),
            Some(weights),
            Some(Tensor::vector(scales)),
            Some(Tensor::vector(vec![0i8; 1])),
            Some(Tensor::scalar(0.37f32)),
            Some(Tensor::scalar(3u8)),
            Some(tensor(DType::I32, &[filters], &numbers(filters, 997, -5000, 5000))),
        ]
    }

    #[test]
    fn convolutions_give_the_same_integers() {
        let conv = || QLinearConv { conv: Conv { group: 1, window: WindowSpec::default() } };
        let x = |channels: usize| {
            tensor(DType::U8, &[2, channels, 7, 6], &numbers(2 * channels * 42, 53, 0, 255))
        };
        let scales: Vec<f32> = (1..=5).map(|i| 0.003 * i as f32).collect();
        assert_eq!(check(conv(), x(4), conv_constants(5, 4, scales)), 1);
        assert_eq!(check(conv(), x(3), conv_constants(2, 3, vec![0.004])), 1);
        // Sums of this many products may be no floats.
        assert_eq!(check(conv(), x(300), conv_constants(1, 300, vec![0.004])), 0);
    }

    #[test]
    fn matrix_products_give_the_same_integers() {
        let x = tensor(DType::I8, &[5, 17], &numbers(85, 37, -128, 127));
        let constants = || {
            vec![
                Some(Tensor::scalar(0.05f32)),
                Some(Tensor::scalar(-3i8)),
                Some(tensor(DType::U8, &[17, 4], &numbers(68, 29, 0, 255))),
                Some(Tensor::vector(vec![0.01f32, 0.02, 0.005, 0.03])),
                Some(tensor(DType::U8, &[4], &[128, 120, 130, 0])),
            ]
        };
        let quantised = || [Some(Tensor::scalar(0.9f32)), Some(Tensor::scalar(4i8))];
        let mut product = constants();
        product.extend(quantised());
        assert_eq!(check(QLinearMatMul, x.clone(), product), 1);
        let mut gemm = constants();
        gemm.push(Some(tensor(DType::I32, &[4], &[100, -7000, 3, 90_000])));
        gemm.extend(quantised());
        assert_eq!(check(QGemm { alpha: 0.5, trans_a: false, trans_b: false }, x, gemm), 1);
    }

    #[test]
    fn sums_of_any_zero_point_are_the_same() {
        let x = |dtype, least| tensor(dtype, &[3, 5, 17], &numbers(255, 37, least, least + 255));
        let w =
            |columns: usize| Some(tensor(DType::I8, &[17, columns], &numbers(17 * columns, 29, -128, 127)));
        let zeros = Some(tensor(DType::I8, &[4], &[-128, 127, 0, 5]));
        for zero in [None, Some(Tensor::scalar(255u8)), Some(Tensor::vector(vec![0u8]))] {
            assert_eq!(check(MatMulInteger, x(DType::U8, 0), vec![w(4), zero.clone(), None]), 1);
            assert_eq!(check(MatMulInteger, x(DType::U8, 0), vec![w(4), zero, zeros.clone()]), 1);
        }
        assert_eq!(check(MatMulInteger, x(DType::I8, -128), vec![w(4)]), 1);
        let long = tensor(DType::U8, &[2, 3000], &numbers(6000, 37, 0, 255));
        let wide = Some(tensor(DType::I8, &[3000, 1], &numbers(3000, 29, -128, 127)));
        assert_eq!(check(MatMulInteger, long, vec![wide]), 0);
    }
}
