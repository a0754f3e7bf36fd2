// Rotation of pairs of elements by their places: a thread for SIDE pairs of a head, or for as many elements that are not rotated. SIDE divides a half
// of what is rotated and what is not.

struct Rotary {
    // Threads of all heads together; elements of a head, and of a half of those that are rotated; places of a sequence, heads.
    u32 count, head, half, len, heads;
    u32 table_rows;
    u32 heads_first;
    // Whether places are given (1), or that of the first element of every sequence (2).
    u32 given;
};

extern "C" __global__ void rotary_embedding(
    const X *x, const X *cosines, const X *sines, const i64 *positions, Y *y, Fault *fault, Rotary p
) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= p.count) return;
    u32 turned = p.half / SIDE, of_row = turned + (p.head - 2 * p.half) / SIDE, unit = at % of_row, index = at / of_row;
    x += u64(index) * p.head;
    y += u64(index) * p.head;
    if (unit >= turned) {
        u32 column = 2 * p.half + (unit - turned) * SIDE;
        vec<X, SIDE> values = load<SIDE>(x + column);
        vec<Y, SIDE> results;
        for (u32 i = 0; i < SIDE; i++) results[i] = Y(float(values[i]));
        store(y + column, results);
        return;
    }
    u32 place = p.heads_first ? index / (p.heads * p.len) * p.len + index % p.len : index / p.heads;
    i64 row = p.given == 1 ? positions[place] : p.given == 2 ? positions[0] : i64(place);
    if (p.given == 2 && row < i64(1) << 62) row += place % p.len;
    bool known = row >= 0 && row < i64(p.table_rows);
    if (!known) {
        if (fault) tell(fault, row, p.table_rows);
        row = 0;
    }
    // Pairs of neighbours are two pieces side by side, others one in each half.
    u32 first = INTERLEAVED ? 2 * unit * SIDE : unit * SIDE, second = INTERLEAVED ? first + SIDE : first + p.half;
    vec<X, SIDE> a = load<SIDE>(x + first), b = load<SIDE>(x + second);
    vec<X, SIDE> cosine = {}, sine = {};
    if (known) {
        cosine = load<SIDE>(cosines + (row * p.half + unit * SIDE));
        sine = load<SIDE>(sines + (row * p.half + unit * SIDE));
    }
    vec<Y, SIDE> low, high;
#pragma unroll
    for (u32 i = 0; i < SIDE; i++) {
        float from = INTERLEAVED ? float(2 * i < SIDE ? a[2 * i % SIDE] : b[2 * i % SIDE]) : float(a[i]);
        float beside = INTERLEAVED ? float(2 * i + 1 < SIDE ? a[(2 * i + 1) % SIDE] : b[(2 * i + 1) % SIDE]) : float(b[i]);
        float c = float(cosine[i]), s = float(sine[i]);
        Y left = Y(from * c - beside * s), right = Y(beside * c + from * s);
        if (!INTERLEAVED) {
            low[i] = left;
            high[i] = right;
        } else {
            (2 * i < SIDE ? low : high)[2 * i % SIDE] = left;
            (2 * i + 1 < SIDE ? low : high)[(2 * i + 1) % SIDE] = right;
        }
    }
    store(y + first, low);
    store(y + second, high);
}
