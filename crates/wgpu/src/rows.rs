//! Rows that are reduced: by a workgroup each where they are long or few, by an invocation each otherwise.

use inferrum_backend::Decline;

use crate::abilities::Abilities;
use crate::kernel::{Dispatch, Operand, WORKGROUP, linear_groups};
use crate::shader::{Shader, Template};

const SOURCE: &str = include_str!("../../../shaders/rows.wgsl");

/// Elements from which a workgroup takes a row of neighbours.
const LONG: usize = 32;

/// Rows from which there are enough of them for an invocation each, if their elements do not lie side by side.
const MANY: usize = 4096;

/// How rows are shared out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    count: usize,
    /// Invocations of a row.
    lanes: usize,
}

impl Rows {
    /// `count` rows of `extent` elements, which lie side by side or not.
    pub(crate) fn of(count: usize, extent: usize, side_by_side: bool) -> Rows {
        let grouped = if side_by_side { extent >= LONG } else { extent >= 4 * LONG && count < MANY };
        let lanes = match extent {
            _ if !grouped => 1,
            0..1024 => 64,
            _ => 256,
        };
        Rows { count, lanes }
    }

    /// Puts the functions that the rows' shaders call before one, and fills in the size of workgroups. A workgroup joins what its
    /// invocations have by subgroups where the adapter has them.
    pub(crate) fn fill(self, template: Template, abilities: &Abilities) -> Template {
        template
            .subgroups(abilities.subgroups && self.lanes > 1)
            .including(SOURCE)
            .with("lanes", self.lanes)
            .with("size", if self.lanes > 1 { self.lanes } else { WORKGROUP })
            .switch("grouped", self.lanes > 1)
    }

    /// The dispatch for all rows.
    ///
    /// # Errors
    /// More rows than the adapter counts.
    pub(crate) fn dispatch(
        self,
        shader: Shader,
        operands: &[Operand],
        params: Vec<u32>,
    ) -> Result<Dispatch, Decline> {
        if self.lanes == 1 {
            return Dispatch::over(self.count, shader, operands, params);
        }
        let groups = linear_groups(self.count)?;
        Ok(Dispatch { shader, operands: operands.iter().cloned().collect(), params, groups })
    }
}
