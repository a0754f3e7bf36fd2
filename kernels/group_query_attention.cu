// What `GroupQueryAttention` puts before its attention, in one launch: queries by heads where they are rotated, keys and values by heads with those of
// the cache before them, and for each batch where its new keys begin and how many it has. A thread has SIDE elements of a row.

struct Prepare {
    u32 batch, q_heads, kv_heads, q_len;
    // Rows of a head of keys, and of the cache before.
    u32 kv_len, cached;
    u32 head;
    // Distances of rows of new queries and of new keys and values, and where these begin.
    u32 q_step, kv_step, k_start, v_start;
    // Pairs that are rotated, and rows of the tables.
    u32 half, table_rows;
    // Threads for queries, and for keys or values.
    u32 of_queries, of_keys;
};

// The number of cached keys of a batch, and of all its keys. A call of as many queries as there are keys starts anew.
INLINE uint2 lengths_of(const i32 *last_keys, const i32 *total, u32 batch, const Prepare &p, Fault *fault) {
    i64 all = max(total[0], 0), last = last_keys[batch], keys = last + 1;
    i64 before = i64(p.q_len) == all ? 0 : keys - p.q_len;
    bool possible = keys >= 0 && keys <= all && before >= 0 && before <= i64(p.cached) && all <= i64(p.kv_len);
    if (!possible && fault) tell(fault, last, all);
    if (!possible) return make_uint2(0, 0);
    return make_uint2(u32(before), u32(keys));
}

// A piece of a new row, rotated if that is asked for.
INLINE void write_new(
    const X *row, X *to, u32 column, bool turn, const X *cosines, const X *sines, const i64 *positions, u32 place, u32 counted, const Prepare &p,
    Fault *fault
) {
    if (!turn || column >= 2 * p.half) {
        store(to, load<SIDE>(row + column));
        return;
    }
    i64 position = positions ? positions[place] : i64(counted);
    bool known = position >= 0 && position < i64(p.table_rows);
    if (!known && fault) tell(fault, position, p.table_rows);
    vec<X, SIDE> results;
    for (u32 i = 0; i < SIDE; i++) {
        bool turned = column + i < 2 * p.half;
        float value = turned ? (known ? rotated(row, column + i, cosines, sines, position, p.half) : 0.0f) : float(row[column + i]);
        results[i] = X(value);
    }
    store(to, results);
}

extern "C" __global__ void group_query_attention(
    const X *q, const X *k, const X *v, const X *past_k, const X *past_v, const i32 *last_keys, const i32 *total, const X *cosines, const X *sines,
    const i64 *positions, X *q_rows, X *k_rows, X *v_rows, uint2 *lengths, Fault *bad_keys, Fault *bad_place, Prepare p
) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < p.batch) lengths[at] = lengths_of(last_keys, total, at, p, bad_keys);
    u32 pieces = p.head / SIDE;
    if (at < p.of_queries) {
        u32 column = at % pieces * SIDE, token = at / pieces % p.q_len, head = at / pieces / p.q_len % p.q_heads;
        u32 batch = at / pieces / p.q_len / p.q_heads, place = batch * p.q_len + token;
        u32 before = lengths_of(last_keys, total, batch, p, nullptr).x;
        const X *row = q + (place * p.q_step + head * p.head);
        write_new(row, q_rows + u64(at) * SIDE, column, true, cosines, sines, positions, place, before + token, p, bad_place);
        return;
    }
    at -= p.of_queries;
    bool values = at >= p.of_keys;
    if (values) at -= p.of_keys;
    if (at >= p.of_keys) return;
    u32 column = at % pieces * SIDE, row = at / pieces % p.kv_len, head = at / pieces / p.kv_len, batch = head / p.kv_heads;
    u32 before = lengths_of(last_keys, total, batch, p, nullptr).x;
    X *to = (values ? v_rows : k_rows) + u64(at) * SIDE;
    const X *past = values ? past_v : past_k;
    if (row < before) {
        store(to, load<SIDE>(past + ((head * p.cached + row) * p.head + column)));
    } else if (row - before < p.q_len) {
        u32 place = batch * p.q_len + row - before;
        const X *from = (values ? v + p.v_start : k + p.k_start) + (place * p.kv_step + head % p.kv_heads * p.head);
        write_new(from, to, column, ROTARY && !values, cosines, sines, positions, place, row, p, bad_place);
    } else {
        vec<X, SIDE> zeros;
        for (u32 i = 0; i < SIDE; i++) zeros[i] = X(0.0f);
        store(to, zeros);
    }
}
