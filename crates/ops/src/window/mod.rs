//! Windows that slide over the spatial axes of a tensor: the arithmetic that convolution and pooling share.
//!
//! [`WindowSpec`] is what a node's attributes say; [`Window`] is the same resolved for one input, all numbers known.
//! Formulas: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>. Where that page and ONNX Runtime differ
//! (`auto_pad` together with `ceil_mode`), this follows ONNX Runtime; where the stride exceeds the kernel, no padding
//! is negative.

mod spec;
mod transposed;

use smallvec::SmallVec;

pub use spec::{Padding, WindowSpec};
pub(crate) use spec::{explicit_pads, extents, positive};
pub use transposed::transposed_window;

/// One number for each spatial axis, outermost first.
pub type Extents = SmallVec<[usize; 3]>;

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

fn product(extents: &[usize]) -> usize {
    if extents.contains(&0) {
        0
    } else {
        extents.iter().fold(1, |product: usize, &n| product.saturating_mul(n))
    }
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
}
