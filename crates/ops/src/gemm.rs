//! `Gemm` (<https://onnx.ai/onnx/operators/onnx__Gemm.html>) and `FusedGemm` of `com.microsoft`. Before opset 7 an
//! attribute `broadcast` had to allow C to be smaller than the product; before opset 11 C had to be there.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::fused_activation::{FusedActivation, Parameters};
use crate::matmul::{MatMulGeometry, matrix_types, multiply, product_shape, transposed};
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Gemm", 3, |def| Ok(Arc::new(Gemm::read(def)?))),
    OpEntry::microsoft("FusedGemm", 3, FusedGemm::parse),
];

/// `alpha * A * B + beta * C`. Inputs: A `[M, K]` and B `[K, N]`, each perhaps stored transposed, and optionally C, which
/// broadcasts to the output `[M, N]`. Any float of 16 bits or more; int32, int64, uint32, uint64.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of C.
    pub beta: f32,
    /// Whether A is stored as `[K, M]`.
    pub trans_a: bool,
    /// Whether B is stored as `[N, K]`.
    pub trans_b: bool,
}

impl Gemm {
    fn read(def: &mut NodeDef) -> Result<Gemm, OpError> {
        if def.opset < 7 && def.op_type == "Gemm" {
            def.ignore(&["broadcast"]);
        }
        Ok(Gemm {
            alpha: def.float_or("alpha", 1.0)?,
            beta: def.float_or("beta", 1.0)?,
            trans_a: def.int_or("transA", 0)? != 0,
            trans_b: def.int_or("transB", 0)? != 0,
        })
    }

    fn infer_product(&self, inputs: Facts<'_>) -> Result<Fact, OpError> {
        let dtype = matrix_types(inputs, 3)?;
        let shape = matrices_shape(inputs, (0, self.trans_a), (1, self.trans_b))?;
        check_addend(inputs, 2, &shape)?;
        Ok(Fact::tensor(dtype, shape))
    }

    /// The extents for A and B of the given shapes.
    ///
    /// # Errors
    /// They do not fit each other.
    pub fn geometry(&self, a: &Shape, b: &Shape) -> Result<MatMulGeometry, OpError> {
        MatMulGeometry::new(&oriented(a, self.trans_a), &oriented(b, self.trans_b))
    }

    fn run(&self, inputs: Inputs<'_>, activation: Option<FusedActivation>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = self.geometry(a.shape(), b.shape())?;
        let c = inputs.optional(2)?;
        if a.dtype().is_integer() && self.alpha == 1.0 && self.beta == 1.0 && activation.is_none() {
            // Integers stay exact (and wrap) where no factor makes them floats.
            let (a, b) = (stored(a, self.trans_a, Tensor::to_i64)?, stored(b, self.trans_b, Tensor::to_i64)?);
            let mut y = multiply(&geometry, &a, &b)?;
            add_broadcast(&mut y, &geometry.output, c, Tensor::to_i64, |y, c| *y = y.wrapping_add(c))?;
            return Ok(vec![Tensor::from_i64(inputs.tensor(0)?.dtype(), geometry.output, &y)?.into()]);
        }
        let dtype = a.dtype();
        let (a, b) = (stored(a, self.trans_a, Tensor::to_f64)?, stored(b, self.trans_b, Tensor::to_f64)?);
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let mut y = multiply(&geometry, &a, &b)?;
        y.iter_mut().for_each(|y| *y *= alpha);
        // With a factor of 0, C is not read: it may hold NaN.
        let c = c.filter(|_| beta != 0.0);
        add_broadcast(&mut y, &geometry.output, c, Tensor::to_f64, |y, c| *y += beta * c)?;
        if let Some(activation) = activation {
            y.iter_mut().for_each(|y| *y = activation.apply(*y));
        }
        Ok(vec![Tensor::from_f64(dtype, geometry.output, &y)?.into()])
    }
}

/// The shape of a matrix that is perhaps stored transposed.
fn oriented(shape: &Shape, transposed: bool) -> Shape {
    if transposed { shape.iter().rev().copied().collect() } else { shape.clone() }
}

