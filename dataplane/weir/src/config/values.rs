//! Values that the file writes as strings: durations, CPU lists, addresses, names.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use dataplane::wire::Mac;
use ipnet::{IpNet, Ipv4Net};

/// Why a string is not the value it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong.
    pub(super) what: String,
    /// What to write instead.
    pub(super) instead: String,
}

fn wrong<T>(what: impl Into<String>, instead: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { what: what.into(), instead: instead.into() })
}

/// Largest CPU number that can be asked for.
pub(super) const MAX_CPU: u16 = 1023;

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `"300s"`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let units = "the units are ns, us, ms, s, m and h";
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit.trim()) else {
        return match (number, unit) {
            ("", _) => wrong(
                format!("{text:?} is not a time"),
                format!("write a whole number and a unit, like \"300s\"; {units}"),
            ),
            (_, "") => wrong(
                format!("{text:?} has no unit"),
                format!("write \"{number}s\" if seconds are meant; {units}"),
            ),
            _ if unit.starts_with('.') => wrong(
                format!("{text:?} is not a whole number of its unit"),
                "write it in the next smaller unit, like \"1500ms\" for one and a half seconds",
            ),
            _ => wrong(
                format!("{text:?} has an unknown unit"),
                format!("write \"{number}s\" if seconds are meant; {units}"),
            ),
        };
    };
    match number.parse::<u64>() {
        Ok(n) => match n.checked_mul(*nanos) {
            Some(nanos) => Ok(Duration::from_nanos(nanos)),
            None => wrong(format!("{text:?} is too long a time"), "write a time of at most \"12h\""),
        },
        Err(_) if number.is_empty() => {
            wrong(format!("{text:?} has no number"), "write a whole number and a unit, like \"300s\"")
        }
        Err(_) => wrong(format!("{text:?} is too long a time"), "write a time of at most \"12h\""),
    }
}

/// A duration as the file writes it: in the largest unit that needs no decimals.
pub(super) fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fits = UNITS.iter().rev().find(|(_, unit)| nanos > 0 && nanos.is_multiple_of(u128::from(*unit)));
    fits.map_or("0s".into(), |(name, unit)| format!("{}{name}", nanos / u128::from(*unit)))
}

/// `"1-4,6"`: CPUs and ranges of CPUs; the result ascends.
pub(super) fn cpu_list(text: &str) -> Result<Vec<u16>, Wrong> {
    let help = "write CPUs and ranges, separated by commas, like \"1-4,6\"";
    let cpu = |part: &str| match part.trim().parse::<u16>() {
        Ok(n) if n <= MAX_CPU => Ok(n),
        Ok(n) => wrong(format!("CPU {n} is larger than {MAX_CPU}"), help),
        Err(_) if part.trim().is_empty() => wrong(format!("{text:?} has an empty entry"), help),
        Err(_) => wrong(format!("{:?} is not a CPU number", part.trim()), help),
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (cpu(first)?, cpu(last)?),
            None => (cpu(part)?, cpu(part)?),
        };
        if first > last {
            return wrong(
                format!("the range {} runs backwards", part.trim()),
                format!("write \"{last}-{first}\""),
            );
        }
        for n in first..=last {
            match cpus.binary_search(&n) {
                Ok(_) => {
                    return wrong(
                        format!("CPU {n} is named twice"),
                        "name each CPU once: one worker runs on each",
                    );
                }
                Err(at) => cpus.insert(at, n),
            }
        }
    }
    Ok(cpus)
}

/// EAL arguments that Weir writes itself; `ports::dpdk` refuses them too.
const OUR_ARGUMENTS: [&str; 7] = ["--lcores", "--main-lcore", "--proc-type", "-l", "-c", "-S", "-s"];

/// An EAL argument that may be passed on.
pub(super) fn eal_argument(text: &str) -> Result<String, Wrong> {
    if text.contains('\0') {
        return wrong("an argument cannot hold a zero byte", "write it without \\u0000");
    }
    let is = |name: &&&str| match text.strip_prefix(**name) {
        Some(rest) if name.starts_with("--") => rest.is_empty() || rest.starts_with('='),
        // A short option may have its value in the same word.
        Some(_) => true,
        None => false,
    };
    match OUR_ARGUMENTS.iter().find(is) {
        Some(name) => wrong(
            format!("{name} is an argument that Weir writes itself"),
            "leave it and its value out; lcores = \"1-4\" says which CPUs the workers get",
        ),
        None => Ok(text.into()),
    }
}

