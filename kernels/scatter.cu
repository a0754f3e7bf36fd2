// Updates go where their indices say; those whose index is not on its axis go nowhere. T is the updates' type, A that of what they are
// joined with: JOIN is an expression of `x`, an element, and `y`, its update.

struct Places {
#if ELEMENTS
    // Each update is an element: the axis' extent, the distance of its neighbours, and the loops but for it.
    u32 extent;
    u32 stride;
    Loops<RANK, 1> loops;

    __device__ u32 of(u32 index, const INDEX* indices, Fault* fault) const {
        u32 at = position(indices[index], extent, fault), from[1];
        loops.walk(index, from);
        return at == NOWHERE ? at : from[0] + at * stride;
    }
#else
    // Updates are slices of so many elements.
    u32 run;
    Tuples tuples;

    __device__ u32 of(u32 index, const INDEX* indices, Fault* fault) const {
        u32 tuple = index / run;
        u32 slice = tuples.slice(tuple, indices, fault);
        return slice == NOWHERE ? slice : slice * run + (index - tuple * run);
    }
#endif
};

#if REDUCTION
INLINE u32 bits_of(float x) { return __float_as_uint(x); }
INLINE u32 bits_of(i32 x) { return u32(x); }
INLINE u32 bits_of(u32 x) { return x; }
INLINE u64 bits_of(double x) { return u64(__double_as_longlong(x)); }
INLINE u64 bits_of(i64 x) { return u64(x); }
INLINE u64 bits_of(u64 x) { return x; }
INLINE void of_bits(u32 bits, float& x) { x = __uint_as_float(bits); }
INLINE void of_bits(u32 bits, i32& x) { x = i32(bits); }
INLINE void of_bits(u32 bits, u32& x) { x = bits; }
INLINE void of_bits(u64 bits, double& x) { x = __longlong_as_double(i64(bits)); }
INLINE void of_bits(u64 bits, i64& x) { x = i64(bits); }
INLINE void of_bits(u64 bits, u64& x) { x = bits; }

INLINE A join(A x, A y) {
    using namespace expressions;
    return JOIN;
}

INLINE void combine(A* place, A update) {
#if ATOMIC_ADD
    atomicAdd((ADDED*)place, ADDED(update));
#else
    typedef decltype(bits_of(A())) Bits;
    Bits* bits = (Bits*)place;
    Bits seen, old = *(volatile Bits*)bits;
    do {
        seen = old;
        A there;
        of_bits(seen, there);
        Bits joined = bits_of(join(there, update));
        if (joined == seen) return;
        old = atomicCAS(bits, seen, joined);
    } while (old != seen);
#endif
}

// The data as what updates are joined with, and back.
extern "C" __global__ void widen(const T* x, A* y, u32 count) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) y[index] = A(x[index]);
}

extern "C" __global__ void narrow(const A* x, T* y, u32 count) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) y[index] = T(x[index]);
}
#endif

extern "C" __global__ void scatter(const INDEX* indices, const T* updates, A* y, Fault* fault, u32 count, Places places) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 at = places.of(index, indices, fault);
    if (at == NOWHERE) return;
#if REDUCTION
    combine(y + at, A(updates[index]));
#else
    y[at] = updates[index];
#endif
}
