// Products of small matrices by the tensor cores (mma.sync), one by a warp: d += a * b, with d of 16 x 8.
//
// Fragments, for lane = 4 * g + t (PTX ISA, "Matrix Fragments for mma.m16n8k*"); a register of a and b holds 4 bytes along k:
//   d[i]: row g + 8 * (i / 2), column 2 * t + i % 2
//   a[i]: row g + 8 * (i % 2), bytes 4 * t + 16 * (i / 2) of its row
//   b[i]: column g, bytes 4 * t + 16 * i of its column
// So a row of a is 32 bytes: k is 16 for 16-bit floats, 8 for tf32, 32 for 8-bit integers.
//
// The whole warp calls these. What an architecture has no instruction for does not compile for it: bf16 and tf32 need sm_80.

#ifndef __CUDA_ARCH__
namespace host {

// A lane's part in a product.
struct Mma {
    void *d;
    const u32 *a, *b;
};

template <class T> INLINE void parts(float *to, u32 word) {
    to[0] = float(T::of_bits(u16(word)));
    to[1] = float(T::of_bits(u16(word >> 16)));
}

// How a word of a fragment becomes numbers, of which it has COUNT.
struct Halves {
    typedef float Number;
    enum { COUNT = 2 };
    static INLINE void split(float *to, u32 word) { parts<f16>(to, word); }
};
struct Brains {
    typedef float Number;
    enum { COUNT = 2 };
    static INLINE void split(float *to, u32 word) { parts<bf16>(to, word); }
};
struct Tf32s {
    typedef float Number;
    enum { COUNT = 1 };
    // The lower bits are not looked at.
    static INLINE void split(float *to, u32 word) { to[0] = __uint_as_float(word & 0xffffe000u); }
};
template <class T> struct Bytes {
    typedef int Number;
    enum { COUNT = 4 };
    static INLINE void split(int *to, u32 word) {
        for (u32 i = 0; i < 4; i++) to[i] = T(word >> 8 * i);
    }
};

// Each step is 16 bytes along k.
template <class A, class B, u32 STEPS> inline void mma(void **lanes) {
    typedef typename A::Number Number;
    typedef Number Row __attribute__((vector_size(32)));
    constexpr u32 WIDTH = 4 * A::COUNT;
    Number a[16][STEPS * WIDTH];
    Row b[STEPS * WIDTH];
    for (u32 lane = 0; lane < 32; lane++) {
        auto *mine = static_cast<Mma *>(lanes[lane]);
        if (!mine) fail("a lane of the warp is missing at a product of matrices");
        u32 g = lane / 4, t = lane % 4;
        for (u32 step = 0; step < STEPS; step++) {
            u32 at = step * WIDTH + t * A::COUNT;
            A::split(&a[g][at], mine->a[2 * step]);
            A::split(&a[g + 8][at], mine->a[2 * step + 1]);
            Number column[A::COUNT];
            B::split(column, mine->b[step]);
            for (u32 i = 0; i < A::COUNT; i++) b[at + i][g] = column[i];
        }
    }
    for (u32 row = 0; row < 16; row++) {
        Row d = {};
        for (u32 k = 0; k < STEPS * WIDTH; k++) d += a[row][k] * b[k];
        for (u32 t = 0; t < 4; t++) {
            auto *mine = static_cast<Mma *>(lanes[row % 8 * 4 + t]);
            auto *to = static_cast<Number *>(mine->d) + row / 8 * 2;
            to[0] += d[2 * t];
            to[1] += d[2 * t + 1];
        }
    }
}

}  // namespace host
#endif

// 16-bit floats, k = 8.
INLINE void mma_f16_k8(float (&d)[4], u32 a0, u32 a1, u32 b0) {
#ifdef __CUDA_ARCH__
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b0));
#else
    u32 a[2] = {a0, a1};
    host::Mma mine = {d, a, &b0};
    host::collective(FULL, &mine, host::mma<host::Halves, host::Halves, 1>, "mma_f16_k8", __LINE__);
#endif
}

// f16, k = 16.
INLINE void mma_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    mma_f16_k8(d, a[0], a[1], b[0]);
    mma_f16_k8(d, a[2], a[3], b[1]);
#elif defined(__CUDA_ARCH__)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    host::Mma mine = {d, a, b};
    host::collective(FULL, &mine, host::mma<host::Halves, host::Halves, 2>, "mma_f16", __LINE__);
#endif
}

// bf16, k = 16.
INLINE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef __CUDA_ARCH__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    host::Mma mine = {d, a, b};
    host::collective(FULL, &mine, host::mma<host::Brains, host::Brains, 2>, "mma_bf16", __LINE__);
#endif
}

// A float as tf32: rounded to 10 bits of mantissa, ties away from zero.
INLINE u32 tf32(float value) {
#ifdef __CUDA_ARCH__
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
#else
    u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
    return (bits & 0x7fffffffu) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
#endif
}

