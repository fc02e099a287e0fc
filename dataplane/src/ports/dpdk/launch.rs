//! Closures on worker lcores.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use dpdk_sys as sys;

use super::error::{LaunchError, WorkerPanic};

/// The lcore of a worker: lcore 0 is the main thread's.
pub(super) fn lcore_of(worker: usize) -> u32 {
    u32::try_from(worker + 1).expect("EAL has fewer than 2^32 workers")
}

/// What travels to the worker.
struct Job<F, T> {
    action: F,
    result: SyncSender<Result<T, String>>,
}

/// Something that runs on a worker. Dropped without [`join`](Self::join), it runs on by itself.
#[derive(Debug)]
pub struct WorkerHandle<T> {
    worker: usize,
    result: Receiver<Result<T, String>>,
}

impl<T> WorkerHandle<T> {
    /// Waits for the end and returns what the closure returned.
    ///
    /// Errors: the closure panicked.
    pub fn join(self) -> Result<T, WorkerPanic> {
        let worker = self.worker;
        // The sender is dropped without a value only if the closure's result could not be delivered.
        let result = self.result.recv().unwrap_or_else(|_| Err("the worker ended without a result".into()));
        // The result is sent a moment before the lcore is free for the next closure.
        // SAFETY: the lcore id is that of a worker, as `launch` checked.
        unsafe { sys::rte_eal_wait_lcore(lcore_of(worker)) };
        result.map_err(|message| WorkerPanic { worker, message })
    }

    /// The result if the closure has ended, the handle again if it still runs.
    pub fn try_join(self) -> Result<Result<T, WorkerPanic>, Self> {
        let worker = self.worker;
        match self.result.try_recv() {
            Err(TryRecvError::Empty) => Err(self),
            Err(TryRecvError::Disconnected) => Ok(self.join()),
            Ok(result) => Ok(result.map_err(|message| WorkerPanic { worker, message })),
        }
    }
}

/// Runs `action` on the lcore of `worker`, which exists.
pub(super) fn launch<T, F>(worker: usize, action: F) -> Result<WorkerHandle<T>, LaunchError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, result) = sync_channel(1);
    let job = Box::into_raw(Box::new(Job { action, result: sender }));
    // SAFETY: - the lcore is a worker's, which the caller checked;
    //         - `run::<T, F>` takes exactly such a job and takes it once: EAL calls it once on success;
    //         - action and result are Send and 'static, so they may live on the other thread.
    let error = unsafe { sys::rte_eal_remote_launch(Some(run::<T, F>), job.cast(), lcore_of(worker)) };
    if error != 0 {
        // SAFETY: the launch failed, so nobody else has the job; it came from Box::into_raw above.
        drop(unsafe { Box::from_raw(job) });
        return Err(LaunchError::Busy { worker });
    }
    Ok(WorkerHandle { worker, result })
}

/// What the lcore calls: runs the job and sends its result, or its panic.
///
/// # Safety
/// `job` is a `Box<Job<F, T>>` turned raw, and this call becomes its owner.
unsafe extern "C" fn run<T, F: FnOnce() -> T>(job: *mut c_void) -> c_int {
    // SAFETY: as the caller promises.
    let job = unsafe { Box::from_raw(job.cast::<Job<F, T>>()) };
    let Job { action, result } = *job;
    // Unwind-safe: after a panic nothing of the closure is left but its message.
    let outcome = catch_unwind(AssertUnwindSafe(action)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
    });
    // Fails when the handle was dropped: then nobody wants the result.
    let _ = result.send(outcome);
    0
}
