//! What is done to the sums of a product, and where the result goes.

use inferrum_backend::Decline;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_tensor::DType;

use crate::division::divisor;
use crate::elementwise::FUNCTIONS;
use crate::kernel::{Lowering, Operand, float_type, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/epilogue.cuh");

/// The result is `activation(alpha * sum + bias + residual)`.
pub(crate) struct Epilogue {
    pub(crate) alpha: f32,
    pub(crate) bias: Option<Bias>,
    /// An input that lies as the result does.
    pub(crate) residual: Option<usize>,
    pub(crate) activation: Option<FusedActivation>,
    /// Elements of the result from one product, and one row, to the next. Columns lie side by side.
    pub(crate) batch: usize,
    pub(crate) row: usize,
    /// Columns that do lie so, before the next of them are further on by so many elements.
    pub(crate) images: Option<(usize, usize)>,
}

/// What is added, scaled.
pub(crate) struct Bias {
    pub(crate) input: usize,
    pub(crate) scale: f32,
    /// Elements from one product, and one row, to the next.
    pub(crate) batch: usize,
    pub(crate) row: usize,
    /// Whether each column has one; else they share it.
    pub(crate) by_column: bool,
}

impl Epilogue {
    /// Fills in what `epilogue.cuh` asks for, of a product of `n` columns.
    ///
    /// # Errors
    /// A type that is no float of 16 or 32 bits, or an activation whose parameter is no number.
    pub(crate) fn fill(
        &self,
        n: usize,
        template: Template,
        lowering: &Lowering<'_>,
    ) -> Result<Template, Decline> {
        let float = |input: Option<usize>| input.map_or(Ok("float"), |input| lowering.float(input));
        let bias = match &self.bias {
            None => 0,
            Some(bias) if bias.by_column => 1,
            Some(_) => 2,
        };
        Ok(template
            .including(FUNCTIONS)
            .including(crate::loops::SOURCE)
            .including(crate::division::SOURCE)
            .including(crate::product::SOURCE)
            .including(SOURCE)
            .define("PARTS", 0)
            .define("HAS_BIAS", bias)
            .define("BIAS_T", float(self.bias.as_ref().map(|bias| bias.input))?)
            .switch("HAS_RESIDUAL", self.residual.is_some())
            .define("RESIDUAL_T", float(self.residual)?)
            .define("RESULT_T", lowering.output_float(0)?)
            .switch("IMAGES", self.images.is_some())
            .define("TOGETHER", self.together(n))
            .define("ACTIVATE", activate(self.activation)?))
    }

    /// The arguments of `RESULT_PARAMETERS`.
    ///
    /// # Errors
    /// More elements than an index counts.
    pub(crate) fn operands(&self) -> Result<[Operand; 4], Decline> {
        let (columns, image) = self.images.unwrap_or((1, 0));
        let mut words = vec![word(self.batch)?, word(self.row)?, word(image)?];
        words.extend(divisor(columns)?);
        let (batch, row) = self.bias.as_ref().map_or((0, 0), |bias| (bias.batch, bias.row));
        words.extend([word(batch)?, word(row)?, self.alpha.to_bits()]);
        words.push(self.bias.as_ref().map_or(0.0, |bias| bias.scale).to_bits());
        let input = |input: Option<usize>| input.map_or(Operand::Nothing, Operand::Input);
        Ok([
            input(self.bias.as_ref().map(|bias| bias.input)),
            input(self.residual),
            Operand::Output(0),
            Operand::words(&words),
        ])
    }

    /// How many columns may be written at once.
    fn together(&self, n: usize) -> usize {
        let mut extents = vec![n, self.batch, self.row];
        extents.extend(self.images.map(|(columns, _)| columns));
        extents.extend(self.images.map(|(_, image)| image));
        if let Some(bias) = self.bias.as_ref().filter(|bias| bias.by_column) {
            extents.extend([bias.batch, bias.row]);
        }
        [4, 2]
            .into_iter()
            .find(|&width| extents.iter().all(|extent| extent.is_multiple_of(width)))
            .unwrap_or(1)
    }
}

/// Fills in what `epilogue.cuh` asks for where parts of sums are written.
pub(crate) fn fill_parts(template: Template) -> Template {
    template
        .including(FUNCTIONS)
        .including(crate::loops::SOURCE)
        .including(crate::division::SOURCE)
        .including(crate::product::SOURCE)
        .including(SOURCE)
        .define("PARTS", 1)
        .define("ACTIVATE", "return x")
}

/// The body of a function of `x`, which calls those of `functions.cuh`.
///
/// # Errors
/// A parameter that is no number.
pub(crate) fn activate(activation: Option<FusedActivation>) -> Result<String, Decline> {
    let Some(activation) = activation else { return Ok("return x".into()) };
    let expression = activation.expression();
    let mut body = "typedef float T; ".to_owned();
    for (name, value) in &expression.parameters {
        if !value.is_finite() {
            return Err(Decline(format!("a parameter of {activation:?}")));
        }
        body.push_str(&format!("const T {name} = __uint_as_float({}u); ", value.to_bits()));
    }
    Ok(format!("{body}return {}", expression.text))
}

/// The type of both, if it is one that the kernels read.
pub(crate) fn same_float(a: DType, b: DType) -> Option<DType> {
    (a == b && float_type(a).is_some()).then_some(a)
}
