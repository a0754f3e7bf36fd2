// What the cells of recurrent operators call. A warp has an element of the state of SEQUENCES sequences.

struct Recurrent {
    u32 steps, batch, directions, hidden;
    // Directions that are reversed, by bits.
    u32 reversed;
    u32 batch_first;
    // The step of this launch, if it is of one, and its phase.
    u32 step, phase;
    // Blocks along the sequences, and along the elements.
    u32 of_sequences, of_elements;
};

// An element that a cell computes.
struct Cell {
    u32 direction, element, hidden;
    const X *bias, *peepholes;
};

// Elements of a row of R that are read at once.
#define WIDE (VECTORS ? u32(16 / sizeof(X)) : 1u)
// Distance of states in shared memory.
INLINE u32 state_step(u32 hidden) { return (hidden + 3) / 4 * 4; }

// What is made for the operator: clipping, and its activations of a direction.
INLINE float clipped(float x);
INLINE float act0(u32 direction, float x);
INLINE float act1(u32 direction, float x);
INLINE float act2(u32 direction, float x);

// WIDE elements of a state.
struct States {
    float at[WIDE];
};
INLINE States states_at(const float *from) {
    const u32 piece = WIDE < 4 ? WIDE : 4;
    States states;
#pragma unroll
    for (u32 i = 0; i < WIDE; i += piece) {
        vec<float, piece> part = load<piece>(from + i);
#pragma unroll
        for (u32 j = 0; j < piece; j++) states.at[i + j] = part[j];
    }
    return states;
}

// Sums of products, for each sequence up to four.
struct Totals {
    float of[SEQUENCES][4];
};

// Adds this lane's share of the product of a row of R with the states, as sum number PLACE.
template <u32 PLACE> INLINE void add_product(Totals &totals, const X *row, const float *h, u32 hidden, u32 lane) {
    u32 distance = state_step(hidden);
    for (u32 k = lane * WIDE; k < hidden; k += WARP * WIDE) {
        vec<X, WIDE> weights = load<WIDE>(row + k);
#pragma unroll
        for (u32 s = 0; s < SEQUENCES; s++) {
            States states = states_at(h + s * distance + k);
#pragma unroll
            for (u32 i = 0; i < WIDE; i++) totals.of[s][PLACE] = fmaf(float(weights[i]), states.at[i], totals.of[s][PLACE]);
        }
    }
}

// As `add_product`, of four rows that lie `apart`, which go through the states together.
INLINE void add_products_of_four(Totals &totals, const X *row, u64 apart, const float *h, u32 hidden, u32 lane) {
    u32 distance = state_step(hidden);
    for (u32 k = lane * WIDE; k < hidden; k += WARP * WIDE) {
        vec<X, WIDE> weights[4];
#pragma unroll
        for (u32 gate = 0; gate < 4; gate++) weights[gate] = load<WIDE>(row + gate * apart + k);
#pragma unroll
        for (u32 s = 0; s < SEQUENCES; s++) {
            States states = states_at(h + s * distance + k);
#pragma unroll
            for (u32 i = 0; i < WIDE; i++) {
#pragma unroll
                for (u32 gate = 0; gate < 4; gate++) totals.of[s][gate] = fmaf(float(weights[gate][i]), states.at[i], totals.of[s][gate]);
            }
        }
    }
}
