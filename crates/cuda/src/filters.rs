//! Filters of convolutions as a factor of products: a row for each filter of a group.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::division::divisor;
use crate::kernel::{Kernel, Lowering, Operand, float_type, word};
use crate::packed::rearranged;
use crate::product::Factor;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/filters.cu");

/// Position of the filters among the inputs.
const INPUT: usize = 1;

/// Filters as they stand in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filters {
    pub(crate) groups: usize,
    /// Filters of a group.
    pub(crate) filters: usize,
    /// Channels of a group.
    pub(crate) channels: usize,
    pub(crate) taps: usize,
    /// Whether filters lie within channels, as those of a transposed convolution.
    pub(crate) transposed: bool,
    /// Whether a row goes through taps, and through the channels of each; else through channels, and through the taps of each.
    pub(crate) by_taps: bool,
}

impl Filters {
    /// The factor, what is to be launched before, and the memory that it fills.
    ///
    /// # Errors
    /// More elements than a kernel counts.
    pub(crate) fn factor(
        self,
        lowering: &Lowering<'_>,
    ) -> Result<(Factor, Option<(Kernel, usize)>), Decline> {
        let dtype = lowering.dtype(INPUT)?;
        let depth = self.channels * self.taps;
        let plain = |operand| {
            Factor::matrix(
                operand,
                dtype,
                [depth, 1],
                [self.filters, depth],
                &[(self.filters * depth) as isize],
            )
        };
        let natural = !self.transposed && (!self.by_taps || self.taps == 1);
        let as_they_are = plain(Operand::Input(INPUT));
        let whole = 16 / dtype.size();
        let constant = lowering.constant(INPUT).is_some();
        if depth == 0 || (natural && (as_they_are.width == whole || !constant)) {
            return Ok((as_they_are, None));
        }
        let width = depth.next_multiple_of(whole);
        let (operand, before) = if constant {
            let form = format!("{self:?} in rows of {width}");
            (
                rearranged(INPUT, form, self.groups * self.filters * width, move |at| self.find(at, width)),
                None,
            )
        } else {
            let (kernel, bytes) = self.moved(width, dtype)?;
            (Operand::Scratch(0), Some((kernel, bytes)))
        };
        let factor = Factor { operand, outer: width, depth: 1, by_depth: true, width: whole, ..as_they_are };
        Ok((factor, before))
    }

    /// Elements from one group's rows to the next ones', in the factor's form.
    pub(crate) fn group(self, factor: &Factor) -> usize {
        self.filters * factor.outer
    }

    /// Elements from one group, filter, channel and tap to the next.
    fn steps(self) -> [usize; 4] {
        let (filters, channels, taps) = (self.filters, self.channels, self.taps);
        let (filter, channel) =
            if self.transposed { (taps, filters * taps) } else { (channels * taps, taps) };
        [filters * channels * taps, filter, channel, 1]
    }

    /// The element of a place in rows of `width`.
    fn find(self, at: usize, width: usize) -> Option<usize> {
        let (row, depth) = (at / width, at % width);
        if depth >= self.channels * self.taps {
            return None;
        }
        let (channel, tap) = if self.by_taps {
            (depth % self.channels, depth / self.channels)
        } else {
            (depth / self.taps, depth % self.taps)
        };
        let [of_group, of_filter, of_channel, of_tap] = self.steps();
        let (group, filter) = (row / self.filters, row % self.filters);
        Some(group * of_group + filter * of_filter + channel * of_channel + tap * of_tap)
    }

    /// The launch that moves filters that are no constants, and the bytes that it fills.
    fn moved(self, width: usize, dtype: DType) -> Result<(Kernel, usize), Decline> {
        let count = self.groups * self.filters * width;
        let mut words = vec![word(count)?];
        for number in [width, self.filters, if self.by_taps { self.channels } else { self.taps }] {
            words.extend(divisor(number)?);
        }
        words.push(word(self.channels * self.taps)?);
        for step in self.steps() {
            words.push(word(step)?);
        }
        let float = float_type(dtype).ok_or_else(|| Decline(format!("filters of {dtype}")))?;
        let source = Template::new("filters", SOURCE)
            .including(crate::division::SOURCE)
            .define("W_T", float)
            .switch("BY_TAPS", self.by_taps)
            .build();
        let operands = [Operand::Input(INPUT), Operand::Scratch(0), Operand::words(&words)];
        Ok((Kernel::over(count, source, &operands)?, count * dtype.size()))
    }
}
