//! What the kernels of `LSTM`, `GRU` and `RNN` share: packed weights, the walk over directions and steps, and gates as
//! vectors.
//!
//! The inputs of all steps are multiplied with their weights at once; then, step by step, the states.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::recurrent::{Recurrence, RecurrentGeometry};
use inferrum_tensor::{DType, Tensor};

use crate::gemm::{Bias, Epilogue, MatMut, MatRef, PackedB, Unpacked, gemm};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{Isa, Simd, activation, math};
use crate::threads::Threads;

/// An activation of a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gate {
    Sigmoid,
    Tanh,
    Relu,
    /// Element by element.
    Other(FusedActivation),
}

impl Gate {
    pub(crate) fn of(activation: FusedActivation) -> Gate {
        match activation {
            FusedActivation::Sigmoid => Gate::Sigmoid,
            FusedActivation::Tanh => Gate::Tanh,
            FusedActivation::Relu => Gate::Relu,
            other => Gate::Other(other),
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        match self {
            Gate::Sigmoid => math::sigmoid(s, x),
            Gate::Tanh => math::tanh(s, x),
            Gate::Relu => activation::relu(s, x),
            Gate::Other(other) => {
                let mut lanes = [0.0; 16];
                s.store(&mut lanes, x);
                lanes.iter_mut().for_each(|x| *x = other.apply(f64::from(*x)) as f32);
                s.load(&lanes)
            }
        }
    }
}

/// How one step goes.
pub(crate) trait Cell: Send + Sync + 'static {
    /// The kernel's name.
    const NAME: &'static str;
    /// Products of input and state that a new state takes.
    const GATES: usize;
    /// Places of the initial states among the inputs: of h, and of c.
    const STATES: [Option<usize>; 2];

    /// Moves the states of all sequences that are not over on by one step.
    fn step(&self, step: &mut Step<'_>);
}

/// One step of all sequences of a direction.
pub(crate) struct Step<'a> {
    pub(crate) threads: &'a Threads,
    pub(crate) isa: Isa,
    /// Number of the direction.
    pub(crate) direction: usize,
    pub(crate) hidden: usize,
    /// For each sequence that is not over, its number, and where in `from_input` its gates begin.
    pub(crate) rows: Rows<'a>,
    /// The products of all inputs with their weights, biases added.
    pub(crate) from_input: &'a [f32],
    /// The hidden states, `[N, H]`, to be changed.
    pub(crate) h: &'a mut [f32],
    /// As `h`, of cells.
    pub(crate) c: &'a mut [f32],
    /// Room for the products of the states with their weights, `[N, gates * H]`.
    pub(crate) products: &'a mut [f32],
    /// Room for `[N, H]`.
    pub(crate) spare: &'a mut [f32],
}

/// Which inputs belong to a step.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    step: usize,
    steps: usize,
    batch: usize,
    reversed: bool,
    batch_first: bool,
    lengths: Option<&'a [i32]>,
}

impl Rows<'_> {
    fn length(self, sequence: usize) -> usize {
        // Lengths have been checked.
        self.lengths.map_or(self.steps, |lengths| lengths[sequence] as usize)
    }

    /// Each sequence that is not over, and which of its inputs is next.
    pub(crate) fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.batch).filter(move |&sequence| self.step < self.length(sequence)).map(move |sequence| {
            let last = self.length(sequence) - 1;
            (sequence, if self.reversed { last - self.step } else { self.step })
        })
    }

    /// The row of an input in X.
    pub(crate) fn row(self, sequence: usize, at: usize) -> usize {
        if self.batch_first { sequence * self.steps + at } else { at * self.batch + sequence }
    }
}

/// A recurrent operator with its weights.
pub(crate) struct Recurrent<C> {
    cell: C,
    recurrence: Recurrence,
    geometry: RecurrentGeometry,
    /// Of each direction.
    inputs: Vec<InputWeights>,
    isa: Isa,
}

struct InputWeights {
    packed: Arc<PackedB>,
    bias: Vec<f32>,
}

/// Constant weights of a direction, packed.
///
/// `matrix` is `[rows, depth]`, and begins with element `start` of the constant input `place`.
///
/// # Errors
/// The input is not constant, or too short.
pub(crate) fn packed(
    lowering: &Lowering<'_>,
    place: usize,
    start: usize,
    rows: usize,
    depth: usize,
) -> Result<Arc<PackedB>, Decline> {
    let constant = constant(lowering, place)?;
    let form = format!("recurrent {start} {rows}");
    lowering.weights.get(constant, &form, |constant| {
        let elements = constant.as_slice::<f32>().map_err(|error| Decline(error.to_string()))?;
        let matrix = elements
            .get(start..start + rows * depth)
            .ok_or_else(|| Decline("weights are too short".into()))?;
        let matrix = Unpacked::Transposed(MatRef::new(matrix, rows, depth));
        let packed = PackedB::new(lowering.isa, lowering.threads, matrix);
        let bytes = packed.size_bytes();
        Ok((packed, bytes))
    })
}

