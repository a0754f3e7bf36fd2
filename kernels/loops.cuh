// Nested loops over operands with strides: from the number of an element to where each operand has it.

template <int Rank, int Count> struct Loops {
    // From the innermost loop outwards.
    u32 extents[Rank];
    i32 strides[Count][Rank];

    // Where the operands have element `index`.
    __device__ void walk(u32 index, u32 (&at)[Count]) const {
        for (int operand = 0; operand < Count; operand++) at[operand] = 0;
#pragma unroll
        for (int axis = 0; axis < Rank; axis++) {
            u32 place = index;
            if (axis + 1 < Rank) {
                u32 rest = index / extents[axis];
                place = index - rest * extents[axis];
                index = rest;
            }
#pragma unroll
            for (int operand = 0; operand < Count; operand++) at[operand] += place * (u32)strides[operand][axis];
        }
    }
};
