//! DPDK's log lines, kept for whoever asks instead of going to standard error and syslog.
//!
//! EAL writes its log to a `FILE`. Ours ends in [`receive_bytes`], which keeps the newest lines with their
//! level. Errors take their cause from here; the program logs the rest as it likes.

use std::collections::VecDeque;
use std::ffi::{c_char, c_long, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

/// Most lines kept; older ones are forgotten.
const KEPT: usize = 512;

/// What drivers report as an error or a warning and what is none here: that there are no secondary processes to
/// talk to, and that the kernel has no traffic control for flow rules, which we never make.
const HARMLESS: [&str; 5] = ["to secondary", "mp action callback", "multiq", "qdisc", "rte flow support"];

/// How serious a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warning,
    /// Everything else.
    Info,
}

impl Level {
    fn from_dpdk(level: u32) -> Self {
        match level {
            0..=sys::RTE_LOG_ERR => Self::Error,
            sys::RTE_LOG_WARNING => Self::Warning,
            _ => Self::Info,
        }
    }
}

/// A line that DPDK or a driver logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How serious it is.
    pub level: Level,
    /// What it says, without the line's end.
    pub text: String,
}

/// The newest lines. `first` is the number of the oldest line kept, `taken` of the first not yet taken.
struct Buffer {
    lines: VecDeque<LogLine>,
    first: usize,
    taken: usize,
    unfinished: String,
}

static BUFFER: Mutex<Buffer> =
    Mutex::new(Buffer { lines: VecDeque::new(), first: 0, taken: 0, unfinished: String::new() });

/// The buffer; a panic while it was locked cannot have broken it.
fn buffer() -> MutexGuard<'static, Buffer> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    fn push(&mut self, line: LogLine) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line);
    }

    /// One past the newest line.
    fn end(&self) -> usize {
        self.first + self.lines.len()
    }

    fn from(&self, number: usize) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().skip(number.saturating_sub(self.first))
    }
}

/// Sends DPDK's log to this module, from now on.
pub(super) fn capture() {
    let functions =
        sys::cookie_io_functions_t { read: None, write: Some(receive_bytes), seek: None, close: None };
    // SAFETY: the mode is a C string and the functions are of the types that fopencookie wants; `write`
    // ignores the cookie, so null will do.
    let stream = unsafe { sys::fopencookie(std::ptr::null_mut(), c"w".as_ptr(), functions) };
    if !stream.is_null() {
        // SAFETY: `stream` is an open FILE that is never closed.
        unsafe { sys::rte_openlog_stream(stream) };
    }
}

/// Takes what DPDK wrote. The C library calls it when a log call flushes the stream, on the thread that
/// logs, so DPDK's notion of the current message's level is that of these bytes.
///
/// # Safety
/// `bytes` points to `len` readable bytes.
unsafe extern "C" fn receive_bytes(_cookie: *mut c_void, bytes: *const c_char, len: usize) -> c_long {
    // SAFETY: the caller promises `len` readable bytes, which nobody writes during the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    // SAFETY: always callable; reads a per-thread variable.
    let level = unsafe { sys::rte_log_cur_msg_loglevel() };
    let level = Level::from_dpdk(u32::try_from(level).unwrap_or(sys::RTE_LOG_DEBUG));
    record(level, &String::from_utf8_lossy(bytes));
    c_long::try_from(len).unwrap_or(c_long::MAX)
}

/// Appends `text` to the log; a line counts when its end has come.
pub(super) fn record(level: Level, text: &str) {
    let mut buffer = buffer();
    let mut unfinished = std::mem::take(&mut buffer.unfinished);
    for piece in text.split_inclusive('\n') {
        unfinished.push_str(piece);
        if piece.ends_with('\n') {
            let text = unfinished.trim_end().to_owned();
            unfinished.clear();
            let harmless = HARMLESS.iter().any(|words| text.contains(words));
            if !text.is_empty() {
                buffer.push(LogLine { level: if harmless { Level::Info } else { level }, text });
            }
        }
    }
    buffer.unfinished = unfinished;
}

/// Where the log ends now, for [`cause_since`].
pub(super) fn mark() -> usize {
    buffer().end()
}

/// The cause of a failure: the first error logged since `mark`, or else the last warning. The layers report from
/// the inside out, so the first line names the reason and the later ones what could not be done for it.
pub(super) fn cause_since(mark: usize) -> Option<String> {
    let buffer = buffer();
    let of = |level| buffer.from(mark).filter(move |line| line.level == level);
    of(Level::Error).next().or_else(|| of(Level::Warning).last()).map(|line| line.text.clone())
}

/// The lines logged since the last call, oldest first.
pub(super) fn take() -> Vec<LogLine> {
    let mut buffer = buffer();
    let lines = buffer.from(buffer.taken).cloned().collect();
    buffer.taken = buffer.end();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_is_the_first_error() {
        let start = mark();
        record(Level::Info, "EAL: probing\n");
        assert_eq!(cause_since(start), None);
        record(Level::Warning, "EAL: odd\n");
        assert_eq!(cause_since(start).as_deref(), Some("EAL: odd"));
        record(Level::Error, "driver: no such ");
        record(Level::Error, "interface\n");
        assert_eq!(cause_since(start).as_deref(), Some("driver: no such interface"));
        record(Level::Error, "bus: failed\nEAL: cannot attach\n");
        assert_eq!(cause_since(start).as_deref(), Some("driver: no such interface"));
        assert_eq!(take().len(), 5);
        let start = mark();
        record(Level::Error, "tap_mp_req_on_rxtx(): Failed to send start req to secondary 95\n");
        assert_eq!(cause_since(start), None, "is not an error to us");
        assert_eq!(take().len(), 1);
        assert!(take().is_empty());
    }
}
