// What becomes of the sum of a window's bytes. For windows of each size `bounds` has the least sum of every result but the least
// one; `slots` says which of them a window's are.

/// How many of its bounds, `steps` of them, a sum reaches.
fn reached(sum: i32, place: u32, steps: u32) -> u32 {
    let first = slots[place] * steps;
    var low = 0u;
    var high = steps;
    while (low < high) {
        let middle = (low + high) / 2u;
        if (bounds[first + middle] <= sum) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}
