//! What the kernels of recurrent operators share: the inputs' part of all gates at once, then a dispatch for each step.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::recurrent::{Recurrence, RecurrentGeometry};
use inferrum_tensor::Tensor;

use crate::bindings::Bindings;
use crate::epilogue::activate;
use crate::indices::FAULT;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Packing, Work, word, words};
use crate::shader::{FUNCTIONS, Shader, Template};

const PROJECT: &str = include_str!("../../../shaders/recurrent_project.wgsl");
const STATE: &str = include_str!("../../../shaders/recurrent_state.wgsl");
const STEP: &str = include_str!("../../../shaders/recurrent.wgsl");

const BIAS: usize = 3;
const LENGTHS: usize = 4;

/// Words of a step.
const STEP_WORDS: usize = 7;

/// Steps are dispatches of their own; more are better done elsewhere.
const MOST_STEPS: usize = 4096;

/// Scratch buffers: the inputs' part of the gates, the state before and after a step, and one of the operator's own.
const PROJECTED: usize = 0;
const STATES: [usize; 2] = [1, 2];
pub(crate) const OWN: usize = 3;

/// A recurrent operator that becomes dispatches.
pub(crate) struct Steps<'a> {
    lowering: &'a Lowering<'a>,
    recurrence: &'a Recurrence,
    pub(crate) geometry: RecurrentGeometry,
    gates: usize,
    dispatches: Vec<Dispatch>,
}

