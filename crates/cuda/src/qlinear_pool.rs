//! `QLinearAveragePool` and `QLinearGlobalAveragePool`: sums of integers, whose means are quantised in float64, so that results are
//! exact.

use inferrum_backend::Decline;
use inferrum_ops::qlinear_pool::QLinearPool;
use inferrum_ops::window::{Extents, Padding, Window, WindowSpec};
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Lowered, Lowering, Operand, c_type};
use crate::pool::Pool;

const QUANTIZED: &str = include_str!("../../../kernels/qlinear_pool.cuh");

/// Elements of a window at most, so that a sum of bytes fits 32 bits.
const MOST: usize = 1 << 22;

pub(crate) fn lower(op: &QLinearPool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    let (window, pads_count) = window(op, &shape)?;
    if window.taps() > MOST {
        return Err(Decline(format!("windows of {} elements", window.taps())));
    }
    let element = c_type(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")))?;
    let (least, most) = if dtype == DType::I8 { (-128, 127) } else { (0, 255) };
    let mut more = Vec::new();
    for (name, input) in [("x_scale", 1), ("y_scale", 3)] {
        more.push((format!("const float* {name}"), Operand::Input(input)));
    }
    let mut zero = |name: &str, input: usize| {
        if !lowering.has(input) {
            return "0".to_owned();
        }
        more.push((format!("const {element}* {name}"), Operand::Input(input)));
        format!("i32({name}[0])")
    };
    let (x_zero, y_zero) = (zero("x_zero", 2), zero("y_zero", 4));
    let pool = Pool {
        total: "i32",
        start: "0",
        join: format!("total += value - {x_zero}"),
        finish: format!("quantized_mean(total, count, x_scale[0], y_scale[0], {y_zero}, {least}, {most})"),
        pads_count,
        more,
    };
    let fill = |template: crate::source::Template| template.including(QUANTIZED).switch("INDICES", false);
    pool.lower("qlinear pool", &window, lowering, fill)
}

/// The windows of a pool, and whether padding counts among their elements.
fn window(op: &QLinearPool, x: &Shape) -> Result<(Window, bool), Decline> {
    let (spec, pads_count) = match op {
        QLinearPool::Window(pool) => (pool.window.clone(), pool.count_include_pad),
        QLinearPool::Global => {
            let spatial = x.get(2..).unwrap_or_default();
            let all = |value: usize| Extents::from_elem(value, spatial.len());
            let padding = Padding::Explicit { begin: all(0), end: all(0) };
            let kernel = Extents::from_slice(spatial);
            (WindowSpec { kernel, strides: all(1), dilations: all(1), padding, ceil: false }, false)
        }
    };
    if spec.kernel.contains(&0) {
        return Err(Decline("an image without elements".into()));
    }
    Ok((spec.pool(x).map_err(|error| Decline(error.to_string()))?, pads_count))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::qlinear_pool;

    #[test]
    fn means_are_exact() {
        agree_on(qlinear_pool::means_are_exact(), Tolerance::EXACT);
    }
}
