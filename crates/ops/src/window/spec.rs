//! The attributes of windows, and how the number of windows and the padding follow from them.

use inferrum_graph::{NodeDef, OpError, SymDim};

use super::{Extents, Window};

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

pub(super) fn or_ones(list: &Extents, axes: usize) -> Extents {
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
            spec.output_dims(&[kernel.into()], std::slice::from_ref(&n)).unwrap().remove(0)
        };
        assert_eq!(dims(spec(1, 1, pads(1, 1), false), 3), n);
        assert_eq!(dims(spec(1, 2, pads(1, 3), false), 3), n);
        assert_eq!(dims(spec(1, 1, Padding::SameLower, false), 4), n);
        assert_eq!(dims(spec(2, 1, pads(1, 1), false), 3), SymDim::Unknown);
    }
}
