// The cell of `RNN`.


// Adds the products of an element's row of R with the state before.
INLINE void add_products(Totals &totals, const X *r, u32 element, u32 hidden, const float *h, const float *, u32, u32 lane) {
    add_product<0>(totals, r + u64(element) * hidden, h, hidden, lane);
}

// The element after the step; `sums` are the products, `given` what the inputs give to the gates, `hidden` apart.
INLINE float advance(const float *sums, const float *given, const Cell &cell, float, float &) {
    return act0(cell.direction, clipped(given[0] + sums[0]));
}
