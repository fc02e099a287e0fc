//! One writer publishes immutable generations; each reader borrows the current one for a burst.
//!
//! The swap is lock-free, reading costs one atomic load per burst, and a retired generation is freed
//! by the writer's thread after every reader has let go of it. This is quiescent-state-based
//! reclamation (McKenney and Slingwine, 1998) with the epoch as the only word that readers poll.
//!
//! What must hold, and why it does (`docs/design/snapshots.md` has the argument in full):
//!
//! * `epoch` counts publications. The writer first swaps `current`, then stores the new epoch with
//!   Release. A reader that sees epoch `e` with Acquire therefore sees generation `e` or a later one.
//! * A reader that notices a new epoch first drops its old borrow, then writes the epoch into its own
//!   `seen` word (Release), then loads `current`. So `seen = e` says: "I hold nothing that was
//!   replaced at epoch `e` or before".
//! * A generation replaced at epoch `e` is freed once every reader's `seen` is at least `e` (Acquire).
//!
//! ```
//! let (mut publisher, mut readers) = ipc::snapshot::channel(Box::new(1), 1);
//! let reader = &mut readers[0];
//! assert_eq!(*reader.read(), 1);
//! publisher.publish(Box::new(2));
//! assert_eq!(publisher.reclaim(), 1); // the reader has not come round yet
//! assert_eq!(*reader.read(), 2);
//! assert_eq!(publisher.reclaim(), 0);
//! ```
#![allow(unsafe_code)]

use std::{collections::VecDeque, fmt, ptr};

use crossbeam_utils::CachePadded;

use crate::primitive::{Arc, AtomicPtr, AtomicU64, Ordering};

/// A reader that is gone holds nothing, whatever will be published.
const GONE: u64 = u64::MAX;

struct Shared<T> {
    /// The generation in force. Written by the publisher, read by readers after `epoch` has moved.
    current: AtomicPtr<T>,
    /// Number of publications. Written by the publisher, polled by readers once per burst.
    epoch: CachePadded<AtomicU64>,
    /// The newest epoch that each reader has caught up with. Each word is written by its reader and
    /// read by the publisher.
    seen: Box<[CachePadded<AtomicU64>]>,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Relaxed);
        // SAFETY: - `current` came from `Box::into_raw` in `channel` or `publish`;
        //         - it has not been freed: only replaced generations are, and this one was not replaced;
        //         - the last handle is gone (we are in the destructor of what they share), so nobody borrows it.
        drop(unsafe { Box::from_raw(current) });
    }
}

/// Makes a publisher and `readers` readers of `first`.
pub fn channel<T: Send + Sync>(first: Box<T>, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let shared = Arc::new(Shared {
        current: AtomicPtr::new(Box::into_raw(first)),
        epoch: CachePadded::new(AtomicU64::new(0)),
        seen: (0..readers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
    });
    let readers = (0..readers)
        .map(|index| Reader {
            epoch: 0,
            generation: shared.current.load(Ordering::Relaxed),
            index,
            shared: Arc::clone(&shared),
        })
        .collect();
    (Publisher { shared, retired: VecDeque::new() }, readers)
}

/// The writing end: publishes generations and frees the retired ones.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    /// Replaced generations, oldest first, each with the epoch at which it was replaced.
    retired: VecDeque<(u64, *mut T)>,
}

// SAFETY: - the raw pointers are owned boxes of `T`, which may be dropped on another thread as `T: Send`;
//         - readers on other threads hold `&T`, so `T: Sync` is asked for too.
unsafe impl<T: Send + Sync> Send for Publisher<T> {}

impl<T> Publisher<T> {
    /// Makes `next` the current generation. Never waits for a reader.
    ///
    /// Readers pick it up at their next [`Reader::read`]. Call [`Publisher::reclaim`] from time to time.
    pub fn publish(&mut self, next: Box<T>) {
        // Release: pairs with the Acquire load of `current` in `read`, so that `next` is seen complete.
        let replaced = self.shared.current.swap(Box::into_raw(next), Ordering::AcqRel);
        let epoch = self.shared.epoch.load(Ordering::Relaxed) + 1; // only this thread writes it
        // Release: pairs with the Acquire load of `epoch` in `read`; orders it after the swap above.
        self.shared.epoch.store(epoch, Ordering::Release);
        self.retired.push_back((epoch, replaced));
    }

    /// The current generation.
    pub fn current(&self) -> &T {
        let current = self.shared.current.load(Ordering::Relaxed); // only this thread writes it
        // SAFETY: - `current` is not retired, and only retired generations are freed;
        //         - replacing it takes `&mut self`, which cannot happen while the borrow lives.
        unsafe { &*current }
    }

