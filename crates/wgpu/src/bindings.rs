//! The buffers of a shader and their declarations.
//!
//! Floats are computed with as f32, however they are stored: shaders read `f32(x[i])` and write `Out(value)`, where `Out` is the
//! type of the first output of floats.

use std::fmt::Write as _;

use smallvec::SmallVec;

use crate::kernel::Operand;

/// Buffers from binding 1 on, in the order in which they are added.
#[derive(Default)]
pub(crate) struct Bindings {
    declarations: String,
    operands: SmallVec<[Operand; 4]>,
}

impl Bindings {
    /// A buffer that is read, of elements of a WGSL type.
    pub(crate) fn read(&mut self, name: &str, element: &str, operand: Operand) {
        self.add(name, element, "read", operand);
    }

    /// A buffer that is written, and may be read.
    pub(crate) fn write(&mut self, name: &str, element: &str, operand: Operand) {
        self.add(name, element, "read_write", operand);
    }

    fn add(&mut self, name: &str, element: &str, access: &str, operand: Operand) {
        let float = matches!(operand, Operand::Output(_)) && matches!(element, "f16" | "f32");
        if access == "read_write" && float && !self.declarations.contains("alias Out =") {
            let _ = writeln!(self.declarations, "alias Out = {element};");
        }
        self.operands.push(operand);
        let binding = self.operands.len();
        let _ = writeln!(
            self.declarations,
            "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;"
        );
    }

    /// What stands for `{{buffers}}`.
    pub(crate) fn declarations(&self) -> &str {
        &self.declarations
    }

    pub(crate) fn operands(&self) -> &[Operand] {
        &self.operands
    }
}
