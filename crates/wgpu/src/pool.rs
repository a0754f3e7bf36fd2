//! `MaxPool` and `AveragePool` of planar images and volumes.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::pool::{AveragePool, LpPool, MaxPool};
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::conv::window_words;
use crate::conv_volume::volume_words;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word, words};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/pool.wgsl");
const VOLUME: &str = include_str!("../../../shaders/pool_volume.wgsl");

/// How the elements of a window are combined, in WGSL.
struct Pool {
    neutral: &'static str,
    join: String,
    finish: String,
    count_include_pad: bool,
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
    let elements = lowering.output_shape(0)?.elements();
    let mut params = words([elements, window.positions()])?;
    let volume = window.input.len() == 3;
    params.extend(if volume { volume_words(&window)? } else { window_words(&window)? });
    match window.pads_end[..] {
        [right] => params.extend([0, word(right)?]),
        [below, right] => params.extend(words([below, right])?),
        [behind, below, right] => params.extend(words([behind, below, right])?),
        _ => return Err(Decline(format!("an image of {} spatial axes", window.input.len()))),
    }
    let element = storage::words(dtype).ok_or_else(|| Decline(format!("pools of {dtype}")))?;
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.write("y", element, Operand::Output(0));
    let shader = Template::new("pool", if volume { VOLUME } else { SOURCE })
        .including(FUNCTIONS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("type", if dtype == DType::F16 { "f32" } else { element })
        .with("element", element)
        .with("neutral", pool.neutral)
        .with("join", pool.join)
        .with("finish", pool.finish)
        .switch("count_include_pad", pool.count_include_pad)
        .build();
    Ok(Lowered::one("pool", Dispatch::over(elements, shader, bindings.operands(), params)?))
}

impl Pool {
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
        Ok(Pool { neutral, join: join.into(), finish: "total".into(), count_include_pad: false })
    }

    fn average(count_include_pad: bool) -> Pool {
        let finish = "total / f32(max(count, 1u))".into();
        Pool { neutral: "0.0", join: "total += value;".into(), finish, count_include_pad }
    }

    fn norm(p: f32) -> Pool {
        let of = |x: &str, p: f32| format!("power({x}, bitcast<f32>({}u))", p.to_bits());
        let join = format!("total += {};", of("abs(value)", p));
        Pool { neutral: "0.0", join, finish: of("total", p.recip()), count_include_pad: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random, random_of};
    use inferrum_ops::window::{Extents, Padding, WindowSpec};
    use inferrum_tensor::Tensor;

    fn spec(kernel: &[usize], strides: usize, dilations: usize, pads: [usize; 2], ceil: bool) -> WindowSpec {
        let all = |n: usize| Extents::from_elem(n, kernel.len());
        WindowSpec {
            kernel: Extents::from_slice(kernel),
            strides: all(strides),
            dilations: all(dilations),
            padding: Padding::Explicit { begin: all(pads[0]), end: all(pads[1]) },
            ceil,
        }
    }

    #[test]
    fn windows_of_every_kind() {
        for (shape, kernel) in [
            (&[2usize, 3, 9, 8][..], &[3usize, 3][..]),
            (&[1, 2, 17, 5], &[2, 3]),
            (&[2, 3, 21], &[4]),
            (&[0, 3, 9, 9], &[2, 2]),
            (&[1, 1, 7, 7], &[1, 1]),
            (&[2, 3, 6, 7, 8], &[3, 2, 3]),
        ] {
            for (stride, dilation, pads, ceil) in [
                (1, 1, [0, 0], false),
                (2, 1, [0, 1], false),
                (2, 1, [0, 0], true),
                (3, 1, [0, 0], true),
                (1, 2, [0, 0], false),
            ] {
                let window = spec(kernel, stride, dilation, pads, ceil);
                let x = random(shape, 1);
                let max = MaxPool { window: window.clone(), column_major: false, indices: false };
                agree(max.clone(), std::slice::from_ref(&x), Tolerance::EXACT);
                agree(max.clone(), &[random_of(DType::U8, shape, 1)], Tolerance::EXACT);
                agree(max, &[random_of(DType::I8, shape, 1)], Tolerance::EXACT);
                for count_include_pad in [false, true] {
                    let op = AveragePool { window: window.clone(), count_include_pad };
                    agree(op, std::slice::from_ref(&x), Tolerance::CLOSE);
                }
                agree(LpPool { window, p: 3.0 }, &[x], Tolerance { relative: 1e-4, absolute: 1e-5 });
            }
        }
    }

    #[test]
    fn a_number_beats_nan() {
        let op = MaxPool { window: spec(&[2], 1, 1, [1, 1], false), column_major: false, indices: false };
        let x = Tensor::from_vec([1, 1, 5], vec![f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN, f32::NAN]);
        agree(op, &[x.unwrap()], Tolerance::EXACT);
    }
}
