//! Windows that slide over the spatial axes of a tensor: the arithmetic that convolution and pooling share.
//!
//! [`WindowSpec`] is what a node's attributes say; [`Window`] is the same resolved for one input, all numbers known.
//! Formulas: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>. Where that page and ONNX Runtime differ
//! (`auto_pad` together with `ceil_mode`), this follows ONNX Runtime.

use inferrum_graph::{NodeDef, OpError, SymDim};
use smallvec::SmallVec;

/// One number for each spatial axis, outermost first.
pub type Extents = SmallVec<[usize; 3]>;

/// The attributes `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowSpec {
    /// Extents of the kernel; empty when they are those of the weights.
    pub kernel: Extents,
    /// Steps from one window to the next; empty when all are 1.
    pub strides: Extents,
    /// Steps between neighbouring elements of a window; empty when all are 1.
    pub dilations: Extents,
    /// How much is added around the input.
    pub padding: Padding,
    /// Whether a last window that is not wholly inside the padded input counts, if it starts inside.
    pub ceil: bool,
}

/// How much is added around the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// As many elements before and after each axis; empty when all are 0.
    Explicit {
        /// Before the first element of each axis.
        begin: Extents,
        /// After the last element of each axis.
        end: Extents,
    },
    /// So that there are `ceil(input / stride)` windows; an odd element goes to the end.
    SameUpper,
    /// So that there are `ceil(input / stride)` windows; an odd element goes to the beginning.
    SameLower,
    /// Nothing.
    Valid,
}

impl Default for Padding {
    fn default() -> Padding {
        Padding::Explicit { begin: Extents::new(), end: Extents::new() }
    }
}

/// A window resolved for one input: all lists have one entry for each spatial axis.
///
/// Output position `o` and kernel element `t` meet the input at `o * strides + t * dilations - pads_begin`, which may
/// lie outside `0..input` (padding). For a transposed convolution the roles are turned round: `input` is the image that
/// is written, `output` the one that is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extents of the input.
    pub input: Extents,
    /// Extents of the output: the number of windows.
    pub output: Extents,
    /// Extents of the kernel.
    pub kernel: Extents,
    /// Steps from one window to the next.
    pub strides: Extents,
    /// Steps between neighbouring elements of a window.
    pub dilations: Extents,
    /// Elements added before the first of each axis.
    pub pads_begin: Extents,
    /// Elements added after the last of each axis.
    pub pads_end: Extents,
}

/// Neighbouring outputs along the last axis that one kernel element meets inside the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the first output within the output's spatial axes.
    pub output: usize,
    /// Index of the input element that it meets; the next one lies [`Window::run_stride`] further.
    pub input: usize,
    /// Number of outputs.
    pub len: usize,
}

impl WindowSpec {
    /// Reads the attributes of `def` that convolutions and poolings share: all but `ceil_mode`.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for one that is no positive extent, or where the numbers of axes differ.
    pub fn parse(def: &mut NodeDef) -> Result<WindowSpec, OpError> {
        let kernel = positive(def, "kernel_shape")?;
        let strides = positive(def, "strides")?;
        let dilations = positive(def, "dilations")?;
        let pads = explicit_pads(def)?;
        let auto_pad = def.string_or("auto_pad", "NOTSET")?;
        let padding = match auto_pad.as_str() {
            // Some exporters write an empty text for the default.
            "NOTSET" | "" => pads,
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            "VALID" => Padding::Valid,
            other => {
                return Err(OpError::attribute("auto_pad", "NOTSET, SAME_UPPER, SAME_LOWER or VALID", other));
            }
        };
        Ok(WindowSpec { kernel, strides, dilations, padding, ceil: false })
    }

    /// The window over an input of spatial extents `input`; `kernel` are the extents of the weights, or those of
    /// [`WindowSpec::kernel`] where there are none.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when an attribute has another number of axes or the kernel another shape, and
    /// [`OpError::Invalid`] when the input is too small for the kernel.
    pub fn resolve(&self, kernel: &[usize], input: &[usize]) -> Result<Window, OpError> {
        self.check_axes(kernel.len(), input.len())?;
        let mut window = Window {
            input: Extents::from_slice(input),
            output: Extents::new(),
            kernel: Extents::from_slice(kernel),
            strides: or_ones(&self.strides, input.len()),
            dilations: or_ones(&self.dilations, input.len()),
            pads_begin: Extents::new(),
            pads_end: Extents::new(),
        };
        for axis in 0..input.len() {
            let slide = self.slide(axis, kernel[axis], input[axis])?;
            window.output.push(slide.windows);
            window.pads_begin.push(slide.begin);
            window.pads_end.push(slide.end);
        }
        Ok(window)
    }

