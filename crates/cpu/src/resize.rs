//! `Resize`: to the nearest by tables, of elements of any size; linear and cubic of f32, one axis after the other.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::resize::{Arguments, Axis, Coordinates, Mode, Resize, Taps};
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{Isa, Kernel, Simd};
use crate::tables::TableCopy;
use crate::threads::Threads;

pub(crate) fn lower(op: &Resize, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let order: Vec<usize> = (0..lowering.shape(0)?.rank()).collect();
    lower_in(op, &order, lowering)
}

/// As [`lower`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
pub(crate) fn lower_in(op: &Resize, order: &[usize], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let declined = |error: OpError| Decline(error.to_string());
    let mut own = shape.clone();
    order.iter().zip(shape.iter()).for_each(|(&axis, &extent)| own.dims_mut()[axis] = extent);
    let plan = op.plan(&own, &arguments(op, lowering)?).map_err(declined)?;
    let plan: Vec<Axis> = order.iter().map(|&axis| plan[axis]).collect();
    let taps = plan.iter().map(|axis| axis.taps(op)).collect::<Result<Vec<Taps>, _>>().map_err(declined)?;
    let output: Shape = plan.iter().map(|axis| axis.output).collect();
    if shape.elements() == 0 || output.elements() == 0 || output != lowering.output_shape(0)? {
        return Err(Decline("nothing to resize".into()));
    }
    let dtype = lowering.dtype(0)?;
    let lowered = if matches!(op.mode, Mode::Nearest(_)) {
        nearest(op, &shape, &taps, dtype)?
    } else if dtype == DType::F32 {
        let unchanged = |axis: &Axis| {
            let region = op.coordinates == Coordinates::CropAndResize && axis.region != (0.0, 1.0);
            axis.input == axis.output && axis.scale.0 == axis.scale.1 && !region
        };
        let passes = passes(&shape, &plan.iter().map(unchanged).collect::<Vec<_>>(), &taps);
        if passes.is_empty() {
            return Ok(Lowered::view("view").packed(&[1, 2, 3]));
        }
        let scratch = passes.iter().rev().skip(1).map(Pass::outputs).max().unwrap_or(0);
        let halves = if passes.len() > 2 { 2 } else { 1 };
        let kernel = Filtered { passes, fill: op.extrapolation, scratch, isa: lowering.isa };
        Lowered::new("resize", kernel).scratch(scratch * halves * size_of::<f32>())
    } else {
        return Err(Decline(format!("{:?} of {dtype}", op.mode)));
    };
    Ok(lowered.packed(&[1, 2, 3]))
}

fn arguments(op: &Resize, lowering: &Lowering<'_>) -> Result<Arguments, Decline> {
    let numbers = |index: usize| {
        if !lowering.has(index) {
            return Ok(None);
        }
        let constant =
            lowering.constant(index).ok_or_else(|| Decline(format!("input {index} is not constant")))?;
        let numbers = constant.to_f64().map_err(|error| Decline(error.to_string()))?;
        Ok(Some(numbers).filter(|numbers| !numbers.is_empty()))
    };
    let late = op.scales_at == 2;
    let scales: Option<Vec<f64>> = numbers(op.scales_at)?;
    let sizes: Option<Vec<f64>> = if late { numbers(3)? } else { None };
    Ok(Arguments {
        // The region only matters to one transformation, and may be anything otherwise.
        region: if late { numbers(1).unwrap_or(None) } else { None },
        scales: scales.map(|scales| scales.into_iter().map(|scale| scale as f32).collect()),
        sizes: sizes.map(|sizes| sizes.into_iter().map(|size| size as i64).collect()),
    })
}

