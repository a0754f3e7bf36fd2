//! Windows over images and volumes as words of a kernel.

use inferrum_backend::Decline;
use inferrum_ops::window::Window;

use crate::kernel::word;

/// `count` axes each: input, kernel, strides, dilations, pads before; then those of the output but the first. What has fewer axes is 1
/// along the first ones.
///
/// # Errors
/// More axes, or none; a number does not fit a word.
pub(crate) fn window_words(window: &Window, count: usize) -> Result<Vec<u32>, Decline> {
    let mut words = Vec::new();
    for extents in [&window.input, &window.kernel, &window.strides, &window.dilations] {
        words.extend(axes(extents, 1, count)?);
    }
    words.extend(axes(&window.pads_begin, 0, count)?);
    words.extend(&axes(&window.output, 1, count)?[1..]);
    Ok(words)
}

/// `extents` after as many of `missing` as make `count` of them.
///
/// # Errors
/// There are more, or none; a number does not fit a word.
pub(crate) fn axes(extents: &[usize], missing: usize, count: usize) -> Result<Vec<u32>, Decline> {
    if !(1..=count).contains(&extents.len()) {
        return Err(Decline(format!("an image of {} spatial axes", extents.len())));
    }
    std::iter::repeat_n(missing, count - extents.len()).chain(extents.iter().copied()).map(word).collect()
}
