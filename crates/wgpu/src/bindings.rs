//! The buffers of a shader and their declarations.

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
