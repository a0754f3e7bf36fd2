//! What the kernels of recurrent operators share: the inputs' part of all gates at once, as one product, then the steps.
//!
//! Where R is small, blocks for some sequences each do all steps in one launch, with states in shared memory; else a launch is of one step and
//! spreads the elements of the state over the device.

use std::fmt::Write as _;

use inferrum_backend::Decline;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::recurrent::{Recurrence, RecurrentGeometry};

use crate::elementwise::FUNCTIONS;
use crate::epilogue::activate;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, Work, word, words};
use crate::source::{Source, Template};

const PROJECT: &str = include_str!("../../../kernels/recurrent_project.cu");
const COMMON: &str = include_str!("../../../kernels/recurrent.cuh");
const STEPS: &str = include_str!("../../../kernels/recurrent.cu");

const BIAS: usize = 3;
const LENGTHS: usize = 4;
const STATE: usize = 5;
const CELL: usize = 6;
const PEEPHOLES: usize = 7;

/// Steps may be launches of their own; more are better done elsewhere.
const MOST_STEPS: usize = 4096;
/// Bytes of R of a direction up to which a block does all steps: it reads them at each.
const SMALL: usize = 160 << 10;
/// Sequences that a warp has at most.
const MOST_SEQUENCES: usize = 8;
/// Warps of a block that does one step.
const WARPS_OF_STEP: usize = 4;
/// Warps of a block that does all steps, at most.
const MOST_WARPS: usize = 16;
/// Side of a tile of the product with the inputs, and its threads.
const TILE: usize = 64;
const TILE_THREADS: usize = 256;

/// Scratch: the inputs' part of the gates, the state before and after a step, and one of the operator's own.
const PROJECTED: usize = 0;
const STATES: [usize; 2] = [1, 2];
const OWN: usize = 3;

/// What differs from one recurrent operator to the next.
pub(crate) struct Cells {
    pub(crate) name: &'static str,
    /// The cell's functions.
    pub(crate) source: &'static str,
    pub(crate) gates: usize,
    /// Sums of products that a cell has, rounded up to a power of two.
    pub(crate) sums: usize,
    /// The first gates, to which the second bias is added besides the first.
    pub(crate) biased: usize,
    /// Phases of a step: between them all elements are waited for.
    pub(crate) phases: usize,
    /// Whether there is a state of cells: input and output besides those of the hidden state.
    pub(crate) has_c: bool,
    /// Switches of the cell's own.
    pub(crate) switches: Vec<(&'static str, bool)>,
}

/// How steps are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Whether a block does all steps.
    whole: bool,
    /// Sequences of a block.
    sequences: usize,
    warps: usize,
    /// Bytes of shared memory.
    shared: usize,
}

/// The kernels of a recurrent operator.
///
/// # Errors
/// No or too many steps, or more elements than an index counts.
pub(crate) fn lower(
    recurrence: &Recurrence,
    cells: &Cells,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    lowering.require_floats(&[LENGTHS])?;
    let geometry = recurrence
        .geometry(&lowering.shape(0)?, &lowering.shape(2)?)
        .map_err(|error| Decline(error.to_string()))?;
    let element = lowering.float(0)?;
    let alike =
        |input: usize| input == LENGTHS || !lowering.has(input) || lowering.float(input) == Ok(element);
    if let Some(other) = (0..=PEEPHOLES).find(|&input| !alike(input)) {
        return Err(Decline(format!("input {other} of another type than X")));
    }
    let RecurrentGeometry { steps, batch, hidden, directions, .. } = geometry;
    if steps == 0 || steps > MOST_STEPS {
        return Err(Decline(format!("{steps} steps, the kernel takes 1 to {MOST_STEPS}")));
    }
    let states = directions.saturating_mul(batch).saturating_mul(hidden);
    let projected = steps.saturating_mul(states).saturating_mul(cells.gates);
    words([projected, directions.saturating_mul(cells.gates * hidden).saturating_mul(hidden)])?;
    let shape = Shape::of(&geometry, cells, lowering)?;
    let mut kernels = vec![project(recurrence, &geometry, cells, lowering)?];
    let source = steps_source(recurrence, &geometry, cells, shape, lowering)?;
    let launches = if shape.whole { 1 } else { steps * cells.phases };
    for launch in 0..launches {
        let (step, phase) = (launch / cells.phases, launch % cells.phases);
        kernels.push(launch_of(
            recurrence,
            &geometry,
            cells,
            shape,
            [step, phase],
            source.clone(),
            lowering,
        )?);
    }
    let kept = if shape.whole { 0 } else { states.saturating_mul(4) };
    let scratch = vec![projected.saturating_mul(4), kept, kept, kept];
    Ok(Lowered::Work(Work { name: cells.name.into(), kernels, scratch, library: None }))
}

