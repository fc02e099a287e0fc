//! What the server's kernel needs before it answers for a VIP.

use std::fs;
use std::net::IpAddr;

use nix::errno::Errno;

use super::{DecapError, netlink};

const LOOPBACK: &str = "lo";

/// VIPs put on lo by us; taken off again when this is dropped.
#[derive(Debug, Default)]
pub struct Addresses {
    added: Vec<IpAddr>,
}

/// Lets packets with a client's source through at the TUN device, and puts the VIPs on lo.
pub fn prepare(tun: &str, vips: &[IpAddr]) -> Result<Addresses, DecapError> {
    relax_reverse_path_filter(tun)?;
    if vips.iter().any(IpAddr::is_ipv6) {
        enable_ipv6(tun)?;
    }
    let mut addresses = Addresses::default();
    for &vip in vips {
        match netlink::add_address(LOOPBACK, vip) {
            Ok(()) => addresses.added.push(vip),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(DecapError::Address { vip, errno }),
        }
    }
    Ok(addresses)
}

impl Drop for Addresses {
    fn drop(&mut self) {
        for &vip in &self.added {
            // Nothing to do about a failure: the interface or the address is gone already.
            let _ = netlink::remove_address(LOOPBACK, vip);
        }
    }
}

/// A client's packet comes in at the TUN device while the route back to the client leads elsewhere; the
/// strict reverse path filter (RFC 3704) drops that.
///
/// The kernel uses the larger of `all` and the device's own value: 0 is off, 1 strict, 2 loose. Where `all`
/// says strict, loose on this one device overrules it and leaves the others as they are.
fn relax_reverse_path_filter(tun: &str) -> Result<(), DecapError> {
    let path = |name| format!("net/ipv4/conf/{name}/rp_filter");
    let (all, own) = (read(&path("all"))?, read(&path(tun))?);
    match (all, own) {
        (0, 1) => write(&path(tun), "0"),
        (1, 0 | 1) => write(&path(tun), "2"),
        _ => Ok(()),
    }
}

fn enable_ipv6(tun: &str) -> Result<(), DecapError> {
    let path = format!("net/ipv6/conf/{tun}/disable_ipv6");
    if read(&path)? == 0 { Ok(()) } else { write(&path, "0") }
}

fn read(path: &str) -> Result<u8, DecapError> {
    let text = fs::read_to_string(format!("/proc/sys/{path}"));
    text.map(|text| text.trim().parse().unwrap_or(0))
        .map_err(|error| DecapError::Sysctl { path: path.to_owned(), error })
}

fn write(path: &str, value: &str) -> Result<(), DecapError> {
    fs::write(format!("/proc/sys/{path}"), value)
        .map_err(|error| DecapError::Sysctl { path: path.to_owned(), error })
}

/// What is left to the operator when no `--vip` is given.
pub fn advice() -> &'static str {
    "without --vip, put each VIP on lo yourself: `ip address add VIP/32 dev lo scope host` \
     (IPv6: `VIP/128 dev lo nodad`)"
}

/// What to set so that the server does not claim the VIPs on its own links; `None` when it is set.
pub fn arp_advice(vips: &[IpAddr]) -> Option<&'static str> {
    if !vips.is_empty() && vips.iter().all(IpAddr::is_ipv6) {
        return None; // nobody asks by ARP
    }
    let unset = |key| matches!(read(&format!("net/ipv4/conf/all/{key}")), Ok(0));
    (unset("arp_ignore") || unset("arp_announce")).then_some(
        "this server claims its VIPs by ARP; where balancer or clients share a link with it: \
         `sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2`",
    )
}
