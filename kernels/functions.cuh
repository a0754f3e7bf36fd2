// The functions that expressions of element-wise operators call (`Expression` in crates/ops), for floats and for integers. They stand in a
// namespace of their own, in which the names of C's functions mean these.

namespace expressions {

template <class Value> __device__ inline Value select(Value no, Value yes, bool condition) { return condition ? yes : no; }

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
__device__ inline float divide(float x, float y) { return x / y; }

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

// Of float64.
__device__ inline bool is_nan(double x) { return x != x; }
__device__ inline bool is_inf(double x) { return ::fabs(x) == __longlong_as_double(0x7ff0000000000000ll); }
__device__ inline double abs(double x) { return ::fabs(x); }
__device__ inline double acos(double x) { return ::acos(x); }
__device__ inline double acosh(double x) { return ::acosh(x); }
__device__ inline double asin(double x) { return ::asin(x); }
__device__ inline double asinh(double x) { return ::asinh(x); }
__device__ inline double atan(double x) { return ::atan(x); }
__device__ inline double atanh(double x) { return ::atanh(x); }
__device__ inline double ceil(double x) { return ::ceil(x); }
__device__ inline double cos(double x) { return ::cos(x); }
__device__ inline double cosh(double x) { return ::cosh(x); }
__device__ inline double erf(double x) { return ::erf(x); }
__device__ inline double exp(double x) { return ::exp(x); }
__device__ inline double expm1(double x) { return ::expm1(x); }
__device__ inline double floor(double x) { return ::floor(x); }
__device__ inline double log(double x) { return ::log(x); }
__device__ inline double sin(double x) { return ::sin(x); }
__device__ inline double sinh(double x) { return ::sinh(x); }
__device__ inline double sqrt(double x) { return ::sqrt(x); }
__device__ inline double tan(double x) { return ::tan(x); }
__device__ inline double tanh(double x) { return ::tanh(x); }
__device__ inline double fmod(double x, double y) { return ::fmod(x, y); }
__device__ inline double round_even(double x) { return ::rint(x); }
__device__ inline double maximum(double x, double y) { return is_nan(x) ? x : is_nan(y) ? y : ::fmax(x, y); }
__device__ inline double minimum(double x, double y) { return is_nan(x) ? x : is_nan(y) ? y : ::fmin(x, y); }
__device__ inline double sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }
__device__ inline double divide(double x, double y) { return x / y; }
__device__ inline double power(double x, double y) { return ::pow(x, y); }

