// Tells of an element that fails the run, such as an index that is not on its axis: that there is one, then the words of the first
// one that comes, and the extent that it goes by.

fn tell(low: u32, high: u32, extent: u32) {
    if (atomicExchange(&fault[0], 1u) != 0u) { return; }
    atomicStore(&fault[1], low);
    atomicStore(&fault[2], high);
    atomicStore(&fault[3], extent);
}
