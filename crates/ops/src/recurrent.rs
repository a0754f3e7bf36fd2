//! What `RNN`, `GRU` and `LSTM` have in common: attributes, shapes, and the walk over directions, steps and batch.
//!
//! Opset 14 added `layout`; before opset 7 an attribute `output_sequence` said whether the first output is wanted, which
//! the node's outputs say too.

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, TensorError, Value, zeroed};

use crate::conv::same_float_types;
use crate::fused_activation::{FusedActivation, Parameters};
use crate::transpose::permuted;

/// In which order the steps of a sequence are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first to the last.
    Forward,
    /// From the last to the first.
    Reverse,
    /// Both, each with its own weights; forward first.
    Bidirectional,
}

/// The attributes that the recurrent operators share.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    /// Forward, reverse, or both.
    pub direction: Direction,
    /// H, if the node states it; it is also the last extent of the recurrence weights.
    pub hidden_size: Option<usize>,
    /// The activations of each direction: f (`RNN`); f, g (`GRU`); f, g, h (`LSTM`).
    pub activations: Vec<Vec<FusedActivation>>,
    /// What is given to activations is first clipped to plus and minus this.
    pub clip: Option<f32>,
    /// Whether the batch is the first axis of X, Y and the states (attribute `layout`).
    pub batch_first: bool,
    /// Number of outputs.
    pub outputs: usize,
}

/// The extents of one run, all known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecurrentGeometry {
    /// Steps of the longest sequence.
    pub steps: usize,
    /// Number of sequences.
    pub batch: usize,
    /// Elements of a step's input.
    pub input: usize,
    /// Elements of the hidden state.
    pub hidden: usize,
    /// 1 or 2.
    pub directions: usize,
}

impl Direction {
    /// 1 or 2.
    pub fn count(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }

    /// Whether direction number `index` takes the last step first.
    pub fn is_reversed(self, index: usize) -> bool {
        self == Direction::Reverse || index == 1
    }
}

impl Recurrence {
    /// Reads the shared attributes. `defaults` names the activations of one direction.
    ///
    /// # Errors
    /// [`OpError::Attribute`].
    pub(crate) fn parse(def: &mut NodeDef, defaults: &[&str], outputs: usize) -> Result<Recurrence, OpError> {
        if def.opset < 7 {
            def.ignore(&["output_sequence"]);
        }
        let direction = match def.string_or("direction", "forward")?.as_str() {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Bidirectional,
            other => return Err(OpError::attribute("direction", "forward, reverse or bidirectional", other)),
        };
        let hidden_size = match def.int("hidden_size")? {
            None => None,
            Some(size) => Some(
                usize::try_from(size)
                    .ok()
                    .filter(|&size| size > 0)
                    .ok_or_else(|| OpError::attribute("hidden_size", "1 or more", size))?,
            ),
        };
        let mut names = def.strings("activations")?.unwrap_or_default();
        let each = defaults.len();
        if names.is_empty() {
            names = defaults.repeat(direction.count()).into_iter().map(str::to_owned).collect();
        }
        // The default of `RNN` names both directions even where there is one.
        if names.len() < each * direction.count() {
            let expected = format!("{each} names for each of {} directions", direction.count());
            return Err(OpError::attribute("activations", expected, names.len()));
        }
        let alpha = def.floats("activation_alpha")?.unwrap_or_default();
        let beta = def.floats("activation_beta")?.unwrap_or_default();
        let (mut alpha, mut beta) = (Parameters(&alpha), Parameters(&beta));
        let mut named = |name: &String| FusedActivation::named("activations", name, &mut alpha, &mut beta);
        let activations = names[..each * direction.count()]
            .chunks(each)
            .map(|names| names.iter().map(&mut named).collect())
            .collect::<Result<_, OpError>>()?;
        let clip = def.float("clip")?;
        if let Some(clip) = clip.filter(|clip| *clip < 0.0 || clip.is_nan()) {
            return Err(OpError::attribute("clip", "0 or more", clip));
        }
        Ok(Recurrence {
            direction,
            hidden_size,
            activations,
            clip,
            batch_first: def.flag("layout", false)?,
            outputs: def.outputs.len().clamp(1, outputs),
        })
    }

    /// Whether every direction has the given activations.
    pub fn activates_by(&self, activations: &[FusedActivation]) -> bool {
        self.activations.iter().all(|of_direction| of_direction == activations)
    }

