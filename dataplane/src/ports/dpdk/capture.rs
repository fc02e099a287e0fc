//! What DPDK prints past its log while it starts: usage texts, `getopt` messages.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Runs `action` with standard output and standard error going to memory, and returns what was written.
///
/// Whatever other threads print meanwhile lands there too, so this is for the start of the program only.
/// Where the descriptors cannot be exchanged, `action` runs without.
pub(super) fn capture_output<T>(action: impl FnOnce() -> T) -> (T, String) {
    let Some(mut redirect) = Redirect::start() else { return (action(), String::new()) };
    let value = action();
    redirect.restore();
    let mut text = Vec::new();
    let read = redirect.memory.rewind().and_then(|()| redirect.memory.read_to_end(&mut text));
    (value, if read.is_ok() { String::from_utf8_lossy(&text).into_owned() } else { String::new() })
}

/// Standard output and error on their way to `memory`; dropped, they are back where they were.
struct Redirect {
    memory: File,
    saved: Option<[OwnedFd; 2]>,
}

impl Redirect {
    fn start() -> Option<Self> {
        // SAFETY: the name is a C string; the flag is valid.
        let memory = unsafe { libc::memfd_create(c"dpdk-output".as_ptr(), libc::MFD_CLOEXEC) };
        if memory < 0 {
            return None;
        }
        // SAFETY: `memory` is a descriptor that was just opened and that nothing else owns.
        let memory = unsafe { File::from_raw_fd(memory) };
        let saved = [duplicate(libc::STDOUT_FILENO)?, duplicate(libc::STDERR_FILENO)?];
        flush();
        redirect(memory.as_raw_fd(), libc::STDOUT_FILENO);
        redirect(memory.as_raw_fd(), libc::STDERR_FILENO);
        Some(Self { memory, saved: Some(saved) })
    }

    fn restore(&mut self) {
        if let Some([stdout, stderr]) = self.saved.take() {
            flush();
            redirect(stdout.as_raw_fd(), libc::STDOUT_FILENO);
            redirect(stderr.as_raw_fd(), libc::STDERR_FILENO);
        }
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        self.restore();
    }
}

fn duplicate(fd: i32) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes any integers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: a descriptor that is not negative was just made, and nothing else owns it.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes `to` (standard output or error) another name of what `from` names.
fn redirect(from: i32, to: i32) {
    // SAFETY: dup2 takes any integers; `to` is 1 or 2, whose meaning this module exchanges on purpose.
    unsafe { libc::dup2(from, to) };
}

/// Writes out what Rust and the C library still hold.
fn flush() {
    let _ = std::io::stdout().flush();
    // SAFETY: null means every open output stream.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
