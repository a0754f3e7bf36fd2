// What becomes of the sum of a window's bytes, in steps of the input's scale: as the operator is defined, in float64.

INLINE i32 quantized_mean(i32 total, u32 count, float x_scale, float y_scale, i32 y_zero, i32 least, i32 most) {
    double mean = double(total) / double(count > 0 ? count : 1);
    double steps = rint(mean * double(x_scale) / double(y_scale));
    // NaN is 0, as where it becomes an integer elsewhere.
    if (!(steps == steps)) steps = 0.0;
    i32 near = steps > 1048576.0 ? 1048576 : steps < -1048576.0 ? -1048576 : i32(steps);
    return min(max(near + y_zero, least), most);
}
