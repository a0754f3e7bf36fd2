// Copies from global to shared memory that go on while the thread does other things (cp.async, sm_80); elsewhere they are done at once.
//
// A thread starts copies, commits them as a group, and waits for groups; then a barrier makes them visible to the block. On the host
// nothing arrives before the wait, so that a missing one shows.

// Starts a copy of BYTES (4, 8 or 16) to shared memory, both places at multiples of BYTES. If not `there`, zeros come and `from` is
// not read, but must be a pointer to global memory.
template <u32 BYTES> INLINE void copy_async(void *to, const void *from, bool there = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "4, 8 or 16 bytes are copied");
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    u32 place = static_cast<u32>(__cvta_generic_to_shared(to)), bytes = there ? BYTES : 0;
    if (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(place), "l"(from), "r"(bytes), "n"(BYTES) : "memory");
    }
#elif defined(__CUDA_ARCH__)
    typedef vec<u32, BYTES / 4> Words;
    Words words = {};
    if (there) words = *static_cast<const Words *>(from);
    *static_cast<Words *>(to) = words;
#else
    host::copy_async(to, from, BYTES, there);
#endif
}

// Makes a group of the copies since the last one.
INLINE void copy_async_commit() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(__CUDA_ARCH__)
    host::copy_async_commit();
#endif
}

// Waits until at most the LATEST groups are on their way.
template <u32 LATEST> INLINE void copy_async_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LATEST) : "memory");
#elif !defined(__CUDA_ARCH__)
    host::copy_async_wait(LATEST);
#endif
}
