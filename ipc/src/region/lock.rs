//! Who writes a channel: a lock on the bytes of its block, which the kernel takes away with the process.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// Locks `length` bytes at `start` of the file behind `file`, for as long as the returned handle lives.
///
/// `None` when somebody else has them: another process, or another handle of this one. An open file
/// description lock (Linux, `fcntl(2)`): unlike a process number it cannot be taken for alive when it is not,
/// and SIGKILL frees it too.
pub fn try_lock(file: &File, start: u32, length: u32) -> io::Result<Option<File>> {
    // A description of its own: locks of one description do not exclude each other.
    let own =
        OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.into(),
        l_len: length.into(),
        l_pid: 0,
    };
    match fcntl(&own, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(Some(own)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
