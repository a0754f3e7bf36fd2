// The first `k` elements of each row, of `extent` elements that lie `step` apart, in falling (or rising) order. Each element has a KEY, which is the
// greater the earlier it comes; of equals the one that stands first comes first. NaN is the largest.

#define BITS u32(8 * sizeof(KEY))
#define NONE 0xffffffffu

INLINE KEY key_of(X x) {
#if KIND == 0
    // Floats, as E: those below zero fall with their bits. Both zeros are one.
    E number = E(x);
    KEY bits = BITS == 32 ? KEY(__float_as_uint(float(number))) : KEY(__double_as_longlong(double(number)));
    const KEY sign = KEY(1) << (BITS - 1);
    KEY key = number == E(0) ? sign : bits & sign ? KEY(~bits) : KEY(bits | sign);
    if (number != number) key = KEY(~KEY(0));
#elif KIND == 1
    KEY key = KEY(i64(x)) ^ (KEY(1) << (BITS - 1));
#else
    KEY key = KEY(x);
#endif
    return LARGEST ? key : KEY(~key);
}

INLINE bool precedes(KEY a, u32 a_index, KEY b, u32 b_index) { return a > b || (a == b && a_index < b_index); }

INLINE void put(const X* x, X* y, i64* indices, u32 to, u32 from, u32 index) {
    if (VALUES) y[to] = x[from];
    if (INDICES) indices[to] = index;
}

#if SHORT
// A warp for each row of up to SHORT elements: each element's place is the number of those that precede it.
extern "C" __global__ void __launch_bounds__(256)
    top_k(const X* __restrict__ x, X* __restrict__ y, i64* __restrict__ indices, u32 rows, u32 extent, u32 step, u32 k) {
    __shared__ KEY keys[8][SHORT];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 row = blockIdx.x * 8 + warp;
    if (row >= rows) return;
    u32 start = row / step * extent * step + row % step;
    for (u32 i = lane; i < extent; i += WARP) keys[warp][i] = key_of(x[start + i * step]);
    __syncwarp();
    for (u32 i = lane; i < extent; i += WARP) {
        KEY own = keys[warp][i];
        u32 place = 0;
        for (u32 j = 0; j < extent; j++) place += precedes(keys[warp][j], j, own, i);
        if (place < k) put(x, y, indices, (row / step * k + place) * step + row % step, start + i * step, i);
    }
}
#else
// A block of THREADS threads, 256 or more, for each row. Digit by digit, from the highest one on, it finds the key of the last element that is wanted; takes what comes
// before it, and of its equals as many as are wanted; and sorts these: ROOM of them, a power of two.
extern "C" __global__ void __launch_bounds__(THREADS)
    top_k(const X* __restrict__ x, X* __restrict__ y, i64* __restrict__ indices, u32 rows, u32 extent, u32 step, u32 k) {
    SHARED(KEY, keys);
    u32* places = (u32*)(keys + ROOM);
    __shared__ u32 counts[256];
    __shared__ u32 warps[32];
    __shared__ u32 chosen, above, filled;
    u32 row = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 start = row / step * extent * step + row % step;

    KEY found = 0, known = 0;
    u32 wanted = k;
    for (i32 shift = i32(BITS) - 8; shift >= 0; shift -= 8) {
        if (threadIdx.x < 256) counts[threadIdx.x] = 0;
        __syncthreads();
        for (u32 i = threadIdx.x; i < extent; i += THREADS) {
            KEY key = key_of(x[start + i * step]);
            if ((key & known) == found) atomicAdd(&counts[u32(key >> shift) & 255u], 1u);
        }
        __syncthreads();
        // How many have a digit as great, or greater.
        for (u32 distance = 1; distance < 256; distance *= 2) {
            u32 more = threadIdx.x + distance < 256 ? counts[threadIdx.x + distance] : 0;
            __syncthreads();
            if (threadIdx.x < 256) counts[threadIdx.x] += more;
            __syncthreads();
        }
        if (threadIdx.x < 256) {
            u32 greater = threadIdx.x < 255 ? counts[threadIdx.x + 1] : 0;
            if (greater < wanted && counts[threadIdx.x] >= wanted) {
                chosen = threadIdx.x;
                above = greater;
            }
        }
        __syncthreads();
        found |= KEY(chosen) << shift;
        known |= KEY(255) << shift;
        wanted -= above;
        __syncthreads();
    }

    for (u32 i = threadIdx.x; i < ROOM; i += THREADS) {
        keys[i] = 0;
        places[i] = NONE;
    }
    if (threadIdx.x == 0) filled = 0;
    __syncthreads();
    u32 equals = 0;
    for (u32 begin = 0; begin < extent; begin += THREADS) {
        u32 i = begin + threadIdx.x;
        bool exists = i < extent;
        KEY key = exists ? key_of(x[start + i * step]) : 0;
        if (exists && key > found) {
            u32 to = atomicAdd(&filled, 1u);
            keys[to] = key;
            places[to] = i;
        }
        // Equals are taken in order.
        bool equal = exists && key == found;
        if (equals >= wanted || !__syncthreads_or(equal)) continue;
        u32 ballot = __ballot_sync(FULL, equal);
        if (lane == 0) warps[warp] = __popc(ballot);
        __syncthreads();
        u32 order = equals + __popc(ballot & ((1u << lane) - 1));
        for (u32 other = 0; other < THREADS / 32; other++) {
            if (other < warp) order += warps[other];
            equals += warps[other];
        }
        if (equal && order < wanted) {
            keys[k - wanted + order] = key;
            places[k - wanted + order] = i;
        }
        __syncthreads();
    }
    __syncthreads();

    // K. E. Batcher, Sorting networks and their applications.
    for (u32 size = 2; size <= ROOM; size *= 2) {
        for (u32 half = size / 2; half > 0; half /= 2) {
            for (u32 i = threadIdx.x; i < ROOM / 2; i += THREADS) {
                u32 a = i / half * half * 2 + i % half, b = a + half;
                bool falling = (a & size) == 0;
                KEY a_key = keys[a], b_key = keys[b];
                u32 a_place = places[a], b_place = places[b];
                if (precedes(b_key, b_place, a_key, a_place) == falling) {
                    keys[a] = b_key;
                    keys[b] = a_key;
                    places[a] = b_place;
                    places[b] = a_place;
                }
            }
            __syncthreads();
        }
    }
    for (u32 n = threadIdx.x; n < k; n += THREADS) {
        u32 index = places[n];
        put(x, y, indices, (row / step * k + n) * step + row % step, start + index * step, index);
    }
}
#endif