impl Shape {
    fn of(geometry: &RecurrentGeometry, cells: &Cells, lowering: &Lowering<'_>) -> Result<Shape, Decline> {
        let RecurrentGeometry { batch, hidden, directions, .. } = *geometry;
        let bytes = lowering.dtype(0)?.size();
        let whole = cells.gates.saturating_mul(hidden).saturating_mul(hidden).saturating_mul(bytes) <= SMALL;
        let warps = if whole { hidden.next_power_of_two().min(MOST_WARPS) } else { WARPS_OF_STEP };
        let shared = |sequences: usize| {
            let states = sequences * hidden.next_multiple_of(4);
            4 * (states * if whole { 4 } else { 2 } + warps * 4 * sequences)
        };
        let most = lowering.abilities.shared_bytes as usize;
        let fits = |sequences: &usize| shared(*sequences) <= most;
        // Blocks that do all steps are few: each has as few sequences as keep every multiprocessor at work.
        let busy = (directions * batch).div_ceil(lowering.abilities.multiprocessors.max(1) as usize);
        let wanted = if whole { busy.min(batch) } else { batch };
        let sequences = wanted.next_power_of_two().min(MOST_SEQUENCES);
        let sequences = (0..=3).rev().map(|power| 1 << power).filter(|&n| n <= sequences).find(fits);
        let sequences = sequences.ok_or_else(|| Decline(format!("{hidden} elements of a state")))?;
        Ok(Shape { whole, sequences, warps, shared: shared(sequences) })
    }
}

/// What the inputs give to the gates of all steps.
fn project(
    recurrence: &Recurrence,
    geometry: &RecurrentGeometry,
    cells: &Cells,
    lowering: &Lowering<'_>,
) -> Result<Kernel, Decline> {
    let RecurrentGeometry { steps, batch, input, hidden, directions } = *geometry;
    let gates = cells.gates * hidden;
    let (rows, columns) = (steps.saturating_mul(batch), directions.saturating_mul(gates));
    words([rows.saturating_mul(input), columns.saturating_mul(input)])?;
    let tiles = columns.div_ceil(TILE);
    let parameters = words([
        steps,
        batch,
        directions,
        input,
        gates,
        cells.biased * hidden,
        usize::from(recurrence.batch_first),
        tiles,
    ])?;
    let source = Template::new("recurrent_project", PROJECT)
        .define("X", lowering.float(0)?)
        .switch("VECTORS", input.is_multiple_of(4))
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(1),
        lowering.optional(BIAS),
        Operand::Scratch(PROJECTED),
        Operand::words(&parameters),
    ];
    Kernel::blocks(rows.div_ceil(TILE).saturating_mul(tiles), TILE_THREADS, source, &operands)
}

fn steps_source(
    recurrence: &Recurrence,
    geometry: &RecurrentGeometry,
    cells: &Cells,
    shape: Shape,
    lowering: &Lowering<'_>,
) -> Result<Source, Decline> {
    let wide = 16 / lowering.dtype(0)?.size();
    let mut template = Template::new("recurrent", STEPS)
        .including(FUNCTIONS)
        .including(COMMON)
        .including(cells.source)
        .define("X", lowering.float(0)?)
        .define("GATES", format!("{}u", cells.gates))
        .define("SUMS", format!("{}u", cells.sums))
        .define("PHASES", cells.phases)
        .define("SEQUENCES", format!("{}u", shape.sequences))
        .define("WARPS", format!("{}u", shape.warps))
        .switch("WHOLE", shape.whole)
        .switch("HAS_C", cells.has_c)
        .switch("VECTORS", geometry.hidden.is_multiple_of(wide))
        .with(&clipped(recurrence.clip))
        .with(&activations(&recurrence.activations)?);
    for &(name, on) in &cells.switches {
        template = template.switch(name, on);
    }
    Ok(template.build())
}

/// The function that clips what is given to activations.
fn clipped(clip: Option<f32>) -> String {
    let text = match clip.filter(|clip| clip.is_finite()) {
        None => "x".to_owned(),
        Some(clip) => {
            let [least, most] = [-clip, clip].map(|bound| format!("__uint_as_float({}u)", bound.to_bits()));
            format!("x > {most} ? {most} : x < {least} ? {least} : x")
        }
    };
    format!("INLINE float clipped(float x) {{ return {text}; }}\n")
}

/// Functions `act0`, `act1`... of a direction and a number.
fn activations(directions: &[Vec<FusedActivation>]) -> Result<String, Decline> {
    let mut text = String::new();
    for place in 0..directions.first().map_or(0, Vec::len) {
        let mut choice = String::new();
        for (direction, activations) in directions.iter().enumerate() {
            let name = format!("act{place}_{direction}");
            let body = activate(activations.get(place).copied())?;
            let _ = writeln!(text, "namespace expressions {{ INLINE float {name}(float x) {{ {body}; }} }}");
            let _ = writeln!(choice, "    if (direction == {direction}) return expressions::{name}(x);");
        }
        let _ =
            writeln!(text, "INLINE float act{place}(u32 direction, float x) {{\n{choice}    return x;\n}}");
    }
    Ok(text)
}

