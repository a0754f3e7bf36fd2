//! `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool` of f32: reductions over the spatial axes.

use inferrum_backend::Decline;
use inferrum_ops::global_pool::GlobalPool;

use crate::kernel::{Lowered, Lowering};
use crate::reduce::{Fold, Join, lower_fold};

pub(crate) fn lower(op: &GlobalPool, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let fold = match op {
        GlobalPool::Average => Fold::sum("x", "total / count"),
        // A number is greater than NaN.
        GlobalPool::Max => Fold::all(Join::GreatestNumber),
        GlobalPool::Lp { p } if *p == 1.0 => Fold::sum("abs(x)", "total"),
        GlobalPool::Lp { p } if *p == 2.0 => Fold::sum("x * x", "sqrt(total)"),
        GlobalPool::Lp { p } => Fold::sum(
            format!("power(abs(x), bitcast<f32>({}u))", p.to_bits()),
            format!("power(total, bitcast<f32>({}u))", p.recip().to_bits()),
        ),
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
