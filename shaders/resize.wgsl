// Resizing: for each output element the places along every resized axis, and their weights, come from tables. For each of these
// axes the table has the first place for each output index, 4294967295 for outside; where there are weights, then the positions
// in the table from which on each output index has them, one more than there are, and the weights. Word 0: outputs; word 1: what
// lies outside.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    var rest = at;
    var place = 0u;
    var outside = false;
{{places}}
    if (outside) {
#if float
        y[at] = Out(bitcast<f32>(param(1u)));
#endif
        return;
    }
#if nearest
    y[at] = x[place];
#else
    var sum = 0.0;
{{loops}}
    y[at] = Out(sum);
#endif
}
