// The functions that expressions of element-wise operators call (`Expression` in crates/ops), for floats and for integers. They stand in a
// namespace of their own, in which the names of C's functions mean these.

namespace expressions {

template <class X> __device__ inline X select(X no, X yes, bool condition) { return condition ? yes : no; }

__device__ inline bool is_nan(float x) { return (__float_as_uint(x) & 0x7fffffffu) > 0x7f800000u; }
__device__ inline bool is_inf(float x) { return (__float_as_uint(x) & 0x7fffffffu) == 0x7f800000u; }
__device__ inline float nan() { return __uint_as_float(0x7fc00000u); }

__device__ inline float abs(float x) { return ::fabsf(x); }
__device__ inline float acos(float x) { return ::acosf(x); }
__device__ inline float acosh(float x) { return ::acoshf(x); }
__device__ inline float asin(float x) { return ::asinf(x); }
__device__ inline float asinh(float x) { return ::asinhf(x); }
__device__ inline float atan(float x) { return ::atanf(x); }
__device__ inline float atanh(float x) { return ::atanhf(x); }
__device__ inline float ceil(float x) { return ::ceilf(x); }
__device__ inline float cos(float x) { return ::cosf(x); }
__device__ inline float cosh(float x) { return ::coshf(x); }
__device__ inline float erf(float x) { return ::erff(x); }
__device__ inline float exp(float x) { return ::expf(x); }
__device__ inline float expm1(float x) { return ::expm1f(x); }
__device__ inline float floor(float x) { return ::floorf(x); }
__device__ inline float log(float x) { return ::logf(x); }
__device__ inline float sin(float x) { return ::sinf(x); }
__device__ inline float sinh(float x) { return ::sinhf(x); }
__device__ inline float sqrt(float x) { return ::sqrtf(x); }
__device__ inline float tan(float x) { return ::tanf(x); }
__device__ inline float tanh(float x) { return ::tanhf(x); }
__device__ inline float fmod(float x, float y) { return ::fmodf(x, y); }
__device__ inline float round_even(float x) { return ::rintf(x); }

__device__ inline float maximum(float x, float y) { return is_nan(x) ? x : is_nan(y) ? y : ::fmaxf(x, y); }
__device__ inline float minimum(float x, float y) { return is_nan(x) ? x : is_nan(y) ? y : ::fminf(x, y); }
__device__ inline float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
__device__ inline float quotient(float x, float y) { return x / y; }

__device__ inline float sigmoid(float x) {
    float e = ::expf(-::fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// x - ln(1 + e^-|x|) has no overflow.
__device__ inline float softplus(float x) { return is_nan(x) ? x : ::fmaxf(x, 0.0f) + ::log1pf(::expf(-::fabsf(x))); }

__device__ inline float floor_mod(float x, float y) {
    float rest = ::fmodf(x, y);
    return rest != 0.0f && (rest < 0.0f) != (y < 0.0f) ? rest + y : rest;
}

__device__ inline float power(float x, float y) { return ::powf(x, y); }

// Integers of a type and width; sums and products wrap, and what divides by zero is 0.
template <class X> struct Signed { static const bool value = X(-1) < X(0); };

template <class X> __device__ inline X abs(X x) { return x < X(0) ? X(X(0) - x) : x; }
template <class X> __device__ inline X maximum(X x, X y) { return x < y ? y : x; }
template <class X> __device__ inline X minimum(X x, X y) { return y < x ? y : x; }
template <class X> __device__ inline X sign(X x) { return X(x > X(0)) - X(x < X(0)); }

template <class X> __device__ inline X quotient(X x, X y) {
    if (y == X(0)) return X(0);
    return Signed<X>::value && y == X(-1) ? X(X(0) - x) : X(x / y);
}

template <class X> __device__ inline X fmod(X x, X y) {
    if (y == X(0) || (Signed<X>::value && y == X(-1))) return X(0);
    return x % y;
}

template <class X> __device__ inline X floor_mod(X x, X y) {
    X rest = fmod(x, y);
    return rest != X(0) && (rest < X(0)) != (y < X(0)) ? X(rest + y) : rest;
}

template <class X> __device__ inline X power(X x, X y) {
    if (y < X(0)) return x == X(1) ? X(1) : x == X(-1) ? (y & X(1) ? X(-1) : X(1)) : X(0);
    X result = X(1);
    for (; y > X(0); y = X(y / X(2))) {
        if (y & X(1)) result = X(result * x);
        x = X(x * x);
    }
    return result;
}

template <class X> __device__ inline X shift_left(X x, X y) {
    return y < X(0) || y >= X(8 * sizeof(X)) ? X(0) : X((u64)x << (u32)y);
}

template <class X> __device__ inline X shift_right(X x, X y) {
    if (y < X(0) || y >= X(8 * sizeof(X))) return x < X(0) ? X(-1) : X(0);
    return x >> y;
}

// Floats as integers: int32 and int64 saturate, of other types the lowest bits are kept, NaN is 0.
__device__ inline i64 truncated(double x) {
    if (!(x == x)) return 0;
    if (x >= 9223372036854775808.0) return 0x7fffffffffffffffll;
    if (x < -9223372036854775808.0) return -0x7fffffffffffffffll - 1;
    return (i64)x;
}

template <class Y> struct Cast {
    template <class X> static __device__ inline Y of(X x) { return Y(x); }
};
template <> struct Cast<i32> {
    static __device__ inline i32 of(double x) {
        i64 wide = truncated(x);
        return wide > 0x7fffffffll ? 0x7fffffff : wide < -0x80000000ll ? i32(-0x7fffffff - 1) : i32(wide);
    }
    static __device__ inline i32 of(float x) { return of(double(x)); }
    template <class X> static __device__ inline i32 of(X x) { return i32(x); }
};

// To an integer type but i32, or to bool.
template <class Y> __device__ inline Y from_float(double x) {
    // What lies above the signed range keeps the bits of an unsigned number.
    if (x >= 9223372036854775808.0 && !Signed<Y>::value) return Y(x >= 18446744073709551615.0 ? ~0ull : (u64)x);
    return Y(truncated(x));
}
template <> struct Cast<bool> {
    template <class X> static __device__ inline bool of(X x) { return x != X(0); }
};
#define FROM_FLOAT(Y)                                                                          \
    template <> struct Cast<Y> {                                                               \
        static __device__ inline Y of(double x) { return from_float<Y>(x); }                   \
        static __device__ inline Y of(float x) { return from_float<Y>(double(x)); }            \
        template <class X> static __device__ inline Y of(X x) { return Y(x); }                 \
    };
FROM_FLOAT(i8)
FROM_FLOAT(u8)
FROM_FLOAT(i16)
FROM_FLOAT(u16)
FROM_FLOAT(u32)
FROM_FLOAT(i64)
FROM_FLOAT(u64)

}  // namespace expressions
