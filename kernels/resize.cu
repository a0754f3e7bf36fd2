// Resizing: for each output element the places along every resized axis, and their weights, come from tables. For each of these axes the table has
// the first place for each output index, OUTSIDE for what lies outside; where there are weights, then the positions in the table from which on
// each output index has them, one more than there are, and the weights. PLACES adds up `place` from `rest`, the output's element; SUM adds up
// `sum` of the places around it. Numbers of these are in `number`.

#define OUTSIDE 0xffffffffu

struct Numbers {
    u32 at[COUNT];
};

extern "C" __global__ void __launch_bounds__(256)
    resize(const X* __restrict__ x, const u32* __restrict__ tables, X* __restrict__ y, u32 outputs, float outside_value, Numbers number) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= outputs) return;
    u32 rest = at, place = 0;
    bool outside = false;
    PLACES
    if (outside) {
#if FLOATS
        y[at] = X(outside_value);
#endif
        return;
    }
#if NEAREST
    y[at] = x[place];
#else
    float sum = 0.0f;
    SUM
    y[at] = X(sum);
#endif
}
