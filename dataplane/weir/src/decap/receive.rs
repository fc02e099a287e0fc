//! Sockets that receive outer datagrams, a batch per system call.

use std::fmt::Write as _;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use dataplane::wire::protocol;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{Ipv6RecvTClass, RcvBuf, RcvBufForce};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, recvmmsg, setsockopt};
use nix::sys::stat::fstat;

use super::packet::Outer;
use super::{DecapError, Encap, sys};

/// The most sockets one encapsulation needs (IPIP: two protocols over two families).
pub const MAX_RECEIVERS: usize = 4;

const BATCH: usize = 32;

/// The kernel reassembles fragments first, so a datagram can have any length that IPv4 can state; an IPv6
/// payload is at most as long.
const SLOT_BYTES: usize = 65_536;

/// Rides out about 50 ms of 1500-byte packets at 2 Gbit/s while the process is not scheduled.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Memory for one batch, shared by all sockets: 2 MiB of address space, touched as far as packets are long.
pub struct Buffers(Box<[u8]>);

impl Buffers {
    /// Allocates the memory.
    pub fn new() -> Self {
        Self(vec![0; BATCH * SLOT_BYTES].into_boxed_slice())
    }
}

/// One socket.
pub struct Receiver {
    socket: OwnedFd,
    what: &'static str,
    ipv6: bool,
    headers: MultiHeaders<()>,
}

/// Opens the sockets for an encapsulation, over IPv4 and over IPv6 where the kernel has it.
pub fn open(encap: Encap) -> Result<Vec<Receiver>, DecapError> {
    let sockets = match encap {
        Encap::Gre => [
            ("GRE over IPv4", libc::AF_INET, protocol::GRE),
            ("GRE over IPv6", libc::AF_INET6, protocol::GRE),
        ],
    };
    let mut receivers = Vec::new();
    for (what, domain, number) in sockets {
        match Receiver::raw(what, domain, number) {
            Ok(receiver) => receivers.push(receiver),
            // A kernel without IPv6 cannot be sent any.
            Err(Errno::EAFNOSUPPORT) if domain == libc::AF_INET6 => {}
            Err(errno) => return Err(DecapError::Socket { what, errno }),
        }
    }
    Ok(receivers)
}

impl Receiver {
    fn raw(what: &'static str, domain: libc::c_int, number: u8) -> Result<Self, Errno> {
        let socket = sys::raw_socket(domain, number)?;
        let ipv6 = domain == libc::AF_INET6;
        if ipv6 {
            setsockopt(&socket, Ipv6RecvTClass, &true)?;
        }
        // Beyond the system's limit where we may, else as much as it allows.
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER_BYTES))?;
        // Exactly the room for the traffic class, which comes with every IPv6 datagram: recvmmsg overwrites
        // the length of this room with what it used and nix does not restore it, so the two must be equal.
        let room = ipv6.then(|| nix::cmsg_space!(libc::c_int));
        Ok(Self { socket, what, ipv6, headers: MultiHeaders::preallocate(BATCH, room) })
    }

    /// Reads what is there, up to a batch, and hands over each datagram. `true`: there may be more.
    pub fn batch(
        &mut self,
        buffers: &mut Buffers,
        mut each: impl FnMut(Outer, &mut [u8]),
    ) -> Result<bool, DecapError> {
        let mut arrived = [(0, Outer::WithIpv4Header); BATCH];
        let mut count = 0;
        let mut slots = buffers.0.chunks_exact_mut(SLOT_BYTES);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        let fd = self.socket.as_raw_fd();
        match recvmmsg(fd, &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => {
                for (slot, message) in arrived.iter_mut().zip(messages) {
                    let outer = if self.ipv6 {
                        Outer::Bare { traffic_class: traffic_class(&message) }
                    } else {
                        Outer::WithIpv4Header
                    };
                    *slot = (message.bytes, outer);
                    count += 1;
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(DecapError::Receive { what: self.what, errno }),
        }
        let slots = buffers.0.chunks_exact_mut(SLOT_BYTES);
        for (&(length, outer), slot) in arrived[..count].iter().zip(slots) {
            each(outer, &mut slot[..length]);
        }
        Ok(count == BATCH)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The traffic class beside a datagram; 0 (not marked) if the kernel sent none.
fn traffic_class(message: &RecvMsg<'_, '_, ()>) -> u8 {
    let class = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
            _ => None,
        })
    });
    class.unwrap_or(0)
}

/// `GRE over IPv4, GRE over IPv6`.
pub fn names(receivers: &[Receiver]) -> String {
    let mut names = String::new();
    for receiver in receivers {
        let separator = if names.is_empty() { "" } else { ", " };
        let _ = write!(names, "{separator}{}", receiver.what);
    }
    names
}

/// Datagrams that found a full receive buffer, by the kernel's count.
pub fn lost_in_kernel(receivers: &[Receiver]) -> u64 {
    let ours: Vec<_> =
        receivers.iter().filter_map(|r| fstat(&r.socket).ok()).map(|stat| stat.st_ino.to_string()).collect();
    let tables = ["/proc/thread-self/net/raw", "/proc/thread-self/net/raw6"];
    let lines = tables.map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
    lines.lines().filter_map(|line| drops_of(line, &ours)).sum()
}

/// The last column of a line whose tenth is one of `inodes`.
fn drops_of(line: &str, inodes: &[String]) -> Option<u64> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let inode = columns.get(9)?;
    inodes.iter().any(|ours| ours == inode).then(|| columns.last()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_drops_are_found_by_inode() {
        let line = "  47: 00000000:002F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 71733 2 0000000000000000 5";
        assert_eq!(drops_of(line, &["71733".to_owned()]), Some(5));
        assert_eq!(drops_of(line, &["71734".to_owned()]), None);
        assert_eq!(drops_of("  sl  local_address rem_address", &["71733".to_owned()]), None);
    }
}
