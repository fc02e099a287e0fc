//! Panics of a thread that do not end it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

/// Does a piece of the work of the thread called `thread`. A panic in it is counted and logged, and `None` comes back: packets go
/// on meanwhile, and the next round may do better.
///
/// What the work was changing may be half changed. Generations are not among that: they are built whole before they
/// are published.
pub fn survive<T>(thread: &str, panics: &AtomicU64, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text =
                text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the {thread} thread goes on after a panic, please report it: {text}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_counted_and_the_work_goes_on() {
        let panics = AtomicU64::new(0);
        let rounds: Vec<Option<u32>> = (0..5)
            .map(|round| {
                survive("test", &panics, || {
                    assert!(round % 2 == 0, "round {round}");
                    round
                })
            })
            .collect();
        assert_eq!(rounds, [Some(0), None, Some(2), None, Some(4)]);
        assert_eq!(panics.load(Ordering::Relaxed), 2);
    }
}