// tf32, k = 8.
INLINE void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef __CUDA_ARCH__
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    host::Mma mine = {d, a, b};
    host::collective(FULL, &mine, host::mma<host::Tf32s, host::Tf32s, 2>, "mma_tf32", __LINE__);
#endif
}

// 8-bit integers, k = 32; sums wrap. `mma_s8_u8` is of a signed a and an unsigned b.
#ifndef __CUDA_ARCH__
#define MMA_BYTES(name, A, B, types)                                                                                         \
    INLINE void name(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {                                                    \
        host::Mma mine = {d, a, b};                                                                                          \
        host::collective(FULL, &mine, host::mma<host::Bytes<A>, host::Bytes<B>, 2>, #name, __LINE__);                        \
    }
#elif __CUDA_ARCH__ >= 800
#define MMA_BYTES(name, A, B, types)                                                                                         \
    INLINE void name(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {                                                    \
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "    \
                     "{%0, %1, %2, %3};"                                                                                     \
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                                        \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                    \
    }
#else
// Of four products of 8 x 8, k = 16.
#define MMA_BYTES(name, A, B, types)                                                                                         \
    INLINE void name(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {                                                    \
        for (u32 i = 0; i < 4; i++) {                                                                                        \
            asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." types ".s32 {%0, %1}, {%2}, {%3}, {%0, %1};"                \
                         : "+r"(d[i % 2 * 2]), "+r"(d[i % 2 * 2 + 1])                                                        \
                         : "r"(a[i]), "r"(b[i / 2]));                                                                        \
        }                                                                                                                    \
    }
#endif
MMA_BYTES(mma_s8, i8, i8, "s8.s8")
MMA_BYTES(mma_u8, u8, u8, "u8.u8")
MMA_BYTES(mma_u8_s8, u8, i8, "u8.s8")
MMA_BYTES(mma_s8_u8, i8, u8, "s8.u8")
#undef MMA_BYTES

// ---- Fragments from shared memory ----

#ifndef __CUDA_ARCH__
namespace host {

// A lane's part in a load of matrices: a row's place, and the words it gets.
struct Rows {
    const void *row;
    u32 *words;
};

template <u32 Count, bool Transposed> inline void load_rows(void **lanes) {
    u16 matrices[4][8][8] = {};
    for (u32 i = 0; i < 8 * Count; i++) {
        auto *mine = static_cast<Rows *>(lanes[i]);
        if (!mine) fail("a lane of the warp is missing at a load of matrices");
        if (reinterpret_cast<u64>(mine->row) % 16 != 0) fail("a row of a matrix is not at a multiple of 16 bytes");
        __builtin_memcpy(matrices[i / 8][i % 8], mine->row, 16);
    }
    for (u32 lane = 0; lane < 32; lane++) {
        auto *mine = static_cast<Rows *>(lanes[lane]);
        if (!mine) continue;
        u32 g = lane / 4, t = lane % 4;
        for (u32 i = 0; i < Count; i++) {
            u16 low = Transposed ? matrices[i][2 * t][g] : matrices[i][g][2 * t];
            u16 high = Transposed ? matrices[i][2 * t + 1][g] : matrices[i][g][2 * t + 1];
            mine->words[i] = u32(high) << 16 | low;
        }
    }
}

}  // namespace host
#else
// A place in shared memory as PTX names it.
INLINE u32 shared_place(const void *place) { return static_cast<u32>(__cvta_generic_to_shared(place)); }
#endif

// Loads four matrices of 8 x 8 elements of 16 bits; lane i names row i % 8 of matrix i / 8, of 16 bytes at a multiple of 16 in shared
// memory. Lane 4 * g + t gets of matrix i the elements (g, 2 * t) and (g, 2 * t + 1), as a and b need them; of its transpose with
// `load_matrices_transposed`.
INLINE void load_matrices(u32 (&words)[4], const void *row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_place(row)));
#else
    host::Rows mine = {row, words};
    host::collective(FULL, &mine, host::load_rows<4, false>, "load_matrices", __LINE__);
#endif
}
INLINE void load_matrices_transposed(u32 (&words)[4], const void *row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_place(row)));
#else
    host::Rows mine = {row, words};
    host::collective(FULL, &mine, host::load_rows<4, true>, "load_matrices_transposed", __LINE__);
#endif
}
// Two matrices; lanes 0 to 15 name the rows, the others any valid place.
INLINE void load_matrices(u32 (&words)[2], const void *row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "r"(shared_place(row)));
#else
    host::Rows mine = {row, words};
    host::collective(FULL, &mine, host::load_rows<2, false>, "load_matrices", __LINE__);
#endif
}
INLINE void load_matrices_transposed(u32 (&words)[2], const void *row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(shared_place(row)));
#else
    host::Rows mine = {row, words};
    host::collective(FULL, &mine, host::load_rows<2, true>, "load_matrices_transposed", __LINE__);
#endif
}
