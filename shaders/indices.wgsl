// Indices, which may count from the end.

alias Index = {{index}};

/// Stands for an index that is not on its axis.
const NOWHERE: u32 = 0xffffffffu;

/// The position that an index means on an axis of `extent`.
fn position(index: Index, extent: u32) -> u32 {
#if wide
    let low = bitcast<i32>(index.x);
    if (bitcast<i32>(index.y) != (low >> 31u)) { return NOWHERE; }
#else
    let low = index;
#endif
    let at = bitcast<u32>(low) + select(0u, extent, low < 0);
    return select(NOWHERE, at, at < extent);
}
