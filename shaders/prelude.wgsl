// What every kernel may use.

/// The number of this invocation when workgroups are counted along x, then y.
fn invocation(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32, size: u32) -> u32 {
    return (workgroup.y * workgroups.x + workgroup.x) * size + local;
}

/// The rest of a division by a positive number, never negative. GLSL leaves those of negative numbers open.
fn rest_of(x: i32, y: i32) -> i32 {
    if (x >= 0) { return x % y; }
    return y - 1 - (-1 - x) % y;
}
