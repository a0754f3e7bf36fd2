//! Kernels on the host.

mod failures;
mod floats;
mod memory;
mod products;
mod threads;

use inferrum_backend::BackendError;

use super::Driver;
use crate::driver::{Address, Argument, Driver as _, Function, Launch, Stream};
use crate::source::{Source, Template};

/// A device, and what tests do with one.
struct Bench {
    driver: Driver,
    stream: Box<dyn Stream>,
}

impl Bench {
    fn new() -> Bench {
        let driver = Driver::new().expect("there is a compiler");
        let stream = driver.stream().expect("it has not failed");
        Bench { driver, stream }
    }

    fn load(&self, source: &Source) -> Function {
        let mut loaded = self.driver.load(&[source]);
        loaded.remove(0).unwrap_or_else(|error| panic!("{error}"))
    }

    fn kernel(&self, entry: &'static str, text: &'static str) -> Function {
        self.load(&Template::new(entry, text).build())
    }

    fn empty(&self, bytes: usize) -> Address {
        self.driver.allocate(bytes).expect("there is memory")
    }

    fn buffer<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Address {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let address = self.empty(bytes.len());
        let mut pinned = self.driver.pinned(bytes.len()).expect("there is memory");
        pinned.bytes_mut().copy_from_slice(bytes);
        self.stream.upload(address, &*pinned, bytes.len()).expect("it fits");
        address
    }

    fn read<T: bytemuck::Pod>(&mut self, address: Address, count: usize) -> Vec<T> {
        let bytes = count * size_of::<T>();
        let mut pinned = self.driver.pinned(bytes).expect("there is memory");
        self.stream.download(address, &mut *pinned, bytes).expect("it fits");
        self.stream.wait().expect("all is well");
        bytemuck::pod_collect_to_vec(pinned.bytes())
    }

    fn launch(
        &mut self,
        function: &Function,
        grid: [u32; 3],
        block: [u32; 3],
        arguments: &[Argument],
    ) -> Result<(), BackendError> {
        self.stream.launch(&Launch { function, grid, block, shared: 0, arguments })
    }

    /// Runs a kernel whose arguments are all buffers.
    fn run(&mut self, function: &Function, grid: u32, block: u32, buffers: &[Address]) {
        let arguments: Vec<Argument> = buffers.iter().copied().map(Argument::address).collect();
        self.launch(function, [grid, 1, 1], [block, 1, 1], &arguments)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// What a kernel makes of `input`: `count` elements.
    fn made<X: bytemuck::NoUninit, Y: bytemuck::Pod>(
        &mut self,
        function: &Function,
        [grid, block]: [u32; 2],
        input: &[X],
        count: usize,
    ) -> Vec<Y> {
        let (x, y) = (self.buffer(input), self.empty(count * size_of::<Y>()));
        self.run(function, grid, block, &[x, y]);
        let made = self.read(y, count);
        self.driver.free(x, size_of_val(input));
        self.driver.free(y, count * size_of::<Y>());
        made
    }
}

/// Numbers from -8 to 8 by eighths, so that sums of a few hundred products are exact.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) % 129
    };
    (0..count).map(|_| (next() as f32 - 64.0) / 8.0).collect()
}
