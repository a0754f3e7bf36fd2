// What stands before every kernel. No header of CUDA is needed: 16-bit floats are our own, by PTX on a GPU and by bits elsewhere.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define WARP 32u
#define FULL 0xffffffffu
#define INLINE __device__ __forceinline__

// `SHARED(type, name);` is the dynamic shared memory of the launch, as `type *name`, at a multiple of 16 bytes.
#ifdef __CUDA_ARCH__
extern __shared__ __align__(16) unsigned char shared_memory[];
#define SHARED(type, name) type *name = reinterpret_cast<type *>(shared_memory)
#else
#define SHARED(type, name) type *name = reinterpret_cast<type *>(host::state.shared)
#endif

// ---- 16-bit floats ----

// A double as a float that rounds further as the double does: towards zero, and odd if that is not exact.
INLINE float round_to_odd(double value) {
    float cut = __double2float_rz(value);
    return double(cut) == value || value != value ? cut : __uint_as_float(__float_as_uint(cut) | 1u);
}

// IEEE binary16. Conversions round to nearest, ties to even; of what is neither float nor double, by way of float.
struct f16 {
    u16 bits;

    f16() = default;
    template <class T> INLINE explicit f16(T value) : f16(float(value)) {}
    INLINE explicit f16(double value) : f16(round_to_odd(value)) {}
    INLINE explicit f16(float value) {
#ifdef __CUDA_ARCH__
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#elif HOST_HAS_F16 && !defined(PLAIN_FLOATS)
        bits = host::bits<u16>(_Float16(value));
#else
        u32 x = __float_as_uint(value), sign = x >> 16 & 0x8000u;
        x &= 0x7fffffffu;
        if (x > 0x7f800000u) bits = 0x7fff;
        else if (x >= 0x477ff000u) bits = u16(sign | 0x7c00u);
        // Below 2^-14: the addition rounds to a multiple of 2^-24.
        else if (x < 0x38800000u) bits = u16(sign | (__float_as_uint(__uint_as_float(x) + 0.5f) - 0x3f000000u));
        else bits = u16(sign | (x - 0x38000000u + 0xfffu + (x >> 13 & 1u)) >> 13);
#endif
    }
    INLINE explicit operator float() const {
#ifdef __CUDA_ARCH__
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
#elif HOST_HAS_F16 && !defined(PLAIN_FLOATS)
        return float(host::bits<_Float16>(bits));
#else
        u32 sign = u32(bits & 0x8000u) << 16, x = bits & 0x7fffu;
        if (x >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (x & 0x3ffu) << 13);
        if (x < 0x400u) return __uint_as_float(sign | __float_as_uint(float(x) * 0x1p-24f));
        return __uint_as_float(sign | ((x << 13) + 0x38000000u));
#endif
    }
    static INLINE f16 of_bits(u16 bits) {
        f16 value;
        value.bits = bits;
        return value;
    }
};

// The upper half of binary32. Conversions as of f16.
struct bf16 {
    u16 bits;

    bf16() = default;
    template <class T> INLINE explicit bf16(T value) : bf16(float(value)) {}
    INLINE explicit bf16(double value) : bf16(round_to_odd(value)) {}
    INLINE explicit bf16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
        u32 x = __float_as_uint(value);
        bits = (x & 0x7fffffffu) > 0x7f800000u ? u16(0x7fff) : u16((x + 0x7fffu + (x >> 16 & 1u)) >> 16);
#endif
    }
    INLINE explicit operator float() const { return __uint_as_float(u32(bits) << 16); }
    static INLINE bf16 of_bits(u16 bits) {
        bf16 value;
        value.bits = bits;
        return value;
    }
};

// ---- 8-bit floats of ONNX ----

// MANTISSA bits of mantissa; GREATEST is the code of the greatest finite value, INFINITE that of infinity (0: there is none).
// Without negative zero (ZERO_ONCE) 0x80 is NaN.
template <u32 MANTISSA, u32 BIAS, u32 GREATEST, u32 INFINITE, u32 NAN_CODE, bool ZERO_ONCE> struct f8 {
    u8 bits;

    f8() = default;
    template <class T> INLINE explicit f8(T value) : f8(float(value)) {}
    INLINE explicit f8(double value) : f8(round_to_odd(value)) {}
    // Rounds to nearest, ties to even; what is too great becomes the greatest finite value.
    INLINE explicit f8(float value) { bits = encode(value, true); }
    // As the constructor, but what is too great becomes infinity, or NaN where there is none.
    static INLINE f8 overflowing(float value) { return of_bits(encode(value, false)); }
    static INLINE f8 of_bits(u8 bits) {
        f8 value;
        value.bits = bits;
        return value;
    }
    INLINE explicit operator float() const {
        u32 sign = u32(bits & 0x80u) << 24, code = bits & 0x7fu;
        if (ZERO_ONCE && bits == 0x80u) return __uint_as_float(0x7fc00000u);
        if (code > GREATEST) return __uint_as_float(sign | (INFINITE && code == INFINITE ? 0x7f800000u : 0x7fc00000u));
        if (code >> MANTISSA == 0) {
            float unit = __uint_as_float((127 + 1 - BIAS - MANTISSA) << 23);
            return __uint_as_float(sign | __float_as_uint(float(code) * unit));
        }
        return __uint_as_float(sign | ((code << (23 - MANTISSA)) + ((127 - BIAS) << 23)));
    }

  private:
    static INLINE u8 encode(float value, bool saturate) {
        u32 x = __float_as_uint(value), sign = x >> 24 & 0x80u, code;
        x &= 0x7fffffffu;
        if (x > 0x7f800000u) return u8(ZERO_ONCE ? NAN_CODE : sign | NAN_CODE);
        if (x < (127 + 1 - BIAS) << 23) {
            // Subnormal: the addition rounds to a multiple of the least value.
            u32 magic = (127 + 1 - BIAS - MANTISSA + 23) << 23;
            code = __float_as_uint(__uint_as_float(x) + __uint_as_float(magic)) - magic;
        } else {
            code = (x - ((127 - BIAS) << 23) + (1u << (22 - MANTISSA)) - 1 + (x >> (23 - MANTISSA) & 1u)) >> (23 - MANTISSA);
        }
        if (code > GREATEST) {
            if (saturate) code = GREATEST;
            else if (INFINITE) code = INFINITE;
            else return u8(ZERO_ONCE ? NAN_CODE : sign | NAN_CODE);
        }
        return u8(ZERO_ONCE && code == 0 ? 0 : sign | code);
    }
};

