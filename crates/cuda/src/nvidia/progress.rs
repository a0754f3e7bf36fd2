//! How far streams are, and what waits for them.
//!
//! What is given back while work is on its way waits until each stream that had work then was waited for, or is gone. No call of
//! the driver is needed for that, so that it holds while streams are recorded, too, where an event would become part of the
//! recording. It costs that memory comes back at the next wait of those streams, and not the moment its last user is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A stream's progress; `H` is what others wait for it by.
pub(crate) struct Queue<H> {
    /// Pieces of work that were given to it.
    submitted: AtomicU64,
    /// Of these, the first so many are done.
    done: AtomicU64,
    /// None while others must not wait for it.
    handle: Mutex<Option<H>>,
}

impl<H> Queue<H> {
    /// Counts a piece of work. The driver has it already: whoever waits for what is counted waits for all of it.
    pub(crate) fn submit(&self) {
        self.submitted.fetch_add(1, Ordering::SeqCst);
    }

    /// How much was given to it.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::SeqCst)
    }

    /// Notes that all is done that was submitted when `submitted` was so much.
    pub(crate) fn reached(&self, submitted: u64) {
        self.done.fetch_max(submitted, Ordering::SeqCst);
    }

    /// What others wait for it by, and None while they must not. While it is held, that does not change.
    pub(crate) fn handle(&self) -> MutexGuard<'_, Option<H>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All streams of a device, and what waits for them.
pub(crate) struct Progress<H, T> {
    queues: Vec<Arc<Queue<H>>>,
    waiting: Vec<Waiting<H, T>>,
}

struct Waiting<H, T> {
    what: T,
    /// Streams, and how far each has to be.
    until: Vec<(Arc<Queue<H>>, u64)>,
}

impl<H, T> Default for Progress<H, T> {
    fn default() -> Progress<H, T> {
        Progress { queues: Vec::new(), waiting: Vec::new() }
    }
}

impl<H, T> Progress<H, T> {
    /// A new stream.
    pub(crate) fn enter(&mut self, handle: H) -> Arc<Queue<H>> {
        let queue = Arc::new(Queue {
            submitted: AtomicU64::new(0),
            done: AtomicU64::new(0),
            handle: Mutex::new(Some(handle)),
        });
        self.queues.push(Arc::clone(&queue));
        queue
    }

    /// The stream is gone, all of its work is done.
    pub(crate) fn leave(&mut self, queue: &Arc<Queue<H>>) {
        queue.reached(u64::MAX);
        self.queues.retain(|it| !Arc::ptr_eq(it, queue));
    }

    /// All streams.
    pub(crate) fn queues(&self) -> Vec<Arc<Queue<H>>> {
        self.queues.clone()
    }

    /// Gives `what` back if no work is on its way, and else keeps it until what is now on its way is done.
    pub(crate) fn retire(&mut self, what: T) -> Option<T> {
        let busy = |queue: &&Arc<Queue<H>>| queue.submitted() > queue.done.load(Ordering::SeqCst);
        let until: Vec<_> =
            self.queues.iter().filter(busy).map(|it| (Arc::clone(it), it.submitted())).collect();
        if until.is_empty() {
            return Some(what);
        }
        self.waiting.push(Waiting { what, until });
        None
    }

    /// What was kept and need not be any more.
    pub(crate) fn settled(&mut self) -> Vec<T> {
        let over = |it: &mut Waiting<H, T>| {
            it.until.retain(|(queue, until)| queue.done.load(Ordering::SeqCst) < *until);
            it.until.is_empty()
        };
        self.waiting.extract_if(.., over).map(|it| it.what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_wait_for_the_streams_that_were_busy() {
        let mut progress: Progress<(), &str> = Progress::default();
        assert_eq!(progress.retire("nothing runs"), Some("nothing runs"));
        let (first, second, idle) = (progress.enter(()), progress.enter(()), progress.enter(()));
        first.submit();
        second.submit();
        assert_eq!(progress.retire("both"), None);
        first.reached(first.submitted());
        assert_eq!(progress.settled(), [""; 0]);
        second.submit();
        assert_eq!(progress.retire("second"), None);
        second.reached(1);
        assert_eq!(progress.settled(), ["both"], "what came later is none of its business");
        idle.submit();
        progress.leave(&second);
        assert_eq!(progress.settled(), ["second"]);
        assert!(progress.settled().is_empty());
        idle.reached(1);
        assert_eq!(progress.retire("idle again"), Some("idle again"));
        assert_eq!(progress.queues().len(), 2);
    }
}
