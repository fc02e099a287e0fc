//! Three requests to the kernel's rtnetlink, so that no `ip` program is needed on the server.

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const IFA_F_NODAD: u8 = 0x02;

/// Sets an interface up.
pub fn link_up(name: &str) -> Result<(), Errno> {
    let up = u32::try_from(libc::IFF_UP).unwrap_or(1);
    let mut message = Message::new(libc::RTM_NEWLINK, 0);
    message.put(&[0; 4]); // family, padding, type: unspecified
    message.put(&if_nametoindex(name)?.to_ne_bytes());
    message.put(&up.to_ne_bytes()); // flags
    message.put(&up.to_ne_bytes()); // mask of flags to change
    message.request()
}

/// Adds a host address to an interface; `EEXIST` when it is there.
pub fn add_address(interface: &str, address: IpAddr) -> Result<(), Errno> {
    address_message(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, interface, address)?.request()
}

/// Removes a host address from an interface.
pub fn remove_address(interface: &str, address: IpAddr) -> Result<(), Errno> {
    address_message(libc::RTM_DELADDR, 0, interface, address)?.request()
}

fn address_message(kind: u16, flags: i32, interface: &str, address: IpAddr) -> Result<Message, Errno> {
    let (family, prefix, bytes) = match &address {
        IpAddr::V4(v4) => (libc::AF_INET, 32, &v4.octets()[..]),
        IpAddr::V6(v6) => (libc::AF_INET6, 128, &v6.octets()[..]),
    };
    let mut message = Message::new(kind, flags);
    // Scope host: the kernel never picks the VIP as the source of the server's own connections.
    let scope = libc::RT_SCOPE_HOST;
    message.put(&[u8::try_from(family).unwrap_or(0), prefix, IFA_F_NODAD, scope]);
    message.put(&if_nametoindex(interface)?.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.attribute(kind, bytes);
    }
    Ok(message)
}

/// A netlink request under construction; all fields are in host byte order.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags).unwrap_or(0);
        let mut message = Self(vec![0; 4]); // the length, known at the end
        message.put(&kind.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        message.put(&[0; 8]); // sequence number, port id
        message
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Type, length and value; the lengths of addresses are multiples of the alignment.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
    }

    /// Sends the request and waits for the kernel's answer.
    fn request(mut self) -> Result<(), Errno> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        send(socket.as_raw_fd(), &self.0, MsgFlags::empty())?;
        let mut answer = [0; 512];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // A header of 16 bytes, then `struct nlmsgerr`, whose first word is 0 or a negated error number.
        match answer[..length].get(16..20) {
            Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
                0 => Ok(()),
                error => Err(Errno::from_raw(error.saturating_neg())),
            },
            _ => Err(Errno::EBADMSG),
        }
    }
}
