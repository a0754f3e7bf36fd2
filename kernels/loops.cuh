// Nested loops over operands with strides: from the number of an element to where each operand has it.

template <int RANK, int OPERANDS> struct Loops {
    // From the innermost loop outwards.
    u32 extents[RANK];
    i32 strides[OPERANDS][RANK];

    // Where the operands have element `index`.
    __device__ void walk(u32 index, u32 (&at)[OPERANDS]) const {
        for (int operand = 0; operand < OPERANDS; operand++) at[operand] = 0;
#pragma unroll
        for (int axis = 0; axis < RANK; axis++) {
            u32 place = index;
            if (axis + 1 < RANK) {
                u32 rest = index / extents[axis];
                place = index - rest * extents[axis];
                index = rest;
            }
#pragma unroll
            for (int operand = 0; operand < OPERANDS; operand++) at[operand] += place * (u32)strides[operand][axis];
        }
    }
};
