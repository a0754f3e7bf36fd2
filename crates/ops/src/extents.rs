//! Extents of outputs: arithmetic on axes that may be symbols, and the shape a reference has to fill.

use inferrum_graph::{Inputs, OpError, Operator, SymDim};
use inferrum_tensor::Shape;

/// The product of `dims`; a symbol stays where everything else is 1.
pub(crate) fn product(dims: &[SymDim]) -> SymDim {
    if dims.iter().any(|dim| dim.known() == Some(0)) {
        return SymDim::Known(0);
    }
    combine(dims, 1, usize::saturating_mul)
}

/// The sum of `dims`; a symbol stays where everything else is 0.
pub(crate) fn sum(dims: &[SymDim]) -> SymDim {
    combine(dims, 0, usize::saturating_add)
}

fn combine(dims: &[SymDim], neutral: usize, f: impl Fn(usize, usize) -> usize) -> SymDim {
    let known = dims.iter().filter_map(SymDim::known).fold(neutral, f);
    let mut symbolic = dims.iter().filter(|dim| dim.known().is_none());
    match (symbolic.next(), symbolic.next()) {
        (None, _) => SymDim::Known(known),
        (Some(dim), None) if known == neutral => dim.clone(),
        _ => SymDim::Unknown,
    }
}

/// The extents a model states for input `index`, which must not be negative.
///
/// # Errors
/// [`OpError::Value`].
pub(crate) fn extents_input(index: usize, extents: &[i64]) -> Result<Shape, OpError> {
    extents
        .iter()
        .map(|&extent| {
            usize::try_from(extent)
                .map_err(|_| OpError::value(index, format!("extents are not negative, got {extents:?}")))
        })
        .collect()
}

/// The shape of an operator's first output for inputs whose elements are known.
///
/// # Errors
/// What [`Operator::infer`] finds; the shape depends on more than that.
pub(crate) fn output_shape(op: &dyn Operator, inputs: Inputs<'_>) -> Result<Shape, OpError> {
    let facts = inputs.with_facts(|facts| op.infer(facts))?;
    facts
        .first()
        .and_then(|fact| fact.concrete_shape())
        .ok_or_else(|| OpError::Invalid("the inputs do not determine the output's shape".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_survive_neutral_partners() {
        let n = SymDim::Symbol("n".into());
        assert_eq!(product(&[SymDim::Known(1), n.clone()]), n);
        assert_eq!(product(&[SymDim::Known(2), n.clone()]), SymDim::Unknown);
        assert_eq!(product(&[SymDim::Known(0), n.clone()]), SymDim::Known(0));
        assert_eq!(sum(&[SymDim::Known(0), n.clone()]), n);
        assert_eq!(sum(&[n.clone(), n]), SymDim::Unknown);
        assert_eq!(sum(&[SymDim::Known(usize::MAX), SymDim::Known(1)]), SymDim::Known(usize::MAX));
        assert_eq!(product(&[]), SymDim::Known(1));
    }
}