    /// The spatial extents of the output, as far as they follow from what is known.
    ///
    /// # Errors
    /// As [`WindowSpec::resolve`].
    pub fn output_dims(&self, kernel: &[SymDim], input: &[SymDim]) -> Result<Vec<SymDim>, OpError> {
        self.check_axes(kernel.len(), input.len())?;
        let dim = |axis: usize| match (&kernel[axis], &input[axis]) {
            (SymDim::Known(kernel), SymDim::Known(input)) => {
                self.slide(axis, *kernel, *input).map(|slide| SymDim::Known(slide.windows))
            }
            (SymDim::Known(kernel), input) if self.keeps_extent(axis, *kernel) => Ok(input.clone()),
            (_, input) if self.keeps_extent_of_any_kernel(axis) => Ok(input.clone()),
            _ => Ok(SymDim::Unknown),
        };
        (0..input.len()).map(dim).collect()
    }

    /// Steps between windows along `axis`.
    pub fn stride(&self, axis: usize) -> usize {
        self.strides.get(axis).copied().unwrap_or(1)
    }

    /// Steps between the elements of a window along `axis`.
    pub fn dilation(&self, axis: usize) -> usize {
        self.dilations.get(axis).copied().unwrap_or(1)
    }

    /// Elements added before and after `axis`; zeros where `auto_pad` says how many.
    pub fn explicit_pads(&self, axis: usize) -> (usize, usize) {
        match &self.padding {
            Padding::Explicit { begin, end } => {
                (begin.get(axis).copied().unwrap_or(0), end.get(axis).copied().unwrap_or(0))
            }
            _ => (0, 0),
        }
    }

    /// Checks that every attribute is for `axes` spatial axes.
    ///
    /// # Errors
    /// [`OpError::Attribute`].
    pub(crate) fn check_axes(&self, kernel: usize, axes: usize) -> Result<(), OpError> {
        let pads = match &self.padding {
            Padding::Explicit { begin, .. } => begin.len(),
            _ => 0,
        };
        let stated = [("strides", self.strides.len()), ("dilations", self.dilations.len()), ("pads", pads)];
        for (name, len) in stated.into_iter().filter(|&(_, len)| len > 0).chain([("kernel_shape", kernel)]) {
            if len != axes {
                return Err(OpError::attribute(name, format!("entries for {axes} spatial axes"), len));
            }
        }
        Ok(())
    }

    /// Whether the output is as long as the input along `axis`, however long that is.
    fn keeps_extent(&self, axis: usize, kernel: usize) -> bool {
        let (begin, end) = self.explicit_pads(axis);
        let reach = kernel.saturating_sub(1).saturating_mul(self.dilation(axis));
        self.keeps_extent_of_any_kernel(axis)
            || (self.stride(axis) == 1 && begin.saturating_add(end) == reach)
    }

    fn keeps_extent_of_any_kernel(&self, axis: usize) -> bool {
        matches!(self.padding, Padding::SameUpper | Padding::SameLower) && self.stride(axis) == 1
    }

