// Where the sums of a product go: activation(alpha * sum + beta * bias + residual), or, if PARTS, as they are to memory of the
// launch's own. Macros: HAS_BIAS is 0 without one, 1 if it has neighbours for neighbouring columns, 2 if they share an element;
// HAS_RESIDUAL, which lies as the result does; IMAGES of columns that lie apart; TOGETHER columns may be written at once; types
// BIAS_T, RESIDUAL_T, RESULT_T; and ACTIVATE, the body of a function of x.

namespace expressions {
INLINE float activate(float x) { ACTIVATE; }
}  // namespace expressions

struct Placement {
    // From one product, row, and image of columns to the next; columns of an image.
    u32 batch, row, image;
    Divisor columns;
    u32 bias_batch, bias_row;
    float alpha, beta;
};

#if PARTS

#define RESULT_PARAMETERS float* parts
#define RESULT Result{parts}

struct Result {
    float* parts;

    template <int N>
    INLINE void put(const Extents& extents, const Part& part, u32 row, u32 column, const float (&sums)[N]) const {
        if (row >= extents.m || column >= extents.n) return;
        u32 width = (extents.n + 3u) & ~3u;
        vec<float, N> pack;
#pragma unroll
        for (int i = 0; i < N; i++) pack.at[i] = sums[i];
        *(vec<float, N>*)(parts + ((part.batch * extents.splits + part.split) * extents.m + row) * width + column) = pack;
    }
};

#else

#define RESULT_PARAMETERS const BIAS_T* bias, const RESIDUAL_T* residual, RESULT_T* y, Placement placement
#define RESULT Result{bias, residual, y, placement}

struct Result {
    const BIAS_T* bias;
    const RESIDUAL_T* residual;
    RESULT_T* y;
    Placement placement;

    INLINE float finished(float sum, float bias, float residual) const {
        return expressions::activate(placement.alpha * sum + (HAS_BIAS ? placement.beta * bias : 0.0f) + residual);
    }

    // Sums of N neighbouring columns, of which the first is a multiple of N.
    template <int N>
    INLINE void put(const Extents& extents, const Part& part, u32 row, u32 column, const float (&sums)[N]) const {
        if (row >= extents.m || column >= extents.n) return;
        u32 start = part.batch * placement.batch + row * placement.row;
        u32 bias_start = part.batch * placement.bias_batch + row * placement.bias_row;
        if (TOGETHER % N == 0) {
            u32 place = column;
            u32 image = IMAGES ? placement.columns.divide(place) : 0u;
            u32 at = start + image * placement.image + place;
            vec<RESULT_T, N> pack;
            vec<BIAS_T, N> biases;
            vec<RESIDUAL_T, N> residuals;
            if (HAS_BIAS == 1) biases = *(const vec<BIAS_T, N>*)(bias + bias_start + column);
            float shared = HAS_BIAS == 2 ? float(bias[bias_start]) : 0.0f;
            if (HAS_RESIDUAL) residuals = *(const vec<RESIDUAL_T, N>*)(residual + at);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float added = HAS_BIAS == 1 ? float(biases.at[i]) : shared;
                pack.at[i] = RESULT_T(finished(sums[i], added, HAS_RESIDUAL ? float(residuals.at[i]) : 0.0f));
            }
            *(vec<RESULT_T, N>*)(y + at) = pack;
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            u32 place = column + i;
            if (place >= extents.n) break;
            float added = HAS_BIAS == 0 ? 0.0f : float(bias[bias_start + (HAS_BIAS == 1 ? place : 0u)]);
            u32 image = IMAGES ? placement.columns.divide(place) : 0u;
            u32 at = start + image * placement.image + place;
            y[at] = RESULT_T(finished(sums[i], added, HAS_RESIDUAL ? float(residual[at]) : 0.0f));
        }
    }
};

#endif
