// Resizing: for each output element the places along every resized axis, and their weights, come from tables. For each of these axes the table has
// the first place for each output index, OUTSIDE for what lies outside; where there are weights, then the positions in the table from which on
// each output index has them, one more than there are, and the weights. A thread takes WIDTH neighbours along the innermost axis. PLACES adds
// up `place` of the other axes from `rest`, the number of the output's row; OWN that of `column`, the element's index in it; SUM adds up `sum` of
// the places around. Numbers of these are in `number`, of which the first is the extent of a row.

#define OUTSIDE 0xffffffffu

struct Numbers {
    u32 at[COUNT];
};

extern "C" __global__ void __launch_bounds__(256)
    resize(const X* __restrict__ x, const u32* __restrict__ tables, X* __restrict__ y, u32 outputs, float outside_value, Numbers number) {
    u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= outputs) return;
    u32 rest = at / number.at[0], first = at % number.at[0];
    u32 place = 0;
    bool outside = false;
    PLACES
    const u32 row = place;
    const bool row_outside = outside;
    vec<X, WIDTH> results;
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) {
        u32 column = first + j;
        place = row;
        outside = row_outside;
        OWN
#if FLOATS
        if (outside) {
            results[j] = X(outside_value);
            continue;
        }
#endif
#if NEAREST
        results[j] = x[place];
#else
        float sum = 0.0f;
        SUM
        results[j] = X(sum);
#endif
    }
    store<WIDTH>(y + at, results);
}
