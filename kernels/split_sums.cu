// Adds the parts of a product's sums, always in the same order, four neighbouring columns each thread, and finishes them.

extern "C" __global__ void split_sums(const float* parts, Extents extents, RESULT_PARAMETERS) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    u32 fours = (extents.n + 3) / 4;
    if (index >= extents.batches * extents.m * fours) return;
    u32 column = index % fours * 4;
    u32 row = index / fours % extents.m;
    Part part = {};
    part.batch = index / fours / extents.m;
    const float* from = parts + (part.batch * extents.splits * extents.m + row) * fours * 4 + column;
    float sums[4] = {};
    for (u32 split = 0; split < extents.splits; split++) {
        vec<float, 4> four = *(const vec<float, 4>*)(from + split * extents.m * fours * 4);
#pragma unroll
        for (int i = 0; i < 4; i++) sums[i] += four.at[i];
    }
    RESULT.put(extents, part, row, column, sums);
}
