//! Runs a program over tensors, block by block.

use std::mem::MaybeUninit;

use inferrum_graph::OpError;
use smallvec::SmallVec;

use super::format::Format;
use super::function::{LANES, Pointer};
use super::program::{Code, Source, Target};
use crate::kernel::{Io, NodeKernel};
use crate::simd::{Isa, Kernel, Simd};
use crate::strided::{Cursor, Loops, MAX_OPERANDS};
use crate::threads::Shared;

/// Floats of all registers together: half of a small first-level cache.
pub(super) const REGISTER_FLOATS: usize = 6144;

/// Rows shorter than this are laid out element by element.
const SHORT_ROW: usize = 16;

/// A program with the loops over its inputs.
pub(super) struct Elementwise {
    pub(super) code: Code,
    pub(super) inputs: SmallVec<[Input; 4]>,
    /// The loops; operand `i` is `inputs[i]`.
    pub(super) loops: Loops,
    /// Whether blocks keep to rows of the innermost loop, or go over the elements as one long row.
    pub(super) by_rows: bool,
    pub(super) output: Format,
    pub(super) elements: usize,
    /// Elements that go through the registers at once.
    pub(super) block: usize,
    /// Elements that a thread takes at once; a multiple of `block` unless [`Elementwise::by_rows`].
    pub(super) task: usize,
    pub(super) isa: Isa,
}

/// An input of a program.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// Position among the node's inputs.
    pub(super) place: usize,
    pub(super) format: Format,
    /// Elements of the tensor.
    pub(super) elements: usize,
    pub(super) access: Access,
}

/// How a block of an input is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Where it lies.
    Direct,
    /// Where it lies, but widened into this register.
    Widened(usize),
    /// One element for all blocks.
    Scalar,
    /// Within a row one element or consecutive ones, widened into this register if it is given.
    Row(Option<usize>),
    /// The same elements for each block, laid out in this register once.
    Pattern(usize),
    /// Laid out in this register for each block.
    Laid(usize),
}

impl NodeKernel for Elementwise {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let mut bases = [Shared(std::ptr::null_mut()); MAX_OPERANDS];
        let output = io.output_bytes(0)?;
        if self.elements == 0 {
            return Ok(());
        }
        let (length, target) = (output.len(), Shared(output.as_mut_ptr()));
        let mut all_fit = length >= self.elements * self.output.size();
        for (base, input) in bases.iter_mut().zip(&self.inputs) {
            // An input that is not there has its elements in the output (see `in_place`).
            let (length, start) = match io.view(input.place) {
                Some(view) => (view.bytes.len(), view.bytes.as_ptr().cast_mut()),
                None => (length, target.get()),
            };
            all_fit &= length >= input.elements * input.format.size();
            *base = Shared(start);
        }
        if !all_fit {
            return Err(OpError::Invalid("a buffer is smaller than its shape".into()));
        }
        let tasks = self.elements.div_ceil(self.task);
        io.threads.par_for(tasks, |index| {
            let start = index * self.task;
            let end = self.elements.min(start + self.task);
            self.isa.dispatch(Range { kernel: self, bases: &bases, output: target, start, end });
        });
        Ok(())
    }
}

/// Elements `start..end` of the output.
struct Range<'a> {
    kernel: &'a Elementwise,
    bases: &'a [Shared<u8>; MAX_OPERANDS],
    output: Shared<u8>,
    start: usize,
    end: usize,
}

#[repr(C, align(64))]
struct Lanes([f32; LANES]);

#[repr(C, align(64))]
struct Registers([f32; REGISTER_FLOATS]);

impl Kernel for Range<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.kernel.code.registers == 0 {
            self.go(s, std::ptr::null_mut());
        } else {
            let mut registers = MaybeUninit::<Registers>::uninit();
            self.go(s, registers.as_mut_ptr().cast());
        }
    }
}

