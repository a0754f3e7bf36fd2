//! Worker threads that help whoever runs a loop.
//!
//! The loops of a network are short, often tens of microseconds, so a hand-over must cost less than waking a thread:
//! after a loop, workers watch for the next one for a while before they sleep. And nobody waits for a worker to come: the
//! caller goes through the loop itself, and waits at its end only for tasks that a worker has begun. General pools hand
//! the loop over and wait, which made the second thread useless on layers of 50 µs.
//!
//! The threads at work, callers included, are never more than the team's size, unless there are more callers.

use std::any::Any;
use std::cell::Cell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{io, iter};

/// How long an idle worker watches before it sleeps: longer than the gaps between the loops of a run.
const WATCH: Duration = Duration::from_micros(300);
/// Ranges a loop is cut into at most, each with a counter of its own; with more threads, some share one.
const RANGES: usize = 16;

thread_local! {
    /// Whether this thread is counted already: a worker, or a caller inside [`Team::enter`].
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// A team of worker threads, which live as long as the process.
pub(crate) struct Team {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Changes with every new loop; idle workers watch it.
    news: Line<AtomicUsize>,
    /// Threads that run something of their own. As many workers stand back.
    callers: Line<AtomicUsize>,
    workers: usize,
}

#[derive(Default)]
struct State {
    /// The loops under way. Each stays valid until its caller has taken it off the list and its helpers have left.
    loops: Vec<Listed>,
    /// Sleeping workers, by index.
    asleep: Vec<Option<Thread>>,
}

#[derive(Clone, Copy, PartialEq)]
struct Listed(*const Loop<'static>);

// SAFETY: a loop may be run from any thread (its body is Sync, the rest atomic); see `State::loops` for how long.
unsafe impl Send for Listed {}

/// On a cache line of its own.
#[repr(align(64))]
struct Line<T>(T);

struct Loop<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    /// Next index of each range.
    next: [Line<AtomicUsize>; RANGES],
    ranges: usize,
    tasks: usize,
    /// Workers inside.
    helpers: Line<AtomicUsize>,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Team {
    /// A team of `size` threads, of which the caller is one.
    ///
    /// # Errors
    /// The system refuses to start a thread; those started before go on sleeping.
    pub(crate) fn new(size: usize) -> io::Result<Team> {
        let workers = size.saturating_sub(1);
        let state = State { loops: Vec::new(), asleep: iter::repeat_with(|| None).take(workers).collect() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            news: Line(AtomicUsize::new(0)),
            callers: Line(AtomicUsize::new(0)),
            workers,
        });
        for index in 0..workers {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("inferrum-cpu-{}", index + 1)).spawn(move || {
                COUNTED.set(true);
                shared.work(index);
            })?;
        }
        Ok(Team { shared })
    }

    /// Counts this thread as one of those at work while `f` runs.
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a Shared);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                COUNTED.set(false);
                self.0.callers.0.fetch_sub(1, Ordering::Relaxed);
                self.0.call(usize::MAX);
            }
        }
        if COUNTED.get() {
            return f();
        }
        COUNTED.set(true);
        self.shared.callers.0.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&self.shared);
        f()
    }

    /// Calls `body(i)` once for each `i < tasks`, on this thread and on workers that are free.
    pub(crate) fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        self.enter(|| {
            let ranges = (self.shared.workers + 1).min(RANGES);
            let first = |range| Line(AtomicUsize::new(start(range, ranges, tasks)));
            let this = Loop {
                body,
                next: std::array::from_fn(first),
                ranges,
                tasks,
                helpers: Line(AtomicUsize::new(0)),
                panicked: AtomicBool::new(false),
                panic: Mutex::new(None),
            };
            let listed = self.shared.list(&this);
            this.work(0);
            drop(listed);
            if let Some(panic) = lock(&this.panic).take() {
                resume_unwind(panic);
            }
        });
    }
}

/// First index of a range.
fn start(range: usize, ranges: usize, tasks: usize) -> usize {
    // Ranges beyond the last are empty.
    (tasks / ranges).saturating_mul(range).saturating_add((tasks % ranges).min(range)).min(tasks)
}

