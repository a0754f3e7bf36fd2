//! Normalisation of rows by their moments: what layer, group and instance normalisation share.

use std::fmt::Write as _;

use inferrum_backend::{Decline, Loops};
use inferrum_tensor::Shape;

use crate::kernel::{Lowered, Lowering, Operand, Work};
use crate::loops::{self, loop_operand};
use crate::rows::{Parts, Rows, width};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/moments.cu");

/// Bytes of `Moments` (moments.cu).
const MOMENTS: usize = 16;

/// A normalisation that is being made.
pub(crate) struct Normalization<'a> {
    lowering: &'a Lowering<'a>,
    shape: Shape,
    rows: usize,
    extent: usize,
    width: usize,
    parameters: Vec<String>,
    operands: Vec<Operand>,
    loads: String,
    scales: String,
    shifts: String,
    /// Whether the mean is subtracted.
    pub(crate) centred: bool,
}

/// A number for each element, as statements can tell it.
pub(crate) struct Term {
    name: String,
    /// Fills in an array of this name.
    fill: Box<dyn Fn(&str) -> String>,
}

impl<'a> Normalization<'a> {
    /// Of rows of `extent` elements of the first input; the first output gets them.
    ///
    /// # Errors
    /// More elements than an index counts, or no floats.
    pub(crate) fn new(
        rows: usize,
        extent: usize,
        lowering: &'a Lowering<'a>,
    ) -> Result<Normalization<'a>, Decline> {
        lowering.require_floats(&[])?;
        let shape = lowering.shape(0)?;
        Operand::word(shape.elements())?;
        let bytes = lowering.dtype(0)?.size();
        let mut made = Normalization {
            lowering,
            shape,
            rows,
            extent,
            width: width(bytes, |factor| extent.is_multiple_of(factor)),
            parameters: Vec::new(),
            operands: Vec::new(),
            loads: "load_pack(x + at, values);".into(),
            scales: "each_of(scales, 1.0f);".into(),
            shifts: "each_of(shifts, 0.0f);".into(),
            centred: true,
        };
        made.pointer("x", lowering.float(0)?, true, Operand::Input(0));
        made.pointer("y", lowering.output_float(0)?, false, Operand::Output(0));
        Ok(made)
    }

    fn pointer(&mut self, name: &str, element: &str, read: bool, operand: Operand) {
        let constant = if read { "const " } else { "" };
        self.parameters.push(format!("{constant}{element}* __restrict__ {name}"));
        self.operands.push(operand);
    }

    /// A number that every thread gets.
    pub(crate) fn number(&mut self, name: &str, number: usize) -> Result<(), Decline> {
        self.parameters.push(format!("u32 {name}"));
        self.operands.push(Operand::word(number)?);
        Ok(())
    }

    /// An input that broadcasts to the first one's shape.
    ///
    /// # Errors
    /// It does not broadcast, or is of no floats.
    pub(crate) fn broadcast(&mut self, name: &str, input: usize) -> Result<Term, Decline> {
        let (own, shape) = (self.lowering.shape(input)?, self.shape.clone());
        self.pointer(name, self.lowering.float(input)?, true, Operand::Input(input));
        let loops = Loops::broadcast(&shape, &[&own])?;
        let trailing = own.rank() <= shape.rank() && shape[shape.rank() - own.rank()..] == own[..];
        let from = name.to_owned();
        let fill: Box<dyn Fn(&str) -> String> = if trailing && own.elements() == self.extent {
            Box::new(move |to| format!("load_pack({from} + first, {to});"))
        } else if loops.is_dense(0) {
            Box::new(move |to| format!("load_pack({from} + at, {to});"))
        } else if loops.is_scalar(0) {
            Box::new(move |to| format!("each_of({to}, float({from}[0]));"))
        } else {
            self.parameters.push(format!("Loops<{}, 1> loops_of_{name}", loops.dims().len()));
            self.operands.push(loop_operand(&loops, &[0])?);
            Box::new(move |to| {
                format!(
                    "for (u32 j = 0; j < WIDTH; j++) {{ u32 of[1]; loops_of_{from}.walk(at + j, of); \
                     {to}[j] = float({from}[of[0]]); }}"
                )
            })
        };
        Ok(Term { name: name.to_owned(), fill })
    }

    /// An input of which the element `entry`, an expression of `row` and `place`, is each element's. So many elements from a multiple of
    /// their number on, or more, share one.
    ///
    /// # Errors
    /// It is of no floats.
    pub(crate) fn entry(
        &mut self,
        name: &str,
        input: usize,
        entry: &'static str,
        sharing: usize,
    ) -> Result<Term, Decline> {
        self.pointer(name, self.lowering.float(input)?, true, Operand::Input(input));
        let (from, alike) = (name.to_owned(), sharing.is_multiple_of(self.width));
        let fill = Box::new(move |to: &str| match alike {
            true => format!("{{ u32 place = first; each_of({to}, float({from}[{entry}])); }}"),
            false => format!(
                "_Pragma(\"unroll\") for (u32 j = 0; j < WIDTH; j++) {{ u32 place = first + j; \
                 {to}[j] = float({from}[{entry}]); }}"
            ),
        });
        Ok(Term { name: name.to_owned(), fill })
    }

    /// Adds a term before the normalisation.
    pub(crate) fn add(&mut self, term: &Term) {
        let more = format!("more_{}", term.name);
        let fill = (term.fill)(&more);
        let _ = write!(self.loads, " float {more}[WIDTH]; {fill} add_pack(values, {more});");
    }

    /// Multiplies by a term after it.
    pub(crate) fn scale(&mut self, term: &Term) {
        self.scales = (term.fill)("scales");
    }

    /// Adds a term in the end.
    pub(crate) fn shift(&mut self, term: &Term) {
        self.shifts = (term.fill)("shifts");
    }

    /// The kernels. Further outputs, if they are wanted: means, inverse standard deviations, and what was normalised.
    ///
    /// # Errors
    /// More rows than a device counts, or an output of no floats.
    pub(crate) fn lower(
        mut self,
        name: &'static str,
        epsilon: f32,
        [means, inverses, sums]: [Option<usize>; 3],
    ) -> Result<Lowered, Decline> {
        let wanted = |output: Option<usize>| output.filter(|&output| self.lowering.wants(output));
        let further = [("means", wanted(means)), ("inverses", wanted(inverses)), ("sums", wanted(sums))];
        for (name, output) in further {
            let Some(output) = output else { continue };
            self.pointer(name, self.lowering.output_float(output)?, false, Operand::Output(output));
        }
        let rows = Rows::joined(self.rows, self.extent, self.width, self.lowering.abilities);
        let of_parts = rows.in_parts(self.lowering.abilities);
        let source = |totals: u32| {
            let mut template = of_parts
                .map_or(rows, |(blocks, _)| blocks)
                .fill(Template::new("moments", SOURCE).including(loops::SOURCE))
                .define("PARAMETERS", self.parameters.join(", "))
                .define("LOADS", &self.loads)
                .define("SCALES", &self.scales)
                .define("SHIFTS", &self.shifts)
                .define("TOTALS", totals)
                .switch("CENTRED", self.centred);
            for (name, output) in further {
                template = template.switch(&name.to_uppercase(), output.is_some());
            }
            template.build()
        };
        let mut operands = self.operands.clone();
        operands.extend([Operand::word(self.extent)?, Operand::float(epsilon)]);
        let Some((blocks, Parts { count, span })) = of_parts else {
            operands.push(Operand::word(self.rows)?);
            return Ok(Lowered::one(name, rows.launch(source(0), &operands)?));
        };
        operands.extend([Operand::Scratch(0), Operand::word(count)?, Operand::word(span)?]);
        let kernels = vec![blocks.launch(source(1), &operands)?, blocks.launch(source(2), &operands)?];
        let scratch = vec![blocks.count() * MOMENTS];
        Ok(Lowered::Work(Work { name: format!("{name} in parts"), kernels, scratch, library: None }))
    }
}
