// Running totals along an axis: of `columns` columns of `extent` elements that lie `step` apart. TOTAL is the type of totals, START what changes
// nothing, JOIN(a, b) makes one of two.

// Where step `i` of a column is.
INLINE u32 place_of(u32 column, u32 i, u32 extent, u32 step) {
    u32 at = REVERSE ? extent - 1 - i : i;
    return (column / step * extent + at) * step + column % step;
}

// Elements that a thread takes together.
#define OWN 4u

#if SCAN
// A block of 256 threads goes through a column, 1024 elements at a time.
extern "C" __global__ void __launch_bounds__(256)
    cum_sum(const X* __restrict__ x, X* __restrict__ y, u32 columns, u32 extent, u32 step) {
    __shared__ TOTAL warps[8];
    u32 column = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    TOTAL carry = START;
    for (u32 begin = 0; begin < extent; begin += 256 * OWN) {
        u32 first = begin + threadIdx.x * OWN;
        // Each total of what stands before its element, within the thread.
        TOTAL before[OWN], total = START, own[OWN];
#pragma unroll
        for (u32 j = 0; j < OWN; j++) own[j] = first + j < extent ? TOTAL(x[place_of(column, first + j, extent, step)]) : START;
#pragma unroll
        for (u32 j = 0; j < OWN; j++) {
            before[j] = total;
            total = JOIN(total, own[j]);
        }
        // Of all threads of the warp up to this one; then of all warps before it.
        TOTAL scanned = total;
#pragma unroll
        for (u32 distance = 1; distance < WARP; distance *= 2) {
            TOTAL other = __shfl_up_sync(FULL, scanned, distance);
            if (lane >= distance) scanned = JOIN(other, scanned);
        }
        TOTAL lead = __shfl_up_sync(FULL, scanned, 1);
        if (lane == 0) lead = START;
        __syncthreads();
        if (lane == WARP - 1) warps[warp] = scanned;
        __syncthreads();
        TOTAL all = START;
        TOTAL earlier = START;
        for (u32 other = 0; other < 8; other++) {
            if (other == warp) earlier = all;
            all = JOIN(all, warps[other]);
        }
        lead = JOIN(carry, JOIN(earlier, lead));
#pragma unroll
        for (u32 j = 0; j < OWN; j++) {
            if (first + j >= extent) break;
            TOTAL result = JOIN(lead, before[j]);
            y[place_of(column, first + j, extent, step)] = X(EXCLUSIVE ? result : JOIN(result, own[j]));
        }
        carry = JOIN(carry, all);
    }
}
#else
extern "C" __global__ void __launch_bounds__(256)
    cum_sum(const X* __restrict__ x, X* __restrict__ y, u32 columns, u32 extent, u32 step) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    TOTAL total = START;
    auto next = [&](u32 at, TOTAL own) {
        TOTAL before = total;
        total = JOIN(total, own);
        y[at] = X(EXCLUSIVE ? before : total);
    };
    u32 i = 0;
    // Several elements are on their way at once.
    for (; i + OWN <= extent; i += OWN) {
        TOTAL own[OWN];
#pragma unroll
        for (u32 j = 0; j < OWN; j++) own[j] = TOTAL(x[place_of(column, i + j, extent, step)]);
#pragma unroll
        for (u32 j = 0; j < OWN; j++) next(place_of(column, i + j, extent, step), own[j]);
    }
    for (; i < extent; i++) {
        u32 at = place_of(column, i, extent, step);
        next(at, TOTAL(x[at]));
    }
}
#endif