    fn slide(&self, axis: usize, kernel: usize, input: usize) -> Result<Slide, OpError> {
        // Only products of two extents can leave 128 bits.
        let (stride, dilation) = (self.stride(axis) as i128, self.dilation(axis) as i128);
        let (k, n) = (kernel as i128, input as i128);
        if k == 0 {
            return Err(OpError::attribute("kernel_shape", "extents of 1 or more", 0));
        }
        let reach = (k - 1).saturating_mul(dilation).saturating_add(1);
        let (begin, end) = match self.padding {
            Padding::Explicit { .. } => {
                let (begin, end) = self.explicit_pads(axis);
                (begin as i128, end as i128)
            }
            Padding::Valid => (0, 0),
            Padding::SameUpper | Padding::SameLower => {
                let windows = (n + stride - 1) / stride;
                let pads = if n == 0 { 0 } else { ((windows - 1) * stride - n).saturating_add(reach).max(0) };
                let less = pads / 2;
                if self.padding == Padding::SameUpper { (less, pads - less) } else { (pads - less, less) }
            }
        };
        let room = (n - reach).saturating_add(begin).saturating_add(end);
        let mut windows = if self.ceil { -(-room).div_euclid(stride) } else { room.div_euclid(stride) } + 1;
        // A window that would start behind the input and its leading pads is not counted.
        if self.ceil && windows > 0 && (windows - 1) * stride >= n + begin {
            windows -= 1;
        }
        let same = matches!(self.padding, Padding::SameUpper | Padding::SameLower);
        if windows < 0 && !(same && n == 0) {
            return Err(OpError::Invalid(format!(
                "a window of {reach} elements (kernel {kernel}, dilation {dilation}) does not fit spatial axis {axis} \
                 of {input} elements with {begin} + {end} of padding"
            )));
        }
        let number = |x: i128| {
            i64::try_from(x).ok().and_then(|x| usize::try_from(x).ok()).ok_or_else(|| {
                OpError::Invalid(format!("the window of spatial axis {axis} is too large: {x}"))
            })
        };
        number((n + begin + end + stride).saturating_add(reach))?;
        Ok(Slide { windows: number(windows.max(0))?, begin: number(begin)?, end: number(end)? })
    }
}

/// [`Window`] along one axis.
struct Slide {
    windows: usize,
    begin: usize,
    end: usize,
}

impl Window {
    /// Number of elements of the kernel.
    pub fn taps(&self) -> usize {
        product(&self.kernel)
    }

    /// Number of windows: the output's spatial elements.
    pub fn positions(&self) -> usize {
        product(&self.output)
    }

    /// Number of the input's spatial elements.
    pub fn input_elements(&self) -> usize {
        product(&self.input)
    }

    /// Whether each output meets exactly its own input: a kernel of one element, no strides, no pads.
    pub fn is_pointwise(&self) -> bool {
        let is = |list: &Extents, value: usize| list.iter().all(|&x| x == value);
        is(&self.kernel, 1) && is(&self.strides, 1) && is(&self.pads_begin, 0) && is(&self.pads_end, 0)
    }

    /// Elements of the input from one output of a [`Run`] to the next.
    pub fn run_stride(&self) -> usize {
        self.strides.last().copied().unwrap_or(1)
    }

    /// Calls `visit` for each run of outputs that kernel element `tap` (row-major) meets inside the input; together
    /// they are all such outputs, in ascending order. Cost: the output's elements over those of its last axis.
    pub fn for_each_run(&self, tap: usize, mut visit: impl FnMut(Run)) {
        if self.is_pointwise() {
            let len = self.positions();
            if len > 0 {
                visit(Run { output: 0, input: 0, len });
            }
            return;
        }
        let mut place = Extents::from_elem(0, self.kernel.len());
        let mut rest = tap;
        for axis in (0..self.kernel.len()).rev() {
            place[axis] = rest % self.kernel[axis];
            rest /= self.kernel[axis];
        }
        self.descend(0, &place, Run { output: 0, input: 0, len: 1 }, &mut visit);
    }

    fn descend(&self, axis: usize, tap: &[usize], at: Run, visit: &mut impl FnMut(Run)) {
        let (first, last) = self.reach(axis, tap[axis]);
        let offset = tap[axis] * self.dilations[axis];
        let meets = |o: usize| o * self.strides[axis] + offset - self.pads_begin[axis];
        let deeper = |o: usize| Run {
            output: at.output * self.output[axis] + o,
            input: at.input * self.input[axis] + meets(o),
            len: 1,
        };
        if axis + 1 < tap.len() {
            (first..last).for_each(|o| self.descend(axis + 1, tap, deeper(o), visit));
        } else if first < last {
            visit(Run { len: last - first, ..deeper(first) });
        }
    }

    /// The outputs along `axis` that kernel element `tap` of that axis meets inside the input: `first..last`, empty
    /// where `first >= last`.
    pub fn reach(&self, axis: usize, tap: usize) -> (usize, usize) {
        let (stride, offset, begin) = (self.strides[axis], tap * self.dilations[axis], self.pads_begin[axis]);
        let first = begin.saturating_sub(offset).div_ceil(stride);
        let last = match (self.input[axis] + begin).checked_sub(offset) {
            None | Some(0) => 0,
            Some(room) => ((room - 1) / stride + 1).min(self.output[axis]),
        };
        (first, last)
    }

