//! Threads for kernels: a handle on a shared pool, and dynamic parallel loops.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::team::Team;

/// How many threads a computation may use, and the workers among them.
///
/// Teams of workers are made once per size and shared by the whole process. Clones are cheap. Wrap a whole run in
/// [`Threads::enter`], so that no more workers are at work than there is room for beside all the runs.
#[derive(Clone)]
pub struct Threads {
    count: usize,
    /// None for one thread: everything runs on the caller's.
    team: Option<Arc<Team>>,
}

impl Threads {
    /// More threads than this help no run; a number beyond is a slip, and starting them would exhaust the system.
    pub const MOST: usize = 1024;

    /// `count` threads (0 counts as 1, more than [`Threads::MOST`] as that). If the system refuses to start them, a warning is logged and the caller's
    /// thread does all the work.
    pub fn new(count: usize) -> Self {
        let count = count.min(Threads::MOST);
        if count <= 1 {
            return Threads::single();
        }
        static TEAMS: OnceLock<Mutex<HashMap<usize, Arc<Team>>>> = OnceLock::new();
        // The map is valid whatever a panicking holder did.
        let mut teams = TEAMS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(team) = teams.get(&count) {
            return Threads { count, team: Some(team.clone()) };
        }
        match Team::new(count) {
            Ok(team) => {
                let team = Arc::new(team);
                teams.insert(count, team.clone());
                Threads { count, team: Some(team) }
            }
            Err(error) => {
                log::warn!("cannot start {count} threads ({error}): running on one");
                Threads::single()
            }
        }
    }

    /// The caller's thread alone.
    pub fn single() -> Self {
        Threads { count: 1, team: None }
    }

    /// Number of threads, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `f` on this thread, which counts as one of the threads at work meanwhile.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        match &self.team {
            Some(team) => team.enter(f),
            None => f(),
        }
    }

    /// Calls `f(i)` once for each `i < tasks`, in any order, from any of the threads; returns when all are done.
    ///
    /// Each thread begins with a range of its own, the same in every loop of as many tasks, and then takes what others
    /// have left. With one thread or one task it is a plain loop.
    pub fn par_for(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        match &self.team {
            Some(team) if tasks > 1 => team.run(tasks, &f),
            _ => (0..tasks).for_each(f),
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
                threads.enter(|| threads.par_for(tasks, run));
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
    fn a_team_survives_a_panic() {
        let threads = Threads::new(2);
        for round in 0..20 {
            let panic = || threads.par_for(8, |i| assert!(i != round % 8, "task {i}"));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).unwrap_err();
            let sum = AtomicUsize::new(0);
            threads.par_for(10, |i| _ = sum.fetch_add(i, Ordering::Relaxed));
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn many_callers_share_a_team() {
        let threads = Threads::new(3);
        std::thread::scope(|scope| {
            for caller in 0..8 {
                let threads = &threads;
                scope.spawn(move || {
                    for round in 0..200 {
                        let tasks = (caller * 31 + round) % 40;
                        let mut seen = vec![0; tasks];
                        threads.par_chunks_mut(&mut seen, 1, |i, one| one[0] += i + 1);
                        assert!(seen.iter().enumerate().all(|(i, &n)| n == i + 1));
                        if round % 50 == 0 {
                            std::thread::sleep(std::time::Duration::from_millis(1)); // Workers fall asleep.
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_second_thread_takes_part() {
        let threads = Threads { count: 2, team: Some(Arc::new(Team::new(2).unwrap())) };
        let here = std::thread::current().id();
        let other = std::sync::atomic::AtomicBool::new(false);
        // Until the worker has come: the caller's task waits for it.
        threads.par_for(2, |_| {
            if std::thread::current().id() == here {
                while !other.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            } else {
                other.store(true, Ordering::Relaxed);
            }
        });
    }

    #[test]
    fn teams_are_shared() {
        let (a, b) = (Threads::new(2), Threads::new(2));
        assert!(Arc::ptr_eq(a.team.as_ref().unwrap(), b.team.as_ref().unwrap()));
    }
}
