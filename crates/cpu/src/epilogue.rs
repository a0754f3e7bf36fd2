//! What a fused operator does to its result, as the kernels take it.

use inferrum_backend::Decline;
use inferrum_ops::fused_activation::FusedActivation;

use crate::gemm::{Activation, Bias, Epilogue, MatRef};
use crate::kernel::Io;
use inferrum_graph::OpError;

/// The kernels' form of an activation.
///
/// # Errors
/// The kernels do not have it.
pub(crate) fn activation(fused: Option<FusedActivation>) -> Result<Activation, Decline> {
    Ok(match fused {
        None => Activation::None,
        Some(FusedActivation::Relu) => Activation::Relu,
        Some(FusedActivation::LeakyRelu { alpha }) => Activation::LeakyRelu(alpha),
        Some(FusedActivation::Sigmoid) => Activation::Sigmoid,
        Some(FusedActivation::Silu) => Activation::Silu,
        Some(FusedActivation::HardSigmoid { alpha, beta }) => Activation::HardSigmoid(alpha, beta),
        Some(FusedActivation::HardSwish) => Activation::HardSwish,
        Some(FusedActivation::Tanh) => Activation::Tanh,
        Some(FusedActivation::Gelu) => Activation::Gelu,
        Some(FusedActivation::GeluTanh) => Activation::GeluTanh,
        Some(FusedActivation::Clip { min, max }) if min <= max => Activation::Clip(min, max),
        Some(other) => return Err(Decline(format!("no kernel takes in the activation {other:?}"))),
    })
}

/// Inputs of a fused operator that its epilogue reads: positions of the bias per column and of the residual.
pub(crate) struct Addends {
    pub(crate) bias: usize,
    pub(crate) residual: usize,
    /// Whether the node has a residual; if it does and the input is not there, it stands in the output's place.
    pub(crate) has_residual: bool,
}

impl Addends {
    /// The epilogue of a product of `rows` rows.
    ///
    /// # Errors
    /// An input of another type.
    pub(crate) fn epilogue<'a>(
        &self,
        io: &Io<'a>,
        rows: usize,
        columns: usize,
        activation: Activation,
    ) -> Result<Epilogue<'a>, OpError> {
        let residual = io.optional::<f32>(self.residual)?;
        Ok(Epilogue {
            accumulate: self.has_residual && residual.is_none(),
            bias: io.optional::<f32>(self.bias)?.map_or(Bias::None, Bias::Columns),
            residual: residual.map(|elements| MatRef::new(elements, rows, columns)),
            activation,
            ..Epilogue::default()
        })
    }
}
