//! What a driver tells by calling back, as a future.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// The answer that comes by a callback; `None` if the callback is dropped uncalled.
pub(crate) struct Answer<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    value: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

struct Sender<T>(Arc<Mutex<State<T>>>);

/// A callback, and what it is called with.
pub(crate) fn answer<T: Send + 'static>() -> (impl FnOnce(T) + Send + 'static, Answer<T>) {
    let state = Arc::new(Mutex::new(State { value: None, over: false, waker: None }));
    let sender = Sender(Arc::clone(&state));
    (move |value| sender.send(value), Answer(state))
}

fn locked<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<T> Sender<T> {
    fn send(self, value: T) {
        locked(&self.0).value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = locked(&self.0);
            state.over = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = locked(&self.0);
        if state.over {
            return Poll::Ready(state.value.take());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_from_another_thread_or_never() {
        let (call, told) = answer();
        let thread = std::thread::spawn(move || call(7));
        assert_eq!(crate::edge::wait(told), Some(7));
        thread.join().expect("no panic");
        let (call, told) = answer::<u8>();
        drop(call);
        assert_eq!(crate::edge::wait(told), None);
    }
}