fn nearest(op: &Resize, shape: &Shape, taps: &[Taps], dtype: DType) -> Result<Lowered, Decline> {
    let table = |taps: &Taps| -> Vec<Option<usize>> {
        taps.starts.iter().zip(&taps.outside).map(|(&start, &outside)| (!outside).then_some(start)).collect()
    };
    let tables: Vec<Vec<Option<usize>>> = taps.iter().map(table).collect();
    let outside = tables.iter().flatten().any(Option::is_none);
    if outside && dtype != DType::F32 {
        return Err(Decline(format!("extrapolation of {dtype}")));
    }
    let copy = TableCopy::new(dtype.size(), shape, &tables)?;
    Ok(Lowered::new("resize nearest", Nearest { copy, fill: op.extrapolation.to_ne_bytes() }))
}

struct Nearest {
    copy: TableCopy,
    fill: [u8; 4],
}

impl NodeKernel for Nearest {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let y = io.output_bytes(0)?;
        self.copy.run(io.threads, x, y, &self.fill)
    }
}

/// Resizes one axis: `[outer, input, inner]` to `[outer, output, inner]`.
struct Pass {
    outer: usize,
    input: usize,
    inner: usize,
    starts: Vec<usize>,
    /// The taps again where there are at most two for each output, and none is outside.
    pairs: Option<Vec<Pair>>,
    /// Where the weights of each output begin; one more at the end.
    offsets: Vec<usize>,
    weights: Vec<f32>,
    outside: Vec<bool>,
}

/// Two elements with weights.
#[derive(Clone, Copy)]
struct Pair {
    places: [usize; 2],
    weights: [f32; 2],
}

/// The taps as pairs, all within an axis of `input`.
fn pairs(taps: &Taps, input: usize) -> Option<Vec<Pair>> {
    if taps.outside.contains(&true) {
        return None;
    }
    let pair = |i: usize| {
        let start = taps.starts[i];
        let (places, weights) = match taps.weights[taps.offsets[i]..taps.offsets[i + 1]] {
            // A single one counts half twice, which is exact.
            [a] => ([start, start], [a as f32 / 2.0; 2]),
            [a, b] => ([start, start + 1], [a as f32, b as f32]),
            _ => return None,
        };
        places.iter().all(|&place| place < input).then_some(Pair { places, weights })
    };
    (0..taps.starts.len()).map(pair).collect()
}

/// The passes of axes that change.
fn passes(shape: &Shape, unchanged: &[bool], taps: &[Taps]) -> Vec<Pass> {
    let mut extents = shape.clone();
    let mut passes = Vec::new();
    // What shrinks goes first and what grows last, so that as little as possible lies between; rows along the axis, which
    // cost the most, when they are few.
    let (mut order, mut grow): (Vec<usize>, Vec<usize>) = (0..taps.len())
        .filter(|&axis| !unchanged[axis])
        .partition(|&axis| taps[axis].starts.len() < shape[axis]);
    grow.reverse();
    order.append(&mut grow);
    for axis in order {
        let taps = &taps[axis];
        let (outer, input, inner) = extents.split_at_axis(axis);
        passes.push(Pass {
            outer,
            input,
            inner,
            pairs: if inner == 1 { pairs(taps, input) } else { None },
            starts: taps.starts.clone(),
            offsets: taps.offsets.clone(),
            weights: taps.weights.iter().map(|&weight| weight as f32).collect(),
            outside: taps.outside.clone(),
        });
        extents.dims_mut()[axis] = taps.starts.len();
    }
    passes
}

struct Filtered {
    passes: Vec<Pass>,
    fill: f32,
    /// Elements of the largest result but the last.
    scratch: usize,
    isa: Isa,
}

