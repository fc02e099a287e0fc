//! The log on disk: two files of bounded size, written by a thread of its own.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use ipc::region::{StatisticsFrame, WeightsFrame};

use super::format;
use crate::controller::{Controller, Moment};

/// Records that may wait for the disk. What does not fit is lost, and counted; no step waits.
const WAITING: usize = 64;

/// What the thread is sent.
#[derive(Debug)]
enum Order {
    /// Append these words.
    Append(Vec<u64>),
    /// Begin a new file first, and keep the one before as the older one.
    Begin(Vec<u64>),
}

/// A log on disk. When it is dropped, what waits is written first.
#[derive(Debug)]
pub struct LogFile {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Bytes of the file that is being written, as far as they were ordered.
    bytes: u64,
    /// Most bytes of each of the two files.
    most_bytes: u64,
    /// Whether the next step has to be preceded by where it starts from.
    must_start: bool,
    lost: Arc<AtomicU64>,
}

impl LogFile {
    /// A log at `path` that takes `most_bytes` at most, the older part of it at `path` with `.1` behind.
    ///
    /// A log that is there already becomes the older part. Errors: the file cannot be made.
    pub fn create(path: &Path, most_bytes: u64) -> io::Result<Self> {
        let file = begin(path)?;
        let (orders, received) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let disk = Disk { path: path.to_owned(), file: Some(file), lost: Arc::clone(&lost) };
        let thread = thread::Builder::new().name("decisions".into()).spawn(move || disk.serve(&received))?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            bytes: 0,
            most_bytes: most_bytes / 2,
            must_start: true,
            lost,
        })
    }

    /// Says that plans have changed: what follows does not follow from what was logged.
    pub const fn interrupt(&mut self) {
        self.must_start = true;
    }

    /// Before a step: says where it starts from, if that cannot be told from what was logged.
    pub fn before(&mut self, controller: &Controller) {
        let full = self.bytes >= self.most_bytes;
        if !full && !self.must_start {
            return;
        }
        let mut words = Vec::new();
        format::start(controller, &mut words);
        let bytes = words.len() as u64 * 8;
        self.must_start = !self.send(if full { Order::Begin(words) } else { Order::Append(words) });
        if full && !self.must_start {
            self.bytes = bytes;
        }
    }

    /// After a step: what it went by and what came of it.
    pub fn after(
        &mut self,
        controller: &Controller,
        statistics: &StatisticsFrame,
        moment: &Moment<'_>,
        weights: &WeightsFrame,
    ) {
        if self.must_start {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return; // its start did not fit; the next one's may
        }
        let mut words = Vec::new();
        format::step(controller, statistics, moment, weights, &mut words);
        self.must_start = !self.send(Order::Append(words));
    }

    /// Steps that are not in the log, because the disk was too slow or failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn send(&mut self, order: Order) -> bool {
        let (Order::Append(words) | Order::Begin(words)) = &order;
        let bytes = words.len() as u64 * 8;
        match self.orders.as_ref().map(|orders| orders.try_send(order)) {
            Some(Ok(())) => {
                self.bytes += bytes;
                true
            }
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.orders = None; // the thread ends when it has written what was ordered
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
#[derive(Debug)]
struct Disk {
    path: PathBuf,
    /// `None`: it failed; the next file may do better.
    file: Option<File>,
    lost: Arc<AtomicU64>,
}

impl Disk {
    fn serve(mut self, orders: &Receiver<Order>) {
        for order in orders {
            let (Order::Append(words) | Order::Begin(words)) = &order;
            if matches!(order, Order::Begin(_)) {
                self.file = begin(&self.path).ok();
            }
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let written = self.file.as_mut().is_some_and(|file| file.write_all(&bytes).is_ok());
            if !written {
                self.file = None; // half a record must be the last thing in a file
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A new file at `path`; the one that was there is kept as the older one.
fn begin(path: &Path) -> io::Result<File> {
    if path.exists() {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)?;
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}
