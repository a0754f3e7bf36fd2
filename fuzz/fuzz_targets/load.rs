//! Bytes as a model: loaded, optimised, compiled for the CPU and, where that is little work, run.

#![no_main]

use inferrum_tests::hostile::{Random, exercise, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|model: &[u8]| {
    let _ = exercise(model);
});

// One change in eight is of bytes, the others are of what the model says.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    if !random.one_in(8)
        && let Some(changed) = data.get(..size).and_then(|model| mutate(model, &mut random))
        && let Some(room) = data.get_mut(..changed.len().min(max_size))
        && room.len() == changed.len()
    {
        room.copy_from_slice(&changed);
        return changed.len();
    }
    fuzzer_mutate(data, size, max_size)
});
