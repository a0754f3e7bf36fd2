// Attention of few queries in float32, as fast as keys and values come from memory: a block for ROWS of the queries that share a head of keys, and a
// part of these. K_LANES threads share a key, of which each has K_CHUNKS pieces of 16 bytes; and so for values.

#define THREADS 128u
#define KEYS 128u
#define K_SIDE (VECTORS ? u32(16 / sizeof(K)) : 1u)
#define V_SIDE (VECTORS ? u32(16 / sizeof(V)) : 1u)
#define K_GROUPS (THREADS / K_LANES)
#define V_GROUPS (THREADS / V_LANES)
// Sums that a thread is left with when the lanes of a key have shared theirs out.
#define LEFT (ROWS > K_LANES ? ROWS / K_LANES : 1u)
#define V_WIDTH (V_LANES * V_CHUNKS * V_SIDE)
// Keys and values that a thread reads before it computes with them.
#define AHEAD 4u
#define K_AHEAD (KEYS / K_GROUPS < AHEAD ? KEYS / K_GROUPS : AHEAD)

// Sums of all lanes of a key: this lane gets those of the rows from the returned one on, LEFT of them, as do the lanes that differ from it in the
// lowest bits only.
INLINE u32 share_sums(float (&sums)[ROWS], u32 lane) {
    u32 count = ROWS, row = 0;
#pragma unroll
    for (u32 step = K_LANES / 2; step > 0; step /= 2) {
        if (count > 1) {
            count /= 2;
            bool upper = (lane & step) != 0;
            row += upper ? count : 0;
#pragma unroll
            for (u32 i = 0; i < ROWS / 2; i++) {
                if (i >= count) break;
                float sent = upper ? sums[i] : sums[i + count];
                sums[i] = (upper ? sums[i + count] : sums[i]) + __shfl_xor_sync(FULL, sent, step);
            }
        } else {
            sums[0] += __shfl_xor_sync(FULL, sums[0], step);
        }
    }
    return row;
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_decode(
    const Q *__restrict__ q, const K *__restrict__ k, const V *__restrict__ v, const M *__restrict__ mask, const uint2 *__restrict__ lengths,
    const Q *__restrict__ sinks, Y *__restrict__ y, float2 *__restrict__ part_sums, float *__restrict__ part_totals,
    Attention p
) {
    __shared__ float scores[ROWS * KEYS];
    __shared__ float greatest[ROWS], sums[ROWS], shrink[ROWS];
    // For each warp its totals.
    SHARED(float, joined);
    u32 thread = threadIdx.x, k_lane = thread % K_LANES, v_lane = thread % V_LANES;
    u32 all_rows = p.q_len * p.group, row_blocks = (all_rows + ROWS - 1) / ROWS, kv_heads = p.q_heads / p.group;
    u32 split = blockIdx.x % p.splits, first = blockIdx.x / p.splits % row_blocks * ROWS;
    u32 kv_head = blockIdx.x / p.splits / row_blocks % kv_heads, batch = blockIdx.x / p.splits / row_blocks / kv_heads;
    q += p.q_start;
    k += p.k_start;
    v += p.v_start;
    k += batch * p.k_step[0] + kv_head * p.k_step[1];
    v += batch * p.v_step[0] + kv_head * p.v_step[1];
    u32 first_query = first / p.group, last_query = min(first + ROWS, all_rows) - 1;
    Keys keys = keys_of<1>(p, lengths, batch, first_query, last_query / p.group + 1, split);

    // This thread's pieces of the queries.
    float queries[ROWS][K_CHUNKS * K_SIDE];
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        u32 row = min(first + r, all_rows - 1), head = kv_head * p.group + row % p.group;
        const Q *from = q + (batch * p.q_step[0] + head * p.q_step[1] + row / p.group * p.q_step[2]);
#pragma unroll
        for (u32 c = 0; c < K_CHUNKS * K_SIDE; c++) {
            u32 column = (c / K_SIDE * K_LANES + k_lane) * K_SIDE + c % K_SIDE;
            queries[r][c] = column < p.head ? float(from[column]) * p.scale : 0.0f;
        }
    }
    if (thread < ROWS) {
        u32 row = min(first + thread, all_rows - 1);
        begin_row(sinks, kv_head * p.group + row % p.group, split, true, greatest[thread], sums[thread]);
    }
    float totals[ROWS][V_CHUNKS * V_SIDE] = {};

    for (u32 start = keys.begin; start < keys.end; start += KEYS) {
        u32 here = min(KEYS, keys.end - start);
        for (u32 i = thread / K_LANES; i < KEYS; i += K_GROUPS * K_AHEAD) {
            vec<K, K_SIDE> pieces[K_AHEAD][K_CHUNKS];
#pragma unroll
            for (u32 n = 0; n < K_AHEAD; n++) {
                const K *from = k + u64(start + i + n * K_GROUPS) * p.k_step[2];
#pragma unroll
                for (u32 c = 0; c < K_CHUNKS; c++) {
                    u32 column = (c * K_LANES + k_lane) * K_SIDE;
                    if (i + n * K_GROUPS < here && column < p.head) {
                        pieces[n][c] = load<K_SIDE>(from + column);
                    } else {
#pragma unroll
                        for (u32 j = 0; j < K_SIDE; j++) pieces[n][c][j] = K(0.0f);
                    }
                }
            }
#pragma unroll
            for (u32 n = 0; n < K_AHEAD; n++) {
                u32 key = i + n * K_GROUPS;
                float products[ROWS] = {};
#pragma unroll
                for (u32 c = 0; c < K_CHUNKS; c++) {
#pragma unroll
                    for (u32 j = 0; j < K_SIDE; j++) {
                        float element = float(pieces[n][c][j]);
#pragma unroll
                        for (u32 r = 0; r < ROWS; r++) products[r] = fmaf(queries[r][c * K_SIDE + j], element, products[r]);
                    }
                }
                u32 row = share_sums(products, k_lane);
                if (k_lane % (K_LANES > ROWS ? K_LANES / ROWS : 1) != 0) continue;
#pragma unroll
                for (u32 r = 0; r < LEFT; r++) {
                    u32 at = min(first + row + r, all_rows - 1), query = at / p.group, head = kv_head * p.group + at % p.group;
                    const M *mask_row = mask + (batch * p.mask_step[0] + head * p.mask_step[1] + query * p.mask_step[2]);
                    scores[(row + r) * KEYS + key] = masked(products[r], p, mask_row, start + key, keys.end, i32(query) + keys.first_place);
                }
            }
        }
        __syncthreads();
        for (u32 r = thread / WARP; r < ROWS; r += THREADS / WARP) {
            float own[KEYS / WARP], now = greatest[r], sum = 0.0f;
#pragma unroll
            for (u32 j = 0; j < KEYS / WARP; j++) {
                own[j] = scores[r * KEYS + j * WARP + thread % WARP];
                now = fmaxf(now, own[j]);
            }
            now = warp_max(now);
#pragma unroll
            for (u32 j = 0; j < KEYS / WARP; j++) {
                float weight = weight_of(own[j], now);
                scores[r * KEYS + j * WARP + thread % WARP] = weight;
                sum += weight;
            }
            sum = warp_sum(sum);
            __syncwarp();
            if (thread % WARP == 0) {
                shrink[r] = shrinking(greatest[r], now);
                sums[r] = sums[r] * shrink[r] + sum;
                greatest[r] = now;
            }
        }
        __syncthreads();
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
            for (u32 c = 0; c < V_CHUNKS * V_SIDE; c++) totals[r][c] *= shrink[r];
        }
        for (u32 i = thread / V_LANES; i < here; i += V_GROUPS * AHEAD) {
            vec<V, V_SIDE> pieces[AHEAD][V_CHUNKS];
#pragma unroll
            for (u32 n = 0; n < AHEAD; n++) {
                const V *from = v + u64(start + i + n * V_GROUPS) * p.v_step[2];
#pragma unroll
                for (u32 c = 0; c < V_CHUNKS; c++) {
                    u32 column = (c * V_LANES + v_lane) * V_SIDE;
                    if (i + n * V_GROUPS < here && column < p.v_head) {
                        pieces[n][c] = load<V_SIDE>(from + column);
                    } else {
#pragma unroll
                        for (u32 j = 0; j < V_SIDE; j++) pieces[n][c][j] = V(0.0f);
                    }
                }
            }
#pragma unroll
            for (u32 n = 0; n < AHEAD; n++) {
                u32 key = i + n * V_GROUPS;
#pragma unroll
                for (u32 r = 0; r < ROWS; r++) {
                    // Weights of keys that there are not are 0.
                    float weight = key < KEYS ? scores[r * KEYS + key] : 0.0f;
#pragma unroll
                    for (u32 c = 0; c < V_CHUNKS; c++) {
#pragma unroll
                        for (u32 j = 0; j < V_SIDE; j++) {
                            float &total = totals[r][c * V_SIDE + j], sum = fmaf(weight, float(pieces[n][c][j]), total);
                            total = HIDES && weight == 0.0f ? total : sum;
                        }
                    }
                }
            }
        }
        __syncthreads();
    }

    // Totals of lanes that have the same columns, then of warps.
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
        for (u32 c = 0; c < V_CHUNKS * V_SIDE; c++) {
#pragma unroll
            for (u32 step = V_LANES; step < WARP; step *= 2) totals[r][c] += __shfl_xor_sync(FULL, totals[r][c], step);
            u32 column = (c / V_SIDE * V_LANES + v_lane) * V_SIDE + c % V_SIDE;
            if (thread % WARP < V_LANES) joined[(thread / WARP * ROWS + r) * V_WIDTH + column] = totals[r][c];
        }
    }
    __syncthreads();
    for (u32 i = thread; i < ROWS * p.v_head; i += THREADS) {
        u32 r = i / p.v_head, column = i % p.v_head;
        if (first + r >= all_rows) continue;
        float total = 0.0f;
        for (u32 warp = 0; warp < THREADS / WARP; warp++) total += joined[(warp * ROWS + r) * V_WIDTH + column];
        u32 row = row_of(p, batch, kv_head * p.group + (first + r) % p.group, (first + r) / p.group);
        if (p.splits > 1 && column == 0) part_sums[u64(row) * p.splits + split] = make_float2(greatest[r], sums[r]);
        finish(p, output_of(p, y, row), part_totals, row, split, column, total, sums[r]);
    }
}
