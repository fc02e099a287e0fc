//! Generations swapped as fast as they can be made, under readers that never stop.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, ThreadId},
};

use ipc::snapshot;

const SWAPS: u64 = 1_000_000;
const READERS: usize = 3;

/// What all generations report to.
#[derive(Default)]
struct Books {
    freed: AtomicU64,
    freed_elsewhere: AtomicBool,
}

/// A generation that is overwritten when it ends, so that whoever still reads it notices.
struct Generation {
    words: [u64; 8],
    publisher: ThreadId,
    books: Arc<Books>,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.words = [u64::MAX, 0, 1, 2, 3, 4, 5, 6];
        std::hint::black_box(&self.words);
        self.books.freed.fetch_add(1, Relaxed);
        if thread::current().id() != self.publisher {
            self.books.freed_elsewhere.store(true, Relaxed);
        }
    }
}

#[test]
fn a_million_swaps_under_load_lose_nothing_and_free_on_the_publisher() {
    let books = Arc::new(Books::default());
    let publisher = thread::current().id();
    let generation = |word| Box::new(Generation { words: [word; 8], publisher, books: Arc::clone(&books) });
    let (mut writer, readers) = snapshot::channel(generation(0), READERS);
    thread::scope(|scope| {
        let workers: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                scope.spawn(move || {
                    let (mut last, mut bursts) = (0, 0_u64);
                    while last < SWAPS {
                        let current = reader.read();
                        // A burst: many looks at one generation.
                        for look in 0..32 {
                            assert!(current.words[look % 8] == current.words[0], "a generation of parts");
                        }
                        assert!(current.words[0] >= last && current.words[0] <= SWAPS, "an older generation");
                        last = current.words[0];
                        bursts += 1;
                    }
                    bursts
                })
            })
            .collect();
        for swap in 1..=SWAPS {
            writer.publish(generation(swap));
            if swap % 16 == 0 && writer.reclaim() > 10_000 {
                thread::yield_now(); // a reader has lost its CPU; let it have ours
            }
        }
        for worker in workers {
            assert!(worker.join().unwrap() > 0);
        }
    });
    assert_eq!(writer.reclaim(), 0);
    assert_eq!(books.freed.load(Relaxed), SWAPS, "all but the current one, each once");
    assert!(!books.freed_elsewhere.load(Relaxed), "a reader's thread ran a destructor");
}
