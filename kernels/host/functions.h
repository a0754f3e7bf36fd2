// CUDA's mathematical functions, by the host's libm and the compiler's own.
#pragma once

typedef decltype(sizeof(0)) size_t;

extern "C" {
int printf(const char *, ...);
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);
#define HOST_F1(name) float name##f(float); double name(double);
#define HOST_F2(name) float name##f(float, float); double name(double, double);
HOST_F1(sqrt) HOST_F1(cbrt) HOST_F1(exp) HOST_F1(exp2) HOST_F1(expm1) HOST_F1(log) HOST_F1(log2) HOST_F1(log10) HOST_F1(log1p)
HOST_F1(sin) HOST_F1(cos) HOST_F1(tan) HOST_F1(asin) HOST_F1(acos) HOST_F1(atan) HOST_F1(sinh) HOST_F1(cosh) HOST_F1(tanh)
HOST_F1(asinh) HOST_F1(acosh) HOST_F1(atanh) HOST_F1(erf) HOST_F1(erfc) HOST_F1(tgamma) HOST_F1(lgamma)
HOST_F1(floor) HOST_F1(ceil) HOST_F1(trunc) HOST_F1(round) HOST_F1(rint) HOST_F1(nearbyint) HOST_F1(fabs) HOST_F1(logb)
HOST_F2(pow) HOST_F2(atan2) HOST_F2(fmod) HOST_F2(remainder) HOST_F2(hypot) HOST_F2(fdim)
HOST_F2(copysign) HOST_F2(nextafter)
#undef HOST_F1
#undef HOST_F2
float fmaf(float, float, float);
double fma(double, double, double);
float ldexpf(float, int);
double ldexp(double, int);
float scalbnf(float, int);
double scalbn(double, int);
float frexpf(float, int *);
double frexp(double, int *);
float modff(float, float *);
double modf(double, double *);
int ilogbf(float);
int ilogb(double);
long lrintf(float);
long lrint(double);
long lroundf(float);
long lround(double);
long long llrintf(float);
long long llrint(double);
long long llroundf(float);
long long llround(double);
void sincosf(float, float *, float *);
void sincos(double, double *, double *);
int abs(int);
long labs(long);
long long llabs(long long);
}

// The smaller and the greater; of a number and NaN the number, and -0 is less than 0. Not libm's: calls cost more than the rest.
#define HOST_EXTREMES(type, suffix, integer)                                                                                 \
    static inline type fmin##suffix(type x, type y) {                                                                        \
        if (x != x || y != y) return x != x ? y : x;                                                                         \
        return x < y ? x : y < x ? y : host::bits<type>(host::bits<integer>(x) | host::bits<integer>(y));                    \
    }                                                                                                                        \
    static inline type fmax##suffix(type x, type y) {                                                                        \
        if (x != x || y != y) return x != x ? y : x;                                                                         \
        return x > y ? x : y > x ? y : host::bits<type>(host::bits<integer>(x) & host::bits<integer>(y));                    \
    }
HOST_EXTREMES(float, f, unsigned)
HOST_EXTREMES(double, , unsigned long long)
#undef HOST_EXTREMES

// Overloads for float of what is named for double.
#define HOST_O1(name) static inline float name(float x) { return name##f(x); }
#define HOST_O2(name) static inline float name(float x, float y) { return name##f(x, y); }
HOST_O1(sqrt) HOST_O1(cbrt) HOST_O1(exp) HOST_O1(exp2) HOST_O1(expm1) HOST_O1(log) HOST_O1(log2) HOST_O1(log10) HOST_O1(log1p)
HOST_O1(sin) HOST_O1(cos) HOST_O1(tan) HOST_O1(asin) HOST_O1(acos) HOST_O1(atan) HOST_O1(sinh) HOST_O1(cosh) HOST_O1(tanh)
HOST_O1(asinh) HOST_O1(acosh) HOST_O1(atanh) HOST_O1(erf) HOST_O1(erfc) HOST_O1(tgamma) HOST_O1(lgamma)
HOST_O1(floor) HOST_O1(ceil) HOST_O1(trunc) HOST_O1(round) HOST_O1(rint) HOST_O1(nearbyint) HOST_O1(fabs) HOST_O1(logb)
HOST_O2(pow) HOST_O2(atan2) HOST_O2(fmod) HOST_O2(remainder) HOST_O2(hypot) HOST_O2(fmin) HOST_O2(fmax) HOST_O2(fdim)
HOST_O2(copysign) HOST_O2(nextafter)
#undef HOST_O1
#undef HOST_O2
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
static inline float ldexp(float x, int n) { return ldexpf(x, n); }
static inline float abs(float x) { return __builtin_fabsf(x); }
static inline double abs(double x) { return __builtin_fabs(x); }
static inline long abs(long x) { return x < 0 ? -x : x; }
static inline long long abs(long long x) { return x < 0 ? -x : x; }

// What only CUDA has.
static inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline float exp10f(float x) { return float(pow(10.0, double(x))); }
static inline double exp10(double x) { return pow(10.0, x); }
static inline float sinpif(float x) { return float(sin(3.14159265358979323846 * double(x))); }
static inline float cospif(float x) { return float(cos(3.14159265358979323846 * double(x))); }
static inline float normcdff(float x) { return float(0.5 * erfc(-double(x) * 0.70710678118654752440)); }
static inline float fdividef(float x, float y) { return x / y; }

