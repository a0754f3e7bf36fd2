// Matrices of which the part above, or below, a diagonal is kept: the one that is given, else `known`.

extern "C" __global__ void trilu(const T* x, T* y, const i64* given, i64 known, u32 count, u32 rows, u32 columns) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 row = index / columns;
    i64 diagonal = i64(index - row * columns) - i64(row % rows), bound = given ? *given : known;
    T value = {};
    if (UPPER ? diagonal >= bound : diagonal <= bound) value = x[index];
    y[index] = value;
}