    /// For each window, how many of its elements lie inside the input, or inside the padded input with
    /// `include_pads`; row-major over the output's spatial axes. What `AveragePool` divides by.
    pub fn elements_in_windows(&self, include_pads: bool) -> Vec<usize> {
        let mut counts = vec![1usize];
        for axis in 0..self.kernel.len() {
            let (stride, dilation) = (self.strides[axis], self.dilations[axis]);
            let (before, inside) = (self.pads_begin[axis], self.input[axis]);
            let up_to = |limit: usize, start: usize| {
                limit.saturating_sub(start).div_ceil(dilation).min(self.kernel[axis])
            };
            let of_axis = |o: usize| match include_pads {
                true => up_to(before + inside + self.pads_end[axis], o * stride),
                false => up_to(before + inside, o * stride) - up_to(before, o * stride),
            };
            counts = counts
                .iter()
                .flat_map(|&outer| (0..self.output[axis]).map(move |o| outer * of_axis(o)))
                .collect();
        }
        counts
    }
}

/// The window of a transposed convolution, or of `MaxUnpool`, over `x` of spatial extents `read`: [`Window::output`] is
/// `read` and [`Window::input`] the extents of the result.
///
/// `output_padding` makes the result longer at its end; `output_shape`, where it is not empty, states the result's
/// extents, from which the pads follow.
///
/// # Errors
/// As [`WindowSpec::resolve`]; the result would have a negative extent, or `output_shape` is larger than all the
/// windows together.
pub fn transposed_window(
    spec: &WindowSpec,
    output_padding: &[usize],
    output_shape: &[usize],
    kernel: &[usize],
    read: &[usize],
) -> Result<Window, OpError> {
    let axes = read.len();
    spec.check_axes(kernel.len(), axes)?;
    for (name, list) in [("output_padding", output_padding), ("output_shape", output_shape)] {
        if !list.is_empty() && list.len() != axes {
            return Err(OpError::attribute(name, format!("entries for {axes} spatial axes"), list.len()));
        }
    }
    let mut window = Window {
        input: Extents::new(),
        output: Extents::from_slice(read),
        kernel: Extents::from_slice(kernel),
        strides: or_ones(&spec.strides, axes),
        dilations: or_ones(&spec.dilations, axes),
        pads_begin: Extents::new(),
        pads_end: Extents::new(),
    };
    for axis in 0..axes {
        let (stride, dilation) = (spec.stride(axis) as i128, spec.dilation(axis) as i128);
        if kernel[axis] == 0 {
            return Err(OpError::attribute("kernel_shape", "extents of 1 or more", 0));
        }
        let extra = output_padding.get(axis).copied().unwrap_or(0) as i128;
        let reach = (kernel[axis] as i128 - 1).saturating_mul(dilation).saturating_add(1);
        let whole = stride.saturating_mul(read[axis] as i128 - 1).saturating_add(extra).saturating_add(reach);
        let to_cut = |target: i128| (whole - target).max(0);
        let (begin, end) = match (output_shape.get(axis), &spec.padding) {
            (Some(&target), _) if target as i128 > whole => {
                return Err(OpError::attribute(
                    "output_shape",
                    format!("at most {whole} along spatial axis {axis}"),
                    target,
                ));
            }
            (Some(&target), padding) => split(to_cut(target as i128), *padding == Padding::SameUpper),
            (None, Padding::SameUpper) => split(to_cut(stride.saturating_mul(read[axis] as i128)), true),
            (None, Padding::SameLower) => split(to_cut(stride.saturating_mul(read[axis] as i128)), false),
            (None, Padding::Valid | Padding::Explicit { .. }) => {
                let (begin, end) = spec.explicit_pads(axis);
                (begin as i128, end as i128)
            }
        };
        let too_small =
            || OpError::Invalid(format!("spatial axis {axis} would have {} elements", whole - begin - end));
        // An input without elements gives an output without elements.
        let extent = if read[axis] == 0 { 0 } else { whole - begin - end };
        let number =
            |x: i128| i64::try_from(x).ok().and_then(|x| usize::try_from(x).ok()).ok_or_else(too_small);
        number(whole.max(0).saturating_add(begin).saturating_add(end))?;
        window.input.push(number(extent)?);
        window.pads_begin.push(number(begin)?);
        window.pads_end.push(number(end)?);
    }
    Ok(window)
}

/// Halves of `total`; the greater one is the second with `upper`.
fn split(total: i128, upper: bool) -> (i128, i128) {
    let less = total / 2;
    if upper { (less, total - less) } else { (total - less, less) }
}