    /// The extents for X and R of the given shapes, which have passed `infer`.
    ///
    /// # Errors
    /// The shapes have other ranks.
    pub fn geometry(&self, x: &Shape, r: &Shape) -> Result<RecurrentGeometry, OpError> {
        let (&[first, second, input], &[directions, .., hidden]) = (&x[..], &r[..]) else {
            return Err(OpError::shape(0, "[steps, N, inputs]", x));
        };
        let (steps, batch) = if self.batch_first { (second, first) } else { (first, second) };
        // Quantised weights are stored transposed, and say H elsewhere.
        let hidden = self.hidden_size.unwrap_or(hidden);
        Ok(RecurrentGeometry { steps, batch, input, hidden, directions })
    }

    /// Checks X and what is the same for all three operators, and gives the facts of Y, Y_h and Y_c.
    ///
    /// `hidden` is H as the weights have it; `states` are the places of the initial states.
    pub(crate) fn infer(
        &self,
        inputs: Facts<'_>,
        hidden: &SymDim,
        states: &[usize],
    ) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let x = inputs.shape(0)?;
        if x.rank().is_some_and(|rank| rank != 3) {
            return Err(OpError::shape(0, "[steps, N, inputs]", x));
        }
        let (steps, batch) = if self.batch_first { (x.dim(1), x.dim(0)) } else { (x.dim(0), x.dim(1)) };
        let directions = SymDim::Known(self.direction.count());
        if let Some(lengths) = inputs.optional(4)?
            && lengths.dtype != DType::I32
        {
            return Err(OpError::dtype(4, "int32", lengths.dtype));
        }
        check(inputs, 4, std::slice::from_ref(&batch))?;
        let state = match self.batch_first {
            true => [batch.clone(), directions.clone(), hidden.clone()],
            false => [directions.clone(), batch.clone(), hidden.clone()],
        };
        states.iter().try_for_each(|&index| check(inputs, index, &state))?;
        let y = match self.batch_first {
            true => vec![batch, steps, directions, hidden.clone()],
            false => vec![steps, directions, batch, hidden.clone()],
        };
        let state = Fact::tensor(dtype, state.to_vec());
        let all = [Fact::tensor(dtype, y)].into_iter().chain(std::iter::repeat(state));
        Ok(all.take(self.outputs).collect())
    }

    /// As [`Recurrence::infer`], and checks float weights W `[D, gates * H, inputs]`, R `[D, gates * H, H]` and
    /// B `[D, 2 * gates * H]`.
    pub(crate) fn infer_floats(
        &self,
        inputs: Facts<'_>,
        gates: usize,
        states: &[usize],
        peepholes: Option<usize>,
    ) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 4)?;
        for &index in states.iter().chain(&peepholes) {
            if let Some(input) = inputs.optional(index)?
                && input.dtype != dtype
            {
                return Err(OpError::dtype(index, format!("{dtype}, like input 0"), input.dtype));
            }
        }
        let hidden = self.hidden(inputs.shape(2)?.dim(2), 2)?;
        let directions = SymDim::Known(self.direction.count());
        let times = |n: usize| hidden.map(|hidden| hidden.saturating_mul(n));
        check(inputs, 1, &[directions.clone(), times(gates), inputs.shape(0)?.dim(2)])?;
        check(inputs, 2, &[directions.clone(), times(gates), hidden.clone()])?;
        check(inputs, 3, &[directions.clone(), times(2 * gates)])?;
        if let Some(index) = peepholes {
            check(inputs, index, &[directions, times(3)])?;
        }
        self.infer(inputs, &hidden, states)
    }

    /// H, which input `index` has as `dim`; it must be that of the node.
    pub(crate) fn hidden(&self, dim: SymDim, index: usize) -> Result<SymDim, OpError> {
        let stated = self.hidden_size.map_or(SymDim::Unknown, SymDim::Known);
        dim.merge(&stated)
            .ok_or_else(|| OpError::attribute("hidden_size", format!("{dim}, as input {index} has"), stated))
    }

    /// X as `[steps, N, inputs]`.
    pub(crate) fn steps_first(&self, x: &Tensor) -> Result<Tensor, OpError> {
        self.exchanged(x)
    }

    /// The initial state at place `index` as `[D, N, H]`; zeros if it is left out.
    pub(crate) fn state(
        &self,
        inputs: Inputs<'_>,
        index: usize,
        geometry: &RecurrentGeometry,
    ) -> Result<Vec<f64>, OpError> {
        match inputs.optional(index)? {
            Some(state) => Ok(self.exchanged(state)?.to_f64()?),
            None => {
                Ok(zeroed(Shape::from([geometry.directions, geometry.batch, geometry.hidden]).elements())?)
            }
        }
    }

    /// The first two axes exchanged, where the batch comes first.
    fn exchanged(&self, tensor: &Tensor) -> Result<Tensor, OpError> {
        let shape = tensor.shape();
        match (self.batch_first, &shape[..]) {
            (true, &[a, b, c]) => permuted(tensor, shape, &[1, 0, 2], Shape::from([b, a, c])),
            _ => Ok(tensor.clone()),
        }
    }

    /// What is given to an activation.
    pub(crate) fn clipped(&self, x: f64) -> f64 {
        match self.clip.map(f64::from) {
            Some(clip) if x > clip => clip,
            Some(clip) if x < -clip => -clip,
            _ => x,
        }
    }

    /// Runs `cell` over all directions, steps and sequences. `states` are the initial h, and c where there is one, each
    /// `[D, N, H]`. The outputs are Y, then the last states.
    pub(crate) fn run(
        &self,
        inputs: Inputs<'_>,
        geometry: &RecurrentGeometry,
        cell: &mut dyn Cell,
        mut states: Vec<Vec<f64>>,
    ) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(0)?.dtype();
        let lengths = lengths(inputs, geometry)?;
        let RecurrentGeometry { steps, batch, hidden, directions, .. } = *geometry;
        let mut y = zeroed::<f64>(Shape::from([steps, directions, batch, hidden]).elements())?;
        for direction in 0..if y.is_empty() { 0 } else { directions } {
            let from_inputs = cell.project_inputs(direction)?;
            let gates = from_inputs.len() / (steps * batch);
            let rows = batch * hidden;
            let mut of_direction: Vec<&mut [f64]> =
                states.iter_mut().map(|state| &mut state[direction * rows..][..rows]).collect();
            for step in 0..steps {
                let from_states = cell.project_states(direction, of_direction[0])?;
                for sequence in (0..batch).filter(|&sequence| step < lengths[sequence]) {
                    let reversed = self.direction.is_reversed(direction);
                    let at = if reversed { lengths[sequence] - 1 - step } else { step };
                    let mut row: Vec<&mut [f64]> = of_direction
                        .iter_mut()
                        .map(|state| &mut state[sequence * hidden..][..hidden])
                        .collect();
                    let from_input = &from_inputs[(at * batch + sequence) * gates..][..gates];
                    cell.step(direction, from_input, &from_states[sequence * gates..][..gates], &mut row);
                    let place = ((at * directions + direction) * batch + sequence) * hidden;
                    y[place..][..hidden].copy_from_slice(row[0]);
                }
            }
        }
        let y = Tensor::from_f64(dtype, [steps, directions, batch, hidden], &y)?;
        let mut outputs = vec![match self.batch_first {
            true => permuted(&y, y.shape(), &[2, 0, 1, 3], Shape::from([batch, steps, directions, hidden]))?,
            false => y,
        }];
        for state in states {
            outputs.push(Tensor::from_f64(dtype, [directions, batch, hidden], &state)?);
            if self.batch_first
                && let Some(state) = outputs.last_mut()
            {
                *state = permuted(
                    state,
                    &state.shape().clone(),
                    &[1, 0, 2],
                    Shape::from([batch, directions, hidden]),
                )?;
            }
        }
        Ok(outputs.into_iter().take(self.outputs).map(Value::Tensor).collect())
    }

    /// Two for each multiply-add of the products with the weights.
    pub(crate) fn flops(&self, inputs: Facts<'_>, gates: usize) -> u64 {
        let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(r)) = (shape(0), shape(2)) else { return 0 };
        let Ok(RecurrentGeometry { steps, batch, input, hidden, directions }) = self.geometry(&x, &r) else {
            return 0;
        };
        [directions, steps, batch, gates, hidden, input.saturating_add(hidden)]
            .into_iter()
            .fold(2, |product: u64, n| product.saturating_mul(n as u64))
    }
}

