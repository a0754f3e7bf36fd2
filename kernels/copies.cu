// Copies of elements between strided index spaces, several in one launch: each takes as many threads as it has elements. T is
// a type of as many bytes as are copied at once; PARAMETERS and COPIES are made for the copies there are.

template <int Rank> struct Copy {
    u32 count;
    u32 from;
    u32 to;
    Loops<Rank, 2> loops;
};

template <int Rank>
__device__ bool copy(const T* source, T* target, const Copy<Rank>& copy, u32& index) {
    if (index >= copy.count) {
        index -= copy.count;
        return false;
    }
    u32 at[2];
    copy.loops.walk(index, at);
    target[copy.to + at[1]] = source[copy.from + at[0]];
    return true;
}

extern "C" __global__ void copies(PARAMETERS) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    COPIES;
}
