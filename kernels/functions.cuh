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
template <class Value> struct Signed { static const bool value = Value(-1) < Value(0); };

template <class Value> __device__ inline Value abs(Value x) { return x < Value(0) ? Value(Value(0) - x) : x; }
template <class Value> __device__ inline Value maximum(Value x, Value y) { return x < y ? y : x; }
template <class Value> __device__ inline Value minimum(Value x, Value y) { return y < x ? y : x; }
template <class Value> __device__ inline Value sign(Value x) { return Value(x > Value(0)) - Value(x < Value(0)); }

template <class Value> __device__ inline Value quotient(Value x, Value y) {
    if (y == Value(0)) return Value(0);
    return Signed<Value>::value && y == Value(-1) ? Value(Value(0) - x) : Value(x / y);
}

template <class Value> __device__ inline Value fmod(Value x, Value y) {
    if (y == Value(0) || (Signed<Value>::value && y == Value(-1))) return Value(0);
    return x % y;
}

template <class Value> __device__ inline Value floor_mod(Value x, Value y) {
    Value rest = fmod(x, y);
    return rest != Value(0) && (rest < Value(0)) != (y < Value(0)) ? Value(rest + y) : rest;
}

template <class Value> __device__ inline Value power(Value x, Value y) {
    if (y < Value(0)) return x == Value(1) ? Value(1) : x == Value(-1) ? (y & Value(1) ? Value(-1) : Value(1)) : Value(0);
    Value result = Value(1);
    for (; y > Value(0); y = Value(y / Value(2))) {
        if (y & Value(1)) result = Value(result * x);
        x = Value(x * x);
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

// Floats as integers: int32 and int64 saturate, of other types the lowest bits are kept, NaN is 0.
__device__ inline i64 truncated(double x) {
    if (!(x == x)) return 0;
    if (x >= 9223372036854775808.0) return 0x7fffffffffffffffll;
    if (x < -9223372036854775808.0) return -0x7fffffffffffffffll - 1;
    return (i64)x;
}

template <class Into> struct Cast {
    template <class From> static __device__ inline Into of(From x) { return Into(x); }
};
template <> struct Cast<i32> {
    static __device__ inline i32 of(double x) {
        i64 wide = truncated(x);
        return wide > 0x7fffffffll ? 0x7fffffff : wide < -0x80000000ll ? i32(-0x7fffffff - 1) : i32(wide);
    }
    static __device__ inline i32 of(float x) { return of(double(x)); }
    template <class From> static __device__ inline i32 of(From x) { return i32(x); }
};

// To an integer type but i32, or to bool.
template <class Into> __device__ inline Into from_float(double x) {
    // What lies above the signed range keeps the bits of an unsigned number.
    if (x >= 9223372036854775808.0 && !Signed<Into>::value) return Into(x >= 18446744073709551615.0 ? ~0ull : (u64)x);
    return Into(truncated(x));
}
template <> struct Cast<bool> {
    template <class From> static __device__ inline bool of(From x) { return x != From(0); }
};
#define FROM_FLOAT(INTO)                                                                    \
    template <> struct Cast<INTO> {                                                         \
        static __device__ inline INTO of(double x) { return from_float<INTO>(x); }          \
        static __device__ inline INTO of(float x) { return from_float<INTO>(double(x)); }   \
        template <class From> static __device__ inline INTO of(From x) { return INTO(x); }  \
    };
FROM_FLOAT(i8)
FROM_FLOAT(u8)
FROM_FLOAT(i16)
FROM_FLOAT(u16)
FROM_FLOAT(u32)
FROM_FLOAT(i64)
FROM_FLOAT(u64)

}  // namespace expressions
