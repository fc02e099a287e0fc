//! The thread: rounds without end, and a new start after a panic.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use ipc::ring::Consumer;

use super::{
    findings::Findings,
    observer::{Observer, Parts},
};
use crate::survive::survive;

/// Between two rounds: a ring of the default size takes a million and a half samples a second in that time.
const ROUND: Duration = Duration::from_millis(10);

/// Between two rounds while another process is to decide: what it says is put in force that soon.
const LISTENING: Duration = Duration::from_millis(1);

/// After a panic, which may well come again, and while the region cannot be had.
const PAUSE: Duration = Duration::from_millis(100);

/// The running thread.
#[derive(Debug)]
pub struct Thread {
    handle: JoinHandle<()>,
    findings: Arc<Findings>,
}

impl Thread {
    /// Has it end in order and waits for that.
    pub fn stop(self) {
        self.findings.stop();
        // It catches its panics, and nothing is to be had from it.
        let _ = self.handle.join();
    }
}

/// Starts the thread with an observer and the rings of all workers. Errors: no thread can be had.
pub fn start(observer: Observer, parts: Parts, mut rings: Vec<Consumer>) -> io::Result<Thread> {
    let (findings, clock) = (Arc::clone(&parts.findings), parts.clock);
    let mut first = Some(observer);
    let handle = thread::Builder::new().name("policy".into()).spawn(move || {
        supervise(&parts.findings, || {
            let mut observer = match first.take() {
                Some(observer) => observer,
                None => match Observer::new(&parts, clock.now()) {
                    Ok(observer) => observer,
                    Err(error) => {
                        tracing::error!(%error, help = error.remedy(), "no region");
                        return;
                    }
                },
            };
            while !parts.findings.is_stopped() {
                observer.round(&mut rings, clock.now());
                let round = if observer.awaits() { LISTENING } else { ROUND };
                let until_due = observer.due().0.saturating_sub(clock.now().0);
                thread::sleep(round.min(Duration::from_nanos(until_due)));
            }
        });
    })?;
    Ok(Thread { handle, findings })
}

/// Works until told to stop, again and again; a panic is logged and counted.
pub fn supervise(findings: &Findings, mut work: impl FnMut()) {
    while !findings.is_stopped() {
        survive("policy", &findings.restarts, &mut work);
        if !findings.is_stopped() {
            thread::sleep(PAUSE);
        }
    }
}
