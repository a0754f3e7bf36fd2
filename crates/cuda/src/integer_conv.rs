//! Convolution of planar images of 8-bit integers, exact, with what is done to its sums.

use inferrum_backend::Decline;
use inferrum_ops::conv::{Conv, ConvGeometry};
use inferrum_tensor::DType;

use crate::integer_tile::{IntegerTile, Sums};
use crate::integers::{self, Layout, Zeros, flip};
use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, word, words};
use crate::requantize::Epilogue;
use crate::source::Template;
use crate::window::window_words;

const SOURCE: &str = include_str!("../../../kernels/integer_conv.cu");

/// Filters of a group below which tiles are mostly empty.
const FEW_FILTERS: usize = 4;

/// Places of a convolution's inputs; the image is the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntegerConv {
    pub(crate) x_zero: usize,
    pub(crate) w: usize,
    pub(crate) w_zero: usize,
}

/// A convolution that is being lowered.
struct Problem {
    x: DType,
    w: DType,
    geometry: ConvGeometry,
    filters: usize,
    pixels: usize,
    depth: usize,
    elements: usize,
    x_zeros: Zeros,
    w_zeros: Zeros,
}

impl Problem {
    fn new(conv: &Conv, places: IntegerConv, lowering: &Lowering<'_>) -> Result<Problem, Decline> {
        let (x, w) = (lowering.dtype(0)?, lowering.dtype(places.w)?);
        let (image, weights) = (lowering.shape(0)?, lowering.shape(places.w)?);
        words([image.elements(), weights.elements()])?;
        let geometry = conv.geometry(&image, &weights).map_err(|error| Decline(error.to_string()))?;
        let window = &geometry.window;
        if !matches!(window.input.len(), 1 | 2) {
            return Err(Decline(format!("an image of {} spatial axes", window.input.len())));
        }
        let pixels: usize = window.output.iter().product();
        let (filters, groups) = (geometry.out_channels, geometry.groups);
        let depth = geometry.in_channels * window.kernel.iter().product::<usize>();
        let elements = lowering.output_shape(0)?.elements();
        let x_zeros = Zeros::of(lowering, x, places.x_zero, &[])?;
        let w_zeros = Zeros::of(lowering, w, places.w_zero, &[filters * groups])?;
        Ok(Problem { x, w, geometry, filters, pixels, depth, elements, x_zeros, w_zeros })
    }

    /// The struct `Images` (integer_conv.cu).
    fn words(&self, column_tiles: usize, row_tiles: usize) -> Result<Vec<u32>, Decline> {
        let mut all = words([self.filters, self.pixels, self.depth, self.geometry.groups])?;
        all.extend(window_words(&self.geometry.window, 2)?);
        all.extend(words([self.elements, column_tiles, row_tiles])?);
        all.extend([u32::from(flip(self.w)?), u32::from(flip(self.x)?)]);
        all.extend(self.w_zeros.words()?);
        all.extend(self.x_zeros.words()?);
        Ok(all)
    }

    /// A thread for each element.
    fn direct(&self, places: IntegerConv, epilogue: Epilogue) -> Result<Lowered, Decline> {
        let template =
            Template::new("integer_conv_direct", SOURCE).including(integers::SOURCE).switch("DIRECT", true);
        let source = epilogue.fill(template).build();
        let mut operands = vec![
            Operand::Input(0),
            Operand::Input(places.w),
            self.w_zeros.operand(),
            self.x_zeros.operand(),
            Operand::Output(0),
            Operand::words(&self.words(1, 1)?),
        ];
        operands.extend(epilogue.operands());
        Ok(Lowered::one("integer conv direct", Kernel::over(self.elements, source, &operands)?))
    }

    /// By tiles; `packed` says that the weights are constant.
    fn tiles(&self, places: IntegerConv, packed: bool, epilogue: Epilogue) -> Result<Lowered, Decline> {
        let tile = IntegerTile::of(self.filters, self.pixels);
        let (column_tiles, row_tiles) = tile.tiles(self.filters, self.pixels);
        let lines = self.filters * self.geometry.groups;
        let (line_stride, words) = (self.depth, self.depth.div_ceil(4));
        let layout = Layout { lines, depth: self.depth, line_stride, depth_stride: 1, words };
        let moved = !self.x_zeros.vanish();
        let sums = Sums { a: moved && !packed, b: !self.w_zeros.vanish() };
        let template = Template::new("integer_conv", SOURCE)
            .including(integers::SOURCE)
            .switch("DIRECT", false)
            .switch("PACKED", packed)
            .switch("POINTWISE", self.geometry.window.is_pointwise());
        let source = epilogue.fill(tile.fill(template, sums, false)).build();
        let w = if packed { layout.packed(places.w, self.w)? } else { Operand::Input(places.w) };
        let known = if packed && moved { layout.sums(places.w, self.w)? } else { Operand::Nothing };
        let mut operands = vec![
            Operand::Input(0),
            w,
            known,
            self.w_zeros.operand(),
            self.x_zeros.operand(),
            Operand::Output(0),
            Operand::words(&self.words(column_tiles, row_tiles)?),
        ];
        operands.extend(epilogue.operands());
        let images = self.geometry.batch * self.geometry.groups;
        let blocks = column_tiles.saturating_mul(row_tiles).saturating_mul(images);
        let kernel = Kernel::blocks(blocks, BLOCK, source, &operands)?;
        Ok(Lowered::one(tile.name("integer conv"), kernel))
    }
}

/// The kernel. `epilogue` is given the number of filters; `row` is there the filter of a sum.
///
/// # Errors
/// A type or shape that it does not take.
pub(crate) fn lower_integer_conv(
    conv: &Conv,
    places: IntegerConv,
    lowering: &Lowering<'_>,
    epilogue: impl FnOnce(usize) -> Result<Epilogue, Decline>,
) -> Result<Lowered, Decline> {
    let problem = Problem::new(conv, places, lowering)?;
    word(problem.elements)?;
    let epilogue = epilogue(problem.filters * problem.geometry.groups)?;
    if problem.filters < FEW_FILTERS || problem.depth == 0 {
        return problem.direct(places, epilogue);
    }
    problem.tiles(places, lowering.constant(places.w).is_some(), epilogue)
}