/// An address that packets can be sent to.
pub(super) fn host_address(text: &str) -> Result<IpAddr, Wrong> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let what = format!("{text:?} is not an IP address");
        if let Ok(net) = text.parse::<IpNet>() {
            return wrong(format!("{text:?} has a prefix length"), format!("write \"{}\"", net.addr()));
        }
        if let Some(address) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'))
            && let Ok(address) = address.parse::<IpAddr>()
        {
            return wrong(what, format!("without a port there are no brackets: write \"{address}\""));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return wrong(
                format!("{text:?} has a port"),
                format!("write \"{}\" here, and the port in a key of its own", socket.ip()),
            );
        }
        return wrong(
            what,
            "write an address like \"192.0.2.1\" or \"2001:db8::1\"; names are not looked up",
        );
    };
    let no = |why: &str| wrong(format!("{address} is {why}"), "write the address of one host");
    match address {
        _ if address.is_unspecified() => no("the unspecified address"),
        _ if address.is_multicast() => no("a multicast address"),
        _ if address.is_loopback() => no("a loopback address"),
        IpAddr::V4(v4) if v4.is_broadcast() => no("the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => wrong(
            format!("{address} is an IPv4 address written as IPv6"),
            format!("write \"{}\"", address.to_canonical()),
        ),
        _ => Ok(address),
    }
}

/// An IPv4 network with room for entropy in its host bits.
pub(super) fn v4_network(text: &str) -> Result<Ipv4Net, Wrong> {
    let instead = "write a network like \"172.16.0.0/16\"";
    let Ok(network) = text.parse::<Ipv4Net>() else {
        return wrong(format!("{text:?} is not an IPv4 network"), instead);
    };
    match network.trunc() {
        host if host.prefix_len() > 30 => wrong(format!("{text:?} has no host bits to use"), instead),
        trunc if trunc != network => {
            wrong(format!("{text:?} has host bits set"), format!("write \"{trunc}\""))
        }
        network => Ok(network),
    }
}

/// Shortest prefix of a VIP, by family: what is larger is a mistake rather than a service.
const SHORTEST_VIP_PREFIX: [u8; 2] = [8, 16];

/// The addresses of a VIP: one, or a prefix.
pub(super) fn vip_network(text: &str) -> Result<IpNet, Wrong> {
    let Ok(network) = text.parse::<IpNet>() else { return host_address(text).map(IpNet::from) };
    let shortest = SHORTEST_VIP_PREFIX[usize::from(network.addr().is_ipv6())];
    if network.prefix_len() < shortest {
        return wrong(
            format!("{text:?} has a prefix length below {shortest}"),
            "write the addresses of this service alone, like \"203.0.113.0/28\" or \"2001:db8:1::/64\"",
        );
    }
    host_address(&network.addr().to_string())?;
    if network.trunc() != network {
        return wrong(
            format!("{text:?} has host bits set"),
            format!(
                "write \"{}\" for the prefix, or \"{}\" for the one address",
                network.trunc(),
                network.addr()
            ),
        );
    }
    Ok(network)
}

/// A VIP's addresses as people write them: an address, or a prefix.
pub(super) fn show_network(network: IpNet) -> String {
    if is_host(network) { network.addr().to_string() } else { network.to_string() }
}

/// Whether a network is one address.
pub(super) fn is_host(network: IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

/// `"8000-8010"`: a range of ports.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let help = "write a range like \"8000-8010\", with ports from 1 to 65535";
    let port = |part: &str| match part.trim().parse::<u16>() {
        Ok(0) | Err(_) => wrong(format!("{:?} is not a port", part.trim()), help),
        Ok(port) => Ok(port),
    };
    let Some((first, last)) = text.split_once('-') else {
        return match port(text) {
            Ok(port) => {
                wrong(format!("{text:?} is not a range of ports"), format!("write {port}, without quotes"))
            }
            Err(_) => wrong(format!("{text:?} is not a range of ports"), help),
        };
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return wrong(
            format!("the range {} runs backwards", text.trim()),
            format!("write \"{last}-{first}\""),
        );
    }
    Ok(first..=last)
}

