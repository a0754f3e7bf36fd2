// Softmax of rows of `extent` elements that lie `step` apart.

// Exponentials of a row so far: their sum, each taken from the greatest element.
struct Exponentials {
    float greatest;
    float sum;
};

struct JoinExponentials {
    __device__ Exponentials operator()(Exponentials a, Exponentials b) const {
        float greatest = fmaxf(a.greatest, b.greatest);
        // Of minus infinities the difference is NaN.
        float shift = greatest == -infinity() ? 0.0f : greatest;
        return {greatest, a.sum * expf(a.greatest - shift) + b.sum * expf(b.greatest - shift)};
    }
};

// What a row's elements are taken from, and their exponentials' sum; M. Milakov, N. Gimelshein, Online normalizer calculation for softmax.
template <class Load> INLINE Exponentials online(Part<float>& part, const Load& load) {
    Exponentials total = {-infinity(), 0.0f};
    part.each(load, [&](u32, float (&values)[WIDTH]) {
        float greatest = values[0];
#pragma unroll
        for (u32 j = 1; j < WIDTH; j++) greatest = fmaxf(greatest, values[j]);
        if (greatest > total.greatest) {
            total.sum *= expf(total.greatest - greatest);
            total.greatest = greatest;
        }
        float shift = total.greatest == -infinity() ? 0.0f : total.greatest;
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) total.sum += expf(values[j] - shift);
    });
    return total;
}

#if ENTRY_ROWS
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    softmax(const X* __restrict__ x, Y* __restrict__ y, u32 rows, u32 extent, u32 step) {
    u32 row = own_row();
    // A row too many does the last one's work again, but writes nothing: all threads meet at the barriers.
    bool exists = row < rows;
    u32 source = exists ? row : rows - 1;
    u32 start = source / step * extent * step + source % step;
    auto load = [&](u32 first, float (&values)[WIDTH]) { load_pack(x + (start + first * step), values); };
    Part<float> part(extent, load);
#if HELD
    Exponentials total = {-infinity(), 0.0f};
    part.each(load, [&](u32, float (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) total.greatest = fmaxf(total.greatest, values[j]);
    });
    total.greatest = greatest_of(total.greatest);
    part.each(load, [&](u32, float (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            float distance = values[j] - total.greatest;
            float exponential = expf(distance);
            total.sum += exponential;
            values[j] = LOG ? distance : exponential;
        }
    });
    total.sum = sum_of(total.sum);
#else
    Exponentials total = join_row(online(part, load), JoinExponentials());
#endif
    float shift = LOG ? logf(total.sum) : 1.0f / total.sum;
    if (!exists) return;
    part.each(load, [&](u32 first, float (&values)[WIDTH]) {
        float results[WIDTH];
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
#if HELD
            results[j] = LOG ? values[j] - shift : values[j] * shift;
#else
            float distance = values[j] - total.greatest;
            results[j] = LOG ? distance - shift : expf(distance) * shift;
#endif
        }
        store_pack(y + (start + first * step), results);
    });
}
#else
// A few long rows, side by side, in `parts` parts of `span` elements, which a block takes each: first what their exponentials are.
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    softmax_parts(const X* __restrict__ x, Exponentials* __restrict__ totals, u32 extent, u32 parts, u32 span) {
    u32 begin = blockIdx.x % parts * span;
    x += blockIdx.x / parts * extent + begin;
    auto load = [&](u32 first, float (&values)[WIDTH]) { load_pack(x + first, values); };
    Part<float> part(min(span, extent - begin), load);
    Exponentials total = join_row(online(part, load), JoinExponentials());
    if (threadIdx.x == 0) totals[blockIdx.x] = total;
}

// Then the results. Rows have no more parts than blocks have threads.
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    softmax_of_parts(const X* __restrict__ x, const Exponentials* __restrict__ totals, Y* __restrict__ y, u32 extent, u32 parts, u32 span) {
    u32 row = blockIdx.x / parts;
    u32 begin = blockIdx.x % parts * span;
    Exponentials total = {-infinity(), 0.0f};
    if (threadIdx.x < parts) total = totals[row * parts + threadIdx.x];
    total = join_row(total, JoinExponentials());
    float shift = LOG ? logf(total.sum) : 1.0f / total.sum;
    x += row * extent + begin;
    y += row * extent + begin;
    auto load = [&](u32 first, float (&values)[WIDTH]) { load_pack(x + first, values); };
    Part<float> part(min(span, extent - begin), load);
    part.each(load, [&](u32 first, float (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            float distance = values[j] - total.greatest;
            values[j] = LOG ? distance - shift : expf(distance) * shift;
        }
        store_pack(y + first, values);
    });
}
#endif
