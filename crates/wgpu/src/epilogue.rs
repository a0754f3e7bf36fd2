//! What a fused operator does to its sums, as WGSL.

use inferrum_backend::Decline;
use inferrum_ops::fused_activation::FusedActivation;

use crate::elementwise::in_wgsl;

/// The function `activate`, which calls those of `functions.wgsl`.
///
/// # Errors
/// A parameter that is no number.
pub(crate) fn activate(activation: Option<FusedActivation>) -> Result<String, Decline> {
    use FusedActivation::{
        Affine, Clip, Elu, Gelu, GeluTanh, HardSigmoid, HardSwish, LeakyRelu, Relu, ScaledTanh, Sigmoid,
        Silu, Softplus, Softsign, Tanh, ThresholdedRelu,
    };
    let (text, parameters): (&str, &[f32]) = match &activation {
        None => ("x", &[]),
        Some(Relu) => ("select(x, 0.0, x < 0.0)", &[]),
        Some(LeakyRelu { alpha }) => ("select(x, p0 * x, x < 0.0)", &[*alpha]),
        Some(ThresholdedRelu { alpha }) => ("select(0.0, x, x > p0)", &[*alpha]),
        Some(Tanh) => ("tanh(x)", &[]),
        Some(ScaledTanh { alpha, beta }) => ("p0 * tanh(p1 * x)", &[*alpha, *beta]),
        Some(Sigmoid) => ("sigmoid(x)", &[]),
        Some(HardSigmoid { alpha, beta }) => ("minimum(maximum(p0 * x + p1, 0.0), 1.0)", &[*alpha, *beta]),
        Some(HardSwish) => ("x * minimum(maximum(x / 6.0 + 0.5, 0.0), 1.0)", &[]),
        Some(Silu) => ("x * sigmoid(x)", &[]),
        Some(Elu { alpha }) => ("select(x, p0 * expm1(x), x < 0.0)", &[*alpha]),
        Some(Softsign) => ("x / (1.0 + abs(x))", &[]),
        Some(Softplus) => ("softplus(x)", &[]),
        Some(Affine { alpha, beta }) => ("p0 * x + p1", &[*alpha, *beta]),
        Some(Clip { min, max }) => ("minimum(maximum(x, p0), p1)", &[*min, *max]),
        Some(Gelu) => ("0.5 * x * (1.0 + erf(x * 0.70710678))", &[]),
        Some(GeluTanh) => ("0.5 * x * (1.0 + tanh(0.79788456 * (x + 0.044715 * x * x * x)))", &[]),
    };
    let mut body = String::new();
    for (i, parameter) in parameters.iter().enumerate() {
        if !parameter.is_finite() {
            return Err(Decline(format!("a parameter of {activation:?}")));
        }
        body.push_str(&format!("    let p{i} = bitcast<f32>({}u);\n", parameter.to_bits()));
    }
    Ok(format!("fn activate(x: f32) -> f32 {{\n{body}    return {};\n}}", in_wgsl(text)))
}
