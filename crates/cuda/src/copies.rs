//! Operators that only move elements.

use inferrum_backend::copies::{self, Part, Piece};
use inferrum_backend::{Decline, Loops};
use inferrum_graph::Operator;
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type};
use crate::loops::{self, loop_operand, loop_words, start_word, stride_word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/copies.cu");
const TILES: &str = include_str!("../../../kernels/transpose.cu");

/// Copies of one launch: their parameters fit the 4 KiB that a launch has room for.
const MOST_PIECES: usize = 16;
/// Side of a tile.
const TILE: usize = 32;

/// The kernel of an operator that only moves elements.
pub(crate) fn lower(op: &dyn Operator, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let parts = copies::parts(op, lowering)?;
    if parts.is_view(lowering) {
        return Ok(Lowered::View);
    }
    let kernels = kernels(&parts.parts, lowering)?;
    let name = match &kernels[..] {
        [first, ..] if first.source.entry == "transpose" => "copy tiles",
        [_, ..] => "copy",
        [] => "copy nothing",
    };
    Ok(Lowered::many(name, kernels))
}

/// What copies an input to an output of as many elements.
///
/// # Errors
/// A type that has no form on a GPU.
pub(crate) fn whole(input: usize, output: usize, lowering: &Lowering<'_>) -> Result<Vec<Kernel>, Decline> {
    let elements = lowering.shape(input)?.elements();
    let walk = || copies::Walk { start: 0, strides: vec![1] };
    kernels(&[Part { input, output, dims: vec![elements], source: walk(), target: walk() }], lowering)
}

/// Bytes of an element.
///
/// # Errors
/// A type that has no form on a GPU.
pub(crate) fn element_bytes(dtype: DType) -> Result<usize, Decline> {
    c_type(dtype).map(|_| dtype.size()).ok_or_else(|| Decline(format!("{dtype} has no form on a GPU")))
}

/// The C++ type of as many bytes, which are copied together.
pub(crate) fn copy_type(bytes: usize) -> &'static str {
    match bytes {
        1 => "u8",
        2 => "u16",
        4 => "u32",
        8 => "uint2",
        _ => "uint4",
    }
}

/// The most elements, of `bytes` bytes each, that may be copied together; `fits` says for a number of them whether everything
/// comes in such multiples.
pub(crate) fn together(bytes: usize, fits: impl Fn(usize) -> bool) -> usize {
    [16, 8, 4, 2].into_iter().find(|&factor| bytes * factor <= 16 && fits(factor)).unwrap_or(1)
}

fn kernels(parts: &[Part], lowering: &Lowering<'_>) -> Result<Vec<Kernel>, Decline> {
    let mut kernels = Vec::new();
    let mut joined: Vec<Piece<'_>> = Vec::new();
    let bytes = parts.first().map_or(Ok(1), |part| element_bytes(lowering.dtype(part.input)?))?;
    for part in parts.iter().filter(|part| part.elements() > 0) {
        let piece = Piece::of(part)?;
        match piece.across() {
            Some(across) => kernels.push(tiled(&piece, across, bytes)?),
            None => joined.push(piece),
        }
    }
    for pieces in joined.chunks(MOST_PIECES) {
        kernels.push(strided(pieces, bytes)?);
    }
    Ok(kernels)
}

/// Pieces of elements of so many bytes as one launch.
fn strided(pieces: &[Piece<'_>], bytes: usize) -> Result<Kernel, Decline> {
    let factor = together(bytes, |factor| pieces.iter().all(|piece| piece.comes_in(factor)));
    let (mut parameters, mut copies, mut operands) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0usize;
    for (number, piece) in pieces.iter().enumerate() {
        let loops = if factor > 1 { piece.widened(factor)? } else { piece.loops.clone() };
        let mut words = vec![crate::kernel::word(loops.elements())?];
        for start in piece.starts() {
            words.push(start_word(start / factor as isize)?);
        }
        words.extend(loop_words(&loops, &[0, 1])?);
        let rank = loops.dims().len();
        parameters.push(format!("const T* x{number}, T* y{number}, Copy<{rank}> copy{number}"));
        copies.push(format!("copy(x{number}, y{number}, copy{number}, index)"));
        operands.extend([
            Operand::Input(piece.part.input),
            Operand::Output(piece.part.output),
            Operand::words(&words),
        ]);
        count = count.saturating_add(loops.elements());
    }
    let source = Template::new("copies", SOURCE)
        .including(loops::SOURCE)
        .define("T", copy_type(bytes * factor))
        .define("PARAMETERS", parameters.join(", "))
        .define("COPIES", copies.join(" || "))
        .build();
    Kernel::over(count, source, &operands)
}

/// A piece by tiles.
fn tiled(piece: &Piece<'_>, across: usize, bytes: usize) -> Result<Kernel, Decline> {
    let loops = &piece.loops;
    let inner = loops.dims().len() - 1;
    let rest: Vec<usize> = (0..inner).filter(|&axis| axis != across).collect();
    let pick =
        |operand: usize| -> Vec<isize> { rest.iter().map(|&axis| loops.strides(operand)[axis]).collect() };
    let dims: Vec<usize> = rest.iter().map(|&axis| loops.dims()[axis]).collect();
    let outer = Loops::new(&dims, &[&pick(0), &pick(1)])?;
    let extents = [loops.inner(), loops.dims()[across]];
    let tiles = extents.map(|extent| extent.div_ceil(TILE));
    let mut words = crate::kernel::words(tiles.into_iter().chain(extents))?;
    for start in piece.starts() {
        words.push(start_word(start)?);
    }
    for stride in [loops.inner_stride(0), loops.strides(1)[across]] {
        words.push(stride_word(stride)?);
    }
    let source = Template::new("transpose", TILES)
        .including(loops::SOURCE)
        .define("T", copy_type(bytes))
        .define("RANK", outer.dims().len())
        .build();
    let operands = [
        Operand::Input(piece.part.input),
        Operand::Output(piece.part.output),
        Operand::words(&words),
        loop_operand(&outer, &[0, 1])?,
    ];
    let count = outer.elements().saturating_mul(tiles[0]).saturating_mul(tiles[1]);
    let kernel = Kernel::blocks(count, BLOCK, source, &operands)?;
    Ok(Kernel { block: [TILE as u32, (BLOCK / TILE) as u32, 1], ..kernel })
}