fn product(extents: &[usize]) -> usize {
    if extents.contains(&0) {
        0
    } else {
        extents.iter().fold(1, |product: usize, &n| product.saturating_mul(n))
    }
}

fn or_ones(list: &Extents, axes: usize) -> Extents {
    if list.is_empty() { Extents::from_elem(1, axes) } else { list.clone() }
}

/// A list of positive integers; empty when the attribute is not there.
pub(crate) fn positive(def: &mut NodeDef, name: &str) -> Result<Extents, OpError> {
    extents(def, name, 1)
}

/// A list of integers from `least` on; empty when the attribute is not there.
pub(crate) fn extents(def: &mut NodeDef, name: &str, least: usize) -> Result<Extents, OpError> {
    let values = def.ints(name)?.unwrap_or_default();
    let number = |&x: &i64| {
        usize::try_from(x)
            .ok()
            .filter(|&x| x >= least)
            .ok_or_else(|| OpError::attribute(name, format!("integers of {least} or more"), x))
    };
    values.iter().map(number).collect()
}

/// The attribute `pads`.
pub(crate) fn explicit_pads(def: &mut NodeDef) -> Result<Padding, OpError> {
    let pads = def.ints("pads")?.unwrap_or_default();
    if !pads.len().is_multiple_of(2) {
        return Err(OpError::attribute("pads", "a beginning and an end for each axis", pads.len()));
    }
    let number =
        |&x: &i64| usize::try_from(x).map_err(|_| OpError::attribute("pads", "integers of 0 or more", x));
    let all = pads.iter().map(number).collect::<Result<Extents, OpError>>()?;
    let (begin, end) = all.split_at(all.len() / 2);
    Ok(Padding::Explicit { begin: Extents::from_slice(begin), end: Extents::from_slice(end) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn spec(stride: usize, dilation: usize, padding: Padding, ceil: bool) -> WindowSpec {
        WindowSpec {
            kernel: smallvec![],
            strides: smallvec![stride],
            dilations: smallvec![dilation],
            padding,
            ceil,
        }
    }

    fn pads(begin: usize, end: usize) -> Padding {
        Padding::Explicit { begin: smallvec![begin], end: smallvec![end] }
    }

    #[test]
    fn extents_are_those_of_onnx_runtime() {
        // stride, dilation, padding, ceil, kernel, input => output, begin, end
        let table = [
            (1, 1, pads(0, 0), false, 3, 7, (5, 0, 0)),
            (2, 2, pads(1, 2), false, 3, 7, (3, 1, 2)),
            (3, 1, pads(1, 1), true, 3, 7, (3, 1, 1)),
            (3, 1, pads(1, 1), true, 2, 7, (3, 1, 1)),
            (3, 1, Padding::Valid, true, 3, 7, (3, 0, 0)),
            (2, 1, Padding::SameLower, false, 2, 7, (4, 1, 0)),
            (2, 1, Padding::SameUpper, false, 2, 7, (4, 0, 1)),
            (3, 1, Padding::SameUpper, false, 1, 4, (2, 0, 0)),
            (1, 1, Padding::SameUpper, false, 4, 5, (5, 1, 2)),
            (1, 1, Padding::SameLower, false, 4, 0, (0, 0, 0)),
            (1, 1, pads(1, 1), false, 3, 0, (0, 1, 1)),
        ];
        for (stride, dilation, padding, ceil, kernel, input, expected) in table {
            let spec = spec(stride, dilation, padding, ceil);
            let window = spec.resolve(&[kernel], &[input]).unwrap();
            assert_eq!((window.output[0], window.pads_begin[0], window.pads_end[0]), expected, "{spec:?}");
        }
    }

    #[test]
    fn impossible_windows_are_errors() {
        assert!(spec(1, 1, pads(0, 0), false).resolve(&[5], &[2]).is_err());
        assert!(spec(1, 1, pads(0, 0), false).resolve(&[0], &[2]).is_err());
        assert!(spec(1, usize::MAX, pads(0, 0), false).resolve(&[usize::MAX], &[2]).is_err());
        assert!(
            spec(usize::MAX, 1, pads(usize::MAX, usize::MAX), true).resolve(&[1], &[usize::MAX]).is_err()
        );
        assert!(spec(1, 1, pads(0, 0), false).resolve(&[1, 1], &[2, 2]).is_err());
    }

    #[test]
    fn symbols_survive_where_the_extent_does() {
        let n = SymDim::Symbol("n".into());
        let dims = |spec: WindowSpec, kernel: usize| {
            spec.output_dims(&[kernel.into()], &[n.clone()]).unwrap().remove(0)
        };
        assert_eq!(dims(spec(1, 1, pads(1, 1), false), 3), n);
        assert_eq!(dims(spec(1, 2, pads(1, 3), false), 3), n);
        assert_eq!(dims(spec(1, 1, Padding::SameLower, false), 4), n);
        assert_eq!(dims(spec(2, 1, pads(1, 1), false), 3), SymDim::Unknown);
    }

    #[test]
    fn runs_meet_every_pair_inside_the_input_once() {
        let spec = WindowSpec {
            kernel: smallvec![],
            strides: smallvec![2, 1, 3],
            dilations: smallvec![1, 3, 2],
            padding: Padding::Explicit { begin: smallvec![1, 3, 0], end: smallvec![0, 4, 5] },
            ceil: true,
        };
        let window = spec.resolve(&[2, 3, 2], &[4, 5, 7]).unwrap();
        let mut expected = Vec::new();
        for tap in 0..window.taps() {
            let t = [tap / 6, tap / 2 % 3, tap % 2];
            for position in 0..window.positions() {
                let o = [
                    position / (window.output[1] * window.output[2]),
                    position / window.output[2] % window.output[1],
                    position % window.output[2],
                ];
                let i: Vec<i64> = (0..3)
                    .map(|a| {
                        (o[a] * window.strides[a] + t[a] * window.dilations[a]) as i64
                            - window.pads_begin[a] as i64
                    })
                    .collect();
                if (0..3).all(|a| (0..window.input[a] as i64).contains(&i[a])) {
                    expected.push((tap, position, ((i[0] * 5 + i[1]) * 7 + i[2]) as usize));
                }
            }
        }
        let mut got = Vec::new();
        let mut counts = vec![0; window.positions()];
        for tap in 0..window.taps() {
            window.for_each_run(tap, |run| {
                for i in 0..run.len {
                    got.push((tap, run.output + i, run.input + i * window.run_stride()));
                    counts[run.output + i] += 1;
                }
            });
        }
        assert!(!expected.is_empty());
        assert_eq!(got, expected);
        assert_eq!(window.elements_in_windows(false), counts);
    }

    #[test]
    fn padded_elements_count_up_to_the_stated_padding() {
        // The last of three windows of 3 starts one before the end of 7 + 1 + 1 elements... and so has all 3.
        let window = spec(3, 1, pads(1, 1), true).resolve(&[3], &[7]).unwrap();
        assert_eq!(window.elements_in_windows(true), [3, 3, 3]);
        assert_eq!(window.elements_in_windows(false), [2, 3, 2]);
        let window = spec(3, 1, pads(0, 0), true).resolve(&[3], &[7]).unwrap();
        assert_eq!(window.elements_in_windows(true), [3, 3, 1]);
    }

    #[test]
    fn transposed_windows_follow_onnx_runtime() {
        // stride, padding, output padding, output shape, kernel => extent, begin, end
        let table = [
            (4, pads(0, 0), vec![], vec![], 2, (10, 0, 0)),
            (2, pads(0, 0), vec![], vec![6], 3, (6, 1, 0)),
            (2, Padding::SameUpper, vec![], vec![6], 3, (6, 0, 1)),
            (2, Padding::SameLower, vec![], vec![], 3, (6, 1, 0)),
            (2, Padding::SameUpper, vec![], vec![], 3, (6, 0, 1)),
            (2, Padding::SameLower, vec![], vec![], 1, (5, 0, 0)),
            (2, pads(1, 0), vec![1], vec![], 3, (7, 1, 0)),
        ];
        for (stride, padding, output_padding, output_shape, kernel, expected) in table {
            let spec = spec(stride, 1, padding, false);
            let window = transposed_window(&spec, &output_padding, &output_shape, &[kernel], &[3]).unwrap();
            assert_eq!((window.input[0], window.pads_begin[0], window.pads_end[0]), expected, "{spec:?}");
        }
        assert!(transposed_window(&spec(2, 1, pads(0, 0), false), &[], &[9], &[3], &[3]).is_err());
        assert!(transposed_window(&spec(2, 1, pads(9, 0), false), &[], &[], &[3], &[3]).is_err());
    }
}