/// One step of a recurrent operator.
pub(crate) trait Cell {
    /// The products of all inputs with the weights of a direction, `[steps, N, gates * H]`.
    ///
    /// # Errors
    /// Memory.
    fn project_inputs(&mut self, direction: usize) -> Result<Vec<f64>, OpError>;

    /// The products of the hidden states `[N, H]` with the recurrence weights of a direction, `[N, gates * H]`.
    ///
    /// # Errors
    /// Memory.
    fn project_states(&mut self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError>;

    /// The new states of one sequence from its old ones and the two products.
    fn step(&self, direction: usize, from_input: &[f64], from_state: &[f64], states: &mut [&mut [f64]]);
}

/// Float weights of all directions.
#[derive(Debug)]
pub(crate) struct Weights {
    /// X, `[steps, N, inputs]`.
    x: Vec<f64>,
    /// `[D, gates * H, inputs]`.
    w: Vec<f64>,
    /// `[D, gates * H, H]`.
    pub(crate) r: Vec<f64>,
    /// `[D, 2 * gates * H]`.
    pub(crate) bias: Vec<f64>,
    input: usize,
    hidden: usize,
    rows: usize,
}

impl Weights {
    /// Reads inputs 0 to 3.
    pub(crate) fn read(
        recurrence: &Recurrence,
        inputs: Inputs<'_>,
        geometry: &RecurrentGeometry,
        gates: usize,
    ) -> Result<Weights, OpError> {
        let rows = gates.saturating_mul(geometry.hidden);
        Ok(Weights {
            x: recurrence.steps_first(inputs.tensor(0)?)?.to_f64()?,
            w: inputs.tensor(1)?.to_f64()?,
            r: inputs.tensor(2)?.to_f64()?,
            bias: match inputs.optional(3)? {
                Some(bias) => bias.to_f64()?,
                None => zeroed(geometry.directions.saturating_mul(rows).saturating_mul(2))?,
            },
            input: geometry.input,
            hidden: geometry.hidden,
            rows,
        })
    }

