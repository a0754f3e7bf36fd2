//! `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool`: reductions over the spatial axes.

use inferrum_backend::Decline;
use inferrum_ops::global_pool::GlobalPool;

use crate::kernel::{Lowered, Lowering};
use crate::reduce::{Fold, lower_fold};

pub(crate) fn lower(op: &GlobalPool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.float(0)?;
    let fold = match op {
        GlobalPool::Average => Fold::mean(),
        // A number is greater than NaN.
        GlobalPool::Max => Fold::greatest_number(),
        GlobalPool::Lp { p } if *p == 1.0 => Fold::sum("fabsf(x)", "total"),
        GlobalPool::Lp { p } if *p == 2.0 => Fold::sum("x * x", "sqrtf(total)"),
        GlobalPool::Lp { p } => {
            let power = |of: &str, p: f32| format!("powf({of}, __uint_as_float({}u))", p.to_bits());
            Fold::sum(power("fabsf(x)", *p), power("total", p.recip()))
        }
    };
    let reduced: Vec<bool> = (0..lowering.shape(0)?.rank()).map(|axis| axis >= 2).collect();
    lower_fold(&fold, &reduced, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::global_pool;

    #[test]
    fn every_pool_of_every_size() {
        agree_on(global_pool::every_pool_of_every_size(), Tolerance { relative: 5e-5, absolute: 1e-5 });
    }
}