/// A PCI address, or a DPDK vdev string.
pub(super) fn device(text: &str) -> Result<String, Wrong> {
    let name = text.split(',').next().unwrap_or_default();
    if name.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong(
            format!("{text:?} is not a device"),
            "write a PCI address like \"0000:3b:00.0\", or a vdev string without spaces like \"net_tap0,iface=tap0\"",
        );
    }
    if !name.contains([':', '_']) {
        return wrong(
            format!("{text:?} is neither a PCI address nor a DPDK vdev"),
            format!("for the kernel's interface write \"net_af_packet0,iface={name}\""),
        );
    }
    Ok(text.into())
}

/// A DPDK vdev string.
pub(super) fn vdev(text: &str) -> Result<String, Wrong> {
    let device = device(text)?;
    if device.split(',').next().is_some_and(|name| name.contains(':')) {
        return wrong(
            format!("{text:?} is a PCI address, and the kernel is on the other side of a software port only"),
            "write a vdev string like \"net_tap0,iface=weir0\"",
        );
    }
    Ok(device)
}

/// Our own address with its prefix length: `"192.0.2.2/24"`.
pub(super) fn interface(text: &str) -> Result<IpNet, Wrong> {
    let Ok(net) = text.parse::<IpNet>() else {
        if let Ok(address) = text.parse::<IpAddr>() {
            let length = if address.is_ipv4() { 24 } else { 64 };
            return wrong(
                format!("{text:?} has no prefix length"),
                format!("write \"{address}/{length}\", with the length of your network"),
            );
        }
        return wrong(
            format!("{text:?} is not an address with prefix length"),
            "write an address like \"192.0.2.2/24\" or \"2001:db8::2/64\"",
        );
    };
    host_address(&net.addr().to_string())?;
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
        && (v4.addr() == v4.network() || v4.addr() == v4.broadcast())
    {
        let kind = if v4.addr() == v4.network() { "network" } else { "broadcast" };
        return wrong(
            format!("{} is the {kind} address of {}", v4.addr(), v4.trunc()),
            format!(
                "write one of its hosts, like \"{}/{}\"",
                v4.hosts().next().unwrap_or(v4.addr()),
                v4.prefix_len()
            ),
        );
    }
    Ok(net)
}

/// A server in short form: an address, or an address and a port.
pub(super) fn server(text: &str) -> Result<(IpAddr, Option<u16>), Wrong> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        if socket.port() == 0 {
            return wrong(format!("{text:?} has port 0"), "write a port from 1 to 65535, or none");
        }
        return Ok((host_address(&socket.ip().to_string())?, Some(socket.port())));
    }
    // An IPv4 address with something after a colon that is no port.
    if let Some((address, port)) = text.split_once(':')
        && address.parse::<std::net::Ipv4Addr>().is_ok()
    {
        return wrong(
            format!("{port:?} is not a port"),
            format!("write \"{address}:8080\", with a port from 1 to 65535"),
        );
    }
    Ok((host_address(text)?, None))
}

/// Six bytes in hexadecimal, separated by colons, for one station.
pub(super) fn mac(text: &str) -> Result<Mac, Wrong> {
    let help = "write six hexadecimal bytes, like \"02:00:00:00:00:01\"";
    let mut bytes = [0; 6];
    let parts: Vec<&str> = text.split([':', '-']).collect();
    if parts.len() != bytes.len() {
        return wrong(format!("{text:?} is not a MAC address"), help);
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        match u8::from_str_radix(part, 16) {
            Ok(value) if hex => *byte = value,
            _ => return wrong(format!("{text:?} is not a MAC address: {part:?} is not a byte"), help),
        }
    }
    if bytes[0] & 1 == 1 {
        return wrong(
            format!("{text:?} is a group address"),
            "write the address of one station: its first byte is even",
        );
    }
    if bytes == [0; 6] {
        return wrong(format!("{text:?} is no station's address"), help);
    }
    Ok(Mac(bytes))
}

/// A name for logs, metrics and commands.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:/[]".contains(c);
    let help = "write 1 to 64 letters, digits, or any of - _ . : / [ ]";
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => wrong(format!("a name cannot hold {c:?}"), help),
        None if text.is_empty() => wrong("a name cannot be empty", help),
        None if text.len() > 64 => wrong(format!("a name cannot be {} characters long", text.len()), help),
        None => Ok(text.into()),
    }
}

