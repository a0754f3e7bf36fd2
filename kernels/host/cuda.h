// CUDA C++ for a host's compiler: what a kernel finds before its prelude. Threads are fibers (runner.cpp), blocks run one after the
// other; operations of a warp or block are done when the last thread comes. No header of the system is included: a kernel's names
// are its own, as with NVRTC.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
// Uninitialised statics: the module's .bss, which the runner fills with 0xFF before each block.
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__

// Whether the host converts binary16 by instructions.
#if defined(__F16C__) && defined(__FLT16_MANT_DIG__)
#define HOST_HAS_F16 1
#else
#define HOST_HAS_F16 0
#endif

namespace host {

// Not in .bss, which is shared memory.
__attribute__((section(".data.host"))) State state = {};

inline __attribute__((always_inline)) void fail(const char *text, Word line = __builtin_LINE()) {
    state.services->fail(state.runner, text, line);
}

// All lanes of `mask` meet; the last one calls `complete`.
inline __attribute__((always_inline)) void collective(Word mask, void *operand, Complete complete, const char *name, Word line) {
    state.services->collective(state.runner, mask, operand, complete, name, line);
}

// Copies that arrive later.
inline void copy_async(void *to, const void *from, Word bytes, bool there) {
    state.services->copy(state.runner, to, from, bytes, there);
}
inline void copy_async_commit() { state.services->commit(state.runner); }
inline void copy_async_wait(Word latest) { state.services->arrive(state.runner, latest); }

template <class To, class From> inline __attribute__((always_inline)) To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    return __builtin_bit_cast(To, from);
}

}  // namespace host

#define threadIdx (host::state.thread)
#define blockIdx (host::state.block)
#define blockDim (host::state.threads)
#define gridDim (host::state.blocks)
#define warpSize 32

// Barriers.

static inline void __syncthreads(host::Word line = __builtin_LINE()) {
    host::state.services->barrier(host::state.runner, host::Barrier::Sync, 0, line);
}
static inline int __syncthreads_count(int predicate, host::Word line = __builtin_LINE()) {
    return host::state.services->barrier(host::state.runner, host::Barrier::Count, predicate, line);
}
static inline int __syncthreads_and(int predicate, host::Word line = __builtin_LINE()) {
    return host::state.services->barrier(host::state.runner, host::Barrier::And, predicate, line);
}
static inline int __syncthreads_or(int predicate, host::Word line = __builtin_LINE()) {
    return host::state.services->barrier(host::state.runner, host::Barrier::Or, predicate, line);
}
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() {}
static inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __trap(host::Word line = __builtin_LINE()) { host::fail("the kernel calls __trap", line); }

// Warps: exchange.

namespace host {

// Lane of this thread.
inline Word lane() { return (state.thread.x + state.threads.x * (state.thread.y + state.threads.y * state.thread.z)) % 32; }

// A lane's part in a shuffle: its value, and the lane whose value it gets (itself if that is out of its segment).
struct Shuffle {
    Long value, result;
    Word from;
};

inline void shuffle(void **lanes) {
    for (Word i = 0; i < 32; i++) {
        if (auto *mine = static_cast<Shuffle *>(lanes[i])) {
            auto *other = static_cast<Shuffle *>(lanes[mine->from]);
            // A lane that is not there has no value: poison.
            mine->result = other ? other->value : ~0ull;
        }
    }
}

template <class T> inline T exchange(Word mask, T value, Word from, const char *name, Word line) {
    static_assert(sizeof(T) <= 8 && __is_trivially_copyable(T), "a shuffle is of plain values of up to 8 bytes");
    Shuffle mine = {0, 0, from};
    __builtin_memcpy(&mine.value, &value, sizeof(T));
    collective(mask, &mine, shuffle, name, line);
    __builtin_memcpy(&value, &mine.result, sizeof(T));
    return value;
}

// A lane's part in a vote.
struct Vote {
    Word predicate, result;
};

inline void vote(void **lanes) {
    Word ballot = 0;
    for (Word i = 0; i < 32; i++) {
        auto *mine = static_cast<Vote *>(lanes[i]);
        ballot |= Word(mine && mine->predicate) << i;
    }
    for (Word i = 0; i < 32; i++) {
        if (lanes[i]) static_cast<Vote *>(lanes[i])->result = ballot;
    }
}

inline void meet(void **) {}

}  // namespace host