fn constant<'a>(lowering: &Lowering<'a>, place: usize) -> Result<&'a Tensor, Decline> {
    lowering.constant(place).ok_or_else(|| Decline(format!("input {place} is not constant")))
}

/// Elements of a constant input that may be left out.
///
/// # Errors
/// It is not constant, or not f32.
pub(crate) fn optional_constant(lowering: &Lowering<'_>, place: usize) -> Result<Option<Vec<f32>>, Decline> {
    if !lowering.has(place) {
        return Ok(None);
    }
    let elements =
        constant(lowering, place)?.as_slice::<f32>().map_err(|error| Decline(error.to_string()))?;
    Ok(Some(elements.to_vec()))
}

/// What is known when a recurrent operator is lowered.
pub(crate) struct Parts {
    pub(crate) geometry: RecurrentGeometry,
    /// W's biases and R's biases of each direction, `[gates * H]` each; zeros if there are none.
    pub(crate) biases: Vec<[Vec<f32>; 2]>,
}

/// Checks types and reads biases.
///
/// # Errors
/// Not f32; weights that are not constant.
pub(crate) fn parts<C: Cell>(recurrence: &Recurrence, lowering: &Lowering<'_>) -> Result<Parts, Decline> {
    lowering.require_dtype(DType::F32, &[4])?;
    let geometry = recurrence
        .geometry(&lowering.shape(0)?, &lowering.shape(2)?)
        .map_err(|error| Decline(error.to_string()))?;
    let rows = C::GATES * geometry.hidden;
    let bias = optional_constant(lowering, 3)?.unwrap_or_else(|| vec![0.0; 2 * rows * geometry.directions]);
    let halves = |of_direction: &[f32]| [of_direction[..rows].to_vec(), of_direction[rows..].to_vec()];
    Ok(Parts { geometry, biases: bias.chunks_exact(2 * rows).map(halves).collect() })
}

/// The kernel of a recurrent operator; `input_biases` are added to the products of the inputs, one for each direction.
///
/// # Errors
/// Weights that are not constant.
pub(crate) fn lower<C: Cell>(
    cell: C,
    recurrence: &Recurrence,
    parts: &Parts,
    input_biases: Vec<Vec<f32>>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let geometry = parts.geometry;
    let RecurrentGeometry { steps, batch, input, hidden, .. } = geometry;
    let rows = C::GATES * hidden;
    let inputs = input_biases
        .into_iter()
        .enumerate()
        .map(|(direction, bias)| {
            let packed = packed(lowering, 1, direction * rows * input, rows, input)?;
            Ok(InputWeights { packed, bias })
        })
        .collect::<Result<Vec<_>, Decline>>()?;
    let floats = steps * batch * rows + batch * rows + 3 * batch * hidden;
    let kernel = Recurrent { cell, recurrence: recurrence.clone(), geometry, inputs, isa: lowering.isa };
    Ok(Lowered::new(C::NAME, kernel).packed(&[1, 2, 3, 7]).scratch(floats * size_of::<f32>()))
}

impl<C: Cell> NodeKernel for Recurrent<C> {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let RecurrentGeometry { steps, batch, input, hidden, directions } = self.geometry;
        let (x, rows) = (io.input::<f32>(0)?, C::GATES * hidden);
        let lengths = io.optional::<i32>(4)?;
        check_lengths(lengths, steps, batch)?;
        let initial = |place: Option<usize>| place.map_or(Ok(None), |place| io.optional::<f32>(place));
        let initial = [initial(C::STATES[0])?, initial(C::STATES[1])?];
        let mut y = io.optional_output::<f32>(0)?;
        let mut last = [io.optional_output::<f32>(1)?, io.optional_output::<f32>(2)?];
        let of_states = directions * batch * hidden;
        let fits = x.len() == steps * batch * input
            && initial.iter().flatten().all(|state| state.len() == of_states)
            && y.as_ref().is_none_or(|y| y.len() == steps * of_states)
            && last.iter().flatten().all(|state| state.len() == of_states);
        if !fits {
            return Err(misfit());
        }
        if lengths.is_some() {
            y.iter_mut().for_each(|y| y.fill(0.0));
        }
        let scratch: &mut [f32] = io.scratch()?;
        let (from_input, scratch) = scratch.split_at_mut_checked(steps * batch * rows).ok_or_else(misfit)?;
        let (products, scratch) = scratch.split_at_mut_checked(batch * rows).ok_or_else(misfit)?;
        let (h, scratch) = scratch.split_at_mut_checked(batch * hidden).ok_or_else(misfit)?;
        let (c, spare) = scratch.split_at_mut_checked(batch * hidden).ok_or_else(misfit)?;
        for (direction, weights) in self.inputs.iter().enumerate() {
            let epilogue = Epilogue { bias: Bias::Columns(&weights.bias), ..Epilogue::default() };
            let a = MatRef::new(x, steps * batch, input);
            let out = MatMut::new(from_input, steps * batch, rows);
            gemm(io.threads, a, weights.packed.view(), out, &epilogue);
            self.start(initial, direction, [&mut *h, &mut *c]);
            for step in 0..steps {
                let rows = self.rows(step, direction, lengths);
                self.cell.step(&mut Step {
                    threads: io.threads,
                    isa: self.isa,
                    direction,
                    hidden,
                    rows,
                    from_input,
                    h,
                    c,
                    products,
                    spare,
                });
                if let Some(y) = &mut y {
                    self.write_step(&rows, direction, h, y);
                }
            }
            for (last, state) in last.iter_mut().zip([&*h, &*c]) {
                if let Some(last) = last {
                    self.write_last(direction, state, last);
                }
            }
        }
        Ok(())
    }
}

