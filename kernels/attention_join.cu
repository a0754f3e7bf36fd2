// Joins the parts of an attention whose keys were shared out: a thread for each element of the output.

extern "C" __global__ void attention_join(const float2 *sums, const float *totals, Y *y, u32 count, Attention p) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    u32 row = at / p.v_head, column = at % p.v_head;
    sums += u64(row) * p.splits;
    totals += u64(row) * p.splits * p.v_head + column;
    float greatest = NONE;
    for (u32 split = 0; split < p.splits; split++) greatest = fmaxf(greatest, sums[split].x);
    float sum = 0.0f, total = 0.0f;
    for (u32 split = 0; split < p.splits; split++) {
        // Not a number stays what it is: of no other part the sum is neither 0 nor a number.
        float weight = sums[split].y == 0.0f ? 0.0f : shrinking(sums[split].x, greatest);
        sum += weight * sums[split].y;
        if (weight != 0.0f) total = fmaf(weight, totals[u64(split) * p.v_head], total);
    }
    output_of(p, y, row)[column] = Y(combined(p, total, sum));
}
