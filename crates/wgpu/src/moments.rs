//! Normalisation of rows by their moments: what layer, group and instance normalisation share.

use inferrum_backend::{Decline, Loops};
use inferrum_tensor::Shape;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::Template;
use crate::strides::offset_function;

const SOURCE: &str = include_str!("../../../shaders/moments.wgsl");

/// A normalisation. Its expressions may use `row`, `i` (the place in the row), `at` (the place among all elements), and what
/// was bound.
pub(crate) struct Normalization {
    rows: usize,
    extent: usize,
    pub(crate) bindings: Bindings,
    pub(crate) params: Vec<u32>,
    functions: String,
    /// An element before it is normalised.
    pub(crate) load: String,
    /// What becomes of `value`, the normalised element.
    pub(crate) result: String,
}

impl Normalization {
    /// Of rows of `extent` elements; `x` is the first input, `y` the first output.
    ///
    /// # Errors
    /// More elements than an index counts.
    pub(crate) fn new(
        rows: usize,
        extent: usize,
        epsilon: f32,
        lowering: &Lowering<'_>,
    ) -> Result<Normalization, Decline> {
        lowering.require_floats(&[])?;
        let mut bindings = Bindings::default();
        bindings.read("x", lowering.float(0)?, Operand::Input(0));
        bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
        words([rows.saturating_mul(extent)])?;
        let mut params = words([rows, extent])?;
        params.push(epsilon.to_bits());
        Ok(Normalization {
            rows,
            extent,
            bindings,
            params,
            functions: String::new(),
            load: "f32(x[at])".into(),
            result: "value".into(),
        })
    }

    /// Binds an input that broadcasts to `shape`, and gives the expression of its element at `at`.
    ///
    /// # Errors
    /// It does not broadcast.
    pub(crate) fn broadcast(
        &mut self,
        name: &str,
        input: usize,
        shape: &Shape,
        lowering: &Lowering<'_>,
    ) -> Result<String, Decline> {
        let own = &lowering.shape(input)?;
        self.bindings.read(name, lowering.float(input)?, Operand::Input(input));
        let trailing = own.rank() <= shape.rank() && shape[shape.rank() - own.rank()..] == own[..];
        if trailing && own.elements() == self.extent {
            return Ok(format!("f32({name}[i])"));
        }
        let loops = Loops::broadcast(shape, &[own])?;
        let function = offset_function(&format!("{name}_at"), &loops, 0, &mut self.params)?;
        self.functions.push_str(&function);
        Ok(format!("f32({name}[{name}_at(at)])"))
    }

    /// The kernel; `centred` if the mean is subtracted, `sum` if what is loaded goes to the buffer `sum`.
    ///
    /// # Errors
    /// More rows than the adapter counts.
    pub(crate) fn lower(
        self,
        name: &'static str,
        centred: bool,
        sum: bool,
        lowering: &Lowering<'_>,
    ) -> Result<Lowered, Decline> {
        let rows = Rows::of(self.rows, self.extent, true);
        let template = Template::new(name, SOURCE).params(self.params.len());
        let shader = rows
            .fill(template, lowering.abilities)
            .with("buffers", self.bindings.declarations())
            .with("functions", self.functions)
            .with("load", self.load)
            .with("result", self.result)
            .switch("centred", centred)
            .switch("sum", sum)
            .build();
        Ok(Lowered::one(name, rows.dispatch(shader, self.bindings.operands(), self.params)?))
    }
}