impl Loop<'_> {
    /// Goes through the range of thread `index`, so that it meets the data it has met in the loops before; then through
    /// what others have left.
    fn work(&self, index: usize) {
        for range in 0..self.ranges {
            let range = (index + range) % self.ranges;
            let end = start(range + 1, self.ranges, self.tasks);
            while !self.panicked.load(Ordering::Relaxed) {
                let i = self.next[range].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                (self.body)(i);
            }
        }
    }

    /// Whether there is something left to begin.
    fn open(&self) -> bool {
        let left = |range: usize| {
            self.next[range].0.load(Ordering::Relaxed) < start(range + 1, self.ranges, self.tasks)
        };
        !self.panicked.load(Ordering::Relaxed) && (0..self.ranges).any(left)
    }

    /// The work of a helper. Nothing of `self` may be touched after.
    fn help(&self, index: usize) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(index))) {
            *lock(&self.panic) = Some(panic);
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.helpers.0.fetch_sub(1, Ordering::Release);
    }
}

/// A loop on the list. Dropping takes it off and waits for its helpers, also when the caller's own part has panicked.
struct OnList<'a> {
    shared: &'a Shared,
    this: &'a Loop<'a>,
    listed: Listed,
}

impl Drop for OnList<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.this.panicked.store(true, Ordering::Relaxed);
        }
        lock(&self.shared.state).loops.retain(|listed| *listed != self.listed);
        let mut turns = 0u32;
        while self.this.helpers.0.load(Ordering::Acquire) > 0 {
            turns += 1;
            // A helper that has lost its processor gets ours.
            if turns < 1000 { spin_loop() } else { thread::yield_now() }
        }
    }
}

impl Shared {
    /// Shows a loop to the workers, and wakes those who may help and sleep.
    fn list<'a>(&'a self, this: &'a Loop<'a>) -> OnList<'a> {
        let listed = Listed(std::ptr::from_ref(this).cast());
        lock(&self.state).loops.push(listed);
        self.news.0.fetch_add(1, Ordering::Release);
        self.call(this.tasks.saturating_sub(1));
        OnList { shared: self, this, listed }
    }

    /// Wakes those of the first `most` workers who sleep and may be at work, if there is a loop.
    fn call(&self, most: usize) {
        let mut state = lock(&self.state);
        let may = if state.loops.is_empty() { 0 } else { self.welcome().min(most) };
        let sleeping = |worker: &Option<Thread>| worker.is_some();
        if state.asleep[..may].iter().any(sleeping) {
            let woken: Vec<Thread> = state.asleep[..may].iter_mut().filter_map(Option::take).collect();
            drop(state);
            woken.iter().for_each(Thread::unpark);
        }
    }

    /// How many workers may be at work.
    fn welcome(&self) -> usize {
        (self.workers + 1).saturating_sub(self.callers.0.load(Ordering::Relaxed).max(1))
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        loop {
            let seen = self.news.0.load(Ordering::Acquire);
            while let Some(Listed(found)) = self.join(index) {
                // SAFETY: `join` has counted this thread in while the loop was on the list, so its caller waits for
                // `help` to count it out.
                unsafe { &*found }.help(index + 1);
            }
            if !self.watch(seen, index) {
                self.sleep(seen, index);
            }
        }
    }

    /// A loop with something left to do, in which this thread is now counted.
    fn join(&self, index: usize) -> Option<Listed> {
        if index >= self.welcome() {
            return None;
        }
        let state = lock(&self.state);
        state.loops.iter().copied().find(|listed| {
            // SAFETY: a loop on the list is valid, and nobody takes it off while we hold the lock.
            let found = unsafe { &*listed.0 };
            let open = found.open();
            if open {
                found.helpers.0.fetch_add(1, Ordering::Relaxed);
            }
            open
        })
    }

    /// Watches for a loop after `seen`; false if none came.
    fn watch(&self, seen: usize, index: usize) -> bool {
        let begin = Instant::now();
        while index < self.welcome() && begin.elapsed() < WATCH {
            for _ in 0..32 {
                if self.news.0.load(Ordering::Relaxed) != seen {
                    return true;
                }
                spin_loop();
            }
        }
        false
    }

    /// Sleeps until woken, unless there was a loop after `seen`.
    fn sleep(&self, seen: usize, index: usize) {
        let mut state = lock(&self.state);
        // Acquire, and after the lock: whoever lists a loop from here on finds this thread asleep.
        if self.news.0.load(Ordering::Acquire) != seen && index < self.welcome() {
            return;
        }
        state.asleep[index] = Some(thread::current());
        drop(state);
        while lock(&self.state).asleep[index].is_some() {
            thread::park();
        }
    }
}

/// What a panicking holder leaves is valid here: lists and options, changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