impl<'a> Steps<'a> {
    /// Begins with what the inputs give; the second bias is added to the first `biased` gates here.
    ///
    /// # Errors
    /// Weights are not constant, or there are too many steps.
    pub(crate) fn new(
        recurrence: &'a Recurrence,
        lowering: &'a Lowering<'a>,
        gates: usize,
        biased: usize,
    ) -> Result<Steps<'a>, Decline> {
        lowering.require_floats(&[LENGTHS])?;
        let geometry = recurrence
            .geometry(&lowering.shape(0)?, &lowering.shape(2)?)
            .map_err(|error| Decline(error.to_string()))?;
        if geometry.steps > MOST_STEPS {
            return Err(Decline(format!("{} steps, the kernel takes {MOST_STEPS}", geometry.steps)));
        }
        if [1, 2].into_iter().any(|input| lowering.constant(input).is_none()) {
            return Err(Decline("weights that are not constant".into()));
        }
        if lowering.constant(LENGTHS).is_some() {
            let most = word(geometry.steps)?;
            let lengths = lowering.ints(LENGTHS)?;
            if let Some(&length) = lengths.iter().find(|length| !(0..=i64::from(most)).contains(length)) {
                return Err(Decline(beyond(length, most)));
            }
        }
        let mut steps = Steps { lowering, recurrence, geometry, gates, dispatches: Vec::new() };
        steps.project(biased)?;
        Ok(steps)
    }

    fn project(&mut self, biased: usize) -> Result<(), Decline> {
        let RecurrentGeometry { steps, batch, input, hidden, directions } = self.geometry;
        let rows = self.gates * hidden;
        let mut bindings = Bindings::default();
        bindings.read("x", self.lowering.float(0)?, Operand::Input(0));
        bindings.read("w", "f32", transposed(1, directions, rows, input));
        let bias = self.lowering.has(BIAS);
        if bias {
            bindings.read("bias", self.lowering.float(BIAS)?, Operand::Input(BIAS));
        }
        bindings.write("projected", "f32", Operand::Scratch(PROJECTED));
        let elements = steps * directions * batch * rows;
        let params = words([elements, steps, batch, directions, input, rows, biased * hidden])?;
        let shader = Template::new("recurrent inputs", PROJECT)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .switch("bias", bias)
            .switch("batch_first", self.recurrence.batch_first)
            .build();
        self.dispatches.push(Dispatch::over(elements, shader, bindings.operands(), params)?);
        Ok(())
    }

    /// Elements of all states of a kind.
    fn states(&self) -> usize {
        self.geometry.directions * self.geometry.batch * self.geometry.hidden
    }

    /// Fills the state before the first step, from an input if that is given; and so for a buffer of the operator's own.
    ///
    /// # Errors
    /// More elements than the adapter counts.
    pub(crate) fn begin(&mut self, input: usize) -> Result<(), Decline> {
        self.fill(input, STATES[0])
    }

    /// As [`Steps::begin`], for [`OWN`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn begin_own(&mut self, input: usize) -> Result<(), Decline> {
        self.fill(input, OWN)
    }

    fn fill(&mut self, input: usize, scratch: usize) -> Result<(), Decline> {
        let mut bindings = Bindings::default();
        let given = self.lowering.has(input);
        if given {
            bindings.read("states", self.lowering.float(input)?, Operand::Input(input));
        }
        bindings.write("kept", "f32", Operand::Scratch(scratch));
        let checked = scratch == STATES[0] && self.lowering.has(LENGTHS);
        let checked = checked && self.lowering.constant(LENGTHS).is_none();
        if checked {
            bindings.read("lengths", "i32", Operand::Input(LENGTHS));
            bindings.write("fault", "atomic<u32>", Operand::Fault(LENGTHS, beyond));
        }
        let template =
            Template::new("recurrent state", STATE).switch("given", given).switch("lengths", checked);
        self.state(template.including(if checked { FAULT } else { "" }), &bindings)
    }

    fn state(&mut self, template: Template, bindings: &Bindings) -> Result<(), Decline> {
        let RecurrentGeometry { steps, batch, hidden, directions, .. } = self.geometry;
        let params = words([self.states(), batch, directions, hidden, steps])?;
        let shader = template
            .params(params.len())
            .with("buffers", bindings.declarations())
            .switch("batch_first", self.recurrence.batch_first)
            .build();
        self.dispatches.push(Dispatch::over(self.states(), shader, bindings.operands(), params)?);
        Ok(())
    }

    /// The buffers that steps of even and of odd numbers read and write; `after` is left out where the state does not change.
    ///
    /// # Errors
    /// The output is not of floats.
    pub(crate) fn bindings(&self, after: bool) -> Result<[Bindings; 2], Decline> {
        Ok([self.turn(0, after)?, self.turn(1, after)?])
    }

    fn turn(&self, step: usize, after: bool) -> Result<Bindings, Decline> {
        let RecurrentGeometry { hidden, directions, .. } = self.geometry;
        let mut bindings = Bindings::default();
        bindings.read("projected", "f32", Operand::ReadScratch(PROJECTED));
        bindings.read("r", "f32", transposed(2, directions, self.gates * hidden, hidden));
        bindings.read("h_old", "f32", Operand::ReadScratch(STATES[step % 2]));
        if self.lowering.has(LENGTHS) {
            bindings.read("lengths", "i32", Operand::Input(LENGTHS));
        }
        if after {
            bindings.write("h_new", "f32", Operand::Scratch(STATES[(step + 1) % 2]));
            if self.lowering.wants(0) {
                bindings.write("y", self.lowering.output_float(0)?, Operand::Output(0));
            }
        }
        Ok(bindings)
    }

    /// A shader of a step, to be completed.
    ///
    /// # Errors
    /// An activation has a parameter that is no number.
    pub(crate) fn template(
        &self,
        name: &'static str,
        source: &'static str,
        after: bool,
    ) -> Result<Template, Decline> {
        let clipped = match self.recurrence.clip.filter(|clip| clip.is_finite()) {
            None => "x".to_owned(),
            Some(clip) => {
                format!("clamp(x, bitcast<f32>({}u), bitcast<f32>({}u))", (-clip).to_bits(), clip.to_bits())
            }
        };
        Ok(Template::new(name, source)
            .including(FUNCTIONS)
            .including(STEP)
            .params(STEP_WORDS)
            .with("activations", self.activations()?)
            .with("clipped", clipped)
            .switch("batch_first", self.recurrence.batch_first)
            .switch("lengths", self.lowering.has(LENGTHS))
            .switch("y", after && self.lowering.wants(0)))
    }

    /// Functions `act0`, `act1`... of a direction and a number.
    fn activations(&self) -> Result<String, Decline> {
        let mut text = String::new();
        let directions = &self.recurrence.activations;
        let count = directions.first().map_or(0, Vec::len);
        for place in 0..count {
            let mut choice = String::new();
            for (direction, activations) in directions.iter().enumerate() {
                let name = format!("act{place}_{direction}");
                let function = activate(activations.get(place).copied())?;
                text.push_str(&function.replacen("fn activate(", &format!("fn {name}("), 1));
                text.push('\n');
                choice.push_str(&format!("    if (direction == {direction}u) {{ return {name}(x); }}\n"));
            }
            text.push_str(&format!(
                "fn act{place}(direction: u32, x: f32) -> f32 {{\n{choice}    return x;\n}}\n"
            ));
        }
        Ok(text)
    }

    /// Adds the dispatch of a step. Steps of even and odd numbers differ by what they bind, the state before and after, alone.
    ///
    /// # Errors
    /// More elements than the adapter counts.
    pub(crate) fn step(
        &mut self,
        step: usize,
        shader: &Shader,
        turns: &[Bindings; 2],
    ) -> Result<(), Decline> {
        let RecurrentGeometry { steps, batch, hidden, directions, .. } = self.geometry;
        let direction = self.recurrence.direction;
        let reversed = (0..directions).filter(|&index| direction.is_reversed(index)).map(|index| 1 << index);
        let mut params = words([self.states(), steps, batch, directions, hidden, step])?;
        params.push(reversed.sum());
        let operands = turns[step % 2].operands();
        self.dispatches.push(Dispatch::over(self.states(), shader.clone(), operands, params)?);
        Ok(())
    }

    /// The kernel, which gives the last state as output 1 and, where there is one, that of the operator's own as output 2.
    ///
    /// # Errors
    /// More elements than the adapter counts.
    pub(crate) fn finish(mut self, name: &str) -> Result<Lowered, Decline> {
        for (output, scratch) in [(1, STATES[self.geometry.steps % 2]), (2, OWN)] {
            if self.lowering.wants(output) {
                let mut bindings = Bindings::default();
                bindings.read("kept", "f32", Operand::ReadScratch(scratch));
                bindings.write("states", self.lowering.output_float(output)?, Operand::Output(output));
                self.state(Template::new("recurrent state", STATE).switch("restore", true), &bindings)?;
            }
        }
        let RecurrentGeometry { steps, hidden, .. } = self.geometry;
        let projected = steps.saturating_mul(self.states()).saturating_mul(self.gates);
        word(projected.saturating_mul(hidden.min(1)))?;
        let states = 4 * self.states();
        let scratch = vec![4 * projected, states, states, states];
        Ok(Lowered::Work(Work { name: name.into(), dispatches: self.dispatches, scratch }))
    }
}

