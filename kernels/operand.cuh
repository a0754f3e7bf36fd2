// Tiles of a product's factors, from memory to shared memory. A factor is gone through along its `outer` axis, rows of A or columns of
// B, and along the depth, and is read WIDTH elements at once along one of them: the depth if BY_DEPTH.

// A tile in shared memory: rows of what lies side by side. They are a few bytes further apart than they are long, so that what threads
// of a warp read at once is in different banks: 16 bytes at the same place of eight rows, or words of eight neighbours in each of four
// rows.
template <class T, int OUTER, int DEPTH, bool BY_DEPTH> struct Tile {
    static const int ROW = (BY_DEPTH ? DEPTH : OUTER) + (!BY_DEPTH && sizeof(T) == 4 ? 32 : 16) / sizeof(T);
    static const int ELEMENTS = (BY_DEPTH ? OUTER : DEPTH) * ROW;

    static INLINE u32 at(u32 outer, u32 depth) { return BY_DEPTH ? outer * ROW + depth : depth * ROW + outer; }
};

// A matrix in memory.
template <class T> struct Matrix {
    const T* start;
    Strides strides;
    u32 extent;

    // What is known of a place along the outer axis.
    struct Line {
        u32 at;
        bool inside;
    };
    INLINE Line line(u32 outer) const { return {outer * strides.outer, outer < extent}; }

    // What is known of a line at the depths of a tile.
    INLINE Line begin(const Line& line, u32 depth) const {
        return {line.at + depth * strides.depth, line.inside};
    }

    // Where the element at `depth`, which is `step` after the tile's first one, begins, and whether there is one.
    INLINE const T* find(const Line& line, u32 depth, u32 step, bool& inside) const {
        inside = line.inside;
        return start + (line.at + step * strides.depth);
    }
};

// Brings a factor's tiles; all THREADS of the block take part.
template <class T, class Source, int OUTER, int DEPTH, bool BY_DEPTH, int WIDTH, int COUNT, bool ASYNC> struct Loader {
    typedef Tile<T, OUTER, DEPTH, BY_DEPTH> Own;
    typedef vec<T, WIDTH> Chunk;
    static const int ACROSS = (BY_DEPTH ? DEPTH : OUTER) / WIDTH;
    static const int CHUNKS = OUTER * DEPTH / WIDTH;
    static const int EACH = (CHUNKS + COUNT - 1) / COUNT;
    // Whether all chunks of a thread have the same place along the outer axis.
    static const bool SAME = !BY_DEPTH && COUNT % ACROSS == 0;

    Source source;
    typename Source::Line lines[SAME ? 1 : EACH];
    Chunk held[ASYNC ? 1 : EACH];

    static INLINE bool exists(u32 chunk) { return CHUNKS % COUNT == 0 || chunk < CHUNKS; }
    static INLINE u32 outer_of(u32 chunk) { return BY_DEPTH ? chunk / ACROSS : chunk % ACROSS * WIDTH; }
    static INLINE u32 depth_of(u32 chunk) { return BY_DEPTH ? chunk % ACROSS * WIDTH : chunk / ACROSS; }

    INLINE Loader(const Source& from, u32 first) : source(from) {
#pragma unroll
        for (int i = 0; i < (SAME ? 1 : EACH); i++) lines[i] = source.line(first + outer_of(threadIdx.x + i * COUNT));
    }

    // Asks for the tile whose depths begin at `depth`; what is at `last` or after it is zero.
    INLINE void fetch(u32 depth, u32 last, T* tile) {
        typename Source::Line of_tile = source.begin(lines[0], depth);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            u32 chunk = threadIdx.x + i * COUNT;
            if (!exists(chunk)) break;
            u32 step = depth_of(chunk);
            if (!SAME && i > 0) of_tile = source.begin(lines[SAME ? 0 : i], depth);
            bool inside = false;
            const T* from = source.start;
            if (depth + step < last) from = source.find(of_tile, depth + step, step, inside);
            if (ASYNC) {
                copy_async<ASYNC ? int(sizeof(Chunk)) : 4>(tile + Own::at(outer_of(chunk), step), from, inside);
            } else {
                Chunk zero = {};
                held[ASYNC ? 0 : i] = inside ? *(const Chunk*)from : zero;
            }
        }
    }

    // Puts what was asked for last into its tile, if it is not on its way.
    INLINE void settle(T* tile) {
        if (ASYNC) return;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            u32 chunk = threadIdx.x + i * COUNT;
            if (!exists(chunk)) break;
            *(Chunk*)(tile + Own::at(outer_of(chunk), depth_of(chunk))) = held[ASYNC ? 0 : i];
        }
    }
};

typedef Tile<TA, BLOCK_M, BLOCK_K, A_BY_DEPTH> TileA;
typedef Tile<TB, BLOCK_N, BLOCK_K, B_BY_DEPTH> TileB;