typedef f8<3, 7, 0x7e, 0, 0x7f, false> f8e4m3;
typedef f8<3, 8, 0x7f, 0, 0x80, true> f8e4m3fnuz;
typedef f8<2, 15, 0x7b, 0x7c, 0x7f, false> f8e5m2;
typedef f8<2, 16, 0x7f, 0, 0x80, true> f8e5m2fnuz;

// ---- Several elements at once ----

// N elements that are loaded and stored at once; N * sizeof(T) is a power of two of at most 16.
template <class T, u32 N> struct __align__(sizeof(T) * N) vec {
    T at[N];

    INLINE T &operator[](u32 i) { return at[i]; }
    INLINE const T &operator[](u32 i) const { return at[i]; }
};

// Elements from a place at a multiple of their bytes.
template <u32 N, class T> INLINE vec<T, N> load(const T *from) {
    return *reinterpret_cast<const vec<T, N> *>(from);
}

// Elements to a place at a multiple of their bytes.
template <u32 N, class T> INLINE void store(T *to, const vec<T, N> &values) {
    *reinterpret_cast<vec<T, N> *>(to) = values;
}

// ---- Threads ----

// The thread's number in its block, and how many there are.
INLINE u32 thread_rank() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
INLINE u32 block_threads() { return blockDim.x * blockDim.y * blockDim.z; }

// ---- Reductions ----

struct Sum {
    template <class T> INLINE T operator()(T x, T y) const { return x + y; }
};
struct Max {
    template <class T> INLINE T operator()(T x, T y) const { return max(x, y); }
};
struct Min {
    template <class T> INLINE T operator()(T x, T y) const { return min(x, y); }
};

#ifndef __CUDA_ARCH__
namespace host {

// A lane's part in a reduction.
template <class T, class F> struct Reduced {
    T value;
    const F *combine;
};

// The five exchanges at once.
template <class T, class F> inline void reduce_warp(void **lanes) {
    T values[2][WARP];
    for (u32 i = 0; i < WARP; i++) {
        if (!lanes[i]) fail("a lane of the warp is missing at a reduction");
        values[0][i] = static_cast<Reduced<T, F> *>(lanes[i])->value;
    }
    u32 now = 0;
    for (u32 distance = WARP / 2; distance > 0; distance /= 2, now ^= 1) {
        for (u32 i = 0; i < WARP; i++) {
            const F &combine = *static_cast<Reduced<T, F> *>(lanes[i])->combine;
            values[now ^ 1][i] = combine(values[now][i], values[now][i ^ distance]);
        }
    }
    for (u32 i = 0; i < WARP; i++) static_cast<Reduced<T, F> *>(lanes[i])->value = values[now][i];
}

}  // namespace host
#endif

// Of all lanes, in all lanes; the whole warp calls it. `max` and `min` of floats pass NaN over.
template <class T, class F> INLINE T warp_reduce(T value, F combine) {
#ifdef __CUDA_ARCH__
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) value = combine(value, __shfl_xor_sync(FULL, value, distance));
    return value;
#else
    host::Reduced<T, F> mine = {value, &combine};
    host::collective(FULL, &mine, host::reduce_warp<T, F>, "warp_reduce", __LINE__);
    return mine.value;
#endif
}
template <class T> INLINE T warp_sum(T value) { return warp_reduce(value, Sum()); }
template <class T> INLINE T warp_max(T value) { return warp_reduce(value, Max()); }
template <class T> INLINE T warp_min(T value) { return warp_reduce(value, Min()); }

// Of all threads of the block, in all threads; whole warps, all of them, call it. `scratch` is shared memory for 32 values, which may
// be used again at once; `none` changes nothing when combined.
template <class T, class F> INLINE T block_reduce(T value, T *scratch, T none, F combine) {
    u32 rank = thread_rank(), lane = rank % WARP, warps = block_threads() / WARP;
    value = warp_reduce(value, combine);
    if (warps == 1) return value;
    __syncthreads();
    if (lane == 0) scratch[rank / WARP] = value;
    __syncthreads();
    return warp_reduce(lane < warps ? scratch[lane] : none, combine);
}
template <class T> INLINE T block_sum(T value, T *scratch) { return block_reduce(value, scratch, T(0), Sum()); }
// The greatest of floats: of nothing but NaN it is minus infinity.
INLINE float block_max(float value, float *scratch) { return block_reduce(value, scratch, __uint_as_float(0xff800000u), Max()); }
INLINE float block_min(float value, float *scratch) { return block_reduce(value, scratch, __uint_as_float(0x7f800000u), Min()); }

// ---- Errors ----

// By which a kernel tells of an index that fails the run; all zero before it.
struct Fault {
    u64 told;
    i64 index;
    i64 extent;
};

// Tells, unless another thread has.
INLINE void tell(Fault *fault, i64 index, i64 extent) {
    if (atomicCAS(&fault->told, 0ull, 1ull) != 0) return;
    fault->index = index;
    fault->extent = extent;
}
