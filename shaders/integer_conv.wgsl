// Convolution of planar images of 8-bit integers: what `integer_tile.wgsl` asks for. Rows are the filters of a group, columns the
// pixels of an image, depth goes through (channel, kh, kw); what lies outside the image is the zero point. Words: filters of a
// group, pixels, depth, groups; input height, width; kernel height, width; strides; dilations; pads above, left; output width;
// output elements.

{{buffers}}

var<private> x_start: u32;
var<private> y_start: u32;
var<private> first_filter: u32;

fn begin(batch: u32) {
    m = param(0u);
    n = param(1u);
    k = param(2u);
    x_start = batch * (k / (param(6u) * param(7u))) * param(4u) * param(5u);
    y_start = batch * m * n;
    first_filter = (batch % param(3u)) * m;
}

fn load_a(row: u32, word: u32) -> u32 {
#if packed
    return w[(first_filter + row) * ((k + 3u) / 4u) + word];
#else
    var packed = 0u;
    let count = min(4u, k - 4u * word);
    let start = (first_filter + row) * k + 4u * word;
    for (var i = 0u; i < count; i++) { packed |= ((u32(w[start + i]) ^ {{flip_a}}u) & 0xffu) << (8u * i); }
    return packed;
#endif
}

fn load_b(word: u32, column: u32) -> u32 {
    var packed = 0u;
    let count = min(4u, k - 4u * word);
#if pointwise
    var at = x_start + 4u * word * n + column;
    for (var i = 0u; i < count; i++) {
        packed |= ((u32(x[at]) ^ {{flip_b}}u) & 0xffu) << (8u * i);
        at += n;
    }
#else
    let top = (column / param(14u)) * param(8u) - param(12u);
    let left = (column % param(14u)) * param(9u) - param(13u);
    let taps = param(6u) * param(7u);
    var channel = 4u * word / taps;
    var kh = (4u * word % taps) / param(7u);
    var kw = (4u * word % taps) % param(7u);
    for (var i = 0u; i < count; i++) {
        let ih = top + kh * param(10u);
        let iw = left + kw * param(11u);
        // What lies before the image has wrapped around.
        var value = bitcast<u32>(zero_b(0u));
        if (ih < param(4u) && iw < param(5u)) {
            value = u32(x[x_start + (channel * param(4u) + ih) * param(5u) + iw]) ^ {{flip_b}}u;
        }
        packed |= (value & 0xffu) << (8u * i);
        kw++;
        if (kw == param(7u)) {
            kw = 0u;
            kh++;
        }
        if (kh == param(6u)) {
            kh = 0u;
            channel++;
        }
    }
#endif
    return packed;
}

{{zeros}}

fn zero_a(row: u32) -> i32 { return filter_zero(first_filter + row); }
#if known_sums
fn a_sum(row: u32) -> i32 { return w_sums[first_filter + row]; }
#else
fn a_sum(row: u32) -> i32 { return 0; }
#endif
fn b_sum(column: u32) -> i32 { return 0; }

fn store(row: u32, column: u32, sum: i32) {
    let at = y_start + row * n + column;
    let of_filter = first_filter + row;
{{epilogue}}
}
