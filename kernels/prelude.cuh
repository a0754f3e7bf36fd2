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

// N elements side by side, which are read and written as one.
template <class X, int N> struct alignas(sizeof(X) * N) Pack {
    X at[N];
};
