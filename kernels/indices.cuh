// Indices, which may count from the end, of type INDEX.

// Stands for an index that is not on its axis.
#define NOWHERE 0xffffffffu

// The position that an index means on an axis of `extent`. One that is not on it is told of, if that is asked for.
INLINE u32 position(INDEX given, u32 extent, Fault* fault) {
    i64 index = i64(given), at = index < 0 ? index + i64(extent) : index;
    if (at >= 0 && at < i64(extent)) return u32(at);
    if (fault) tell(fault, index, i64(extent));
    return NOWHERE;
}
