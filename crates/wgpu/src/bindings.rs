//! The buffers of a shader and their declarations.
//!
//! Floats are computed with as f32, however they are stored: shaders read `f32(x[i])` and write `Out(value)`, where `Out` is the
//! type of the first output of floats; so it is for vectors of four.

use std::fmt::Write as _;

use smallvec::SmallVec;

use crate::kernel::Operand;

/// Buffers from binding 1 on, in the order in which they are added.
#[derive(Clone, Default)]
pub(crate) struct Bindings {
    declared: Vec<Declared>,
    operands: SmallVec<[Operand; 4]>,
}

#[derive(Clone)]
struct Declared {
    name: String,
    element: String,
    access: &'static str,
    /// Whether it is an output of floats.
    out: bool,
}

/// A WGSL type of numbers, or vectors of four of them.
pub(crate) fn fours(element: &str, wide: bool) -> String {
    if wide { format!("vec4<{element}>") } else { element.to_owned() }
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

    fn add(&mut self, name: &str, element: &str, access: &'static str, operand: Operand) {
        let float = matches!(element, "f16" | "f32" | "vec4<f16>" | "vec4<f32>");
        let out = access == "read_write" && float && matches!(operand, Operand::Output(_));
        self.operands.push(operand);
        self.declared.push(Declared { name: name.into(), element: element.into(), access, out });
    }

    /// These, then those of `other`.
    pub(crate) fn and(mut self, other: &Bindings) -> Bindings {
        self.operands.extend(other.operands.iter().cloned());
        self.declared.extend(other.declared.iter().cloned());
        self
    }

    /// What stands for `{{buffers}}`.
    pub(crate) fn declarations(&self) -> String {
        let mut text = String::new();
        if let Some(first) = self.declared.iter().find(|declared| declared.out) {
            let _ = writeln!(text, "alias Out = {};", first.element);
        }
        for (place, Declared { name, element, access, .. }) in self.declared.iter().enumerate() {
            let binding = place + 1;
            let _ = writeln!(
                text,
                "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;"
            );
        }
        text
    }

    pub(crate) fn operands(&self) -> &[Operand] {
        &self.operands
    }
}
