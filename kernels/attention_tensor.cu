// Attention of 16-bit floats on tensor cores: each warp has 16 rows, a block goes over the keys by KEYS at a time. PACKED: rows are those of all
// heads that share a head of keys, else of one head. Weights are rounded to the values' type before they are multiplied; sums are float32.

#define THREADS (WARPS * WARP)
#define ROWS (WARPS * 16)
#define KEYS 64u
// Distances of rows in shared memory: an odd number of 16 bytes.
#define K_STEP (HEAD + 8)
#define V_STEP (V_HEAD + 8)
// Whether queries stay in registers.
#define Q_HELD (HEAD <= 128)
#define SHARING (PACKED ? p.group : 1u)

INLINE void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, f16) {
    u32 b[2] = {b0, b1};
    mma_f16(d, a, b);
}
INLINE void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, bf16) {
    u32 b[2] = {b0, b1};
    mma_bf16(d, a, b);
}

// Two numbers as a register of a fragment.
INLINE u32 paired(float low, float high, f16) {
#ifdef __CUDA_ARCH__
    u32 word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
#else
    return u32(f16(low).bits) | u32(f16(high).bits) << 16;
#endif
}
INLINE u32 paired(float low, float high, bf16) {
#ifdef __CUDA_ARCH__
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
#else
    return u32(bf16(low).bits) | u32(bf16(high).bits) << 16;
#endif
}

// Starts to copy rows to a tile; zeros beyond `rows` and `width`.
template <u32 COUNT, u32 WIDTH> INLINE void begin_fetch(Q *tile, const Q *from, u32 step, u32 rows, u32 width) {
    for (u32 i = threadIdx.x; i < COUNT * (WIDTH / 8); i += THREADS) {
        u32 row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8;
        bool there = row < rows && column < width;
        copy_async<16>(tile + row * (WIDTH + 8) + column, there ? from + (u64(row) * step + column) : from, there);
    }
}

// What the mask has for two keys side by side.
INLINE void mask_of_two(float (&given)[2], const M *mask, u32 key, const Attention &p) {
    if (MASK_PAIRS) {
        vec<M, 2> pair = load<2>(mask + key);
        given[0] = float(pair[0]);
        given[1] = float(pair[1]);
    } else {
        for (u32 j = 0; j < 2; j++) given[j] = float(mask[(key + j) * p.mask_column_step]);
    }
}

