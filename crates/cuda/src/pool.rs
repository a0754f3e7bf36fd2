//! `MaxPool`, `AveragePool` and `LpPool` of planar images and volumes.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::pool::{AveragePool, LpPool, MaxPool};
use inferrum_ops::window::Window;
use inferrum_tensor::DType;

use crate::kernel::{Kernel, Lowered, Lowering, Operand, c_type, float_type};
use crate::reduce::{Fold, lower_fold};
use crate::source::Template;
use crate::window::{axes, window_words};

const SOURCE: &str = include_str!("../../../kernels/pool.cu");

/// How the elements of a window are combined, in C++.
pub(crate) struct Pool {
    /// The type of `total`.
    pub(crate) total: &'static str,
    /// What it is at first.
    pub(crate) start: &'static str,
    /// A statement that takes `value` into `total`, of which it is the `count`th.
    pub(crate) join: String,
    /// What becomes of `total`.
    pub(crate) finish: String,
    pub(crate) pads_count: bool,
    /// Further parameters, and what they are.
    pub(crate) more: Vec<(String, Operand)>,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if let Some(op) = any.downcast_ref::<MaxPool>() {
        let indices = lowering.wants(1);
        let mut pool = Pool::max(lowering.dtype(0)?, indices)?;
        if indices {
            pool.more.push(("i64* __restrict__ indices".into(), Operand::Output(1)));
        }
        return pool.lower(
            "max pool",
            &op.window.pool(&lowering.shape(0)?).map_err(declined)?,
            lowering,
            |it| it.switch("INDICES", indices).switch("COLUMN_MAJOR", op.column_major),
        );
    }
    lowering.float(0)?;
    let (window, pool) = if let Some(op) = any.downcast_ref::<AveragePool>() {
        (&op.window, Pool::average(op.count_include_pad))
    } else if let Some(op) = any.downcast_ref::<LpPool>() {
        (&op.window, Pool::norm(op.p))
    } else {
        return Err(Decline("another operator".into()));
    };
    let window = window.pool(&lowering.shape(0)?).map_err(declined)?;
    if any.is::<AveragePool>() && is_whole(&window) {
        let reduced: Vec<bool> = (0..lowering.shape(0)?.rank()).map(|axis| axis >= 2).collect();
        return lower_fold(&Fold::mean(), &reduced, lowering);
    }
    pool.lower("pool", &window, lowering, |template| template.switch("INDICES", false))
}

/// Whether there is one window, and it is the whole image.
fn is_whole(window: &Window) -> bool {
    let none = |pads: &[usize]| pads.iter().all(|&pad| pad == 0);
    window.kernel == window.input
        && window.positions() == 1
        && none(&window.pads_begin)
        && none(&window.pads_end)
        && window.dilations.iter().all(|&dilation| dilation == 1)
}

fn declined(error: inferrum_graph::OpError) -> Decline {
    Decline(error.to_string())
}

impl Pool {
    /// The kernel; `fill` defines what is left.
    ///
    /// # Errors
    /// More axes or elements than it takes.
    pub(crate) fn lower(
        self,
        name: &'static str,
        window: &Window,
        lowering: &Lowering<'_>,
        fill: impl FnOnce(Template) -> Template,
    ) -> Result<Lowered, Decline> {
        let outputs = lowering.output_shape(0)?.elements();
        Operand::word(lowering.shape(0)?.elements())?;
        let mut words = crate::kernel::words([outputs, window.positions()])?;
        words.extend(window_words(window, 3)?);
        words.extend(axes(&window.pads_end, 0, 3)?);
        let element = |dtype: DType| c_type(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")));
        let more: String = self.more.iter().map(|(parameter, _)| format!(", {parameter}")).collect();
        let template = Template::new("pool", SOURCE)
            .define("X", element(lowering.dtype(0)?)?)
            .define("Y", element(lowering.output_dtype(0)?)?)
            .define("TOTAL", self.total)
            .define("START", self.start)
            .define("JOIN", self.join)
            .define("FINISH", self.finish)
            .define("MORE", more)
            .switch("PADS_COUNT", self.pads_count);
        let mut operands = vec![Operand::Input(0), Operand::Output(0), Operand::words(&words)];
        operands.extend(self.more.into_iter().map(|(_, operand)| operand));
        Ok(Lowered::one(name, Kernel::over(outputs, fill(template).build(), &operands)?))
    }

    fn max(dtype: DType, indices: bool) -> Result<Pool, Decline> {
        let (total, start) = match dtype {
            _ if float_type(dtype).is_some() => ("float", "-__uint_as_float(0x7f800000u)"),
            DType::I8 => ("i32", "-128"),
            DType::U8 => ("i32", "0"),
            other => return Err(Decline(format!("the greatest of {other}"))),
        };
        let best = if indices { "best = from; " } else { "" };
        // A number beats NaN, the first of equals stays.
        let join = format!(
            "if (count == 0 || value > total || (total != total && value == value)) {{ {best}total = value; }}"
        );
        Ok(Pool { total, start, join, finish: "total".into(), pads_count: false, more: Vec::new() })
    }

    fn average(pads_count: bool) -> Pool {
        let finish = "total / float(count > 0 ? count : 1)".into();
        Pool {
            total: "float",
            start: "0.0f",
            join: "total += value".into(),
            finish,
            pads_count,
            more: Vec::new(),
        }
    }

    fn norm(p: f32) -> Pool {
        let of = |x: &str, p: f32| format!("powf({x}, __uint_as_float({}u))", p.to_bits());
        let (join, finish) = match p {
            1.0 => ("total += fabsf(value)".into(), "total".into()),
            2.0 => ("total = fmaf(value, value, total)".into(), "sqrtf(total)".into()),
            _ => (format!("total += {}", of("fabsf(value)", p)), of("total", p.recip())),
        };
        Pool { total: "float", start: "0.0f", join, finish, pads_count: false, more: Vec::new() }
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
    fn a_number_beats_nan() {
        agree_on(pool::a_number_beats_nan(), Tolerance::EXACT);
    }

    #[test]
    fn whole_images() {
        agree_on(pool::whole_images(), Tolerance::CLOSE);
    }

    #[test]
    fn indices_of_the_greatest() {
        agree_on(pool::indices_of_the_greatest(), Tolerance::EXACT);
    }
}
