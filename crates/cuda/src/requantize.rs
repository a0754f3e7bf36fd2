//! What becomes of sums of products of 8-bit integers.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::kernel::{Lowering, Operand, c_type};
use crate::source::Template;

/// Statements that store `sum`, an i32 of `row` and `column`, at `at`, and what they read.
pub(crate) struct Epilogue {
    /// The C++ type of the output's elements.
    element: &'static str,
    /// Statements before.
    before: String,
    /// What is made of the sum.
    text: String,
    /// Parameters of the kernel, and what they are.
    parameters: Vec<String>,
    operands: Vec<Operand>,
}

/// A factor that is read, one for all or one for each row or column.
pub(crate) struct Scale {
    /// An expression of it.
    pub(crate) text: String,
    parameter: String,
    operand: Operand,
}

impl Scale {
    /// The numbers at `place`: one, or one for each of `count` rows or columns, `index`.
    ///
    /// # Errors
    /// Another number of them, or another type than floats of 16 and 32 bits.
    pub(crate) fn of(
        name: &str,
        place: usize,
        index: &str,
        count: usize,
        lowering: &Lowering<'_>,
    ) -> Result<Scale, Decline> {
        let given = lowering.shape(place)?.elements();
        if given != 1 && given != count {
            return Err(Decline(format!("{given} numbers at input {place}")));
        }
        let at = if given == 1 { "0" } else { index };
        let parameter = format!("const {}* {name}", lowering.float(place)?);
        Ok(Scale { text: format!("float({name}[{at}])"), parameter, operand: Operand::Input(place) })
    }
}

impl Epilogue {
    fn new(element: &'static str, text: String) -> Epilogue {
        let (before, parameters, operands) = (String::new(), Vec::new(), Vec::new());
        Epilogue { element, before, text, parameters, operands }
    }

    /// The sums as they are.
    pub(crate) fn sums() -> Epilogue {
        Epilogue::new("i32", "sum".into())
    }

    /// `value`, an expression of `float(sum)`.
    pub(crate) fn floats(element: &'static str, value: String) -> Epilogue {
        Epilogue::new(element, value)
    }

    /// `sum` times `alpha a b / y`, in this order and without `alpha` if there is none, in steps from the zero point at `zero` on. The
    /// scales stand at the places given; `b` may have one for each of `count` rows or columns, `index`.
    ///
    /// # Errors
    /// The output is of another type than 8-bit integers, or there is another number of scales or zero points.
    pub(crate) fn rescaled(
        [a, b, y]: [usize; 3],
        count: usize,
        index: &str,
        alpha: Option<f32>,
        zero: usize,
        lowering: &Lowering<'_>,
    ) -> Result<Epilogue, Decline> {
        let dtype = lowering.output_dtype(0)?;
        let (least, most) = match dtype {
            DType::I8 => (-128, 127),
            DType::U8 => (0, 255),
            other => return Err(Decline(format!("products quantised to {other}"))),
        };
        let element = c_type(dtype).ok_or_else(|| Decline(format!("an output of {dtype}")))?;
        let a = Scale::of("a_scale", a, "0", 1, lowering)?;
        let b = Scale::of("b_scale", b, index, count, lowering)?;
        let y = Scale::of("y_scale", y, "0", 1, lowering)?;
        let first = match alpha {
            Some(alpha) => format!("__fmul_rn(__uint_as_float({}u), {})", alpha.to_bits(), a.text),
            None => a.text.clone(),
        };
        // Every step is rounded, as on the host: ties would fall otherwise.
        let factor = format!("__fdiv_rn(__fmul_rn({first}, {}), {})", b.text, y.text);
        if lowering.has(zero) && lowering.shape(zero)?.elements() != 1 {
            return Err(Decline(format!("input {zero} is no scalar")));
        }
        let origin = if lowering.has(zero) { "i32(origin[0])" } else { "0" };
        let text = format!("quantized(__fmul_rn(float(sum), {factor}), {origin}, {least}, {most})");
        let epilogue = Epilogue::new(element, text).scaled(a).scaled(b).scaled(y);
        let read = lowering.has(zero);
        Ok(if read { epilogue.reading(element, "origin", Operand::Input(zero)) } else { epilogue })
    }

    /// Reads a factor.
    pub(crate) fn scaled(self, scale: Scale) -> Epilogue {
        self.with_parameter(scale.parameter, scale.operand)
    }

    /// Reads elements of a type.
    pub(crate) fn reading(self, element: &str, name: &str, operand: Operand) -> Epilogue {
        self.with_parameter(format!("const {element}* {name}"), operand)
    }

    /// Adds a parameter.
    pub(crate) fn with_parameter(mut self, declaration: String, operand: Operand) -> Epilogue {
        self.parameters.push(declaration);
        self.operands.push(operand);
        self
    }

    /// Puts statements before.
    pub(crate) fn after(mut self, statements: &str) -> Epilogue {
        self.before = format!("{statements}; ");
        self
    }

    /// Puts another expression in place of the sum.
    pub(crate) fn with_sum(mut self, sum: &str) -> Epilogue {
        self.text = self.text.replace("float(sum)", &format!("float({sum})"));
        self
    }

    /// Defines what the source of a product calls.
    pub(crate) fn fill(&self, template: Template) -> Template {
        let extra: String = self.parameters.iter().map(|parameter| format!(", {parameter}")).collect();
        template
            .define("Y", self.element)
            .define("EXTRA", extra)
            .define("EPILOGUE", format!("{}output[at] = Y({})", self.before, self.text))
    }

    /// What its parameters are; they are the last ones.
    pub(crate) fn operands(self) -> Vec<Operand> {
        self.operands
    }
}