    /// The two biases of a direction, each `[gates * H]`.
    pub(crate) fn biases(&self, direction: usize) -> (&[f64], &[f64]) {
        self.bias[direction * 2 * self.rows..][..2 * self.rows].split_at(self.rows)
    }

    /// See [`Cell::project_inputs`].
    pub(crate) fn project_inputs(&self, direction: usize) -> Result<Vec<f64>, OpError> {
        let w = &self.w[direction * self.rows * self.input..][..self.rows * self.input];
        let count = self.x.len().checked_div(self.input).unwrap_or(0);
        products(&self.x, w, self.input, count, self.rows)
    }

    /// See [`Cell::project_states`].
    pub(crate) fn project_states(&self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError> {
        let r = &self.r[direction * self.rows * self.hidden..][..self.rows * self.hidden];
        products(h, r, self.hidden, h.len() / self.hidden, self.rows)
    }
}

/// The products of `count` vectors of `len` elements with each of `rows` rows: `[count, rows]`.
fn products(
    vectors: &[f64],
    matrix: &[f64],
    len: usize,
    count: usize,
    rows: usize,
) -> Result<Vec<f64>, OpError> {
    let mut out = zeroed::<f64>(count.saturating_mul(rows))?;
    for (out, vector) in out.chunks_exact_mut(rows.max(1)).zip(vectors.chunks_exact(len.max(1))) {
        for (out, row) in out.iter_mut().zip(matrix.chunks_exact(len.max(1))) {
            *out = row.iter().zip(vector).map(|(w, x)| w * x).sum();
        }
    }
    Ok(out)
}

/// Steps of each sequence.
fn lengths(inputs: Inputs<'_>, geometry: &RecurrentGeometry) -> Result<Vec<usize>, OpError> {
    let Some(lengths) = inputs.optional_ints(4)? else {
        let mut lengths = Vec::new();
        let bytes = geometry.batch.saturating_mul(size_of::<usize>());
        lengths.try_reserve_exact(geometry.batch).map_err(|_| TensorError::OutOfMemory { bytes })?;
        lengths.resize(geometry.batch, geometry.steps);
        return Ok(lengths);
    };
    let steps = geometry.steps;
    let length = |&length: &i64| {
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= steps)
            .ok_or_else(|| OpError::value(4, format!("lengths are 0 to {steps}, got {length}")))
    };
    lengths.iter().map(length).collect()
}

/// Checks that input `index`, if it is given, has the expected extents.
pub(crate) fn check(inputs: Facts<'_>, index: usize, expected: &[SymDim]) -> Result<(), OpError> {
    if let Some(input) = inputs.optional(index)? {
        let expected: ShapeFact = expected.iter().cloned().collect();
        if input.shape.merge(&expected).is_none() {
            return Err(OpError::shape(index, expected.to_string(), &input.shape));
        }
    }
    Ok(())
}