/// The shape `[M, N]` of the product of two matrices, each given by its place among the inputs and whether it is stored
/// transposed.
pub(crate) fn matrices_shape(
    inputs: Facts<'_>,
    a: (usize, bool),
    b: (usize, bool),
) -> Result<ShapeFact, OpError> {
    let matrix = |(index, transposed): (usize, bool)| -> Result<ShapeFact, OpError> {
        let shape = inputs.shape(index)?;
        match shape.dims() {
            None => Ok(ShapeFact::of_rank(2)),
            Some([rows, columns]) if transposed => Ok([columns.clone(), rows.clone()].into_iter().collect()),
            Some([_, _]) => Ok(shape.clone()),
            Some(_) => Err(OpError::shape(index, "a matrix", shape)),
        }
    };
    product_shape(&matrix(a)?, &matrix(b)?, b.0)
}

/// Checks that input `index`, if it is given, broadcasts to `shape` without making it larger.
pub(crate) fn check_addend(inputs: Facts<'_>, index: usize, shape: &ShapeFact) -> Result<(), OpError> {
    if let Some(addend) = inputs.optional(index)? {
        let fits =
            addend.shape.broadcast(shape).is_some_and(|both| match (both.concrete(), shape.concrete()) {
                (Some(both), Some(shape)) => both == shape,
                _ => true,
            });
        if !fits {
            return Err(OpError::shape(index, format!("that broadcasts to {shape}"), &addend.shape));
        }
    }
    Ok(())
}

/// The elements of a matrix in the order `[rows, columns]`, whichever way it is stored.
pub(crate) fn stored<T: bytemuck::Zeroable + Copy>(
    matrix: &Tensor,
    is_transposed: bool,
    read: impl Fn(&Tensor) -> Result<Vec<T>, inferrum_tensor::TensorError>,
) -> Result<Vec<T>, OpError> {
    let elements = read(matrix)?;
    if is_transposed { transposed(&elements, matrix.shape()[0], matrix.shape()[1]) } else { Ok(elements) }
}

/// `add` for each element of `y`, which has shape `shape`, with the element of the addend that broadcasts to it.
pub(crate) fn add_broadcast<T: Copy>(
    y: &mut [T],
    shape: &Shape,
    addend: Option<&Tensor>,
    read: impl Fn(&Tensor) -> Result<Vec<T>, inferrum_tensor::TensorError>,
    add: impl Fn(&mut T, T),
) -> Result<(), OpError> {
    if let Some(addend) = addend {
        let broadcast = Broadcast::onto_first(&[shape, addend.shape()])?;
        let elements = read(addend)?;
        y.iter_mut().zip(broadcast.indices(1)).for_each(|(y, i)| add(y, elements[i]));
    }
    Ok(())
}

/// The arithmetic operations of a product of matrices.
pub(crate) fn gemm_flops(inputs: Facts<'_>, a: (usize, bool), b: (usize, bool)) -> u64 {
    let shape = |(index, transposed): (usize, bool)| {
        inputs.get(index).and_then(Fact::concrete_shape).map(|shape| oriented(&shape, transposed))
    };
    let (Some(a), Some(b)) = (shape(a), shape(b)) else { return 0 };
    MatMulGeometry::new(&a, &b).map_or(0, |geometry| geometry.flops())
}

impl Operator for Gemm {
    fn key(&self) -> OpKey {
        OpKey::onnx("Gemm")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.infer_product(inputs)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        self.run(inputs, None)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        gemm_flops(inputs, (0, self.trans_a), (1, self.trans_b))
    }
}

/// `activation(alpha * A * B + beta * C)`; inputs and output as those of [`Gemm`].
#[derive(Debug, Clone, PartialEq)]
pub struct FusedGemm {
    /// The product and sum.
    pub gemm: Gemm,
    /// What is applied to it.
    pub activation: Option<FusedActivation>,
}

