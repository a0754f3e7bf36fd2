// Tuples of DEPTH indices that name slices.

struct Tuples {
    // Tuples and slices of a batch.
    u32 tuples;
    u32 slices;
    // Of each axis that is indexed: its extent, and how many slices lie between neighbours.
    u32 extents[DEPTH];
    u32 strides[DEPTH];

    // The number of the slice that a tuple names.
    __device__ u32 slice(u32 tuple, const INDEX* indices, Fault* fault) const {
        u32 slice = tuple / tuples * slices;
        for (u32 axis = 0; axis < DEPTH; axis++) {
            u32 at = position(indices[tuple * DEPTH + axis], extents[axis], fault);
            if (at == NOWHERE) return NOWHERE;
            slice += at * strides[axis];
        }
        return slice;
    }
};