impl<C> Recurrent<C> {
    fn rows<'a>(&self, step: usize, direction: usize, lengths: Option<&'a [i32]>) -> Rows<'a> {
        Rows {
            step,
            steps: self.geometry.steps,
            batch: self.geometry.batch,
            reversed: self.recurrence.direction.is_reversed(direction),
            batch_first: self.recurrence.batch_first,
            lengths,
        }
    }

    /// Where the state of a sequence lies in initial and last states.
    fn state_place(&self, sequence: usize, direction: usize) -> usize {
        let RecurrentGeometry { batch, hidden, directions, .. } = self.geometry;
        hidden
            * if self.recurrence.batch_first {
                sequence * directions + direction
            } else {
                direction * batch + sequence
            }
    }

    /// Sets the states of a direction to the initial ones.
    fn start(&self, initial: [Option<&[f32]>; 2], direction: usize, states: [&mut [f32]; 2]) {
        let hidden = self.geometry.hidden;
        for (initial, state) in initial.into_iter().zip(states) {
            match initial {
                None => state.fill(0.0),
                Some(initial) => {
                    for (sequence, row) in state.chunks_exact_mut(hidden).enumerate() {
                        row.copy_from_slice(&initial[self.state_place(sequence, direction)..][..hidden]);
                    }
                }
            }
        }
    }

    /// Writes the states of the sequences that a step reached to the output of all steps.
    fn write_step(&self, rows: &Rows<'_>, direction: usize, states: &[f32], y: &mut [f32]) {
        let RecurrentGeometry { steps, batch, hidden, directions, .. } = self.geometry;
        for (sequence, at) in rows.each() {
            let place = match self.recurrence.batch_first {
                true => (sequence * steps + at) * directions + direction,
                false => (at * directions + direction) * batch + sequence,
            };
            y[place * hidden..][..hidden].copy_from_slice(&states[sequence * hidden..][..hidden]);
        }
    }

    /// Writes the states of a direction after its last step.
    fn write_last(&self, direction: usize, states: &[f32], last: &mut [f32]) {
        let RecurrentGeometry { batch, hidden, .. } = self.geometry;
        for sequence in 0..batch {
            let row = &states[sequence * hidden..][..hidden];
            last[self.state_place(sequence, direction)..][..hidden].copy_from_slice(row);
        }
    }
}

fn check_lengths(lengths: Option<&[i32]>, steps: usize, batch: usize) -> Result<(), OpError> {
    let Some(lengths) = lengths else { return Ok(()) };
    if lengths.len() != batch {
        return Err(OpError::Invalid("a buffer does not fit its shape".into()));
    }
    let fits = |length: &&i32| usize::try_from(**length).is_ok_and(|length| length <= steps);
    match lengths.iter().find(|length| !fits(length)) {
        None => Ok(()),
        Some(length) => Err(OpError::value(4, format!("lengths are 0 to {steps}, got {length}"))),
    }
}

/// `products = states R` for the weights of a direction; `[N, columns]` with rows `stride` apart.
pub(crate) fn multiply(
    threads: &Threads,
    states: &[f32],
    hidden: usize,
    weights: &PackedB,
    products: &mut [f32],
    columns: usize,
    stride: usize,
) {
    let batch = states.len() / hidden;
    let out = MatMut::strided(products, batch, columns, stride);
    gemm(threads, MatRef::new(states, batch, hidden), weights.view(), out, &Epilogue::default());
}

/// `x` between plus and minus `clip`.
#[inline(always)]
pub(crate) fn clipped<S: Simd>(s: S, x: S::F32, clip: Option<f32>) -> S::F32 {
    clip.map_or(x, |clip| activation::clip(s, x, -clip, clip))
}
