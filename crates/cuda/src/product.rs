//! Matrix products: what the factors and the result are, and the kernel of a [`Form`] around them.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_tensor::DType;

use crate::driver::ALIGNMENT;
use crate::epilogue::{Bias, Epilogue, fill_parts, same_float};
use crate::form::{Form, Question, Tile, Units};
use crate::kernel::{Kernel, Lowered, Lowering, Multiplication, Operand, Work, float_type, word, words};
use crate::library::{self, Activation, Element, Matrix};
use crate::loops::loop_words;
use crate::source::{Source, Template};
use crate::stream;

/// What all forms have in common.
pub(crate) const SOURCE: &str = include_str!("../../../kernels/product.cuh");
const OPERAND: &str = include_str!("../../../kernels/operand.cuh");
const IMAGES: &str = include_str!("../../../kernels/images.cuh");
const SUMS: &str = include_str!("../../../kernels/sums.cuh");
const MATRICES: &str = include_str!("../../../kernels/matrices.cuh");
const TILES: &str = include_str!("../../../kernels/product.cu");
const ADD: &str = include_str!("../../../kernels/split_sums.cu");
const ASYNC: &str = include_str!("../../../kernels/async.cuh");
const MMA: &str = include_str!("../../../kernels/mma.cuh");

/// Products of `m` x `k` by `k` x `n`.
pub(crate) struct Product {
    pub(crate) name: &'static str,
    /// Loops over the products; operands are where A and B of each begin.
    pub(crate) batches: Loops,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Factor,
    pub(crate) b: Factor,
    pub(crate) epilogue: Epilogue,
    /// In blocks of how many products a sum is added, each with one rounding; None where the order is free.
    pub(crate) block: Option<usize>,
    /// What is launched before, and the memory that it fills: the product's operands may be `Scratch(0)`.
    pub(crate) before: Option<(Kernel, usize)>,
}

/// A factor: A with rows, or B with columns, along its outer axis.
pub(crate) struct Factor {
    pub(crate) operand: Operand,
    pub(crate) dtype: DType,
    /// Elements from one place of the outer axis to the next.
    pub(crate) outer: usize,
    /// Elements from one depth to the next.
    pub(crate) depth: usize,
    /// Whether it is read along the depth.
    pub(crate) by_depth: bool,
    /// Elements that are read at once; all begin at multiples of as many, and none goes over an edge.
    pub(crate) width: usize,
    /// B may be read through windows over images.
    pub(crate) images: Option<Images>,
}

/// Windows over images, as images.cuh has them.
pub(crate) struct Images {
    /// The table of taps.
    pub(crate) taps: Operand,
    /// The struct `Window`.
    pub(crate) window: Vec<u32>,
    /// 2 or 3.
    pub(crate) axes: usize,
    pub(crate) transposed: bool,
    /// So many depths, from a multiple of as many on, are channels of one tap.
    pub(crate) channels: usize,
}

impl Factor {
    /// A matrix in memory whose products begin `batches` elements apart. `extents` are those along the outer axis and the depth.
    pub(crate) fn matrix(
        operand: Operand,
        dtype: DType,
        [outer, depth]: [usize; 2],
        [outer_extent, depth_extent]: [usize; 2],
        batches: &[isize],
    ) -> Factor {
        let by_depth = depth == 1 && (outer != 1 || outer_extent == 1);
        let (step, along, extent) =
            if by_depth { (outer, depth, depth_extent) } else { (depth, outer, outer_extent) };
        let mut multiples = vec![step, extent];
        multiples.extend(batches.iter().map(|stride| stride.unsigned_abs()));
        let width = if along == 1 { widest(dtype, &multiples) } else { 1 };
        Factor { operand, dtype, outer, depth, by_depth, width, images: None }
    }
}

