//! An 802.1Q trunk in a thread: tagged frames on the balancer's side, plain ones on the other.
//!
//! A VLAN device would do, but not every kernel has the driver (`CONFIG_VLAN_8021Q`). Two TAP devices and a
//! thread that copies frames between them do without, and refuse a frame without the right tag.
#![allow(unsafe_code, reason = "attaching a TAP device is an ioctl")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};

use super::netns::Namespace;

nix::ioctl_readwrite_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

/// The running trunk; its devices go with it.
pub struct Trunk {
    stop: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    strays: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Trunk {
    /// Makes the two devices and copies frames between them; what leaves `tagged` must have the tag `vlan`.
    pub fn join(tagged: (&Namespace, &str), plain: (&Namespace, &str), vlan: u16, mtu: u16) -> Self {
        let ends = [tagged, plain].map(|(namespace, interface)| {
            let file = namespace.run(|| tap(interface));
            namespace.ip([format!("link set {interface} mtu {mtu} up")]);
            file
        });
        let stop: Arc<AtomicBool> = Arc::default();
        let [carried, strays]: [Arc<AtomicU64>; 2] = Default::default();
        let thread = {
            let (stop, carried, strays) = (Arc::clone(&stop), Arc::clone(&carried), Arc::clone(&strays));
            std::thread::spawn(move || {
                let [tagged, plain] = &ends;
                while !stop.load(Ordering::Relaxed) {
                    let mut polled = [tagged, plain].map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
                    let _ = poll(&mut polled, 50u16);
                    frames(tagged, |frame| match without_tag(frame, vlan) {
                        Some(frame) => {
                            carried.fetch_add(1, Ordering::Relaxed);
                            let _ = (&mut &*plain).write(&frame);
                        }
                        None => {
                            strays.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    frames(plain, |frame| {
                        // A full or absent receiver loses frames, as on any wire.
                        let _ = (&mut &*tagged).write(&with_tag(frame, vlan));
                    });
                }
            })
        };
        Self { stop, carried, strays, thread: Some(thread) }
    }

    /// The balancer has sent frames, and each had the tag.
    pub fn assert_all_tagged(&self) {
        assert_eq!(self.strays.load(Ordering::Relaxed), 0, "frames without the tag");
        assert_ne!(self.carried.load(Ordering::Relaxed), 0, "no frame came over the trunk");
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Hands over what there is to read, up to a batch.
fn frames(from: &File, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 2048];
    for _ in 0..64 {
        match (&mut &*from).read(&mut buffer) {
            Ok(length) => each(&buffer[..length]),
            Err(_) => return,
        }
    }
}

/// Behind the two addresses come four bytes: 0x8100, priority and tag.
fn with_tag(frame: &[u8], vlan: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

fn without_tag(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let tag = frame.get(12..16)?;
    let right = tag[..2] == [0x81, 0] && u16::from_be_bytes([tag[2] & 0x0F, tag[3]]) == vlan;
    right.then(|| [&frame[..12], &frame[16..]].concat())
}

/// Opens a TAP device in the namespace of the calling thread.
fn tap(name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let file = file.expect("the TUN driver");
    let mut ifr_name = [0; libc::IFNAMSIZ];
    assert!(name.len() < ifr_name.len(), "{name} is too long for an interface");
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short };
    let mut request = libc::ifreq { ifr_name, ifr_ifru };
    // SAFETY: - `file` is open; TUNSETIFF reads and writes one `struct ifreq`;
    //         - `request` is one, ours alone and alive for the whole call.
    let attached = unsafe { tun_set_iff(file.as_raw_fd(), &raw mut request) };
    attached.unwrap_or_else(|errno| panic!("cannot make the TAP device {name}: {errno}"));
    file
}
