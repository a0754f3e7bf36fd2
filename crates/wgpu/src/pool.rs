//! `MaxPool` and `AveragePool` of planar images and volumes.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::pool::{AveragePool, LpPool, MaxPool};
use inferrum_ops::window::Window;
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::window::{axes, window_words};

const SOURCE: &str = include_str!("../../../shaders/pool.wgsl");

/// How the elements of a window are combined, in WGSL.
pub(crate) struct Pool {
    /// What `total` is at first.
    pub(crate) neutral: &'static str,
    /// A statement that takes `value` into `total`, of which it is the `count`th.
    pub(crate) join: String,
    /// What becomes of `total` at `place` in the output image.
    pub(crate) finish: String,
    pub(crate) count_include_pad: bool,
    /// Functions that these call.
    pub(crate) functions: &'static str,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let dtype = lowering.dtype(0)?;
    let (spec, pool) = if let Some(op) = any.downcast_ref::<MaxPool>() {
        if lowering.wants(1) {
            return Err(Decline("the indices of the greatest elements".into()));
        }
        (&op.window, Pool::max(dtype)?)
    } else if let Some(op) = any.downcast_ref::<AveragePool>() {
        (&op.window, Pool::average(op.count_include_pad))
    } else if let Some(op) = any.downcast_ref::<LpPool>() {
        (&op.window, Pool::norm(op.p))
    } else {
        return Err(Decline("another operator".into()));
    };
    if !any.is::<MaxPool>() {
        lowering.float(0)?;
    }
    let window = spec.pool(&lowering.shape(0)?).map_err(|error| Decline(error.to_string()))?;
    let element = storage::words(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")))?;
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.write("y", element, Operand::Output(0));
    pool.lower("pool", &window, if dtype == DType::F16 { "f32" } else { element }, bindings, lowering)
}

impl Pool {
    /// The kernel; `x` and `y` are bound, and elements are of type `sums` while they are combined.
    ///
    /// # Errors
    /// More axes or elements than it takes.
    pub(crate) fn lower(
        self,
        name: &'static str,
        window: &Window,
        sums: &'static str,
        bindings: Bindings,
        lowering: &Lowering<'_>,
    ) -> Result<Lowered, Decline> {
        let elements = lowering.output_shape(0)?.elements();
        let mut params = words([elements, window.positions()])?;
        params.extend(window_words(window, 3)?);
        params.extend(axes(&window.pads_end, 0, 3)?);
        let dtype = lowering.output_dtype(0)?;
        let element = storage::words(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")))?;
        let shader = Template::new(name, SOURCE)
            .including(FUNCTIONS)
            .including(self.functions)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .with("type", sums)
            .with("element", element)
            .with("neutral", self.neutral)
            .with("join", self.join)
            .with("finish", self.finish)
            .switch("count_include_pad", self.count_include_pad)
            .build();
        Ok(Lowered::one(name, Dispatch::over(elements, shader, bindings.operands(), params)?))
    }

    fn max(dtype: DType) -> Result<Pool, Decline> {
        let (neutral, join) = match dtype {
            // A number beats NaN.
            DType::F16 | DType::F32 => (
                "-infinity()",
                "if (count == 0u || value > total || (is_nan(total) && !is_nan(value))) { total = value; }",
            ),
            DType::I8 => ("-128", "total = max(total, value);"),
            DType::U8 => ("0", "total = max(total, value);"),
            other => return Err(Decline(format!("the greatest of {other}"))),
        };
        Ok(Pool {
            neutral,
            join: join.into(),
            finish: "total".into(),
            count_include_pad: false,
            functions: "",
        })
    }

    fn average(count_include_pad: bool) -> Pool {
        let finish = "total / f32(max(count, 1u))".into();
        Pool { neutral: "0.0", join: "total += value;".into(), finish, count_include_pad, functions: "" }
    }

    fn norm(p: f32) -> Pool {
        let of = |x: &str, p: f32| format!("power({x}, bitcast<f32>({}u))", p.to_bits());
        let join = format!("total += {};", of("abs(value)", p));
        Pool { neutral: "0.0", join, finish: of("total", p.recip()), count_include_pad: false, functions: "" }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::pool;

    #[test]
    fn windows_of_every_kind() {
        agree_on(pool::windows_of_every_kind(), Tolerance::CLOSE);
    }

    #[test]
    fn whole_images() {
        agree_on(pool::whole_images(), Tolerance::CLOSE);
    }

    #[test]
    fn a_number_beats_nan() {
        agree_on(pool::a_number_beats_nan(), Tolerance::EXACT);
    }
}
