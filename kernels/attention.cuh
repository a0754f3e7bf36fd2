// What the kernels of attention have in common: softmax(mask(softcap(scale Q K^T))) V with a running softmax
// (https://arxiv.org/abs/2205.14135). Macros: Q, K, V, Y, M (elements; M is the mask's), HEAD and V_HEAD (widths, rounded up), and switches.

// In elements; distances are those of batches, heads and rows.
struct Attention {
    u32 batch, q_heads, q_len, kv_len, head, v_head;
    // Query heads that share a head of keys.
    u32 group;
    float scale, softcap;
    u32 q_step[3], k_step[3], v_step[3], y_step[3], mask_step[3];
    // The first elements.
    u32 q_start, k_start, v_start;
    // Keys beyond the mask's columns are hidden; the distance of columns is 0 if there is one for every key.
    u32 mask_columns, mask_column_step;
    // What a mask of truths (MASK 2) gives to what it hides, and what is added where one of padding (MASK 3) is not positive.
    float fill;
    // What a query that sees no key gives, and whether it is what any gives whose softmax is no number.
    float blind;
    u32 blind_if_no_number;
    // The place of the first query among the keys, and how many keys before and after its own place a query sees.
    i32 first_place, left, right;
    // Parts of the keys, each of its own blocks.
    u32 splits, keys_of_split;
};

#define NONE __uint_as_float(0xff800000u)
// Whether some keys within the length are hidden: then a value that is no number must not spoil the sums of those who do not see it.
#define HIDES (MASK || REACH)

// The keys that some queries see: from `begin` to before `end`, of this part.
struct Keys {
    u32 begin, end;
    // How many the batch has, and the place of query 0 among them.
    u32 count;
    i32 first_place;
};

// Those of the queries from `first` to before `last`; `begin` is a multiple of TILE.
template <u32 TILE> INLINE Keys keys_of(const Attention &p, const uint2 *lengths, u32 batch, u32 first, u32 last, u32 split) {
    Keys keys = {0, p.kv_len, p.kv_len, p.first_place};
    if (lengths) {
        keys.first_place = i32(lengths[batch].x);
        keys.count = keys.end = min(p.kv_len, lengths[batch].y);
    }
    if (p.splits > 1) {
        keys.begin = min(split * p.keys_of_split, keys.end);
        keys.end = min(keys.begin + p.keys_of_split, keys.end);
    }
    if (REACH) {
        i64 low = i64(keys.first_place) + first - p.left, high = i64(keys.first_place) + last + p.right;
        if (low > i64(keys.begin)) keys.begin = low >= i64(keys.end) ? keys.end : u32(low) / TILE * TILE;
        if (high < i64(keys.end)) keys.end = high <= i64(keys.begin) ? keys.begin : u32(high);
    }
    return keys;
}

// A scaled product as the softmax takes it; `mask` is the row of the query, `place` its place among the keys.
INLINE float masked(float score, const Attention &p, const M *mask, u32 key, u32 keys, i32 place) {
    if (key >= keys) return NONE;
    if (SOFTCAP) score = p.softcap * tanhf(score / p.softcap);
    if (REACH) {
        i32 distance = i32(key) - place;
        if (distance < -p.left || distance > p.right) return NONE;
    }
    if (MASK) {
        if (key >= p.mask_columns) return NONE;
        float bias = float(mask[key * p.mask_column_step]);
        if (MASK == 2) return bias != 0.0f ? score : p.fill;
        if (MASK == 3) return bias > 0.0f ? score : score + p.fill;
        // What the mask hides does not matter, whatever it is.
        score = bias == NONE ? NONE : score + bias;
    }
    return score;
}

// How sums shrink when the greatest score grows, and the weight of a score.
INLINE float shrinking(float old_greatest, float greatest) {
    return old_greatest == greatest ? 1.0f : EXP(old_greatest - greatest);
}
INLINE float weight_of(float score, float greatest) { return score == NONE ? 0.0f : EXP(score - greatest); }

// An element of the output from the weighted sum of values and the sum of weights.
INLINE float combined(const Attention &p, float total, float sum) {
    return sum == 0.0f || (sum != sum && p.blind_if_no_number) ? p.blind : total / sum;
}

// The row of a query among all of them, and where its outputs begin.
INLINE u32 row_of(const Attention &p, u32 batch, u32 head, u32 query) { return (batch * p.q_heads + head) * p.q_len + query; }
INLINE Y *output_of(const Attention &p, Y *y, u32 row) {
    u32 query = row % p.q_len, head = row / p.q_len % p.q_heads, batch = row / p.q_len / p.q_heads;
    return y + (batch * p.y_step[0] + head * p.y_step[1] + query * p.y_step[2]);
}

// Where scores begin: `greatest` and the sum of weights of a lane that is the row's first or not. A sink (SINKS 1: 0, 2: one for each head) takes
// part in the first part's.
INLINE void begin_row(const Q *sinks, u32 head, u32 split, bool first, float &greatest, float &sum) {
    greatest = SINKS && split == 0 ? (SINKS == 2 ? float(sinks[head]) : 0.0f) : NONE;
    sum = SINKS && split == 0 && first ? 1.0f : 0.0f;
}

// One element of the result of a row, or of a part of it.
INLINE void finish(const Attention &p, Y *y_row, float *totals, u32 row, u32 split, u32 column, float total, float sum) {
    if (p.splits > 1) totals[(u64(row) * p.splits + split) * p.v_head + column] = total;
    else y_row[column] = Y(combined(p, total, sum));
}
