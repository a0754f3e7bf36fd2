// Attention by tiles in float32: a block for ROWS queries of a head, which goes over the keys by KEYS at a time. 16 threads share ROWS_OF_A_THREAD
// rows: each has every 16th key of the scores and COLUMNS of the values' columns at a time.

#define LANES 16u
#define KEYS (LANES * KEYS_OF_A_THREAD)
#define THREADS (ROWS / ROWS_OF_A_THREAD * LANES)
// Rows that stand side by side in threads.
#define GROUPS (ROWS / ROWS_OF_A_THREAD)
// Distances of rows in shared memory: four banks apart.
#define Q_STEP (HEAD + 4)
#define P_STEP (KEYS + 4)
// Columns of a thread that lie side by side, and how often.
#define SIDE (V_HEAD % 64 == 0 ? 4u : V_HEAD % 32 == 0 ? 2u : 1u)
#define COLUMNS (V_HEAD / LANES / SIDE)

// Rows of a tile from memory as floats, `scale` times; 0 beyond `rows` and `width`.
template <u32 COUNT, u32 WIDTH, u32 STEP, class X>
INLINE void fetch(float *tile, const X *from, u32 step, u32 rows, u32 width, float scale) {
    const u32 side = VECTORS ? 16 / sizeof(X) : 1;
    for (u32 i = threadIdx.x; i < COUNT * (WIDTH / side); i += THREADS) {
        u32 row = i / (WIDTH / side), column = i % (WIDTH / side) * side;
        bool there = row < rows && column < width;
        vec<X, side> values = {};
        if (there) values = load<side>(from + (u64(row) * step + column));
        for (u32 j = 0; j < side; j++) tile[row * STEP + column + j] = there ? float(values[j]) * scale : 0.0f;
    }
}

// As `fetch`, of floats and without a scale, while the thread goes on.
template <u32 COUNT, u32 WIDTH, u32 STEP>
INLINE void begin_fetch(float *tile, const float *from, u32 step, u32 rows, u32 width) {
    if (!VECTORS) {
        fetch<COUNT, WIDTH, STEP>(tile, from, step, rows, width, 1.0f);
        return;
    }
    for (u32 i = threadIdx.x; i < COUNT * (WIDTH / 4); i += THREADS) {
        u32 row = i / (WIDTH / 4), column = i % (WIDTH / 4) * 4;
        bool there = row < rows && column < width;
        copy_async<16>(tile + row * STEP + column, there ? from + (u64(row) * step + column) : from, there);
    }
}
template <u32 COUNT, u32 WIDTH, u32 STEP, class X>
INLINE void begin_fetch(float *tile, const X *from, u32 step, u32 rows, u32 width) {
    fetch<COUNT, WIDTH, STEP>(tile, from, step, rows, width, 1.0f);
}

// Whether of what this thread has fetched of the values something is no finite number.
template <class X> INLINE bool fetched_endless(const float *tile) {
    const u32 side = VECTORS ? 16 / sizeof(X) : 1;
    bool endless = false;
    for (u32 i = threadIdx.x; i < KEYS * (V_HEAD / side); i += THREADS) {
        u32 row = i / (V_HEAD / side), column = i % (V_HEAD / side) * side;
        for (u32 j = 0; j < side; j++) endless |= !(fabsf(tile[row * V_HEAD + column + j]) < __uint_as_float(0x7f800000u));
    }
    return endless;
}

