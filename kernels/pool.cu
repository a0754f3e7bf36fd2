// Windows over volumes: a thread for each output element. An image is a volume of depth 1. MORE are further parameters. START is the total of
// type TOTAL of no element, JOIN a statement that takes `value`, found at `from` in the volume, into `total` as its `count`th; FINISH the result.
// With INDICES the element that was taken last is told, by `best`.

// Depth, height, width each; the output's depth follows from its number of elements.
struct Windows {
    u32 outputs;
    u32 positions;
    u32 input[3];
    u32 kernel[3];
    u32 strides[3];
    u32 dilations[3];
    u32 before[3];
    u32 output[2];
    u32 after[3];
};

extern "C" __global__ void __launch_bounds__(256) pool(const X* __restrict__ x, Y* __restrict__ y, Windows window MORE) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= window.outputs) return;
    u32 place = at % window.positions;
    u32 elements = window.input[0] * window.input[1] * window.input[2];
    u32 start = at / window.positions * elements;
    u32 front = place / (window.output[0] * window.output[1]) * window.strides[0];
    u32 top = place / window.output[1] % window.output[0] * window.strides[1];
    u32 left = place % window.output[1] * window.strides[2];
    x += start;
    TOTAL total = START;
    u32 count = 0;
#if INDICES
    u32 best = 0;
#endif
    // What lies before the volume wraps around.
    for (u32 kd = 0, d = front; kd < window.kernel[0]; kd++, d += window.dilations[0]) {
        u32 id = d - window.before[0];
        bool d_inside = id < window.input[0];
        bool d_padded = d < window.before[0] + window.input[0] + window.after[0];
        for (u32 kh = 0, h = top; kh < window.kernel[1]; kh++, h += window.dilations[1]) {
            u32 ih = h - window.before[1];
            bool h_inside = d_inside && ih < window.input[1];
            bool h_padded = d_padded && h < window.before[1] + window.input[1] + window.after[1];
            if (!(PADS_COUNT ? h_padded : h_inside)) continue;
            u32 line = (id * window.input[1] + ih) * window.input[2];
#pragma unroll 4
            for (u32 kw = 0, w = left; kw < window.kernel[2]; kw++, w += window.dilations[2]) {
                u32 iw = w - window.before[2];
                bool inside = h_inside && iw < window.input[2];
                if (inside) {
                    u32 from = line + iw;
                    TOTAL value = TOTAL(x[from]);
                    JOIN;
                }
                if (PADS_COUNT ? w < window.before[2] + window.input[2] + window.after[2] : inside) count++;
            }
        }
    }
    y[at] = Y(FINISH);
#if INDICES
    if (count == 0) {
        indices[at] = -1;
        return;
    }
    u32 d = best / (window.input[1] * window.input[2]), h = best / window.input[2] % window.input[1], w = best % window.input[2];
    indices[at] = i64(start) + (COLUMN_MAJOR ? d + window.input[0] * (h + window.input[1] * w) : best);
#endif
}
