// Products of 8-bit integers, four to a word, as signed bytes: unsigned ones are moved by 128, and so are their zero points, which leaves the
// differences as they are. Sums wrap, as unsigned numbers do.

#define ONES 0x01010101

// Zero points as signed numbers: one for all, or one for each of `count` rows or columns, over and over.
struct Zeros {
    u32 count;
    u32 flip;
    i32 known;

    __device__ i32 of(const u8* given, u32 index) const {
        return given ? i32(i8(given[count == 1 ? 0 : index % count] ^ flip)) : known;
    }
};

INLINE u32 flipped(u8 byte, u32 flip) { return (u32(byte) ^ flip) & 0xffu; }

INLINE i32 dot(u32 x, u32 y, i32 sum) { return __dp4a(i32(x), i32(y), sum); }

// The sum of (x - x_zero) (y - y_zero) over `depth` places, of that of x y and those of x and of y.
INLINE i32 centred(i32 sum, i32 x_zero, i32 x_sum, i32 y_zero, i32 y_sum, u32 depth) {
    return i32(u32(sum) - u32(y_zero) * u32(x_sum) - u32(x_zero) * u32(y_sum) + depth * u32(x_zero) * u32(y_zero));
}

// Steps of a scale as an integer of few bits: halves go to even, then comes the zero point, then what is out of range stays at its end.
INLINE i32 quantized(float steps, i32 zero, i32 least, i32 most) {
    i32 near = steps != steps ? 0 : i32(fminf(fmaxf(rintf(steps), -16777216.0f), 16777216.0f));
    return min(max(near + zero, least), most);
}