impl FusedGemm {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let name = def.string("activation")?.unwrap_or_default();
        let alpha: Vec<f32> = def.float("activation_alpha")?.into_iter().collect();
        let beta: Vec<f32> = def.float("activation_beta")?.into_iter().collect();
        // No activation that is known here has a third parameter.
        def.ignore(&["activation_gamma"]);
        let activation = match name.as_str() {
            "" => None,
            name => Some(FusedActivation::named(
                "activation",
                name,
                &mut Parameters(&alpha),
                &mut Parameters(&beta),
            )?),
        };
        Ok(Arc::new(FusedGemm { gemm: Gemm::read(def)?, activation }))
    }
}

impl Operator for FusedGemm {
    fn key(&self) -> OpKey {
        OpKey::microsoft("FusedGemm")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.gemm.infer_product(inputs)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        self.gemm.run(inputs, self.activation)
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        self.gemm.flops(inputs, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn matrix(rows: usize, columns: usize, values: &[f32]) -> Tensor {
        Tensor::from_vec([rows, columns], values.to_vec()).unwrap()
    }

    #[test]
    fn either_operand_may_be_stored_transposed() {
        let (a, a_t) = (matrix(2, 3, &[1., 2., 3., 4., 5., 6.]), matrix(3, 2, &[1., 4., 2., 5., 3., 6.]));
        let (b, b_t) = (matrix(3, 1, &[1., 10., 100.]), matrix(1, 3, &[1., 10., 100.]));
        for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let op = parse_at(13, "Gemm", &[("transA", Attr::Int(trans_a)), ("transB", Attr::Int(trans_b))]);
            let a = if trans_a == 1 { &a_t } else { &a };
            let b = if trans_b == 1 { &b_t } else { &b };
            let y = run(&*op, &[a.clone(), b.clone()]).remove(0);
            assert_eq!(y, matrix(2, 1, &[321., 654.]));
        }
    }

    #[test]
    fn c_is_scaled_and_broadcast() {
        let op = parse_at(
            6,
            "Gemm",
            &[("alpha", Attr::Float(0.5)), ("beta", Attr::Float(2.0)), ("broadcast", Attr::Int(1))],
        );
        let a = matrix(2, 1, &[2., 4.]);
        let b = matrix(1, 2, &[1., 3.]);
        let y = |c: Tensor| run(&*op, &[a.clone(), b.clone(), c]).remove(0);
        assert_eq!(y(Tensor::scalar(1f32)), matrix(2, 2, &[3., 5., 4., 8.]));
        assert_eq!(y(Tensor::vector(vec![0f32, 1.])), matrix(2, 2, &[1., 5., 2., 8.]));
        assert_eq!(y(matrix(2, 1, &[0., 1.])), matrix(2, 2, &[1., 3., 4., 8.]));
        let column = matrix(3, 1, &[0.; 3]);
        assert!(try_run(&*op, &[Some(a.clone()), Some(b.clone()), Some(column)]).is_err());
        let too_large = Tensor::from_vec([1, 2, 2], vec![0f32; 4]).unwrap();
        assert!(try_run(&*op, &[Some(a.clone()), Some(b.clone()), Some(too_large)]).is_err());
    }

    #[test]
    fn integers_and_activations() {
        let op = parse_at(13, "Gemm", &[]);
        let a = Tensor::from_vec([1, 1], vec![i32::MAX]).unwrap();
        let b = Tensor::from_vec([1, 1], vec![2i32]).unwrap();
        assert_eq!(run(&*op, &[a, b, Tensor::scalar(3i32)])[0].as_slice::<i32>().unwrap(), [1]);
        let attrs =
            [("activation", Attr::String(b"LeakyRelu".to_vec())), ("activation_alpha", Attr::Float(0.5))];
        let op = parse_in("com.microsoft", 1, "FusedGemm", &attrs);
        let y = run(&*op, &[matrix(1, 1, &[3.]), matrix(1, 2, &[-2., 2.])]).remove(0);
        assert_eq!(y, matrix(1, 2, &[-3., 6.]));
    }
}
