// What every kernel may use.

/// The number of this invocation when workgroups are counted along x, then y.
fn invocation(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32, size: u32) -> u32 {
    return (workgroup.y * workgroups.x + workgroup.x) * size + local;
}
