//! Transposed convolution of planar images: each output element gathers what reaches it, as a matrix product like [`crate::conv`]'s.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::conv_transpose::ConvTranspose;

use crate::conv::{CHANNELS, FEW_FILTERS, epilogue};
use crate::conv_direct;
use crate::filters::Filters;
use crate::images::Read;
use crate::kernel::{Lowered, Lowering, Operand};
use crate::product::{Factor, Product};

pub(crate) fn lower(op: &ConvTranspose, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let (x, w) = (lowering.shape(0)?, lowering.shape(1)?);
    let geometry = op.geometry(&x, &w).map_err(|error| Decline(error.to_string()))?;
    let (window, channels, filters) = (&geometry.window, geometry.in_channels, geometry.out_channels);
    let positions = window.input_elements();
    let epilogue = epilogue(geometry.batch, geometry.groups, filters, positions, None, lowering);
    let read = Read {
        window,
        transposed: true,
        images: geometry.batch,
        groups: geometry.groups,
        channels,
        by_taps: channels.is_multiple_of(CHANNELS),
    };
    let k = channels * window.taps();
    if filters < FEW_FILTERS && channels == 1 {
        return conv_direct::lower("conv transpose direct", &read, filters, k, &epilogue, lowering);
    }
    let order = Filters {
        groups: geometry.groups,
        filters,
        channels,
        taps: window.taps(),
        transposed: true,
        by_taps: read.by_taps,
    };
    let (a, before) = order.factor(lowering)?;
    let dtype = lowering.dtype(0)?;
    let images = if k == 0 { None } else { Some(read.images()?) };
    let b =
        Factor { operand: Operand::Input(0), dtype, outer: 1, depth: 0, by_depth: false, width: 1, images };
    let group = channels * read.plane();
    let batches = Loops::new(&[geometry.groups], &[&[order.group(&a) as isize], &[group as isize]])?;
    let (m, n) = (filters, geometry.batch * positions);
    Product { name: "conv transpose", batches, m, n, k, a, b, epilogue, block: None, before }.lower(lowering)
}

#[cfg(test)]
mod tests {
    use crate::product::tests::SUMS;
    use crate::testing::agree_on;
    use inferrum_backend::testing::conv_transpose;

    #[test]
    fn windows_of_every_kind() {
        agree_on(conv_transpose::windows_of_every_kind(), SUMS);
    }
}
