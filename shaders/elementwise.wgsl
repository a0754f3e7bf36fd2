// Element-wise operators and chains of them.

alias T = {{type}};

{{buffers}}

#if integer
fn maximum(x: T, y: T) -> T { return max(x, y); }
fn minimum(x: T, y: T) -> T { return min(x, y); }

fn power(x: T, y: T) -> T {
    var result = T(1);
    var base = x;
    var left = y;
#if signed
    if (left < T(0)) {
        if (x == T(-1)) { return select(x, T(1), (left & T(1)) == T(0)); }
        return select(T(0), x, x == T(1));
    }
#endif
    while (left > T(0)) {
        if ((left & T(1)) == T(1)) { result *= base; }
        base *= base;
        left = left / T(2);
    }
    return result;
}

/// 0 where y is.
fn divide(x: T, y: T) -> T { return select(x / y, T(0), y == T(0)); }

/// Division by zero gives 0. By a quotient, since GLSL leaves the rests of negative numbers open.
fn fmod(x: T, y: T) -> T {
    let divisor = select(y, T(1), y == T(0));
    return x - x / divisor * divisor;
}

fn floor_mod(x: T, y: T) -> T {
    let rest = fmod(x, y);
    return select(rest, rest + y, rest != T(0) && (rest < T(0)) != (y < T(0)));
}
#if signed
fn sign_(x: T) -> T { return select(select(T(0), T(1), x > T(0)), T(-1), x < T(0)); }
fn is_far(y: T) -> bool { return y < T(0) || y >= T({{bits}}); }
fn shift_right(x: T, y: T) -> T { return x >> select(u32(y), {{bits}}u - 1u, is_far(y)); }
#else
fn sign_(x: T) -> T { return select(T(0), T(1), x > T(0)); }
fn is_far(y: T) -> bool { return y >= T({{bits}}); }
fn shift_right(x: T, y: T) -> T { return select(x >> u32(y), T(0), is_far(y)); }
#endif
fn shift_left(x: T, y: T) -> T { return select(x << u32(y), T(0), is_far(y)); }
#else
fn divide(x: T, y: T) -> T { return x / y; }
#endif

{{steps}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param(0u)) { return; }
{{body}}
}