__device__ inline double sigmoid(double x) {
    double e = ::exp(-::fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

__device__ inline double softplus(double x) { return is_nan(x) ? x : ::fmax(x, 0.0) + ::log1p(::exp(-::fabs(x))); }

__device__ inline double floor_mod(double x, double y) {
    double rest = ::fmod(x, y);
    return rest != 0.0 && (rest < 0.0) != (y < 0.0) ? rest + y : rest;
}

// Integers of a type and width; sums and products wrap, and what divides by zero is 0. C++ says of unsigned ones only that they wrap.
template <class Value> struct Signed { static const bool value = Value(-1) < Value(0); };

template <class Value> __device__ inline Value sum(Value x, Value y) { return Value(u64(x) + u64(y)); }
template <class Value> __device__ inline Value difference(Value x, Value y) { return Value(u64(x) - u64(y)); }
template <class Value> __device__ inline Value product(Value x, Value y) { return Value(u64(x) * u64(y)); }
template <> __device__ inline i32 sum(i32 x, i32 y) { return i32(u32(x) + u32(y)); }
template <> __device__ inline i32 difference(i32 x, i32 y) { return i32(u32(x) - u32(y)); }
template <> __device__ inline i32 product(i32 x, i32 y) { return i32(u32(x) * u32(y)); }
template <> __device__ inline u32 sum(u32 x, u32 y) { return x + y; }
template <> __device__ inline u32 difference(u32 x, u32 y) { return x - y; }
template <> __device__ inline u32 product(u32 x, u32 y) { return x * y; }

template <class Value> __device__ inline Value abs(Value x) { return x < Value(0) ? difference(Value(0), x) : x; }
template <class Value> __device__ inline Value maximum(Value x, Value y) { return x < y ? y : x; }
template <class Value> __device__ inline Value minimum(Value x, Value y) { return y < x ? y : x; }
template <class Value> __device__ inline Value sign(Value x) { return Value(x > Value(0)) - Value(x < Value(0)); }

template <class Value> __device__ inline Value divide(Value x, Value y) {
    if (y == Value(0)) return Value(0);
    return Signed<Value>::value && y == Value(-1) ? difference(Value(0), x) : Value(x / y);
}

template <class Value> __device__ inline Value fmod(Value x, Value y) {
    if (y == Value(0) || (Signed<Value>::value && y == Value(-1))) return Value(0);
    return x % y;
}

template <class Value> __device__ inline Value floor_mod(Value x, Value y) {
    Value rest = fmod(x, y);
    return rest != Value(0) && (rest < Value(0)) != (y < Value(0)) ? Value(rest + y) : rest;
}

// The exponent may be of another type.
template <class Value, class Exponent> __device__ inline Value power(Value x, Exponent y) {
    if (Signed<Exponent>::value && y < Exponent(0)) return x == Value(1) ? Value(1) : Signed<Value>::value && x == Value(-1) ? (y & Exponent(1) ? Value(-1) : Value(1)) : Value(0);
    Value result = Value(1);
    for (; y > Exponent(0); y = Exponent(y / Exponent(2))) {
        if (y & Exponent(1)) result = product(result, x);
        x = product(x, x);
    }
    return result;
}

template <class Value> __device__ inline Value shift_left(Value x, Value y) {
    return y < Value(0) || y >= Value(8 * sizeof(Value)) ? Value(0) : Value((u64)x << (u32)y);
}

template <class Value> __device__ inline Value shift_right(Value x, Value y) {
    if (y < Value(0) || y >= Value(8 * sizeof(Value))) return x < Value(0) ? Value(-1) : Value(0);
    return x >> y;
}

// `x` as float32 so that rounding the result to fewer bits gives what rounding `x` would: what is cut off leaves its trace in the last
// bit ("round to odd", Boldo and Melquiond 2008).
__device__ inline float to_odd(double x) {
    float nearest = float(x);
    if (!(x == x) || double(nearest) == x || is_inf(nearest)) return nearest;
    u32 bits = __float_as_uint(nearest);
    return __uint_as_float((bits - u32(::fabs(double(nearest)) > ::fabs(x))) | 1u);
}

// Floats as integers: int32 and int64 saturate, of other types the lowest bits are kept of what lies between -2^63 and 2^64; NaN is 0.
__device__ inline i64 truncated(double x) {
    if (!(x == x)) return 0;
    if (x >= 9223372036854775808.0) return 0x7fffffffffffffffll;
    if (x < -9223372036854775808.0) return -0x7fffffffffffffffll - 1;
    return (i64)x;
}

__device__ inline u64 low_bits(double x) {
    if (x >= 18446744073709551616.0) return 0;
    return x >= 9223372036854775808.0 ? (u64)x : u64(truncated(x));
}

// To a type of integers, or to bool. What 32 bits hold goes without float64, which is slow on many devices.
template <class Into> struct Cast {
    static __device__ inline Into of(double x) { return Into(low_bits(x)); }
    static __device__ inline Into of(float x) {
        return ::fabsf(x) < 2147483648.0f ? Into(i32(x)) : Into(low_bits(double(x)));
    }
    template <class From> static __device__ inline Into of(From x) { return Into(x); }
};
template <> struct Cast<i32> {
    static __device__ inline i32 of(double x) {
        i64 wide = truncated(x);
        return wide > 0x7fffffffll ? 0x7fffffff : wide < -0x80000000ll ? i32(-0x7fffffff - 1) : i32(wide);
    }
    static __device__ inline i32 of(float x) { return ::fabsf(x) < 2147483648.0f ? i32(x) : of(double(x)); }
    template <class From> static __device__ inline i32 of(From x) { return i32(x); }
};
template <> struct Cast<i64> {
    static __device__ inline i64 of(double x) { return truncated(x); }
    static __device__ inline i64 of(float x) { return ::fabsf(x) < 9223372036854775808.0f ? i64(x) : truncated(double(x)); }
    template <class From> static __device__ inline i64 of(From x) { return i64(x); }
};
template <> struct Cast<bool> {
    template <class From> static __device__ inline bool of(From x) { return x != From(0); }
};

}  // namespace expressions
