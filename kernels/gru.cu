// The cell of `GRU`: gates are update, reset, hidden. Where the reset gate scales the state before its product, a phase of its own makes the scaled
// state of all elements first.


// Adds the products of an element's rows of R with the state before, in the last phase also with the scaled one.
INLINE void add_products(Totals &totals, const X *r, u32 element, u32 hidden, const float *h, const float *scaled, u32 phase, u32 lane) {
    u64 gate = u64(hidden) * hidden;
    r += u64(element) * hidden;
    if (PHASES == 2 && phase == 0) {
        add_product<0>(totals, r + gate, h, hidden, lane);
        return;
    }
    add_product<0>(totals, r, h, hidden, lane);
    if (LINEAR) {
        add_product<1>(totals, r + gate, h, hidden, lane);
        add_product<LINEAR ? 2 : 0>(totals, r + 2 * gate, h, hidden, lane);
    } else {
        add_product<1>(totals, r + 2 * gate, scaled, hidden, lane);
    }
}

// The scaled state, of the first of two phases.
INLINE float scaled_state(const float *sums, const float *given, const Cell &cell, float old) {
    return act0(cell.direction, clipped(given[cell.hidden] + sums[0])) * old;
}

// The element after the step; `sums` are the products, `given` what the inputs give to the gates, `hidden` apart.
INLINE float advance(const float *sums, const float *given, const Cell &cell, float old, float &) {
    float product = sums[LINEAR ? 2 : 1];
    if (LINEAR) {
        // What the reset gate scales holds the second bias of its gate.
        if (cell.bias) product += float(cell.bias[(cell.direction * 6 + 5) * cell.hidden + cell.element]);
        product *= act0(cell.direction, clipped(given[cell.hidden] + sums[1]));
    }
    float candidate = act1(cell.direction, clipped(given[2 * cell.hidden] + product));
    float update = act0(cell.direction, clipped(given[0] + sums[0]));
    return (1.0f - update) * candidate + update * old;
}
