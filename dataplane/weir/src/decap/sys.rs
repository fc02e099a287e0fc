//! The three system calls that `nix` has no safe form for. All unsafe code of `weir decap` is here.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

nix::ioctl_readwrite_bad!(
    /// Attaches an open `/dev/net/tun` to the interface that the request names.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);

/// Makes the open `/dev/net/tun` the TUN interface `name` (`IFF_TUN | IFF_NO_PI`: bare IP packets).
///
/// The kernel cuts names at 15 bytes; a longer one is `EINVAL` here.
pub fn attach_tun(fd: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    if name.len() >= ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let mut request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    // SAFETY: - `fd` is open for the duration of the borrow;
    //         - TUNSETIFF reads and writes one `struct ifreq`, and `request` is one, alive for the whole call;
    //         - `request` is ours alone, so the kernel may write the final name into it.
    unsafe { tun_set_iff(fd.as_raw_fd(), &raw mut request) }.map(drop)
}

/// A raw, non-blocking socket for one IP protocol number.
///
/// `nix::sys::socket::socket` takes only the protocols of its own list, and GRE is not on it.
pub fn raw_socket(domain: libc::c_int, protocol: u8) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes three integers and touches no memory of ours.
    let fd = Errno::result(unsafe { libc::socket(domain, kind, protocol.into()) })?;
    // SAFETY: the call succeeded, so `fd` is open, and nobody else has it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets a UDP socket over IPv6 receive datagrams without a checksum, which RFC 6935 allows for tunnels: the
/// inner packet has its own. The kernel drops them otherwise.
pub fn accept_zero_checksum_over_ipv6(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let yes: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: - `socket` is open for the duration of the borrow;
    //         - the option's value is one `int`; `yes` is one, alive for the whole call, and only read.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_UDP,
            libc::UDP_NO_CHECK6_RX,
            (&raw const yes).cast(),
            length,
        )
    };
    Errno::result(result).map(drop)
}