/// A launch: of a step and phase, or of all of them.
fn launch_of(
    recurrence: &Recurrence,
    geometry: &RecurrentGeometry,
    cells: &Cells,
    shape: Shape,
    [step, phase]: [usize; 2],
    source: Source,
    lowering: &Lowering<'_>,
) -> Result<Kernel, Decline> {
    let RecurrentGeometry { steps, batch, hidden, directions, .. } = *geometry;
    let direction = recurrence.direction;
    let reversed: u32 =
        (0..directions).filter(|&index| direction.is_reversed(index)).map(|index| 1 << index).sum();
    let of_sequences = batch.div_ceil(shape.sequences);
    let of_elements = if shape.whole { 1 } else { hidden.div_ceil(shape.warps) };
    let mut parameters = words([steps, batch, directions, hidden])?;
    parameters.push(reversed);
    parameters.extend(words([usize::from(recurrence.batch_first), step, phase, of_sequences, of_elements])?);
    let kept = |scratch: usize| if shape.whole { Operand::Nothing } else { Operand::Scratch(scratch) };
    let of_cells = |operand: Operand| if cells.has_c { operand } else { Operand::Nothing };
    let peepholes = if cells.has_c { lowering.optional(PEEPHOLES) } else { Operand::Nothing };
    let fault = if lowering.has(LENGTHS) { Operand::Fault(LENGTHS) } else { Operand::Nothing };
    let operands = [
        Operand::Scratch(PROJECTED),
        Operand::Input(2),
        lowering.optional(BIAS),
        peepholes,
        lowering.optional(LENGTHS),
        lowering.optional(STATE),
        if cells.has_c { lowering.optional(CELL) } else { Operand::Nothing },
        kept(STATES[step % 2]),
        kept(STATES[(step + 1) % 2]),
        of_cells(kept(OWN)),
        if cells.phases > 1 { kept(OWN) } else { Operand::Nothing },
        lowering.wanted(0),
        lowering.wanted(1),
        of_cells(lowering.wanted(2)),
        fault,
        Operand::words(&parameters),
    ];
    let blocks = directions.saturating_mul(of_sequences).saturating_mul(of_elements);
    let kernel = Kernel::blocks(blocks, shape.warps * 32, source, &operands)?;
    Ok(Kernel { shared: word(shape.shared)?, ..kernel })
}

/// Runs something with each way to share steps out.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, fails_with, random};
    use inferrum_backend::testing::recurrent::recurrence;
    use inferrum_graph::Operator;
    use inferrum_ops::recurrent::Direction;
    use inferrum_ops::rnn::RNN;
    use inferrum_tensor::{Shape as Extents, Tensor};

    pub(crate) const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-5 };

    #[test]
    fn lengths_that_cannot_be_fail_the_run() {
        for bad in [-1, 6, i32::MIN] {
            let recurrence = recurrence((Direction::Forward, false), &[FusedActivation::Tanh], 1);
            let given = |tensor: Tensor| Some((tensor, false));
            let inputs = [
                given(random(&[5, 2, 3], 1)),
                given(random(&[1, 4, 3], 2)),
                given(random(&[1, 4, 4], 3)),
                None,
                given(Tensor::vector(vec![3, bad])),
            ];
            let error = fails_with(RNN { recurrence }, &inputs, &[Extents::from([5, 1, 2, 4])]);
            assert!(error.contains(&bad.to_string()), "{error}");
        }
    }

    /// States that are too wide for one block: [steps, batch, input, hidden].
    pub(crate) fn wide<O: Operator>(
        make: impl Fn(Recurrence) -> O,
        activations: &[FusedActivation],
        gates: usize,
        outputs: usize,
    ) {
        let kind = (Direction::Bidirectional, true);
        for [steps, batch, input, hidden] in [[3, 1, 5, 210], [2, 5, 8, 264], [2, 11, 4, 202]] {
            let recurrence = recurrence(kind, activations, outputs);
            let small = |shape: &[usize], seed| {
                let numbers = random(shape, seed);
                let numbers = numbers.as_slice::<f32>().unwrap().iter().map(|x| x / 16.0).collect();
                Some((Tensor::from_vec(shape, numbers).unwrap(), false))
            };
            let lengths = (0..batch).map(|i| (steps - i % 2) as i32).collect();
            let inputs = vec![
                small(&[batch, steps, input], 1),
                small(&[2, gates * hidden, input], 2),
                small(&[2, gates * hidden, hidden], 3),
                small(&[2, 2 * gates * hidden], 4),
                Some((Tensor::vector(lengths), false)),
                small(&[batch, 2, hidden], 5),
            ];
            agree_on([inferrum_backend::testing::Case::new(make(recurrence), inputs, outputs)], CLOSE);
        }
    }
}