/// What is wrong with the length of a sequence.
fn beyond(length: i64, steps: u32) -> String {
    format!("lengths are 0 to {steps}, got {length}")
}

/// Constant matrices `[directions, rows, columns]` as f32, with rows and columns exchanged, so that neighbouring rows lie side by
/// side.
fn transposed(input: usize, directions: usize, rows: usize, columns: usize) -> Operand {
    let pack = move |tensor: &Tensor| {
        let values = tensor.to_f64().map_err(|error| Decline(error.to_string()))?;
        if values.len() != directions * rows * columns {
            return Err(Decline("weights of another shape".into()));
        }
        let mut words = Vec::with_capacity(values.len());
        for direction in 0..directions {
            let matrix = &values[direction * rows * columns..][..rows * columns];
            for column in 0..columns {
                words.extend((0..rows).map(|row| (matrix[row * columns + column] as f32).to_bits()));
            }
        }
        Ok(words)
    };
    let form = format!("{directions} x {rows} x {columns} transposed");
    Operand::Packed(Packing { input, form, bytes: 4 * directions * rows * columns, pack: Arc::new(pack) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abilities::Abilities;
    use crate::lower::lower;
    use crate::testing::{fails_with, whole};
    use crate::tuner::Forced;
    use inferrum_backend::testing::{gru, lstm, one_node, recurrent, rnn};
    use inferrum_tensor::Shape;

    #[test]
    fn all_steps_share_a_shader() {
        for case in [
            rnn::directions_layouts_and_optional_inputs().remove(7),
            gru::directions_layouts_and_optional_inputs().remove(7),
            lstm::directions_layouts_and_optional_inputs().remove(7),
        ] {
            let (mut graph, feeds) = one_node(case.op, &case.inputs, case.outputs);
            let want = inferrum_graph::interpret(&graph, feeds.into_iter().map(Into::into).collect());
            for (id, value) in graph.outputs.clone().into_iter().zip(want.expect("reference runs")) {
                graph.value_mut(id).fact = inferrum_graph::Fact::of(&value);
            }
            let region = whole(graph);
            let abilities = Abilities::every().remove(0);
            let lowered = lower(&region.bound(region.nodes[0]), &abilities, &Forced::default());
            let Lowered::Work(work) = lowered.expect("it has a kernel") else { panic!("it works") };
            let shaders: Vec<&Shader> = work.dispatches.iter().map(|dispatch| &dispatch.shader).collect();
            let name = work.name.as_str();
            let steps: Vec<_> = shaders.iter().filter(|shader| shader.name == name).collect();
            assert_eq!(steps.len(), 5, "{name}");
            assert!(steps.iter().all(|step| Arc::ptr_eq(&step.source, &steps[0].source)), "{name}");
        }
    }

    #[test]
    fn lengths_beyond_the_steps_fail_the_run() {
        for length in [-1, i32::MIN, 6, i32::MAX] {
            for case in [
                rnn::directions_layouts_and_optional_inputs().swap_remove(recurrent::LENGTHS),
                gru::directions_layouts_and_optional_inputs().swap_remove(recurrent::LENGTHS),
                lstm::directions_layouts_and_optional_inputs().swap_remove(recurrent::LENGTHS),
            ] {
                let mut inputs = case.inputs;
                assert!(inputs[LENGTHS].is_some(), "{:?} has lengths", case.op);
                inputs[LENGTHS] = Some((Tensor::vector(vec![5i32, 0, length]), false));
                let hidden = inputs[2].as_ref().map_or(0, |(weights, _)| weights.shape()[2]);
                let state = || Shape::from([1, 3, hidden]);
                let [y, h, c] = [Shape::from([5, 1, 3, hidden]), state(), state()];
                let Some(told) = fails_with(case.op, &inputs, &[y, h, c][..case.outputs]) else { return };
                assert!(told.contains(&format!("lengths are 0 to 5, got {length}")), "{told}");
            }
        }
    }
}