// Adds the weighted values of a tile to the totals. With SKIP, what has no weight does not matter whatever it is.
template <bool SKIP>
INLINE void add_values(float (&totals)[ROWS_OF_A_THREAD][COLUMNS * SIDE], const float *weights, const float *values, u32 group, u32 lane) {
#pragma unroll 2
    for (u32 key = 0; key < KEYS; key += 4) {
        vec<float, 4> weight[ROWS_OF_A_THREAD];
#pragma unroll
        for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) weight[i] = load<4>(weights + ((group + i * GROUPS) * P_STEP + key));
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) {
                vec<float, SIDE> value = load<SIDE>(values + ((key + k) * V_HEAD + (c * LANES + lane) * SIDE));
#pragma unroll
                for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) {
#pragma unroll
                    for (u32 j = 0; j < SIDE; j++) {
                        float sum = fmaf(weight[i][k], value[j], totals[i][c * SIDE + j]);
                        totals[i][c * SIDE + j] = SKIP && weight[i][k] == 0.0f ? totals[i][c * SIDE + j] : sum;
                    }
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_tile(
    const Q *__restrict__ q, const K *__restrict__ k, const V *__restrict__ v, const M *__restrict__ mask, const uint2 *__restrict__ lengths,
    const Q *__restrict__ sinks, Y *__restrict__ y, float2 *__restrict__ part_sums, float *__restrict__ part_totals,
    Attention p
) {
    SHARED(float, q_tile);
    float *k_tile = q_tile + ROWS * Q_STEP;
    float *v_tile = k_tile + KEYS * Q_STEP;
    float *weights = v_tile + KEYS * V_HEAD;
    u32 group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    u32 row_blocks = (p.q_len + ROWS - 1) / ROWS;
    // The last queries come first: where they see the most keys, they take the longest.
    u32 first = (row_blocks - 1 - blockIdx.x / p.splits % row_blocks) * ROWS, split = blockIdx.x % p.splits;
    u32 head = blockIdx.x / p.splits / row_blocks % p.q_heads, batch = blockIdx.x / p.splits / row_blocks / p.q_heads;
    u32 rows = min(ROWS, p.q_len - first);
    q += p.q_start;
    k += p.k_start;
    v += p.v_start;
    k += batch * p.k_step[0] + head / p.group * p.k_step[1];
    v += batch * p.v_step[0] + head / p.group * p.v_step[1];
    Keys keys = keys_of<KEYS>(p, lengths, batch, first, first + rows, split);

    fetch<ROWS, HEAD, Q_STEP>(
        q_tile, q + (batch * p.q_step[0] + head * p.q_step[1] + first * p.q_step[2]), p.q_step[2], rows, p.head, p.scale
    );
    if (keys.begin < keys.end) {
        begin_fetch<KEYS, HEAD, Q_STEP>(k_tile, k + u64(keys.begin) * p.k_step[2], p.k_step[2], keys.end - keys.begin, p.head);
    }
    copy_async_commit();

    float totals[ROWS_OF_A_THREAD][COLUMNS * SIDE] = {};
    float greatest[ROWS_OF_A_THREAD], sums[ROWS_OF_A_THREAD];
#pragma unroll
    for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) begin_row(sinks, head, split, lane == 0, greatest[i], sums[i]);

    for (u32 start = keys.begin; start < keys.end; start += KEYS) {
        copy_async_wait<0>();
        __syncthreads();
        begin_fetch<KEYS, V_HEAD, V_HEAD>(v_tile, v + u64(start) * p.v_step[2], p.v_step[2], keys.end - start, p.v_head);
        copy_async_commit();

        float scores[ROWS_OF_A_THREAD][KEYS_OF_A_THREAD] = {};
#pragma unroll 2
        for (u32 d = 0; d < HEAD; d += 4) {
            vec<float, 4> a[ROWS_OF_A_THREAD], b[KEYS_OF_A_THREAD];
#pragma unroll
            for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) a[i] = load<4>(q_tile + ((group + i * GROUPS) * Q_STEP + d));
#pragma unroll
            for (u32 j = 0; j < KEYS_OF_A_THREAD; j++) b[j] = load<4>(k_tile + ((lane + j * LANES) * Q_STEP + d));
#pragma unroll
            for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) {
#pragma unroll
                for (u32 j = 0; j < KEYS_OF_A_THREAD; j++) {
#pragma unroll
                    for (u32 e = 0; e < 4; e++) scores[i][j] = fmaf(a[i][e], b[j][e], scores[i][j]);
                }
            }
        }
        __syncthreads();
        if (start + KEYS < keys.end) {
            u32 next = start + KEYS;
            begin_fetch<KEYS, HEAD, Q_STEP>(k_tile, k + u64(next) * p.k_step[2], p.k_step[2], keys.end - next, p.head);
        }
        copy_async_commit();

#pragma unroll
        for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) {
            u32 row = group + i * GROUPS, query = min(first + row, p.q_len - 1);
            const M *mask_row = mask + (batch * p.mask_step[0] + head * p.mask_step[1] + query * p.mask_step[2]);
            float now = greatest[i];
#pragma unroll
            for (u32 j = 0; j < KEYS_OF_A_THREAD; j++) {
                u32 key = start + lane + j * LANES;
                scores[i][j] = masked(scores[i][j], p, mask_row, key, keys.end, i32(query) + keys.first_place);
                now = fmaxf(now, scores[i][j]);
            }
#pragma unroll
            for (u32 step = LANES / 2; step > 0; step /= 2) now = fmaxf(now, __shfl_xor_sync(FULL, now, step));
            float shrink = shrinking(greatest[i], now);
            greatest[i] = now;
            sums[i] *= shrink;
#pragma unroll
            for (u32 j = 0; j < KEYS_OF_A_THREAD; j++) {
                float weight = weight_of(scores[i][j], now);
                sums[i] += weight;
                weights[row * P_STEP + lane + j * LANES] = weight;
            }
#pragma unroll
            for (u32 c = 0; c < COLUMNS * SIDE; c++) totals[i][c] *= shrink;
        }
        copy_async_wait<1>();
        if (HIDES) {
            if (__syncthreads_or(fetched_endless<V>(v_tile))) add_values<true>(totals, weights, v_tile, group, lane);
            else add_values<false>(totals, weights, v_tile, group, lane);
        } else {
            __syncthreads();
            add_values<false>(totals, weights, v_tile, group, lane);
        }
    }

#pragma unroll
    for (u32 i = 0; i < ROWS_OF_A_THREAD; i++) {
        float sum = sums[i];
#pragma unroll
        for (u32 step = LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(FULL, sum, step);
        u32 query = first + group + i * GROUPS;
        if (query >= p.q_len) continue;
        u32 row = row_of(p, batch, head, query);
        if (p.splits > 1 && lane == 0) part_sums[u64(row) * p.splits + split] = make_float2(greatest[i], sum);
        Y *y_row = output_of(p, y, row);
#pragma unroll
        for (u32 c = 0; c < COLUMNS * SIDE; c++) {
            u32 column = (c / SIDE * LANES + lane) * SIDE + c % SIDE;
            if (column < p.v_head) finish(p, y_row, part_totals, row, split, column, totals[i][c], sum);
        }
    }
}
