//! Operators that only move elements, and what copies words.

use std::fmt::Write as _;

use inferrum_backend::copies::{self, Part};
use inferrum_backend::{Decline, Loops};
use inferrum_graph::Operator;
use inferrum_tensor::{DType, Tensor};

use crate::kernel::{Dispatch, Lowered, Lowering, Operand, linear_groups, word};
use crate::shader::Template;
use crate::storage;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/copies.wgsl");
const TILES: &str = include_str!("../../../shaders/transpose.wgsl");

/// Buffers of one dispatch, if the adapter binds as many.
const MOST_BUFFERS: usize = 16;
/// Side of a tile.
const TILE: usize = 32;

/// The kernel of an operator that only moves elements.
pub(crate) fn lower(op: &dyn Operator, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let parts = copies::parts(op, lowering)?;
    if parts.is_view(lowering) {
        return Ok(Lowered::View);
    }
    let dispatches = dispatches(&parts.parts, lowering)?;
    let name = match &dispatches[..] {
        [first, ..] if first.shader.name == "transpose" => "copy tiles",
        [_, ..] => "copy",
        [] => "copy nothing",
    };
    Ok(Lowered::many(name, dispatches))
}

/// The dispatch that copies an input to an output of as many elements.
///
/// # Errors
/// No type that a GPU stores.
pub(crate) fn whole(input: usize, output: usize, lowering: &Lowering<'_>) -> Result<Vec<Dispatch>, Decline> {
    let elements = lowering.shape(input)?.elements();
    let walk = || copies::Walk { start: 0, strides: vec![1] };
    dispatches(&[Part { input, output, dims: vec![elements], source: walk(), target: walk() }], lowering)
}

/// Bytes of an element of `dtype`.
///
/// # Errors
/// No type that a GPU stores.
pub(crate) fn element_bytes(dtype: DType) -> Result<usize, Decline> {
    match storage::element_bytes(dtype) {
        0 => Err(Decline(format!("{dtype} has no form on a GPU"))),
        bytes => Ok(bytes),
    }
}

/// The WGSL type of as many bytes, which are copied together: 2, 4, 8 or 16.
pub(crate) fn copy_type(bytes: usize) -> &'static str {
    match bytes {
        2 => "f16",
        4 => "u32",
        8 => "vec2<u32>",
        _ => "vec4<u32>",
    }
}

/// The most elements, of `bytes` bytes each, that may be copied together; `fits` says for a number of them whether everything
/// comes in such multiples.
pub(crate) fn together(bytes: usize, fits: impl Fn(usize) -> bool) -> usize {
    [8, 4, 2].into_iter().find(|&factor| bytes * factor <= 16 && fits(factor)).unwrap_or(1)
}

/// The words of a tensor of one element: of a float16 twice in one word, then once as float32.
///
/// # Errors
/// No memory; no type that a GPU stores.
pub(crate) fn words_of(tensor: &Tensor) -> Result<Vec<u32>, Decline> {
    let words = element_bytes(tensor.dtype())?.div_ceil(4);
    if let (DType::F16, &[low, high]) = (tensor.dtype(), tensor.bytes()) {
        let half = half::f16::from_ne_bytes([low, high]);
        return Ok(vec![u32::from(half.to_bits()) * 0x1_0001, half.to_f32().to_bits()]);
    }
    let wide = storage::widened(tensor).map_err(|error| Decline(error.to_string()))?;
    let word = |x: &[u8]| u32::from_ne_bytes([x[0], x[1], x[2], x[3]]);
    let all = wide.unwrap_or_else(|| tensor.bytes().chunks_exact(4).map(word).collect());
    if all.len() == words { Ok(all) } else { Err(Decline(format!("{} elements", tensor.len()))) }
}

/// `count` times the element whose `bytes` bytes are parameters from `param(first)` on ([`words_of`]), as a value of the
/// shader's type `T`.
pub(crate) fn repeated(first: usize, bytes: usize, count: usize) -> String {
    if bytes * count == 2 {
        return format!("f16(bitcast<f32>(param({}u)))", first + 1);
    }
    let words = bytes.div_ceil(4);
    let all = (0..bytes * count / 4).map(|i| format!("param({}u)", first + i % words));
    format!("T({})", all.collect::<Vec<_>>().join(", "))
}

/// A copy with its loops, of elements of so many bytes.
struct Piece<'a> {
    piece: copies::Piece<'a>,
    bytes: usize,
}

impl<'a> std::ops::Deref for Piece<'a> {
    type Target = copies::Piece<'a>;

    fn deref(&self) -> &copies::Piece<'a> {
        &self.piece
    }
}

/// The dispatches of copies.
fn dispatches(parts: &[Part], lowering: &Lowering<'_>) -> Result<Vec<Dispatch>, Decline> {
    let most = MOST_BUFFERS.min(lowering.abilities.limits.max_storage_buffers_per_shader_stage as usize);
    let mut dispatches = Vec::new();
    let mut joined: Vec<Piece<'_>> = Vec::new();
    for part in parts.iter().filter(|part| part.elements() > 0) {
        let bytes = element_bytes(lowering.dtype(part.input)?)?;
        let piece = Piece { piece: copies::Piece::of(part)?, bytes };
        if let Some(across) = piece.across() {
            dispatches.push(tiled(&piece, across)?);
            continue;
        }
        joined.push(piece);
        if buffers(&joined).len() > most
            && let Some(last) = joined.pop()
        {
            dispatches.push(strided(&joined)?);
            joined = vec![last];
        }
    }
    if !joined.is_empty() {
        dispatches.push(strided(&joined)?);
    }
    Ok(dispatches)
}