static inline void __syncwarp(unsigned mask = 0xffffffffu, host::Word line = __builtin_LINE()) {
    host::collective(mask, &mask, host::meet, "__syncwarp", line);
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, host::Word line = __builtin_LINE()) {
    unsigned lane = host::lane(), segment = lane & ~(unsigned(width) - 1);
    return host::exchange(mask, value, segment | (unsigned(source) & (unsigned(width) - 1)), "__shfl_sync", line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, host::Word line = __builtin_LINE()) {
    unsigned lane = host::lane(), place = lane & (unsigned(width) - 1);
    return host::exchange(mask, value, place >= delta ? lane - delta : lane, "__shfl_up_sync", line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, host::Word line = __builtin_LINE()) {
    unsigned lane = host::lane(), place = lane & (unsigned(width) - 1);
    return host::exchange(mask, value, place + delta < unsigned(width) ? lane + delta : lane, "__shfl_down_sync", line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, host::Word line = __builtin_LINE()) {
    unsigned lane = host::lane(), from = lane ^ unsigned(bits);
    // Lanes of later segments are out of reach, those of earlier ones are not.
    bool reach = from < 32 && (from & ~(unsigned(width) - 1)) <= (lane & ~(unsigned(width) - 1));
    return host::exchange(mask, value, reach ? from : lane, "__shfl_xor_sync", line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, host::Word line = __builtin_LINE()) {
    host::Vote mine = {predicate != 0, 0};
    host::collective(mask, &mine, host::vote, "__ballot_sync", line);
    return mine.result;
}
static inline int __any_sync(unsigned mask, int predicate, host::Word line = __builtin_LINE()) {
    return __ballot_sync(mask, predicate, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, host::Word line = __builtin_LINE()) {
    return __ballot_sync(mask, !predicate, line) == 0;
}

namespace host {

// A lane's part in an integer reduction; `Op` tells which.
struct Reduction {
    Word value, result;
};
enum class Op { Add, Min, Max, And, Or, Xor };

template <class T, Op OP> inline void reduce(void **lanes) {
    bool first = true;
    T total = 0;
    for (Word i = 0; i < 32; i++) {
        if (!lanes[i]) continue;
        T value = T(static_cast<Reduction *>(lanes[i])->value);
        if (first) total = value;
        else if (OP == Op::Add) total = T(Word(total) + Word(value));
        else if (OP == Op::Min) total = value < total ? value : total;
        else if (OP == Op::Max) total = value > total ? value : total;
        else if (OP == Op::And) total &= value;
        else if (OP == Op::Or) total |= value;
        else total ^= value;
        first = false;
    }
    for (Word i = 0; i < 32; i++) {
        if (lanes[i]) static_cast<Reduction *>(lanes[i])->result = Word(total);
    }
}

}  // namespace host

#define HOST_REDUCE(type, name, op)                                                                                          \
    static inline type __reduce_##name##_sync(unsigned mask, type value, host::Word line = __builtin_LINE()) {               \
        host::Reduction mine = {unsigned(value), 0};                                                                         \
        host::collective(mask, &mine, host::reduce<type, host::Op::op>, "__reduce_" #name "_sync", line);                    \
        return type(mine.result);                                                                                            \
    }
HOST_REDUCE(int, add, Add)
HOST_REDUCE(int, min, Min)
HOST_REDUCE(int, max, Max)
HOST_REDUCE(unsigned, add, Add)
HOST_REDUCE(unsigned, min, Min)
HOST_REDUCE(unsigned, max, Max)
HOST_REDUCE(unsigned, and, And)
HOST_REDUCE(unsigned, or, Or)
HOST_REDUCE(unsigned, xor, Xor)
#undef HOST_REDUCE

// Atomics: real ones, since several hosts' threads may work on one memory.

namespace host {

template <class T> struct Same { using Type = T; };

template <class T> inline T swap_when(T *place, T expected, T value) {
    __atomic_compare_exchange(place, &expected, &value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

// Replaces what is at `place` by `f` of it; returns what it was.
template <class T, class F> inline T update(T *place, F f) {
    T old;
    __atomic_load(place, &old, __ATOMIC_SEQ_CST);
    for (;;) {
        T value = f(old);
        if (__atomic_compare_exchange(place, &old, &value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return old;
    }
}

}  // namespace host

#define HOST_ATOMICS(type)                                                                                                   \
    static inline type atomicAdd(type *place, type value) { return __atomic_fetch_add(place, value, __ATOMIC_SEQ_CST); }     \
    static inline type atomicExch(type *place, type value) { return __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST); }   \
    static inline type atomicCAS(type *place, type compare, type value) { return host::swap_when(place, compare, value); }   \
    static inline type atomicAnd(type *place, type value) { return __atomic_fetch_and(place, value, __ATOMIC_SEQ_CST); }     \
    static inline type atomicOr(type *place, type value) { return __atomic_fetch_or(place, value, __ATOMIC_SEQ_CST); }       \
    static inline type atomicXor(type *place, type value) { return __atomic_fetch_xor(place, value, __ATOMIC_SEQ_CST); }     \
    static inline type atomicMin(type *place, type value) {                                                                  \
        return host::update(place, [=](type old) { return value < old ? value : old; });                                     \
    }                                                                                                                        \
    static inline type atomicMax(type *place, type value) {                                                                  \
        return host::update(place, [=](type old) { return value > old ? value : old; });                                     \
    }
HOST_ATOMICS(int)
HOST_ATOMICS(unsigned int)
HOST_ATOMICS(unsigned long long)
#undef HOST_ATOMICS
// CUDA has no more of these for signed 64-bit integers.
static inline long long atomicMin(long long *place, long long value) {
    return host::update(place, [=](long long old) { return value < old ? value : old; });
}
static inline long long atomicMax(long long *place, long long value) {
    return host::update(place, [=](long long old) { return value > old ? value : old; });
}
static inline int atomicSub(int *place, int value) { return atomicAdd(place, -value); }
static inline unsigned atomicSub(unsigned *place, unsigned value) { return atomicAdd(place, 0u - value); }
static inline unsigned atomicInc(unsigned *place, unsigned most) {
    return host::update(place, [=](unsigned old) { return old >= most ? 0u : old + 1; });
}
static inline unsigned atomicDec(unsigned *place, unsigned most) {
    return host::update(place, [=](unsigned old) { return old == 0 || old > most ? most : old - 1; });
}
static inline float atomicAdd(float *place, float value) {
    return host::update(place, [=](float old) { return old + value; });
}
static inline double atomicAdd(double *place, double value) {
    return host::update(place, [=](double old) { return old + value; });
}
static inline float atomicExch(float *place, float value) {
    return host::update(place, [=](float) { return value; });
}
static inline unsigned short atomicCAS(unsigned short *place, unsigned short compare, unsigned short value) {
    return host::swap_when(place, compare, value);
}

// Loads and stores with hints.
template <class T> static inline T __ldg(const T *place) { return *place; }
template <class T> static inline T __ldcg(const T *place) { return *place; }
template <class T> static inline T __ldca(const T *place) { return *place; }
template <class T> static inline T __ldcs(const T *place) { return *place; }
template <class T> static inline T __ldlu(const T *place) { return *place; }
template <class T> static inline T __ldcv(const T *place) { return *const_cast<const volatile T *>(place); }
template <class T> static inline void __stwb(T *place, typename host::Same<T>::Type value) { *place = value; }
template <class T> static inline void __stcg(T *place, typename host::Same<T>::Type value) { *place = value; }
template <class T> static inline void __stcs(T *place, typename host::Same<T>::Type value) { *place = value; }
template <class T> static inline void __stwt(T *place, typename host::Same<T>::Type value) { *place = value; }
