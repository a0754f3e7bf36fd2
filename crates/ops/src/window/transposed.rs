//! Windows that are written to, not read from: those of transposed convolutions and of `MaxUnpool`.

use inferrum_graph::OpError;

use super::spec::or_ones;
use super::{Extents, Padding, Window, WindowSpec};

/// The window of a transposed convolution, or of `MaxUnpool`, over `x` of spatial extents `read`: [`Window::output`] is
/// `read` and [`Window::input`] the extents of the result.
///
/// `output_padding` makes the result longer at its end; `output_shape`, where it is not empty, states the result's
/// extents, from which the pads follow; it may exceed all windows together by less than a stride.
///
/// # Errors
/// As [`WindowSpec::resolve`]; the result would have a negative extent, or `output_shape` is too large.
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
        if kernel[axis] == 0 {
            return Err(OpError::attribute("kernel_shape", "extents of 1 or more", 0));
        }
        let extra = output_padding.get(axis).copied().unwrap_or(0);
        let (extent, begin, end) =
            transposed_axis(spec, axis, [read[axis], kernel[axis], extra], output_shape.get(axis).copied())?;
        window.input.push(extent);
        window.pads_begin.push(begin);
        window.pads_end.push(end);
    }
    Ok(window)
}

/// Extent of the result and pads along one axis, of the extents `[read, kernel, output padding]` and perhaps a stated one.
fn transposed_axis(
    spec: &WindowSpec,
    axis: usize,
    extents: [usize; 3],
    stated: Option<usize>,
) -> Result<(usize, usize, usize), OpError> {
    let (stride, dilation) = (spec.stride(axis) as i128, spec.dilation(axis) as i128);
    let [read, kernel, extra] = extents.map(|extent| extent as i128);
    let reach = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let whole = stride.saturating_mul(read - 1).saturating_add(extra).saturating_add(reach);
    let to_cut = |target: i128| whole.saturating_sub(target).max(0);
    let stated = stated.map(|target| target as i128);
    let limit = whole.saturating_add(stride.max(dilation));
    if let Some(target) = stated.filter(|&target| target >= limit) {
        let expected = format!("less than {limit} along spatial axis {axis}");
        return Err(OpError::attribute("output_shape", expected, target));
    }
    let (begin, end) = match (stated, &spec.padding) {
        (Some(target), padding) => split(to_cut(target), *padding == Padding::SameUpper),
        (None, Padding::SameUpper) => split(to_cut(stride.saturating_mul(read)), true),
        (None, Padding::SameLower) => split(to_cut(stride.saturating_mul(read)), false),
        (None, Padding::Valid | Padding::Explicit { .. }) => {
            let (begin, end) = spec.explicit_pads(axis);
            (begin as i128, end as i128)
        }
    };
    let too_small =
        || OpError::Invalid(format!("spatial axis {axis} would have {} elements", whole - begin - end));
    // An input without elements gives an output without elements.
    let extent = match stated {
        _ if read == 0 => 0,
        // Where it is larger than all windows together, nothing is cut and the rest stays empty.
        Some(target) => target,
        None => whole - begin - end,
    };
    let number = |x: i128| i64::try_from(x).ok().and_then(|x| usize::try_from(x).ok()).ok_or_else(too_small);
    number(whole.max(0).saturating_add(begin).saturating_add(end))?;
    Ok((number(extent)?, number(begin)?, number(end)?))
}

/// Halves of `total`; the greater one is the second with `upper`.
fn split(total: i128, upper: bool) -> (i128, i128) {
    let less = total / 2;
    if upper { (less, total - less) } else { (total - less, less) }
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
            (2, pads(0, 0), vec![], vec![8], 3, (8, 0, 0)),
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