impl NodeKernel for Filtered {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let (x, y): (&[f32], &mut [f32]) = (io.input(0)?, io.output(0)?);
        let scratch: &mut [f32] = io.scratch()?;
        let (first, last) = (self.passes.first().ok_or_else(misfit)?, self.passes.last().ok_or_else(misfit)?);
        if x.len() != first.inputs() || y.len() != last.outputs() || scratch.len() < self.scratch {
            return Err(misfit());
        }
        // Results but the last go to one half of the scratch memory and the other in turn.
        let (mut write, mut read) = scratch.split_at_mut(self.scratch);
        for (i, pass) in self.passes.iter().enumerate() {
            let source = if i == 0 { x } else { &read[..pass.inputs()] };
            if i + 1 == self.passes.len() {
                pass.run(io.threads, self.isa, source, y, self.fill);
            } else {
                pass.run(io.threads, self.isa, source, &mut write[..pass.outputs()], self.fill);
                std::mem::swap(&mut read, &mut write);
            }
        }
        Ok(())
    }
}

impl Pass {
    fn inputs(&self) -> usize {
        self.outer * self.input * self.inner
    }

    fn outputs(&self) -> usize {
        self.outer * self.starts.len() * self.inner
    }

    fn run(&self, threads: &Threads, isa: Isa, x: &[f32], y: &mut [f32], fill: f32) {
        // A task is rows of the output axis where there is an inner axis, else rows along the output axis.
        let row = if self.inner == 1 { self.starts.len() } else { self.inner };
        let rows = ((1 << 14) / row).max(1);
        threads.par_chunks_mut(y, rows * row, |index, y| {
            for (i, y) in y.chunks_exact_mut(row).enumerate() {
                let row = index * rows + i;
                if self.inner == 1 {
                    self.along(&x[row * self.input..(row + 1) * self.input], y, fill);
                } else {
                    isa.dispatch(Across { pass: self, x, y, row, fill });
                }
            }
        });
    }

    /// Resizes one row.
    fn along(&self, x: &[f32], y: &mut [f32], fill: f32) {
        if let Some(pairs) = &self.pairs {
            assert!(x.len() == self.input);
            for (y, pair) in y.iter_mut().zip(pairs) {
                let [a, b] = pair.places;
                // SAFETY: `pairs` has placed both within the axis, and `x` is as long.
                let (a, b) = unsafe { (*x.get_unchecked(a), *x.get_unchecked(b)) };
                *y = a * pair.weights[0] + b * pair.weights[1];
            }
            return;
        }
        for (i, y) in y.iter_mut().enumerate() {
            *y = if self.outside[i] {
                fill
            } else {
                let weights = &self.weights[self.offsets[i]..self.offsets[i + 1]];
                match (weights, &x[self.starts[i]..]) {
                    (&[a], &[p, ..]) => a * p,
                    (&[a, b], &[p, q, ..]) => a * p + b * q,
                    (weights, x) => weights.iter().zip(x).map(|(weight, x)| weight * x).sum(),
                }
            };
        }
    }
}

/// One row of the inner axis: a weighted sum of rows.
struct Across<'a> {
    pass: &'a Pass,
    x: &'a [f32],
    y: &'a mut [f32],
    row: usize,
    fill: f32,
}

impl Kernel for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Across { pass, x, y, row, fill } = self;
        let (outer, place) = (row / pass.starts.len(), row % pass.starts.len());
        if pass.outside[place] {
            return y.fill(fill);
        }
        let weights = &pass.weights[pass.offsets[place]..pass.offsets[place + 1]];
        let first = outer * pass.input + pass.starts[place];
        let source = &x[first * pass.inner..(first + weights.len()) * pass.inner];
        for start in (0..pass.inner).step_by(S::LANES) {
            let end = pass.inner.min(start + S::LANES);
            let mut sum = s.zero();
            for (tap, &weight) in weights.iter().enumerate() {
                let x = &source[tap * pass.inner..][start..end];
                let x = if x.len() == S::LANES { s.load(x) } else { s.load_partial(x) };
                sum = s.mul_add(x, s.splat(weight), sum);
            }
            s.store_partial(&mut y[start..end], sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::resize;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    #[test]
    fn every_mode_and_transformation() {
        agree_on(resize::modes_and_transformations(), CLOSE);
    }

    #[test]
    fn scales_of_either_place() {
        agree_on(resize::scales_of_either_place(), CLOSE);
    }
}
