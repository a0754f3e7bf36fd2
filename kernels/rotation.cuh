// Rotation of pairs of elements X by angles of a table (https://arxiv.org/abs/2104.09864): `cosines` and `sines` have `half` columns. A pair is two
// neighbours (INTERLEAVED), or an element of the first half of what is rotated and one of the second.

// Column `column` of a row of elements, rotated by the angles of row `place` of the table.
INLINE float rotated(const X *row, u32 column, const X *cosines, const X *sines, u64 place, u32 half) {
    u32 pair = INTERLEAVED ? column / 2 : column % half;
    bool is_first = INTERLEAVED ? column % 2 == 0 : column < half;
    u32 other = INTERLEAVED ? column ^ 1u : is_first ? column + half : column - half;
    float cosine = float(cosines[place * half + pair]), sine = float(sines[place * half + pair]), beside = float(row[other]);
    return float(row[column]) * cosine + (is_first ? -beside : beside) * sine;
}
