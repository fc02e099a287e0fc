//! How a worker and the control thread talk: bounded lock-free queues both ways.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use ipc::{
    id::{LcoreId, PortId},
    ledger,
    ring::Consumer,
};

use crate::{
    pipeline::{
        Notice,
        counters::{Counters, Ledger},
    },
    ports::{BURST, Packet, Queue},
};

/// Notices that may be on their way to the control thread.
const NOTICES: usize = 1024;

/// Frames that may be on their way from the control thread.
const FRAMES: usize = 256;

/// Longest frame of the control thread: neighbour discovery is 86 bytes.
const FRAME_LEN: usize = 128;

/// A frame of the control thread's own, to be transmitted on `port`.
#[derive(Clone, Debug)]
pub struct InjectedFrame {
    /// Outgoing port.
    pub port: PortId,
    /// The frame, from the Ethernet header on.
    pub bytes: ArrayVec<u8, FRAME_LEN>,
}

impl InjectedFrame {
    /// A frame of at most 128 bytes; `None` when it is longer.
    pub fn new(port: PortId, frame: &[u8]) -> Option<Self> {
        let mut bytes = ArrayVec::new();
        bytes.try_extend_from_slice(frame).ok()?;
        Some(Self { port, bytes })
    }

    /// The frame in a buffer of `queue`'s pool.
    pub(super) fn packet<Q: Queue>(&self, queue: &mut Q) -> Option<Q::Packet> {
        let mut packet = queue.allocate()?;
        packet.append(self.bytes.len()).ok()?;
        packet.data_mut().copy_from_slice(&self.bytes);
        Some(packet)
    }
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Link {
    notices: Arc<ArrayQueue<Notice>>,
    frames: Arc<ArrayQueue<InjectedFrame>>,
}

impl Link {
    /// Sends news; what does not fit is lost, and will be news again.
    pub(super) fn send(&self, notices: &mut ArrayVec<Notice, BURST>) {
        for notice in notices.drain(..) {
            let _ = self.notices.push(notice);
        }
    }

    pub(super) fn next_frame(&self) -> Option<InjectedFrame> {
        self.frames.pop()
    }
}

/// The control thread's end: what a worker tells, and how to reach it.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Which worker it is.
    pub lcore: LcoreId,
    /// Counters that are read one by one.
    pub counters: Arc<Counters>,
    ledger: ledger::Reader,
    notices: Arc<ArrayQueue<Notice>>,
    frames: Arc<ArrayQueue<InjectedFrame>>,
    /// Until somebody takes them.
    samples: Arc<Mutex<Option<Consumer>>>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Handle {
    /// The next piece of news.
    pub fn next_notice(&self) -> Option<Notice> {
        self.notices.pop()
    }

    /// Has the worker transmit a frame; `false`: too many are on their way, and this one is lost.
    pub fn inject(&self, frame: InjectedFrame) -> bool {
        self.frames.push(frame).is_ok()
    }

    /// The counters that belong together, as of the worker's last commit; `None` when none could be read whole.
    pub fn ledger(&self) -> Option<Ledger> {
        Ledger::read(&self.ledger)
    }

    /// The worker's samples, for the first who asks; `None`: they are taken, or nothing is measured.
    pub fn take_samples(&self) -> Option<Consumer> {
        self.samples.lock().ok()?.take()
    }

    /// Asks the worker to stop after its current turn.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

pub(super) fn pair(
    lcore: LcoreId,
    counters: Arc<Counters>,
    ledger: ledger::Reader,
    samples: Option<Consumer>,
) -> (Link, Handle) {
    let (notices, frames) = (Arc::new(ArrayQueue::new(NOTICES)), Arc::new(ArrayQueue::new(FRAMES)));
    let link = Link { notices: Arc::clone(&notices), frames: Arc::clone(&frames) };
    (
        link,
        Handle {
            lcore,
            counters,
            ledger,
            notices,
            frames,
            samples: Arc::new(Mutex::new(samples)),
            stop: Arc::default(),
        },
    )
}