// Quick ones, no less exact here.
static inline float __expf(float x) { return expf(x); }
static inline float __exp10f(float x) { return exp10f(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __log10f(float x) { return log10f(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __tanf(float x) { return tanf(x); }
static inline float __tanhf(float x) { return tanhf(x); }
static inline void __sincosf(float x, float *s, float *c) { sincosf(x, s, c); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
static inline float __frsqrt_rn(float x) { return float(1.0 / __builtin_sqrt(double(x))); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// Kinds of numbers.
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isnan(double x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isinf(double x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }
static inline bool signbit(double x) { return __builtin_signbit(x); }

// The smaller and the greater of all types.
static inline float min(float x, float y) { return fminf(x, y); }
static inline float max(float x, float y) { return fmaxf(x, y); }
static inline double min(double x, double y) { return fmin(x, y); }
static inline double max(double x, double y) { return fmax(x, y); }
static inline double min(float x, double y) { return fmin(double(x), y); }
static inline double max(float x, double y) { return fmax(double(x), y); }
static inline double min(double x, float y) { return fmin(x, double(y)); }
static inline double max(double x, float y) { return fmax(x, double(y)); }
#define HOST_ORDER(result, left, right)                                                                                      \
    static inline result min(left x, right y) { return (result)x < (result)y ? (result)x : (result)y; }                      \
    static inline result max(left x, right y) { return (result)x > (result)y ? (result)x : (result)y; }
HOST_ORDER(int, int, int)
HOST_ORDER(unsigned, unsigned, unsigned)
HOST_ORDER(unsigned, int, unsigned)
HOST_ORDER(unsigned, unsigned, int)
HOST_ORDER(long, long, long)
HOST_ORDER(unsigned long, unsigned long, unsigned long)
HOST_ORDER(unsigned long, long, unsigned long)
HOST_ORDER(unsigned long, unsigned long, long)
HOST_ORDER(long long, long long, long long)
HOST_ORDER(unsigned long long, unsigned long long, unsigned long long)
HOST_ORDER(unsigned long long, long long, unsigned long long)
HOST_ORDER(unsigned long long, unsigned long long, long long)
#undef HOST_ORDER

// Bits.
static inline int __float_as_int(float x) { return host::bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return host::bits<unsigned>(x); }
static inline float __int_as_float(int x) { return host::bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return host::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return host::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return host::bits<double>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1u) << (31 - i);
    return y;
}
static inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
static inline int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long all = (unsigned long long)y << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned pick = selector >> 4 * i;
        unsigned byte = unsigned(all >> 8 * (pick & 7)) & 0xff;
        // The selector's highest bit asks for the sign, eight times.
        if (pick & 8) byte = byte & 0x80 ? 0xff : 0;
        result |= byte << 8 * i;
    }
    return result;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) << (shift & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}
static inline int __dp4a(int x, int y, int sum) {
    for (int i = 0; i < 4; i++) sum = int(unsigned(sum) + unsigned(int((signed char)(x >> 8 * i)) * (signed char)(y >> 8 * i)));
    return sum;
}
static inline unsigned __dp4a(unsigned x, unsigned y, unsigned sum) {
    for (int i = 0; i < 4; i++) sum += (x >> 8 * i & 0xff) * (y >> 8 * i & 0xff);
    return sum;
}

// Conversions: NaN is 0, what is too great or small is the nearest.
namespace host {
template <class T> inline T whole(double x, double least, double greatest) {
    if (x != x) return 0;
    if (x <= least) return T(least);
    return x >= greatest ? T(~T(0) < T(0) ? ~(T(1) << (8 * sizeof(T) - 1)) : ~T(0)) : T(x);
}
}  // namespace host
#define HOST_WHOLE(from, name, type, least, greatest)                                                                        \
    static inline type __##from##2##name##_rn(from x) { return host::whole<type>(__builtin_rint(double(x)), least, greatest); }   \
    static inline type __##from##2##name##_rz(from x) { return host::whole<type>(__builtin_trunc(double(x)), least, greatest); }  \
    static inline type __##from##2##name##_rd(from x) { return host::whole<type>(__builtin_floor(double(x)), least, greatest); }  \
    static inline type __##from##2##name##_ru(from x) { return host::whole<type>(__builtin_ceil(double(x)), least, greatest); }
HOST_WHOLE(float, int, int, -2147483648.0, 2147483647.0)
HOST_WHOLE(float, uint, unsigned, 0.0, 4294967295.0)
HOST_WHOLE(float, ll, long long, -9223372036854775808.0, 9223372036854775808.0)
HOST_WHOLE(double, int, int, -2147483648.0, 2147483647.0)
HOST_WHOLE(double, uint, unsigned, 0.0, 4294967295.0)
HOST_WHOLE(double, ll, long long, -9223372036854775808.0, 9223372036854775808.0)
#undef HOST_WHOLE
static inline float __int2float_rn(int x) { return float(x); }
static inline float __uint2float_rn(unsigned x) { return float(x); }
static inline float __ll2float_rn(long long x) { return float(x); }
static inline float __double2float_rn(double x) { return float(x); }
static inline float __double2float_rz(double x) {
    float nearest = float(x);
    // One step back towards zero; from infinity that is the greatest float.
    bool beyond = __builtin_fabs(double(nearest)) > __builtin_fabs(x);
    return beyond ? host::bits<float>(host::bits<unsigned>(nearest) - 1) : nearest;
}
