//! The memory plan of a region: which value lies where, and when its place is free again.

/// A buffer that the plan places: its size, and the first and last step that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Its size.
    pub bytes: usize,
    /// The first step that needs it.
    pub first: usize,
    /// The last step that needs it.
    pub last: usize,
}

/// An offset for each buffer, a multiple of `alignment`, so that buffers needed at the same time do not overlap, and the bytes of the whole.
///
/// Greedy by size: the largest first, each at the lowest place that is free throughout its lifetime (Pisarchyk and Lee,
/// "Efficient Memory Management for Deep Neural Net Inference", 2020).
pub fn place(lifetimes: &[Lifetime], alignment: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|&i| lifetimes[i].bytes > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].bytes), lifetimes[i].first));
    let mut offsets = vec![0usize; lifetimes.len()];
    let mut total = 0usize;
    // Placed buffers by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    for index in order {
        let wanted = lifetimes[index];
        let mut offset = 0usize;
        for &other in &placed {
            let theirs = lifetimes[other];
            if theirs.last < wanted.first || wanted.last < theirs.first {
                continue;
            }
            if offset.saturating_add(wanted.bytes) <= offsets[other] {
                break;
            }
            offset = offset.max(offsets[other].saturating_add(theirs.bytes).next_multiple_of(alignment));
        }
        offsets[index] = offset;
        total = total.max(offset.saturating_add(wanted.bytes));
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, index);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIGNMENT: usize = 64;

    proptest! {
        #[test]
        fn buffers_alive_together_do_not_overlap(
            raw in prop::collection::vec((0usize..500, 0usize..20, 0usize..6), 0..40)
        ) {
            let lifetimes: Vec<Lifetime> =
                raw.iter().map(|&(bytes, first, length)| Lifetime { bytes, first, last: first + length }).collect();
            let (offsets, total) = place(&lifetimes, ALIGNMENT);
            for (i, a) in lifetimes.iter().enumerate() {
                prop_assert!(offsets[i].is_multiple_of(ALIGNMENT) && offsets[i] + a.bytes <= total.max(offsets[i]));
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last && a.bytes > 0 && b.bytes > 0;
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(!together || apart, "{a:?} at {} and {b:?} at {}", offsets[i], offsets[j]);
                }
            }
            let sum: usize = lifetimes.iter().map(|l| l.bytes.next_multiple_of(ALIGNMENT)).sum();
            prop_assert!(total <= sum);
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> = (0..10).map(|i| Lifetime { bytes: 640, first: i, last: i + 1 }).collect();
        assert_eq!(place(&chain, ALIGNMENT).1, 1280);
    }
}