impl Factor {
    /// The factor with its outer places as rows, as it lies in memory; None if no axis has its elements side by side.
    fn stored(&self, [outer, depth]: [usize; 2], stride: usize) -> Option<Matrix> {
        if self.images.is_some() {
            return None;
        }
        // Of an axis with one place it does not matter where the next would be.
        match (self.outer, self.depth) {
            (leading, 1) => Some(Matrix { leading: leading.max(depth), stride, transposed: false }),
            (_, leading) if outer == 1 && depth == 1 => {
                Some(Matrix { leading: leading.max(1), stride, transposed: false })
            }
            (1, leading) => Some(Matrix { leading: leading.max(outer), stride, transposed: true }),
            _ => None,
        }
    }
}

fn element(dtype: DType) -> Option<Element> {
    match dtype {
        DType::F32 => Some(Element::F32),
        DType::F16 => Some(Element::F16),
        DType::BF16 => Some(Element::BF16),
        _ => None,
    }
}

/// Elements of a type that may be read at once if all of `multiples` are multiples of them.
pub(crate) fn widest(dtype: DType, multiples: &[usize]) -> usize {
    let fits =
        |&width: &usize| width * dtype.size() <= 16 && multiples.iter().all(|m| m.is_multiple_of(width));
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

impl Product {
    /// The kernel in the form that suits the device best.
    ///
    /// # Errors
    /// More elements than the kernel counts.
    pub(crate) fn lower(self, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        let forms = self.question(lowering).forms(lowering.abilities);
        #[cfg(test)]
        let forms = tests::forced(forms);
        let form = *forms.first().ok_or_else(|| Decline("no form fits the device".into()))?;
        let library = match form {
            Form::Tiles { .. } => self.multiplication(lowering).map(Box::new),
            // What only reads weights is no matter of arithmetic.
            Form::Stream { .. } => None,
        };
        #[cfg(test)]
        let library = library.filter(|_| !tests::is_forced());
        let name = format!("{} {}", self.name, form.name());
        let splits = form.splits();
        let mut kernels = Vec::new();
        let mut scratch = Vec::new();
        let parts = Operand::Scratch(usize::from(self.before.is_some()));
        kernels.push(match form {
            Form::Tiles { tile, splits } => self.tiles(tile, splits, &parts, lowering)?,
            Form::Stream { .. } => stream::kernel(&self, form, &parts, lowering)?,
        });
        if splits > 1 {
            kernels.push(self.adding(splits, &parts, lowering)?);
        }
        if let Some((before, bytes)) = self.before {
            kernels.insert(0, before);
            scratch.push(bytes);
        }
        if splits > 1 {
            let parts = [self.batches.elements(), splits, self.m, self.n.next_multiple_of(4)];
            scratch.push(parts.into_iter().fold(4, usize::saturating_mul));
        }
        Ok(Lowered::Work(Work { name, kernels, scratch, library }))
    }

    /// The product as libraries have it, if it is one.
    fn multiplication(&self, lowering: &Lowering<'_>) -> Option<Multiplication> {
        let Epilogue { alpha, bias, residual, activation, batch, row, images } = &self.epilogue;
        let dtype = same_float(self.a.dtype, self.b.dtype)?;
        let typed = |input: usize| lowering.dtype(input).ok() == Some(dtype);
        let plain = self.block.is_none()
            && self.before.is_none()
            && images.is_none()
            && *alpha == 1.0
            && lowering.output_dtype(0).ok() == Some(dtype)
            && residual.is_none_or(typed)
            && self.batches.dims().len() == 1
            && self.m.min(self.n).min(self.k) > 0;
        let by_column = |bias: &Bias| {
            bias.by_column && (bias.batch, bias.row, bias.scale) == (0, 0, 1.0) && typed(bias.input)
        };
        let activation = match activation {
            None => Activation::None,
            Some(FusedActivation::Relu) => Activation::Relu,
            Some(_) => return None,
        };
        if !plain || !bias.as_ref().is_none_or(by_column) {
            return None;
        }
        let count = self.batches.elements();
        let stride = |operand: usize| match count {
            1 => Some(0),
            _ => usize::try_from(self.batches.inner_stride(operand)).ok(),
        };
        let product = library::Product {
            m: self.m,
            n: self.n,
            k: self.k,
            batch: count,
            a: self.a.stored([self.m, self.k], stride(0)?)?,
            // B is k by n: what is outer here are its columns.
            b: self.b.stored([self.n, self.k], stride(1)?)?.turned(),
            d: Matrix { leading: *row, stride: if count > 1 { *batch } else { 0 }, transposed: false },
            factors: element(dtype)?,
            result: element(dtype)?,
            tf32: lowering.abilities.tf32,
            added: residual.is_some(),
            bias: bias.is_some(),
            activation,
            alignment: ALIGNMENT as u32,
        };
        let input = |input: Option<usize>| input.map_or(Operand::Nothing, Operand::Input);
        Some(Multiplication {
            product,
            a: self.a.operand.clone(),
            b: self.b.operand.clone(),
            c: input(*residual),
            bias: input(bias.as_ref().map(|bias| bias.input)),
            d: Operand::Output(0),
        })
    }

    fn question(&self, lowering: &Lowering<'_>) -> Question {
        let capability = lowering.abilities.capability;
        let tensor = match same_float(self.a.dtype, self.b.dtype) {
            Some(DType::F16) => capability >= 75,
            Some(DType::BF16) => capability >= 80,
            Some(DType::F32) => lowering.abilities.tf32 && capability >= 80,
            _ => false,
        };
        Question {
            batches: self.batches.elements(),
            m: self.m,
            n: self.n,
            k: self.k,
            bytes: self.a.dtype.size().max(self.b.dtype.size()),
            by_depth: [self.a.by_depth, self.b.by_depth],
            widths: [self.a.width, self.b.width],
            tensor,
            matrices: self.b.images.is_none(),
            ordered: self.block.is_some(),
        }
    }

    /// The struct `Extents`; parts of the depth are of multiples of `step`.
    pub(crate) fn extents(&self, splits: usize, step: usize) -> Result<Operand, Decline> {
        let part = self.k.div_ceil(splits).next_multiple_of(step);
        // What blocks go over the edges is counted as well.
        for (extent, batches) in
            [(self.m, 1), (self.n, 1), (self.k, 1), (self.m.saturating_mul(self.n), self.batches.elements())]
        {
            word(extent.saturating_mul(batches).saturating_add(1024))?;
        }
        Ok(Operand::words(&words([self.batches.elements(), self.m, self.n, self.k, splits, part])?))
    }

    /// The struct `Batches`, and the rank of its loops.
    pub(crate) fn loops(&self) -> Result<(Operand, usize), Decline> {
        let mut fields = words([self.a.outer, self.a.depth, self.b.outer, self.b.depth])?;
        fields.extend(loop_words(&self.batches, &[0, 1])?);
        Ok((Operand::words(&fields), self.batches.dims().len()))
    }

    /// Fills in where sums go: to the result, or to the parts that are added later on.
    pub(crate) fn fill_result(
        &self,
        template: Template,
        splits: usize,
        lowering: &Lowering<'_>,
    ) -> Result<Template, Decline> {
        if splits > 1 { Ok(fill_parts(template)) } else { self.epilogue.fill(self.n, template, lowering) }
    }

    /// The arguments of `RESULT_PARAMETERS`, likewise.
    pub(crate) fn result_operands(&self, splits: usize, parts: &Operand) -> Result<Vec<Operand>, Decline> {
        if splits > 1 { Ok(vec![parts.clone()]) } else { Ok(self.epilogue.operands()?.to_vec()) }
    }

    /// What adds the parts of all sums.
    fn adding(&self, splits: usize, parts: &Operand, lowering: &Lowering<'_>) -> Result<Kernel, Decline> {
        let template = Template::new("split_sums", ADD).define("BLOCK_M", 1).define("BLOCK_N", 1);
        let source = self.epilogue.fill(self.n, template, lowering)?.build();
        let mut operands = vec![parts.clone(), self.extents(splits, 1)?];
        operands.extend(self.epilogue.operands()?);
        let fours = [self.batches.elements(), self.m, self.n.div_ceil(4)];
        Kernel::over(fours.into_iter().fold(1, usize::saturating_mul), source, &operands)
    }

    fn tiles(
        &self,
        tile: Tile,
        splits: usize,
        parts: &Operand,
        lowering: &Lowering<'_>,
    ) -> Result<Kernel, Decline> {
        let depth = tile.depth(self.a.dtype.size());
        let pipelined = [&self.a, &self.b]
            .map(|factor| lowering.abilities.capability >= 80 && factor.width * factor.dtype.size() >= 4);
        let stages = if pipelined == [true; 2] { tile.stages } else { 2 };
        let (batches, rank) = self.loops()?;
        let mut operands =
            vec![self.a.operand.clone(), self.b.operand.clone(), self.extents(splits, depth)?, batches];
        operands.extend(self.block.map(Operand::word).transpose()?);
        if let Some(images) = &self.b.images {
            operands.extend([images.taps.clone(), Operand::words(&images.window)]);
        }
        operands.extend(self.result_operands(splits, parts)?);
        let source = self.source(tile, splits, stages, pipelined, rank, lowering)?;
        let blocks = [self.batches.elements(), splits, self.m.div_ceil(tile.m), self.n.div_ceil(tile.n)];
        let blocks = blocks.into_iter().fold(1, usize::saturating_mul);
        let bytes = [(&self.a, tile.m), (&self.b, tile.n)].map(|(factor, outer)| {
            Tile::elements(outer, depth, factor.by_depth, factor.dtype.size()) * factor.dtype.size()
        });
        let shared = (stages * (bytes[0] + bytes[1])) as u32;
        Ok(Kernel { shared, ..Kernel::blocks(blocks, tile.threads(), source, &operands)? })
    }

    fn source(
        &self,
        tile: Tile,
        splits: usize,
        stages: usize,
        pipelined: [bool; 2],
        rank: usize,
        lowering: &Lowering<'_>,
    ) -> Result<Source, Decline> {
        let mut template = Template::new("product", TILES)
            .define("BLOCK_M", tile.m)
            .define("BLOCK_N", tile.n)
            .define("BLOCK_K", tile.depth(self.a.dtype.size()))
            .define("THREADS", tile.threads())
            .define("AT_ONCE", tile.at_once())
            .define("STAGES", stages)
            .define("BATCH_AXES", rank)
            .switch("ORDERED", self.block.is_some())
            .switch("FROM_IMAGES", self.b.images.is_some());
        template = self.fill_result(template, splits, lowering)?;
        let names = [["TA", "A_BY_DEPTH", "A_WIDTH", "A_ASYNC"], ["TB", "B_BY_DEPTH", "B_WIDTH", "B_ASYNC"]];
        for ((factor, names), pipelined) in [&self.a, &self.b].into_iter().zip(names).zip(pipelined) {
            let float =
                float_type(factor.dtype).ok_or_else(|| Decline(format!("a product of {}", factor.dtype)))?;
            template = template
                .define(names[0], float)
                .switch(names[1], factor.by_depth)
                .define(names[2], factor.width)
                .switch(names[3], pipelined);
        }
        template = template.including(ASYNC).including(OPERAND);
        if let Some(images) = &self.b.images {
            template = images.fill(template, tile.depth(self.a.dtype.size()));
        }
        Ok(match tile.units {
            Units::Threads { across, down } => {
                template.define("THREADS_ACROSS", across).define("THREADS_DOWN", down).including(SUMS)
            }
            Units::Warps { across, down } => {
                template.define("WARPS_N", across).define("WARPS_M", down).including(MMA).including(MATRICES)
            }
        }
        .build())
    }
}

impl Images {
    /// Fills in what `images.cuh` asks for, of tiles of a depth.
    pub(crate) fn fill(&self, template: Template, depth: usize) -> Template {
        template
            .including(IMAGES)
            .define("AXES", self.axes)
            .switch("BACKWARDS", self.transposed)
            .switch("SAME_TAP", depth > 0 && self.channels.is_multiple_of(depth) && self.channels > 0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
