//! Sockets that receive outer datagrams, a batch per system call.

use std::fmt::Write as _;
use std::fs;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use dataplane::wire::protocol;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{IpRecvTos, Ipv6RecvTClass, Ipv6V6Only, RcvBuf, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockFlag, SockType, SockaddrIn,
    SockaddrIn6, bind, recvmmsg, setsockopt, socket,
};
use nix::sys::stat::fstat;

use super::packet::{Header, InnerFamily, Outer};
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
    header: Header,
    /// The IPv4 header comes with the datagram, and no traffic class beside it.
    with_ipv4_header: bool,
    headers: MultiHeaders<()>,
}

/// The protocol numbers of IP in IP.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// How to come by one socket.
#[derive(Clone, Copy)]
enum Source {
    /// The raw socket of an IP protocol.
    Raw(u8),
    /// The socket of a UDP port.
    Udp(u16),
}

/// Opens the sockets for an encapsulation, over IPv4 and over IPv6 where the kernel has it.
pub fn open(encap: Encap, gue_port: u16) -> Result<Vec<Receiver>, DecapError> {
    use AddressFamily::{Inet, Inet6};
    use Source::{Raw, Udp};
    let (bare_v4, bare_v6) = (Header::Nothing(InnerFamily::Ipv4), Header::Nothing(InnerFamily::Ipv6));
    let sockets: &[_] = match encap {
        Encap::Gre => &[
            ("GRE over IPv4", Inet, Raw(protocol::GRE), Header::Gre),
            ("GRE over IPv6", Inet6, Raw(protocol::GRE), Header::Gre),
        ],
        Encap::Ipip => &[
            ("IPv4 in IPv4", Inet, Raw(IPV4), bare_v4),
            ("IPv6 in IPv4", Inet, Raw(IPV6), bare_v6),
            ("IPv4 in IPv6", Inet6, Raw(IPV4), bare_v4),
            ("IPv6 in IPv6", Inet6, Raw(IPV6), bare_v6),
        ],
        Encap::Gue => &[
            ("GUE over IPv4", Inet, Udp(gue_port), Header::Gue),
            ("GUE over IPv6", Inet6, Udp(gue_port), Header::Gue),
        ],
    };
    let mut receivers = Vec::new();
    for &(what, family, source, header) in sockets {
        match Receiver::open(what, family, source, header) {
            Ok(receiver) => receivers.push(receiver),
            // A kernel without IPv6 cannot be sent any.
            Err(Errno::EAFNOSUPPORT) if family == Inet6 => {}
            Err(errno) => return Err(DecapError::Socket { what, errno }),
        }
    }
    Ok(receivers)
}

impl Receiver {
    fn open(
        what: &'static str,
        family: AddressFamily,
        source: Source,
        header: Header,
    ) -> Result<Self, Errno> {
        let over_ipv4 = family == AddressFamily::Inet;
        let socket = match source {
            Source::Raw(number) => sys::raw_socket(family as libc::c_int, number)?,
            Source::Udp(_) => {
                let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
                socket(family, SockType::Datagram, flags, None)?
            }
        };
        // Beyond the system's limit where we may, else as much as it allows.
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER_BYTES))?;
        // Exactly the room for the traffic class, which comes with every datagram: recvmmsg overwrites the
        // length of this room with what it used and nix does not restore it, so the two must be equal.
        let room = match (source, over_ipv4) {
            (Source::Raw(_), true) => None,
            (Source::Udp(_), true) => {
                setsockopt(&socket, IpRecvTos, &true)?;
                Some(nix::cmsg_space!(u8))
            }
            (_, false) => {
                setsockopt(&socket, Ipv6RecvTClass, &true)?;
                Some(nix::cmsg_space!(libc::c_int))
            }
        };
        // Bound last: datagrams arrive from then on, and each must have its traffic class.
        if let Source::Udp(port) = source {
            listen(&socket, over_ipv4, port)?;
        }
        let with_ipv4_header = room.is_none();
        let headers = MultiHeaders::preallocate(BATCH, room);
        Ok(Self { socket, what, header, with_ipv4_header, headers })
    }

    /// What its datagrams start with.
    pub fn header(&self) -> Header {
        self.header
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
                    let outer = if self.with_ipv4_header {
                        Outer::WithIpv4Header
                    } else {
                        Outer::Bare { traffic_class: traffic_class(&message) }
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

/// Receives what comes to a UDP port, at every address of one family.
fn listen(socket: &OwnedFd, over_ipv4: bool, port: u16) -> Result<(), Errno> {
    if over_ipv4 {
        return bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)));
    }
    setsockopt(socket, Ipv6V6Only, &true)?;
    sys::accept_zero_checksum_over_ipv6(socket.as_fd())?;
    bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)))
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
            ControlMessageOwned::Ipv4Tos(class) => Some(class),
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
    let read = |table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let lines = ["raw", "raw6", "udp", "udp6"].map(read).concat();
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
