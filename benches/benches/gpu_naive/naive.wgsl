// The plain kernels. Words are what `naive.rs` gives each of them.

@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> tile_a: array<f32, 256>;
var<workgroup> tile_b: array<f32, 256>;

// m, n, k, elements of b from one product to the next.
@compute @workgroup_size(16, 16)
fn matmul(@builtin(global_invocation_id) at: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let m = words[0]; let n = words[1]; let k = words[2];
    var sum = 0.0;
    for (var depth = 0u; depth < k; depth += 16u) {
        let place = local.y * 16u + local.x;
        tile_a[place] = select(0.0, a[(at.z * m + at.y) * k + depth + local.x], at.y < m && depth + local.x < k);
        tile_b[place] = select(0.0, b[at.z * words[3] + (depth + local.y) * n + at.x], at.x < n && depth + local.y < k);
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) { sum += tile_a[local.y * 16u + i] * tile_b[i * 16u + local.x]; }
        workgroupBarrier();
    }
    if (at.y < m && at.x < n) { y[(at.z * m + at.y) * n + at.x] = sum; }
}

// filters, channels, input height, width, kernel, stride, pad, output height, width.
@compute @workgroup_size(16, 16)
fn conv(@builtin(global_invocation_id) at: vec3<u32>) {
    let pixels = words[7] * words[8];
    if (at.x >= pixels || at.y >= words[0]) { return; }
    var sum = c[at.y];
    for (var channel = 0u; channel < words[1]; channel++) {
        for (var kh = 0u; kh < words[4]; kh++) {
            for (var kw = 0u; kw < words[4]; kw++) {
                let ih = (at.x / words[8]) * words[5] + kh - words[6];
                let iw = (at.x % words[8]) * words[5] + kw - words[6];
                if (ih < words[2] && iw < words[3]) {
                    sum += a[(channel * words[2] + ih) * words[3] + iw]
                        * b[((at.y * words[1] + channel) * words[4] + kh) * words[4] + kw];
                }
            }
        }
    }
    y[at.y * pixels + at.x] = sum;
}

// elements
@compute @workgroup_size(64)
fn relu(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x < words[0]) { y[at.x] = max(a[at.x], 0.0); }
}

@compute @workgroup_size(64)
fn gelu(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x >= words[0]) { return; }
    let x = a[at.x];
    // Abramowitz and Stegun 7.1.26, within 1.5e-7.
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let erf = sign(x) * (1.0 - p * exp(-z * z));
    y[at.x] = 0.5 * x * (1.0 + erf);
}

// elements, elements of the second operand
@compute @workgroup_size(64)
fn add(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x < words[0]) { y[at.x] = a[at.x] + b[at.x % words[1]]; }
}

// rows, elements of a row
@compute @workgroup_size(64)
fn softmax(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x >= words[0]) { return; }
    let start = at.x * words[1];
    var greatest = a[start];
    for (var i = 1u; i < words[1]; i++) { greatest = max(greatest, a[start + i]); }
    var sum = 0.0;
    for (var i = 0u; i < words[1]; i++) { sum += exp(a[start + i] - greatest); }
    for (var i = 0u; i < words[1]; i++) { y[start + i] = exp(a[start + i] - greatest) / sum; }
}

@compute @workgroup_size(64)
fn layer_norm(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x >= words[0]) { return; }
    let start = at.x * words[1];
    var mean = 0.0;
    for (var i = 0u; i < words[1]; i++) { mean += a[start + i]; }
    mean /= f32(words[1]);
    var variance = 0.0;
    for (var i = 0u; i < words[1]; i++) { variance += (a[start + i] - mean) * (a[start + i] - mean); }
    let scale = inverseSqrt(variance / f32(words[1]) + 1e-5);
    for (var i = 0u; i < words[1]; i++) { y[start + i] = (a[start + i] - mean) * scale * b[i] + c[i]; }
}

// elements; extents of three output axes; how far apart their elements are in the input
@compute @workgroup_size(64)
fn transpose(@builtin(global_invocation_id) at: vec3<u32>) {
    if (at.x >= words[0]) { return; }
    let z = at.x % words[3];
    let rest = at.x / words[3];
    y[at.x] = a[(rest / words[2]) * words[4] + (rest % words[2]) * words[5] + z * words[6]];
}
