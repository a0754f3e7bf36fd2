// Steps of a recurrent operator. A launch is of one step (and phase), a block of WARPS elements; or, WHOLE, of all steps, and a block has all elements
// of some sequences. States are [directions, sequences, elements].

// Sums of all lanes; those of sequence s come to `to + 4 * s`. With each exchange a lane keeps half of what it has, until that is one sum.
INLINE void join(const Totals &totals, float *to, u32 lane) {
    const u32 all = SEQUENCES * SUMS;
    float own[all];
#pragma unroll
    for (u32 i = 0; i < all; i++) own[i] = totals.of[i / SUMS][i % SUMS];
    u32 count = all, index = 0;
#pragma unroll
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        if (count > 1) {
            count /= 2;
            bool upper = (lane & step) != 0;
            index += upper ? count : 0;
#pragma unroll
            for (u32 i = 0; i < all / 2; i++) {
                if (i >= count) break;
                float sent = upper ? own[i] : own[i + count];
                own[i] = (upper ? own[i + count] : own[i]) + __shfl_xor_sync(FULL, sent, step);
            }
        } else {
            own[0] += __shfl_xor_sync(FULL, own[0], step);
        }
    }
    if (lane % (WARP / all) == 0) to[index / SUMS * 4 + index % SUMS] = own[0];
    __syncwarp();
}

// Where an element of a state is in the model's order.
INLINE u32 in_model(const Recurrent &p, u32 direction, u32 sequence, u32 element) {
    u32 outer = p.batch_first ? sequence * p.directions + direction : direction * p.batch + sequence;
    return outer * p.hidden + element;
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP) recurrent(
    const float *projected, const X *r, const X *bias, const X *peepholes, const i32 *lengths, const X *first_h, const X *first_c,
    const float *h_old, float *h_new, float *c_kept, float *scaled_kept, X *y, X *last_h, X *last_c, Fault *fault, Recurrent p
) {
    // States before the step; scaled ones; and where all steps are done here, states after it, and those of cells. At last sums of warps.
    SHARED(float, h);
    u32 distance = state_step(p.hidden), states = SEQUENCES * distance;
    float *scaled = h + states, *h_next = scaled + states, *c_here = h_next + states;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float *sums = h + (WHOLE ? 4 : 2) * states + warp * 4 * SEQUENCES;
    u32 first = blockIdx.x / p.of_elements % p.of_sequences * SEQUENCES, direction = blockIdx.x / p.of_elements / p.of_sequences;
    u32 first_element = WHOLE ? 0 : blockIdx.x % p.of_elements * WARPS, end_element = WHOLE ? p.hidden : min(first_element + WARPS, p.hidden);
    u32 begin = WHOLE ? 0 : p.step, end = WHOLE ? p.steps : p.step + 1;
    u64 kept = u64(direction * p.batch + first) * p.hidden;

    for (u32 i = threadIdx.x; i < SEQUENCES * p.hidden; i += WARPS * WARP) {
        u32 s = i / p.hidden, element = i % p.hidden;
        bool there = first + s < p.batch;
        float start = there && begin == 0 && first_h ? float(first_h[in_model(p, direction, first + s, element)]) : 0.0f;
        h[s * distance + element] = there && begin > 0 ? h_old[kept + u64(s) * p.hidden + element] : start;
        if (PHASES == 2 && !WHOLE) {
            scaled[s * distance + element] = there && p.phase == 1 ? scaled_kept[kept + u64(s) * p.hidden + element] : 0.0f;
        }
    }
    __syncthreads();

    for (u32 step = begin; step < end; step++) {
        for (u32 phase = WHOLE ? 0 : p.phase; phase < (WHOLE ? PHASES : p.phase + 1); phase++) {
            for (u32 element = first_element + warp; element < end_element; element += WARPS) {
                Totals totals = {};
                add_products(totals, r + u64(direction) * GATES * p.hidden * p.hidden, element, p.hidden, h, scaled, phase, lane);
                join(totals, sums, lane);
                u32 s = lane, sequence = first + s;
                if (s < SEQUENCES && sequence < p.batch) {
                    i32 told = lengths ? lengths[sequence] : i32(p.steps);
                    if (told < 0 || told > i32(p.steps)) {
                        tell(fault, told, p.steps);
                        told = 0;
                    }
                    u32 length = u32(told);
                    bool ended = step >= length;
                    u32 place = !ended && (p.reversed >> direction & 1u) ? length - 1 - step : step;
                    const float *given = projected + (u64(place * p.directions + direction) * p.batch + sequence) * (GATES * p.hidden) + element;
                    u32 own = s * distance + element, model = in_model(p, direction, sequence, element);
                    u64 own_kept = kept + u64(s) * p.hidden + element;
                    Cell cell = {direction, element, p.hidden, bias, peepholes};
                    float old = h[own];
#if PHASES == 2
                    if (phase == 0) {
                        float value = ended ? 0.0f : scaled_state(sums + 4 * s, given, cell, old);
                        if (WHOLE) scaled[own] = value;
                        else scaled_kept[own_kept] = value;
                    } else
#endif
                    {
                        float c = 0.0f;
                        if (HAS_C) c = step > 0 ? (WHOLE ? c_here[own] : c_kept[own_kept]) : first_c ? float(first_c[model]) : 0.0f;
                        float value = ended ? old : advance(sums + 4 * s, given, cell, old, c);
                        if (WHOLE) h_next[own] = value;
                        else h_new[own_kept] = value;
                        if (HAS_C && WHOLE) c_here[own] = c;
                        else if (HAS_C) c_kept[own_kept] = c;
                        if (y) {
                            u32 outer = p.batch_first ? (sequence * p.steps + place) * p.directions + direction
                                                      : (place * p.directions + direction) * p.batch + sequence;
                            y[u64(outer) * p.hidden + element] = X(ended ? 0.0f : value);
                        }
                        if (step + 1 == p.steps && last_h) last_h[model] = X(value);
                        if (HAS_C && step + 1 == p.steps && last_c) last_c[model] = X(c);
                    }
                }
                __syncwarp();
            }
            if (WHOLE) __syncthreads();
        }
        float *before = h;
        h = h_next;
        h_next = before;
    }
}
