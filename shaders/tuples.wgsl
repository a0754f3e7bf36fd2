// Tuples of indices that name slices. Words: tuples of a batch; slices of a batch; for each axis its extent and its stride in slices.

const DEPTH: u32 = {{depth}}u;

@group(0) @binding(1) var<storage, read> indices: array<Index>;

/// The number of the slice that a tuple names.
fn slice_of(tuple: u32) -> u32 {
    var slice = tuple / param(0u) * param(1u);
    for (var axis = 0u; axis < DEPTH; axis++) {
        let at = position(indices[tuple * DEPTH + axis], param(2u + 2u * axis));
        if (at == NOWHERE) { return NOWHERE; }
        slice += at * param(3u + 2u * axis);
    }
    return slice;
}
