// CUDA's vector types, with its alignments.
#pragma once

#define __align__(bytes) __attribute__((aligned(bytes)))

#define HOST_VECTORS(type, name, align2, align4)                                                                            \
    struct name##1 { type x; };                                                                                             \
    struct __align__(align2) name##2 { type x, y; };                                                                        \
    struct name##3 { type x, y, z; };                                                                                       \
    struct __align__(align4) name##4 { type x, y, z, w; };                                                                  \
    static inline name##1 make_##name##1(type x) { return {x}; }                                                            \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                                 \
    static inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                      \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

HOST_VECTORS(signed char, char, 2, 4)
HOST_VECTORS(unsigned char, uchar, 2, 4)
HOST_VECTORS(short, short, 4, 8)
HOST_VECTORS(unsigned short, ushort, 4, 8)
HOST_VECTORS(int, int, 8, 16)
HOST_VECTORS(unsigned int, uint, 8, 16)
HOST_VECTORS(long long, longlong, 16, 16)
HOST_VECTORS(unsigned long long, ulonglong, 16, 16)
HOST_VECTORS(float, float, 8, 16)
HOST_VECTORS(double, double, 16, 16)
#undef HOST_VECTORS

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};
