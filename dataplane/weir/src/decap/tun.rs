//! The TUN device through which the kernel gets the inner packets.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::libc;

use super::{DecapError, DropReason, netlink, sys};

/// A TUN interface, up, that exists as long as this value.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// Creates the interface `name` in the current network namespace and brings it up.
    pub fn open(name: &str) -> Result<Self, DecapError> {
        let bad = |c: char| c == '/' || c == '%' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(bad) || matches!(name, "." | "..")
        {
            return Err(DecapError::TunName { name: name.to_owned() });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|error| DecapError::TunMissing { errno: errno(&error) })?;
        sys::attach_tun(file.as_fd(), name)
            .and_then(|()| netlink::link_up(name))
            .map_err(|errno| DecapError::TunCreate { name: name.to_owned(), errno })?;
        Ok(Self { file, name: name.to_owned() })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands one IP packet to the kernel, as if it had arrived on the interface.
    pub fn deliver(&self, packet: &[u8]) -> Result<(), DropReason> {
        match (&self.file).write(packet) {
            Ok(length) if length == packet.len() => Ok(()),
            Ok(_) | Err(_) => Err(DropReason::TunRefused),
        }
    }

    /// Takes one IP packet that the kernel routed to the interface; `WouldBlock` when there is none.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_names_are_refused_before_the_kernel_is_asked() {
        for name in ["", "sixteen-bytes-xx", "a/b", "a b", "..", "weir%d"] {
            assert!(matches!(Tun::open(name), Err(DecapError::TunName { .. })), "{name}");
        }
    }
}
