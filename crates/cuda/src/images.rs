//! Windows over images as a factor of products (images.cuh).

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::window::Window;

use crate::division::divisor;
use crate::kernel::{Operand, word};
use crate::product::Images;

/// Depths up to which there is a table of them.
const MOST_DEPTHS: usize = 1 << 22;

/// Images that are read through a window.
pub(crate) struct Read<'a> {
    pub(crate) window: &'a Window,
    /// Whether the window's output is read, and its input written.
    pub(crate) transposed: bool,
    pub(crate) images: usize,
    pub(crate) groups: usize,
    /// Channels of a group.
    pub(crate) channels: usize,
    /// Whether depths go through taps, and through the channels of each; else through channels, and through the taps of each.
    pub(crate) by_taps: bool,
}

impl Read<'_> {
    /// Elements of a channel.
    pub(crate) fn plane(&self) -> usize {
        self.read().iter().product()
    }

    fn read(&self) -> &[usize] {
        if self.transposed { &self.window.output } else { &self.window.input }
    }

    fn written(&self) -> &[usize] {
        if self.transposed { &self.window.input } else { &self.window.output }
    }

    /// The window, and the table of taps.
    ///
    /// # Errors
    /// More axes than three, or more elements than an index counts.
    pub(crate) fn images(&self) -> Result<Images, Decline> {
        let window = self.window;
        let (read, written) = (axes(self.read(), 1)?, axes(self.written(), 1)?);
        let positions: usize = written.iter().product();
        let mut words = Vec::new();
        for extent in [positions, written[1], written[2]] {
            words.extend(divisor(extent)?);
        }
        let (slice, row) = (read[1].saturating_mul(read[2]), read[2]);
        let image = self.groups.saturating_mul(self.channels).saturating_mul(self.plane());
        for number in [self.images, image, self.plane(), slice, row] {
            words.push(word(number)?);
        }
        word(image.saturating_mul(self.images))?;
        let (strides, pads) = (axes(&window.strides, 1)?, axes(&window.pads_begin, 0)?);
        for extent in read {
            words.push(word(extent)?);
        }
        for stride in strides {
            words.push(if self.transposed { 1 } else { word(stride)? });
        }
        for pad in pads {
            let pad = word(pad)?;
            words.push(if self.transposed { pad.wrapping_neg() } else { pad });
        }
        for stride in strides {
            words.extend(divisor(stride)?);
        }
        let axes = if window.input.len() == 3 { 3 } else { 2 };
        let channels = if self.by_taps || window.taps() == 1 { self.channels } else { 0 };
        Ok(Images { taps: self.table()?, window: words, axes, transposed: self.transposed, channels })
    }

    /// What each depth adds: elements of its channel, and steps along each axis.
    fn table(&self) -> Result<Operand, Decline> {
        let window = self.window;
        let (kernel, dilations) = (axes(&window.kernel, 1)?, axes(&window.dilations, 1)?);
        let taps: usize = kernel.iter().product();
        let depths = taps.saturating_mul(self.channels);
        if depths > MOST_DEPTHS {
            return Err(Decline(format!("sums of {depths} products")));
        }
        // Places along an axis are numbers with sign.
        for axis in 0..kernel.len() {
            word(kernel[axis].saturating_mul(dilations[axis]).saturating_mul(2))?;
        }
        let mut words: Vec<u32> = Vec::with_capacity(4 * depths.max(1));
        for depth in 0..depths {
            let (channel, tap) = if self.by_taps {
                (depth % self.channels, depth / self.channels)
            } else {
                (depth / taps, depth % taps)
            };
            let place = [tap / (kernel[1] * kernel[2]), tap / kernel[2] % kernel[1], tap % kernel[2]];
            words.push(word(channel * self.plane())?);
            for (place, dilation) in place.into_iter().zip(dilations) {
                let step = word(place * dilation)?;
                words.push(if self.transposed { step.wrapping_neg() } else { step });
            }
        }
        if words.is_empty() {
            return Ok(Operand::Nothing);
        }
        Ok(Operand::Table(Arc::from(bytemuck::cast_slice::<u32, u8>(&words))))
    }
}

/// Three axes; what has fewer is `missing` along the first ones.
///
/// # Errors
/// More axes, or none.
pub(crate) fn axes(extents: &[usize], missing: usize) -> Result<[usize; 3], Decline> {
    let mut all = [missing; 3];
    match extents.len() {
        count @ 1..=3 => all[3 - count..].copy_from_slice(extents),
        count => return Err(Decline(format!("an image of {count} spatial axes"))),
    }
    Ok(all)
}
