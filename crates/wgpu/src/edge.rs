//! The native edge: the only place where a thread waits for a future.
//!
//! All else that a browser would have to await (opening an adapter, error scopes, results) is `async`, so that the same code
//! can be awaited there.

/// What `future` gives; the thread sleeps until then.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}
