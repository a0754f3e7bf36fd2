//! Threads for kernels: a handle on a shared pool, and dynamic parallel loops.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many threads a computation may use, and the pool they live in.
///
/// Pools are made once per size and shared by the whole process. Clones are cheap. Wrap a whole run in
/// [`Threads::install`]: the loops within are then plain fork-joins inside the pool.
#[derive(Clone)]
pub struct Threads {
    count: usize,
    /// None for one thread: everything runs on the caller's.
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// `count` threads (0 counts as 1). If the system refuses to start them, a warning is logged and the caller's
    /// thread does all the work.
    pub fn new(count: usize) -> Self {
        if count <= 1 {
            return Threads::single();
        }
        static POOLS: OnceLock<Mutex<HashMap<usize, Arc<ThreadPool>>>> = OnceLock::new();
        let pools = POOLS.get_or_init(Mutex::default);
        // The map is valid whatever a panicking holder did.
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&count) {
            return Threads { count, pool: Some(pool.clone()) };
        }
        let name = |i| format!("inferrum-cpu-{i}");
        match ThreadPoolBuilder::new().num_threads(count).thread_name(name).build() {
            Ok(pool) => {
                let pool = Arc::new(pool);
                pools.insert(count, pool.clone());
                Threads { count, pool: Some(pool) }
            }
            Err(error) => {
                log::warn!("cannot start {count} threads ({error}): running on one");
                Threads::single()
            }
        }
    }

    /// The caller's thread alone.
    pub fn single() -> Self {
        Threads { count: 1, pool: None }
    }

    /// Number of threads, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `f` inside the pool (on the caller's thread if there is one thread only).
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(f),
            None => f(),
        }
    }

    /// Calls `f(i)` once for each `i < tasks`, in any order, from any of the threads; returns when all are done.
    ///
    /// Threads take the next index when they are free. With one thread or one task it is a plain loop.
    pub fn par_for(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        let Some(pool) = self.pool.as_ref().filter(|_| tasks > 1) else {
            (0..tasks).for_each(f);
            return;
        };
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                f(i);
            }
        };
        let workers = self.count.min(tasks);
        if pool.current_thread_index().is_some() {
            fork(workers, &work);
        } else {
            pool.install(|| fork(workers, &work));
        }
    }

    /// Calls `f(i, chunk)` for the `i`-th run of `chunk` elements of `data` (the last may be shorter), in parallel.
    /// Panics if `chunk` is 0.
    pub fn par_chunks_mut<T: Send>(&self, data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        assert!(chunk > 0, "chunks must not be empty");
        let len = data.len();
        let base = Shared(data.as_mut_ptr());
        self.par_for(len.div_ceil(chunk), |i| {
            let start = i * chunk;
            let end = len.min(start + chunk);
            // SAFETY: the range is within `data`, which stays borrowed for the call, and each `i` has its own range.
            f(i, unsafe { std::slice::from_raw_parts_mut(base.get().add(start), end - start) });
        });
    }
}

impl Default for Threads {
    /// As many threads as the system grants this process (affinity and cgroup quota are honoured).
    fn default() -> Self {
        Threads::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Threads").field(&self.count).finish()
    }
}

/// Runs `work` `n` times, in parallel where threads are idle.
fn fork(n: usize, work: &(impl Fn() + Sync)) {
    if n <= 1 {
        work();
    } else {
        rayon::join(|| fork(n - n / 2, work), || fork(n / 2, work));
    }
}

/// A pointer that threads may share; each of them must keep to elements of its own.
pub(crate) struct Shared<T>(pub(crate) *mut T);

// By hand: a derived Clone would ask for `T: Clone`.
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer. A method, so that closures capture the wrapper and not the bare field.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: only an address; whoever dereferences it answers for the disjointness of what threads touch.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_once() {
        for count in [0, 1, 2, 5] {
            let threads = Threads::new(count);
            assert_eq!(threads.count(), count.max(1));
            for tasks in [0, 1, 2, 17, 1000] {
                let seen: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                let run = |i: usize| {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                };
                threads.par_for(tasks, run);
                threads.install(|| threads.par_for(tasks, run));
                assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 2));
            }
        }
    }

    #[test]
    fn nested_loops_finish() {
        let threads = Threads::new(3);
        let sum = AtomicUsize::new(0);
        threads.par_for(7, |i| threads.par_for(5, |j| _ = sum.fetch_add(i * j, Ordering::Relaxed)));
        assert_eq!(sum.into_inner(), 21 * 10);
    }

    #[test]
    fn chunks_are_disjoint_and_complete() {
        for (len, chunk) in [(0, 3), (1, 3), (17, 5), (128, 16)] {
            let mut data = vec![0; len];
            Threads::new(2)
                .par_chunks_mut(&mut data, chunk, |i, part| part.iter_mut().for_each(|x| *x += i + 1));
            assert!(data.iter().enumerate().all(|(i, &x)| x == i / chunk + 1));
        }
    }

    #[test]
    #[should_panic(expected = "task 3")]
    fn a_panic_reaches_the_caller() {
        Threads::new(2).par_for(8, |i| assert!(i != 3, "task {i}"));
    }

    #[test]
    fn pools_are_shared() {
        let (a, b) = (Threads::new(2), Threads::new(2));
        assert!(Arc::ptr_eq(a.pool.as_ref().unwrap(), b.pool.as_ref().unwrap()));
    }
}
