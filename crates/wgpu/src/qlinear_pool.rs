//! `QLinearAveragePool` and `QLinearGlobalAveragePool`: sums of integers, and the least sum of every result, found beforehand, so
//! that results are exact.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::qlinear_pool::QLinearPool;
use inferrum_ops::window::{Extents, Padding, Window, WindowSpec};
use inferrum_tensor::Shape;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand};
use crate::pool::Pool;
use crate::requantize::{constant_float, constant_int, range};
use crate::storage;

const REACHED: &str = include_str!("../../../shaders/qlinear_pool.wgsl");

/// Results but the least one.
const STEPS: usize = 255;

/// Different numbers of elements in windows at most.
const MOST_COUNTS: usize = 256;

pub(crate) fn lower(op: &QLinearPool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (x_scale, x_zero) = (constant_float(lowering, 1)?, constant_int(lowering, 2)?);
    let of_y = (constant_float(lowering, 3)?, constant_int(lowering, 4)?);
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    let least = i64::from(range(dtype)?.0);
    let (window, include_pads) = window(op, &shape)?;
    if !(x_scale > 0.0 && of_y.0 > 0.0) || window.taps() > 1 << 20 {
        return Err(Decline("a scale that is not positive, or a large window".into()));
    }
    let counts: Vec<usize> =
        window.elements_in_windows(include_pads).into_iter().map(|count| count.max(1)).collect();
    let mut different = counts.clone();
    different.sort_unstable();
    different.dedup();
    if different.len() > MOST_COUNTS {
        return Err(Decline(format!("windows of {} sizes", different.len())));
    }
    let most = window.taps() as i64 * 255;
    let bounds: Vec<u32> = different
        .iter()
        .flat_map(|&count| {
            least_sums(most, move |sum| {
                QLinearPool::quantized(sum as f64 / count as f64, x_scale, of_y, dtype) - least
            })
        })
        .collect();
    let slots: Vec<u32> =
        counts.iter().map(|count| different.binary_search(count).unwrap_or(0) as u32).collect();

    let element = storage::words(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")))?;
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.read("bounds", "i32", Operand::Table(Arc::from(bounds)));
    bindings.read("slots", "u32", Operand::Table(Arc::from(slots)));
    bindings.write("y", element, Operand::Output(0));
    let pool = Pool {
        neutral: "0",
        join: format!("total += value - ({x_zero});"),
        finish: format!("i32(reached(total, place, {STEPS}u)) + ({})", least),
        count_include_pad: false,
        functions: REACHED,
    };
    pool.lower("qlinear pool", &window, "i32", bindings, lowering)
}

/// The windows of a pool, and whether padding counts among their elements.
fn window(op: &QLinearPool, x: &Shape) -> Result<(Window, bool), Decline> {
    let (spec, include_pads) = match op {
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
    Ok((spec.pool(x).map_err(|error| Decline(error.to_string()))?, include_pads))
}

/// For each step from 1 on the least sum between `-most` and `most` that reaches it, which is `most + 1` if none does. The
/// function grows with the sum.
fn least_sums(most: i64, step_of: impl Fn(i64) -> i64) -> impl Iterator<Item = u32> {
    (1..=STEPS as i64).map(move |step| {
        let (mut low, mut high) = (-most, most + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if step_of(middle) >= step {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low as i32 as u32
    })
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
