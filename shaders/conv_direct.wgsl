// Convolution of floats: what `direct.wgsl` asks for.

{{buffers}}

{{activation}}

var<private> sum: f32;
/// Products that are summed before they come to `sum`: a block of them; of a filter alone four, two or one.
var<private> block: f32;
/// How many products were added, and how many before the block.
var<private> count: u32;
var<private> first: u32;

fn begin(of_filter: u32) {}

fn add(inside: bool, x_at: u32, w_at: u32) {
    var value = 0.0;
    if (inside) { value = f32(x[x_at]); }
    let weight = f32(w[w_at]);
    let left_over = param(2u) - first;
#if alone
    block = select(block + weight * value, weight * value, count == first);
    let size = select(select(1u, 2u, left_over >= 2u), 4u, left_over >= 4u);
#else
    block = fma(weight, value, block);
    let size = min(param(16u), left_over);
#endif
    count++;
    if (count - first == size) {
        sum += block;
        block = 0.0;
        first = count;
    }
}

fn finish(at: u32, of_filter: u32) {
    var value = sum;
#if bias
    value += f32(bias[of_filter]);
#endif
#if residual
    value += f32(residual[at]);
#endif
    output[at] = Out(activate(value));
}