/// What an HTTP check asks for: a path, with a query if need be.
pub(super) fn http_path(text: &str) -> Result<String, Wrong> {
    if !text.starts_with('/') {
        return wrong(format!("{text:?} does not start with a slash"), "write a path like \"/healthz\"");
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(c) => wrong(
            format!("a path cannot hold {c:?}"),
            "write it with its percent-encoding, like %20 for a space",
        ),
        None if text.len() > 1024 => wrong("a path of more than 1024 characters", "write a shorter one"),
        None => Ok(text.into()),
    }
}

/// The name that an HTTP check puts into `Host`, with a port if need be.
pub(super) fn http_host(text: &str) -> Result<String, Wrong> {
    let help = "write a name like \"www.example.org\", with a port if need be";
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.:[]".contains(*c)) {
        Some(c) => wrong(format!("a host cannot hold {c:?}"), help),
        None if text.is_empty() => wrong("a host cannot be empty", help),
        None if text.len() > 255 => wrong("a host of more than 255 characters", help),
        None => Ok(text.into()),
    }
}

/// Where the metrics are served; `"off"`: nowhere.
pub(super) fn listener(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let help = "write an address and a port, like \"127.0.0.1:9400\", or \"off\"";
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() == 0 => wrong(format!("{text:?} has port 0"), help),
        Ok(socket) => Ok(Some(socket)),
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            wrong(format!("{text:?} has no port"), format!("{help}; the default port is 9400"))
        }
        Err(_) => wrong(format!("{text:?} is not an address with a port"), help),
    }
}

/// The path of a file that does not depend on where Weir is started.
pub(super) fn file(text: &str) -> Result<String, Wrong> {
    let help = "write a path like \"/run/weir/region\"";
    if !text.starts_with('/') {
        return wrong(format!("{text:?} does not start with a slash"), help);
    }
    if text.ends_with('/') || text.chars().any(char::is_control) {
        return wrong(format!("{text:?} is not a file"), help);
    }
    Ok(text.into())
}

/// A path like those of [`file`], or `"off"`.
pub(super) fn file_or_off(text: &str) -> Result<Option<String>, Wrong> {
    if text == "off" { Ok(None) } else { file(text).map(Some) }
}

/// A path of a file to read, absolute or from the folder that weir was started in.
pub(super) fn path(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.ends_with('/') || text.chars().any(char::is_control) {
        return wrong(
            format!("{text:?} is not a file"),
            "write a path like \"/etc/weir/sac_gru.safetensors\"",
        );
    }
    Ok(text.into())
}

/// A list as messages show it: `[a, b]`.
pub(super) fn show_list<T: std::fmt::Display>(list: &[T]) -> String {
    format!("[{}]", list.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        for (text, nanos) in
            [("7ns", 7), ("7us", 7_000), ("7 ms", 7_000_000), ("7s", 7_000_000_000), ("1m", 60_000_000_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(duration("12h"), Ok(Duration::from_secs(43_200)));
    }

    #[test]
    fn cpu_lists_ascend_whatever_their_order() {
        assert_eq!(cpu_list("6, 1-4"), Ok(vec![1, 2, 3, 4, 6]));
        assert_eq!(cpu_list("0"), Ok(vec![0]));
        assert!(cpu_list("1024").is_err());
        assert!(cpu_list("0-65535").is_err());
    }

    #[test]
    fn servers_come_with_and_without_port_in_both_families() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(server("192.0.2.1"), Ok((ip("192.0.2.1"), None)));
        assert_eq!(server("192.0.2.1:8080"), Ok((ip("192.0.2.1"), Some(8080))));
        assert_eq!(server("2001:db8::1"), Ok((ip("2001:db8::1"), None)));
        assert_eq!(server("[2001:db8::1]:8080"), Ok((ip("2001:db8::1"), Some(8080))));
    }

    #[test]
    fn devices_are_pci_addresses_and_vdevs() {
        for good in ["0000:3b:00.0", "3b:00.0", "net_tap0,iface=tap0", "virtio_user0,path=/dev/vhost-net"] {
            assert_eq!(device(good), Ok(good.to_string()));
        }
        for bad in ["", "eth0", "net_tap0, iface=tap0", ",iface=tap0"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_of_the_smallest_networks_are_no_network_addresses() {
        for good in ["192.0.2.0/31", "192.0.2.1/31", "192.0.2.0/32", "2001:db8::/127"] {
            assert!(interface(good).is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_is_shown_reads_back(nanos in 1..=u64::MAX / 2) {
            let time = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
        }
    }
}