    /// Frees what every reader has let go of; returns how many retired generations are left.
    pub fn reclaim(&mut self) -> usize {
        // Acquire: pairs with the Release store of `seen` in `read` (and in the reader's drop), so all
        // accesses through the old borrow happened before the free below.
        let oldest = self.shared.seen.iter().map(|seen| seen.load(Ordering::Acquire)).min().unwrap_or(GONE);
        while let Some(&(epoch, generation)) = self.retired.front()
            && epoch <= oldest
        {
            self.retired.pop_front();
            // SAFETY: - `generation` came from `Box::into_raw` and is taken off the list once;
            //         - every reader has seen `epoch`, so none holds a borrow of what it replaced.
            drop(unsafe { Box::from_raw(generation) });
        }
        self.retired.len()
    }

    /// Whether every reader has picked up the newest generation.
    pub fn settled(&self) -> bool {
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        self.shared.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= epoch)
    }
}

impl<T> Drop for Publisher<T> {
    /// Frees what readers have let go of and leaks the rest: a reader that is stuck for good must
    /// not find its generation gone.
    fn drop(&mut self) {
        self.reclaim();
    }
}

impl<T: fmt::Debug> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("current", self.current())
            .field("retired", &self.retired.len())
            .finish()
    }
}

/// A reading end; one per worker, not shared.
pub struct Reader<T> {
    /// The generation that this reader may hold. Valid until this reader stores a newer `seen`.
    generation: *const T,
    /// The epoch that `generation` was picked up at.
    epoch: u64,
    index: usize,
    shared: Arc<Shared<T>>,
}

// SAFETY: a `Reader` hands out `&T` on the thread it is moved to and never drops a `T`, except as the
//         last handle of `Shared`: hence `T: Send + Sync`.
unsafe impl<T: Send + Sync> Send for Reader<T> {}

impl<T> Reader<T> {
    /// The newest generation, for as long as the borrow lives: one burst.
    ///
    /// Costs one load while nothing was published. A reader that stops calling this keeps its
    /// generation alive; one that is dropped does not.
    #[inline]
    pub fn read(&mut self) -> &T {
        // Acquire: pairs with the Release store in `publish`.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.catch_up(epoch);
        }
        // SAFETY: - `generation` was current at some time after `self.epoch` was stored into `seen`,
        //           so it is replaced, if ever, at a later epoch;
        //         - it is freed only when this reader has stored that later epoch, which takes `&mut
        //           self` and therefore the end of this borrow.
        unsafe { &*self.generation }
    }

    #[cold]
    fn catch_up(&mut self, epoch: u64) {
        self.generation = ptr::null();
        self.epoch = epoch;
        // Release: pairs with the Acquire load in `reclaim`; the old borrow ended before this.
        self.shared.seen[self.index].store(epoch, Ordering::Release);
        // Acquire: pairs with the Release of the swap in `publish`.
        self.generation = self.shared.current.load(Ordering::Acquire);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire load in `reclaim`.
        self.shared.seen[self.index].store(GONE, Ordering::Release);
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("index", &self.index)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Counts how many of its kind are alive.
    struct Counted<'a>(&'a AtomicUsize, u64);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }

    fn counted(alive: &AtomicUsize, value: u64) -> Box<Counted<'_>> {
        alive.fetch_add(1, SeqCst);
        Box::new(Counted(alive, value))
    }

    #[test]
    fn retired_generation_lives_until_every_reader_has_moved_on() {
        let alive = AtomicUsize::new(0);
        let (mut publisher, mut readers) = channel(counted(&alive, 1), 2);
        let mut second = readers.pop().unwrap();
        let mut first = readers.pop().unwrap();
        publisher.publish(counted(&alive, 2));
        assert_eq!(first.read().1, 2);
        assert!(!publisher.settled());
        assert_eq!((publisher.reclaim(), alive.load(SeqCst)), (1, 2));
        assert_eq!(second.read().1, 2);
        assert!(publisher.settled());
        assert_eq!((publisher.reclaim(), alive.load(SeqCst)), (0, 1));
    }

    #[test]
    fn reader_that_is_gone_holds_nothing() {
        let alive = AtomicUsize::new(0);
        let (mut publisher, readers) = channel(counted(&alive, 1), 2);
        drop(readers);
        publisher.publish(counted(&alive, 2));
        assert_eq!(publisher.reclaim(), 0);
        drop(publisher);
        assert_eq!(alive.load(SeqCst), 0);
    }

    #[test]
    fn reader_outlives_the_publisher() {
        let alive = AtomicUsize::new(0);
        let (publisher, mut readers) = channel(counted(&alive, 7), 1);
        drop(publisher);
        assert_eq!(readers[0].read().1, 7);
        drop(readers);
        assert_eq!(alive.load(SeqCst), 0);
    }

    #[test]
    fn read_without_news_touches_nothing_but_the_epoch() {
        let (publisher, mut readers) = channel(Box::new(1), 1);
        assert_eq!(*readers[0].read(), 1);
        // Other values in the other two words, behind the back of both ends: whoever looks at them sees it.
        let shared = &publisher.shared;
        let real = shared.current.swap(ptr::null_mut(), Ordering::Relaxed);
        shared.seen[0].store(77, Ordering::Relaxed);
        assert_eq!(*readers[0].read(), 1);
        assert_eq!(shared.seen[0].load(Ordering::Relaxed), 77);
        shared.current.store(real, Ordering::Relaxed);
    }

    #[test]
    fn readers_see_whole_generations_in_order_under_many_swaps() {
        const SWAPS: u64 = 20_000;
        let (mut publisher, readers) = channel(Box::new([0u64; 8]), 2);
        std::thread::scope(|scope| {
            for mut reader in readers {
                scope.spawn(move || {
                    let mut last = 0;
                    while last < SWAPS {
                        let generation = reader.read();
                        assert!(generation.iter().all(|&word| word == generation[0]));
                        assert!(generation[0] >= last);
                        last = generation[0];
                    }
                });
            }
            for swap in 1..=SWAPS {
                publisher.publish(Box::new([swap; 8]));
                publisher.reclaim();
            }
        });
        assert_eq!(publisher.reclaim(), 0);
    }
}

