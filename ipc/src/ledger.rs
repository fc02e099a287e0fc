//! Counters that one thread commits together and others read together.
//!
//! The packet law (`rx = tx + drops + in flight`) is about several counters at one moment. A worker keeps
//! them in plain memory and commits them all at once; a reader gets a commit whole or not at all. This
//! is a sequence lock with one writer (Boehm, "Can seqlocks get along with programming language memory
//! models?", 2012): the writer never waits, readers retry.

use crate::primitive::{Arc, AtomicU64, Ordering, fence};

/// How often a reader tries before it gives up. A commit takes well under a microsecond, unless the writer loses
/// its CPU in the middle: then the caller had better sleep.
const TRIES: usize = if cfg!(loom) { 2 } else { 1000 };

#[derive(Debug)]
struct Shared {
    /// Odd while a commit is being written. Written by the writer.
    sequence: AtomicU64,
    /// The counters. Written by the writer.
    words: Box<[AtomicU64]>,
}

/// A ledger of `words` counters, all zero.
pub fn channel(words: usize) -> (Writer, Reader) {
    let words = (0..words).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { sequence: AtomicU64::new(0), words });
    (Writer { shared: Arc::clone(&shared), sequence: 0 }, Reader { shared })
}

/// The writing end; there is one.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    sequence: u64,
}

impl Writer {
    /// Replaces all counters by `values`; words beyond the ledger's length are ignored.
    #[inline]
    pub fn commit(&mut self, values: &[u64]) {
        self.shared.sequence.store(self.sequence + 1, Ordering::Relaxed);
        // Release fence: orders the odd sequence before the words; pairs with the reader's Acquire fence.
        fence(Ordering::Release);
        for (word, &value) in self.shared.words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence += 2;
        // Release: orders the words before the even sequence; pairs with the reader's Acquire load.
        self.shared.sequence.store(self.sequence, Ordering::Release);
    }
}

/// A reading end.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// The newest commit, or `None` when the writer was in the middle of one at every try.
    pub fn read(&self) -> Option<Vec<u64>> {
        (0..TRIES).find_map(|_| self.try_read())
    }

    fn try_read(&self) -> Option<Vec<u64>> {
        // Acquire: pairs with the Release store at the end of a commit.
        let before = self.shared.sequence.load(Ordering::Acquire);
        if !before.is_multiple_of(2) {
            return None;
        }
        let words = self.shared.words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        // Acquire fence: if a word came from a later commit, the load below sees its odd sequence.
        fence(Ordering::Acquire);
        (self.shared.sequence.load(Ordering::Relaxed) == before).then_some(words)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn reader_sees_the_last_commit() {
        let (mut writer, reader) = channel(3);
        assert_eq!(reader.read(), Some(vec![0, 0, 0]));
        writer.commit(&[1, 2, 3]);
        writer.commit(&[4, 5, 6]);
        assert_eq!(reader.read(), Some(vec![4, 5, 6]));
    }

    #[test]
    fn commits_are_seen_whole_while_they_race() {
        let (mut writer, reader) = channel(16);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while last < 50_000 {
                    if let Some(words) = reader.read() {
                        assert!(words.iter().all(|&word| word == words[0]) && words[0] >= last);
                        last = words[0];
                    }
                }
            });
            for commit in 1..=50_000 {
                writer.commit(&[commit; 16]);
            }
        });
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;

    #[test]
    fn no_reader_sees_half_a_commit() {
        loom::model(|| {
            let (mut writer, reader) = channel(2);
            let worker = loom::thread::spawn(move || {
                writer.commit(&[1, 1]);
                writer.commit(&[2, 2]);
            });
            if let Some(words) = reader.read() {
                assert_eq!(words[0], words[1]);
            }
            worker.join().unwrap();
            assert_eq!(reader.read(), Some(vec![2, 2]));
        });
    }
}