// Adds weighted values without tensor cores: what has no weight does not matter whatever it is.
INLINE void add_seen(float (&totals)[V_HEAD / 8][4], const float (&weights)[KEYS / 8][4], const Q *values, u32 lane) {
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll 1
        for (u32 t = 0; t < 4; t++) {
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                float upper = __shfl_sync(FULL, weights[n][j], (lane & ~3u) + t), lower = __shfl_sync(FULL, weights[n][j + 2], (lane & ~3u) + t);
                const Q *row = values + (n * 8 + 2 * t + j) * V_STEP + lane % 4 * 2;
#pragma unroll
                for (u32 c = 0; c < V_HEAD / 8; c++) {
#pragma unroll
                    for (u32 e = 0; e < 2; e++) {
                        float value = float(row[c * 8 + e]);
                        if (upper != 0.0f) totals[c][e] = fmaf(upper, value, totals[c][e]);
                        if (lower != 0.0f) totals[c][e + 2] = fmaf(lower, value, totals[c][e + 2]);
                    }
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_tensor(
    const Q *__restrict__ q, const Q *__restrict__ k, const Q *__restrict__ v, const M *__restrict__ mask, const uint2 *__restrict__ lengths,
    const Q *__restrict__ sinks, Y *__restrict__ y, float2 *__restrict__ part_sums, float *__restrict__ part_totals,
    Attention p
) {
    SHARED(Q, q_tile);
    Q *k_tile = q_tile + ROWS * K_STEP;
    Q *v_tile = k_tile + KEYS * K_STEP;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    u32 all_rows = p.q_len * SHARING, row_blocks = (all_rows + ROWS - 1) / ROWS, heads = p.q_heads / SHARING;
    // The last queries come first: where they see the most keys, they take the longest.
    u32 first = (row_blocks - 1 - blockIdx.x / p.splits % row_blocks) * ROWS, split = blockIdx.x % p.splits;
    u32 head = blockIdx.x / p.splits / row_blocks % heads * SHARING, batch = blockIdx.x / p.splits / row_blocks / heads;
    u32 last = min(first + ROWS, all_rows) - 1;
    q += p.q_start;
    k += p.k_start;
    v += p.v_start;
    q += batch * p.q_step[0] + head * p.q_step[1];
    k += batch * p.k_step[0] + head / p.group * p.k_step[1];
    v += batch * p.v_step[0] + head / p.group * p.v_step[1];
    Keys keys = keys_of<KEYS>(p, lengths, batch, first / SHARING, last / SHARING + 1, split);

    // This thread's rows.
    u32 rows[2], queries[2], row_heads[2];
    const M *masks[2];
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        rows[i] = first + warp * 16 + g + 8 * i;
        u32 row = min(rows[i], all_rows - 1);
        queries[i] = row / SHARING;
        row_heads[i] = head + row % SHARING;
        masks[i] = mask + (batch * p.mask_step[0] + row_heads[i] * p.mask_step[1] + queries[i] * p.mask_step[2]);
    }

    float totals[V_HEAD / 8][4], greatest[2], sums[2];
    bool endless = false;
    do {
        for (u32 i = threadIdx.x; i < ROWS * (HEAD / 8); i += THREADS) {
            u32 row = i / (HEAD / 8), column = i % (HEAD / 8) * 8, at = min(first + row, last);
            bool there = first + row <= last && column < p.head;
            const Q *from = q + (at % SHARING * p.q_step[1] + at / SHARING * p.q_step[2]);
            copy_async<16>(q_tile + row * K_STEP + column, there ? from + column : q, there);
        }
        if (keys.begin < keys.end) {
            begin_fetch<KEYS, HEAD>(k_tile, k + u64(keys.begin) * p.k_step[2], p.k_step[2], keys.end - keys.begin, p.head);
        }
        copy_async_commit();
#pragma unroll
        for (u32 c = 0; c < V_HEAD / 8; c++) {
#pragma unroll
            for (u32 e = 0; e < 4; e++) totals[c][e] = 0.0f;
        }
#pragma unroll
        for (u32 i = 0; i < 2; i++) begin_row(sinks, row_heads[i], split, t == 0, greatest[i], sums[i]);
        u32 held[Q_HELD ? HEAD / 16 : 1][4];

        for (u32 start = keys.begin; start < keys.end; start += KEYS) {
            copy_async_wait<0>();
            __syncthreads();
            begin_fetch<KEYS, V_HEAD>(v_tile, v + u64(start) * p.v_step[2], p.v_step[2], keys.end - start, p.v_head);
            copy_async_commit();
            const Q *own_rows = q_tile + (warp * 16 + lane % 16) * K_STEP + lane / 16 * 8;
            if (Q_HELD && start == keys.begin) {
#pragma unroll
                for (u32 d = 0; d < HEAD / 16; d++) load_matrices(held[Q_HELD ? d : 0], own_rows + d * 16);
            }
            float scores[KEYS / 8][4] = {};
#pragma unroll
            for (u32 d = 0; d < HEAD / 16; d++) {
                if (!Q_HELD) load_matrices(held[0], own_rows + d * 16);
                const Q *columns = k_tile + (lane / 16 * 8 + lane % 8) * K_STEP + lane / 8 % 2 * 8 + d * 16;
#pragma unroll
                for (u32 n = 0; n < KEYS / 16; n++) {
                    u32 words[4];
                    load_matrices(words, columns + n * 16 * K_STEP);
                    multiply(scores[2 * n], held[Q_HELD ? d : 0], words[0], words[1], Q());
                    multiply(scores[2 * n + 1], held[Q_HELD ? d : 0], words[2], words[3], Q());
                }
            }
            __syncthreads();
            if (start + KEYS < keys.end) {
                u32 next = start + KEYS;
                begin_fetch<KEYS, HEAD>(k_tile, k + u64(next) * p.k_step[2], p.k_step[2], keys.end - next, p.head);
            }
            copy_async_commit();

            // Whether every row sees the whole tile, but for what the mask hides.
            bool open = !SOFTCAP && start + KEYS <= (MASK ? min(keys.end, p.mask_columns) : keys.end);
            if (REACH) {
                i64 low = i64(keys.first_place) + last / SHARING - p.left, high = i64(keys.first_place) + first / SHARING + p.right;
                open = open && i64(start) >= low && i64(start) + KEYS - 1 <= high;
            }
#pragma unroll
            for (u32 i = 0; i < 2; i++) {
                float now = greatest[i];
                if (open) {
#pragma unroll
                    for (u32 n = 0; n < KEYS / 8; n++) {
                        float given[2] = {};
                        if (MASK) mask_of_two(given, masks[i], start + n * 8 + 2 * t, p);
#pragma unroll
                        for (u32 j = 0; j < 2; j++) {
                            float &score = scores[n][2 * i + j];
                            score *= p.scale;
                            if (MASK == 1) score = given[j] == NONE ? NONE : score + given[j];
                            if (MASK == 2) score = given[j] != 0.0f ? score : p.fill;
                            if (MASK == 3) score = given[j] > 0.0f ? score : score + p.fill;
                            now = fmaxf(now, score);
                        }
                    }
                } else {
#pragma unroll
                    for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
                        for (u32 j = 0; j < 2; j++) {
                            float &score = scores[n][2 * i + j];
                            u32 key = start + n * 8 + 2 * t + j;
                            score = masked(score * p.scale, p, masks[i], key, keys.end, i32(queries[i]) + keys.first_place);
                            now = fmaxf(now, score);
                        }
                    }
                }
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
                float shrink = shrinking(greatest[i], now);
                greatest[i] = now;
                sums[i] *= shrink;
#pragma unroll
                for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (u32 j = 0; j < 2; j++) {
                        float &score = scores[n][2 * i + j];
                        score = weight_of(score, now);
                        sums[i] += score;
                    }
                }
#pragma unroll
                for (u32 c = 0; c < V_HEAD / 8; c++) {
                    totals[c][2 * i] *= shrink;
                    totals[c][2 * i + 1] *= shrink;
                }
            }
            copy_async_wait<1>();
            __syncthreads();
            if (HIDES && endless) {
                add_seen(totals, scores, v_tile, lane);
                continue;
            }
#pragma unroll
            for (u32 step = 0; step < KEYS / 16; step++) {
                const float(&low)[4] = scores[2 * step], (&high)[4] = scores[2 * step + 1];
                u32 weights[4] = {
                    paired(low[0], low[1], Q()), paired(low[2], low[3], Q()), paired(high[0], high[1], Q()), paired(high[2], high[3], Q())
                };
                const Q *columns = v_tile + (step * 16 + lane % 16) * V_STEP + lane / 16 * 8;
#pragma unroll
                for (u32 n = 0; n < V_HEAD / 16; n++) {
                    u32 words[4];
                    load_matrices_transposed(words, columns + n * 16);
                    multiply(totals[2 * n], weights, words[0], words[1], Q());
                    multiply(totals[2 * n + 1], weights, words[2], words[3], Q());
                }
            }
        }
        if (!HIDES || endless) break;
        // A hidden value that is no finite number spoils the products: once more without them.
        bool own = false;
#pragma unroll
        for (u32 c = 0; c < V_HEAD / 8; c++) {
#pragma unroll
            for (u32 e = 0; e < 4; e++) own |= !(fabsf(totals[c][e]) < __uint_as_float(0x7f800000u));
        }
        endless = __syncthreads_or(own);
    } while (endless);

#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        float sum = sums[i];
        sum += __shfl_xor_sync(FULL, sum, 1);
        sum += __shfl_xor_sync(FULL, sum, 2);
        if (rows[i] > last) continue;
        u32 row = row_of(p, batch, row_heads[i], queries[i]);
        if (p.splits > 1 && t == 0) part_sums[u64(row) * p.splits + split] = make_float2(greatest[i], sum);
        Y *y_row = output_of(p, y, row);
#pragma unroll
        for (u32 c = 0; c < V_HEAD / 8; c++) {
            u32 column = c * 8 + 2 * t;
            if (column >= p.v_head) continue;
            if (p.splits > 1) {
#pragma unroll
                for (u32 j = 0; j < 2; j++) finish(p, y_row, part_totals, row, split, column + j, totals[c][2 * i + j], sum);
            } else {
                vec<Y, 2> pair = {{Y(combined(p, totals[c][2 * i], sum)), Y(combined(p, totals[c][2 * i + 1], sum))}};
                store(y_row + column, pair);
            }
        }
    }
}