/// The work of one range while it runs.
struct State {
    pointers: [Pointer; MAX_OPERANDS],
    splats: [MaybeUninit<Lanes>; MAX_OPERANDS],
}

impl State {
    /// Points input `i` at one element, repeated.
    #[inline(always)]
    fn splat(&mut self, i: usize, value: f32) {
        let lanes = self.splats[i].write(Lanes([value; LANES]));
        self.pointers[i] = Pointer { data: lanes.0.as_ptr(), step: 0 };
    }

    #[inline(always)]
    fn point(&mut self, i: usize, data: *const f32) {
        self.pointers[i] = Pointer { data, step: 1 };
    }
}

// Soundness of this block: `run` has checked that each base holds the elements of its input and the output those of the
// loops; lowering has made the loops so that every offset lies within, registers so that `registers * block` floats fit
// the array, and `Pattern` inputs so that their period divides `block` and `start`. Ranges of other threads are
// disjoint, and an input in the output's place is read at the elements written, by the same thread, before the write.
impl Range<'_> {
    #[inline(always)]
    fn go<S: Simd>(&self, s: S, registers: *mut f32) {
        let kernel = self.kernel;
        let mut state = State {
            pointers: [Pointer { data: std::ptr::null(), step: 0 }; MAX_OPERANDS],
            splats: [const { MaybeUninit::uninit() }; MAX_OPERANDS],
        };
        self.prepare(&mut state, registers);
        let mut cursor = Cursor::new(&kernel.loops, if kernel.by_rows { self.start } else { 0 });
        let mut position = self.start;
        while position < self.end {
            let mut n = kernel.block.min(self.end - position);
            if kernel.by_rows {
                n = n.min(cursor.left());
                self.point_row(&mut state, &cursor, registers, n);
                cursor.advance(n);
            } else {
                self.point_block(&mut state, position, registers, n);
            }
            self.execute(s, &state, registers, position, n);
            position += n;
        }
    }

    /// Finds what stays the same for all blocks.
    #[inline(always)]
    fn prepare(&self, state: &mut State, registers: *mut f32) {
        for (i, input) in self.kernel.inputs.iter().enumerate() {
            match input.access {
                // SAFETY: see above; an input has an element where the output has one.
                Access::Scalar => state.splat(i, unsafe { input.format.read(self.bases[i].get(), 0) }),
                Access::Pattern(register) => {
                    let n = self.kernel.block.min(self.end - self.start);
                    let out = self.register(registers, register);
                    self.lay_out(i, self.start, out, n);
                    state.point(i, out);
                }
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn point_row(&self, state: &mut State, cursor: &Cursor<'_>, registers: *mut f32, n: usize) {
        for (i, input) in self.kernel.inputs.iter().enumerate() {
            let Access::Row(register) = input.access else { continue };
            let (base, offset) = (self.bases[i].get(), cursor.offset(i) as usize);
            if self.kernel.loops.inner_stride(i) == 0 {
                // SAFETY: see above.
                state.splat(i, unsafe { input.format.read(base, offset) });
            } else if let Some(register) = register {
                let out = self.register(registers, register);
                // SAFETY: see above; n is at most a block, the length of a register.
                unsafe { input.format.widen(base, offset, std::slice::from_raw_parts_mut(out, n)) };
                state.point(i, out);
            } else {
                // SAFETY: see above.
                state.point(i, unsafe { base.cast::<f32>().add(offset) });
            }
        }
    }

    #[inline(always)]
    fn point_block(&self, state: &mut State, position: usize, registers: *mut f32, n: usize) {
        for (i, input) in self.kernel.inputs.iter().enumerate() {
            let base = self.bases[i].get();
            match input.access {
                // SAFETY: see above.
                Access::Direct => state.point(i, unsafe { base.cast::<f32>().add(position) }),
                Access::Widened(register) => {
                    let out = self.register(registers, register);
                    // SAFETY: see above; n is at most a block, the length of a register.
                    unsafe { input.format.widen(base, position, std::slice::from_raw_parts_mut(out, n)) };
                    state.point(i, out);
                }
                Access::Laid(register) => {
                    let out = self.register(registers, register);
                    self.lay_out(i, position, out, n);
                    state.point(i, out);
                }
                Access::Scalar | Access::Pattern(_) | Access::Row(_) => {}
            }
        }
    }

    /// Writes the `n` elements of input `i` from output element `position` on, one after the other.
    #[inline(never)]
    fn lay_out(&self, i: usize, position: usize, out: *mut f32, n: usize) {
        let (input, base, loops) = (&self.kernel.inputs[i], self.bases[i].get(), &self.kernel.loops);
        let mut cursor = Cursor::new(loops, position);
        let mut done = 0;
        while done < n {
            let offset = cursor.offset(i) as usize;
            let rows = cursor.rows_left().min((n - done) / loops.inner());
            if rows > 1 && loops.inner() < SHORT_ROW {
                // SAFETY: see above; `done` and these rows are at most a block, the length of a register.
                unsafe { self.lay_out_rows(i, offset, out.add(done), rows) };
                done += rows * loops.inner();
                cursor.advance_rows(rows);
                continue;
            }
            let count = cursor.left().min(n - done);
            // SAFETY: see above; `done + count` is at most a block, the length of a register.
            unsafe {
                let out = std::slice::from_raw_parts_mut(out.add(done), count);
                if loops.inner_stride(i) == 0 {
                    out.fill(input.format.read(base, offset));
                } else {
                    input.format.widen(base, offset, out);
                }
            }
            done += count;
            cursor.advance(count);
        }
    }

    /// Writes `rows` short rows of input `i`, of which the first begins with element `offset`.
    ///
    /// # Safety
    /// The input must hold the rows, and `out` must be writable for them.
    unsafe fn lay_out_rows(&self, i: usize, offset: usize, out: *mut f32, rows: usize) {
        let (format, base, loops) = (self.kernel.inputs[i].format, self.bases[i].get(), &self.kernel.loops);
        let (inner, strides) = (loops.inner(), loops.strides(i));
        let (row_stride, step) = (strides[strides.len() - 2], strides[strides.len() - 1]);
        for row in 0..rows {
            let first = offset as isize + row as isize * row_stride;
            for column in 0..inner {
                // SAFETY: the caller vouches for the rows.
                unsafe {
                    let value = format.read(base, (first + column as isize * step) as usize);
                    *out.add(row * inner + column) = value;
                }
            }
        }
    }

    #[inline(always)]
    fn register(&self, registers: *mut f32, index: usize) -> *mut f32 {
        // SAFETY: see above.
        unsafe { registers.add(index * self.kernel.block) }
    }

    /// Runs the code on `n` elements.
    #[inline(always)]
    fn execute<S: Simd>(&self, s: S, state: &State, registers: *mut f32, position: usize, n: usize) {
        let code = &self.kernel.code;
        for instruction in &code.instructions {
            let operands = instruction.sources.map(
                #[inline(always)]
                |source| match source {
                    Source::Input(input) => state.pointers[input],
                    Source::Register(register) => {
                        Pointer { data: self.register(registers, register), step: 1 }
                    }
                    Source::Constant(constant) => {
                        Pointer { data: code.constants[constant].as_ptr(), step: 0 }
                    }
                },
            );
            let out = match instruction.target {
                Target::Register(register) => self.register(registers, register),
                // SAFETY: see above.
                Target::Output => unsafe { self.output.get().cast::<f32>().add(position) },
            };
            // SAFETY: see above.
            unsafe { instruction.function.apply(s, &operands, out, n) };
        }
        if let Some(result) = code.result {
            // SAFETY: see above.
            unsafe {
                let values = std::slice::from_raw_parts(self.register(registers, result), n);
                self.kernel.output.narrow(values, self.output.get(), position);
            }
        }
    }
}
