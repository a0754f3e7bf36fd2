// A matrix product by tiles, each block's sums in registers (sums.cuh, or matrices.cuh), tiles of both factors in shared memory, the
// next ones on their way meanwhile. Macros: types TA, TB; A_BY_DEPTH, A_WIDTH, A_ASYNC, the same of B; BLOCK_K and STAGES; FROM_IMAGES
// if B is read through windows; THREADS of a block, and how many blocks are to be AT_ONCE on a multiprocessor; BATCH_AXES of the loops
// over products.

#if FROM_IMAGES
typedef Images<TB> SourceB;
#define B_PARAMETERS const Tap* __restrict__ taps, Window window,
#define B_SOURCE SourceB{b + start[1], taps, window}
#else
typedef Matrix<TB> SourceB;
#define B_PARAMETERS
#define B_SOURCE SourceB{b + start[1], batches.b, extents.n}
#endif

#if ORDERED
// Products of a block of sums.
#define ORDER_PARAMETERS u32 block,
#else
#define ORDER_PARAMETERS
#endif

extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE)
    product(
        const TA* __restrict__ a,
        const TB* __restrict__ b,
        Extents extents,
        Batches<BATCH_AXES> batches,
        ORDER_PARAMETERS B_PARAMETERS RESULT_PARAMETERS) {
    SHARED(TA, tiles_a);
    TB* tiles_b = (TB*)(tiles_a + STAGES * TileA::ELEMENTS);
    Part part = own_part(extents);
    u32 start[2];
    batches.loops.walk(part.batch, start);
    Loader<TA, Matrix<TA>, BLOCK_M, BLOCK_K, A_BY_DEPTH, A_WIDTH, THREADS, A_ASYNC> left(
        Matrix<TA>{a + start[0], batches.a, extents.m}, part.row);
    Loader<TB, SourceB, BLOCK_N, BLOCK_K, B_BY_DEPTH, B_WIDTH, THREADS, B_ASYNC> right(B_SOURCE, part.column);
    Sums sums;
    u32 count = (part.last - part.first + BLOCK_K - 1) / BLOCK_K;
    // Asks for tile `index`, if there is one.
    auto fetch = [&](u32 index) {
        if (index < count) {
            u32 depth = part.first + index * BLOCK_K;
            left.fetch(depth, part.last, tiles_a + index % STAGES * TileA::ELEMENTS);
            right.fetch(depth, part.last, tiles_b + index % STAGES * TileB::ELEMENTS);
        }
        copy_async_commit();
    };
    auto add = [&](u32 index) {
        sums.add(tiles_a + index % STAGES * TileA::ELEMENTS, tiles_b + index % STAGES * TileB::ELEMENTS);
#if ORDERED
        if ((index + 1) * BLOCK_K % block == 0 || index + 1 == count) sums.end_block();
#endif
    };
#if A_ASYNC && B_ASYNC
    for (u32 index = 0; index < STAGES - 1; index++) fetch(index);
    for (u32 index = 0; index < count; index++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        fetch(index + STAGES - 1);
        add(index);
    }
#else
    // What goes through registers is put down after the sums that it must not delay.
    auto settle = [&](u32 index) {
        if (index < count) {
            left.settle(tiles_a + index % STAGES * TileA::ELEMENTS);
            right.settle(tiles_b + index % STAGES * TileB::ELEMENTS);
        }
        copy_async_wait<0>();
        __syncthreads();
    };
    fetch(0);
    settle(0);
    for (u32 index = 0; index < count; index++) {
        fetch(index + 1);
        add(index);
        settle(index + 1);
    }
#endif
    sums.put(extents, part, RESULT);
}
