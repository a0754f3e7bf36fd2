// Division by a number that is known at the launch: exact for dividends below 2^31.

struct Divisor {
    u32 divisor, factor, shift;

    INLINE u32 quotient(u32 x) const { return divisor == 1 ? x : __umulhi(x, factor) >> shift; }

    // The quotient; `x` becomes the rest.
    INLINE u32 divide(u32& x) const {
        u32 result = quotient(x);
        x -= result * divisor;
        return result;
    }
};