/// The buffers of pieces, each once: whether it is an output, and which.
fn buffers(pieces: &[Piece<'_>]) -> Vec<(bool, usize)> {
    let mut buffers = Vec::new();
    for piece in pieces {
        for buffer in [(false, piece.part.input), (true, piece.part.output)] {
            if !buffers.contains(&buffer) {
                buffers.push(buffer);
            }
        }
    }
    buffers
}

/// Pieces of elements of one size as one dispatch.
fn strided(pieces: &[Piece<'_>]) -> Result<Dispatch, Decline> {
    let bytes = pieces.first().map_or(4, |piece| piece.bytes);
    let factor = together(bytes, |factor| pieces.iter().all(|piece| piece.comes_in(factor)));
    let mut declared = String::new();
    let mut operands = Vec::new();
    for (place, (written, number)) in buffers(pieces).into_iter().enumerate() {
        let (name, access) = if written { ("output", "read_write") } else { ("input", "read") };
        let _ = writeln!(
            declared,
            "@group(0) @binding({}) var<storage, {access}> {name}{number}: array<T>;",
            place + 1
        );
        operands.push(if written { Operand::Output(number) } else { Operand::Input(number) });
    }
    let (mut text, mut params, mut count) = (String::new(), Vec::new(), 0usize);
    for piece in pieces {
        let loops = if factor > 1 { piece.widened(factor)? } else { piece.loops.clone() };
        let first = params.len();
        params.push(word(loops.elements())?);
        for start in piece.starts() {
            params.push(start_word(start / factor as isize)?);
        }
        let walked: Vec<usize> = (0..2).filter(|&operand| !loops.is_dense(operand)).collect();
        let _ = writeln!(text, "    if (index < param({first}u)) {{");
        if !walked.is_empty() {
            text.push_str(&offsets(loops.dims().len(), walked.len(), params.len(), "index"));
            params.extend(loop_words(&loops, &walked)?);
        }
        let [from, to] = [0, 1].map(|operand| match walked.iter().position(|&walked| walked == operand) {
            Some(place) => format!("param({}u) + offset{place}", first + 1 + operand),
            None => format!("param({}u) + index", first + 1 + operand),
        });
        let (input, output) = (piece.part.input, piece.part.output);
        let _ = writeln!(text, "    output{output}[{to}] = input{input}[{from}];\n    return;\n    }}");
        let _ = writeln!(text, "    index -= param({first}u);");
        count = count.saturating_add(loops.elements());
    }
    // All numbers of invocations of the last workgroups must fit a word too.
    word(count)?;
    let shader = Template::new("copies", SOURCE)
        .with("type", copy_type(bytes * factor))
        .with("buffers", declared)
        .with("copies", text)
        .params(params.len())
        .build();
    Dispatch::over(count, shader, &operands, params)
}

/// A piece by tiles.
fn tiled(piece: &Piece<'_>, across: usize) -> Result<Dispatch, Decline> {
    let loops = &piece.loops;
    let inner = loops.dims().len() - 1;
    let rest: Vec<usize> = (0..inner).filter(|&axis| axis != across).collect();
    let pick =
        |operand: usize| -> Vec<isize> { rest.iter().map(|&axis| loops.strides(operand)[axis]).collect() };
    let dims: Vec<usize> = rest.iter().map(|&axis| loops.dims()[axis]).collect();
    let outer = Loops::new(&dims, &[&pick(0), &pick(1)])?;
    let extents = [loops.inner(), loops.dims()[across]];
    let grid = extents.map(|extent| extent.div_ceil(TILE));
    let count = outer.elements().saturating_mul(grid[0]).saturating_mul(grid[1]);
    let mut params = vec![word(count)?, word(grid[0])?, word(grid[1])?, word(extents[0])?, word(extents[1])?];
    for start in piece.starts() {
        params.push(start_word(start)?);
    }
    for stride in [loops.inner_stride(0), loops.strides(1)[across]] {
        params.push(stride_word(stride)?);
    }
    let walk = offsets(outer.dims().len(), 2, params.len(), "outer");
    params.extend(loop_words(&outer, &[0, 1])?);
    let shader = Template::new("transpose", TILES)
        .with("type", copy_type(piece.bytes))
        .with("offsets", walk)
        .params(params.len())
        .build();
    let operands = [Operand::Input(piece.part.input), Operand::Output(piece.part.output)];
    Ok(Dispatch { shader, operands: operands.into_iter().collect(), params, groups: linear_groups(count)? })
}

fn start_word(start: isize) -> Result<u32, Decline> {
    usize::try_from(start).map_err(|_| Decline("a position before the first element".into())).and_then(word)
}

fn stride_word(stride: isize) -> Result<u32, Decline> {
    let stride = i32::try_from(stride).map_err(|_| Decline(format!("a stride of {stride}")))?;
    Ok(stride as u32)
}