/// Model-checked with loom: every interleaving that the memory model allows.
#[cfg(all(test, loom))]
mod models {
    use loom::{
        cell::UnsafeCell,
        sync::{Arc, atomic::AtomicUsize},
        thread,
    };

    use super::*;

    /// A generation whose reads and whose end loom watches: reading it after the end, or while it is
    /// being written, fails the model.
    struct Watched {
        value: UnsafeCell<u64>,
        freed: Arc<AtomicUsize>,
        /// The thread that published it.
        home: thread::ThreadId,
    }

    // SAFETY: loom's cell checks the accesses; that is the point of the model.
    unsafe impl Sync for Watched {}

    impl Watched {
        fn new(value: u64, freed: &Arc<AtomicUsize>) -> Box<Self> {
            let home = thread::current().id();
            Box::new(Self { value: UnsafeCell::new(value), freed: Arc::clone(freed), home })
        }

        fn read(&self) -> u64 {
            // SAFETY: only read while borrowed from the reader; loom verifies that nobody writes.
            self.value.with(|value| unsafe { *value })
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            // SAFETY: we own it now; loom verifies that no read is concurrent.
            self.value.with_mut(|value| unsafe { *value = u64::MAX });
            assert_eq!(thread::current().id(), self.home, "freed by a reader");
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_reader_sees_a_freed_or_half_built_generation() {
        loom::model(|| {
            let freed = Arc::new(AtomicUsize::new(0));
            let (mut publisher, mut readers) = channel(Watched::new(0, &freed), 1);
            let mut reader = readers.pop().unwrap();
            let worker = thread::spawn(move || {
                let first = reader.read().read();
                let second = reader.read().read();
                assert!(first <= second && second <= 2);
            });
            publisher.publish(Watched::new(1, &freed));
            publisher.reclaim();
            publisher.publish(Watched::new(2, &freed));
            publisher.reclaim();
            worker.join().unwrap();
            assert_eq!(publisher.reclaim(), 0);
            assert_eq!(freed.load(Ordering::Relaxed), 2);
            drop(publisher);
            assert_eq!(freed.load(Ordering::Relaxed), 3);
        });
    }

    #[test]
    fn reader_that_leaves_frees_nothing_and_holds_nothing() {
        // `Watched` fails if a destructor runs on the reader's thread, also when its end is the last to let go.
        loom::model(|| {
            let freed = Arc::new(AtomicUsize::new(0));
            let (mut publisher, mut readers) = channel(Watched::new(0, &freed), 1);
            let mut reader = readers.pop().unwrap();
            let worker = thread::spawn(move || {
                assert!(reader.read().read() <= 1);
                drop(reader);
            });
            publisher.publish(Watched::new(1, &freed));
            let left = publisher.reclaim();
            assert_eq!(freed.load(Ordering::Relaxed), 1 - left);
            worker.join().unwrap();
            assert_eq!(publisher.reclaim(), 0);
            assert_eq!(freed.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn two_readers_hold_a_generation_each_for_itself() {
        loom::model(|| {
            let freed = Arc::new(AtomicUsize::new(0));
            let (mut publisher, mut readers) = channel(Watched::new(0, &freed), 2);
            let workers: Vec<_> = readers
                .drain(..)
                .map(|mut reader| thread::spawn(move || assert!(reader.read().read() <= 1)))
                .collect();
            publisher.publish(Watched::new(1, &freed));
            publisher.reclaim();
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(publisher.reclaim(), 0);
            assert_eq!(freed.load(Ordering::Relaxed), 1);
        });
    }
}
