// The cell of `LSTM`: gates are input, output, forget, cell.


// Adds the products of an element's rows of R with the state before.
INLINE void add_products(Totals &totals, const X *r, u32 element, u32 hidden, const float *h, const float *, u32, u32 lane) {
    u64 gate = u64(hidden) * hidden;
    r += u64(element) * hidden;
    add_products_of_four(totals, r, gate, h, hidden, lane);
}

// The element after the step; `sums` are the products, `given` what the inputs give to the gates, `hidden` apart. `own` is the cell's state.
INLINE float advance(const float *sums, const float *given, const Cell &cell, float, float &own) {
    float input = given[0] + sums[0], output = given[cell.hidden] + sums[1];
    float forget = given[2 * cell.hidden] + sums[2], candidate = given[3 * cell.hidden] + sums[3];
    const X *weights = cell.peepholes ? cell.peepholes + (cell.direction * 3 * cell.hidden + cell.element) : nullptr;
    if (weights) {
        input += float(weights[0]) * own;
        forget += float(weights[2 * cell.hidden]) * own;
    }
    float input_gate = act0(cell.direction, clipped(input));
    float forget_gate = INPUT_FORGET ? 1.0f - input_gate : act0(cell.direction, clipped(forget));
    own = forget_gate * own + input_gate * act1(cell.direction, clipped(candidate));
    if (weights) output += float(weights[cell.hidden]) * own;
    return act0(cell.direction, clipped(output)) * act2(cell.direction, own);
}
