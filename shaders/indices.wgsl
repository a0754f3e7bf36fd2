// Indices, which may count from the end.

alias Index = {{index}};

/// Stands for an index that is not on its axis.
const NOWHERE: u32 = 0xffffffffu;

#if faults
@group(0) @binding({{fault}}) var<storage, read_write> fault: array<atomic<u32>>;
#endif

/// The position that an index means on an axis of `extent`.
fn position(index: Index, extent: u32) -> u32 {
#if wide
    let low = bitcast<i32>(index.x);
    let fits = bitcast<i32>(index.y) == (low >> 31u);
#else
    let low = index;
    let fits = true;
#endif
    let at = bitcast<u32>(low) + select(0u, extent, low < 0);
    if (fits && at < extent) { return at; }
#if faults
#if wide
    tell(index.x, index.y, extent);
#else
    tell(bitcast<u32>(index), select(0u, NOWHERE, index < 0), extent);
#endif
#endif
    return NOWHERE;
}
