//! Any bytes as a datagram for `weir decap`.

use weir::decap::packet::{Header, InnerFamily, Outer, Rules, decapsulate};

use crate::input::Input;

/// What comes out is an IP packet as long as it says, and lay in what went in.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (Some(kind), Some(traffic_class)) = (input.byte(), input.byte()) else { return };
    let header = match kind % 4 {
        0 => Header::Gre,
        1 => Header::Gue,
        2 => Header::Nothing(InnerFamily::Ipv4),
        _ => Header::Nothing(InnerFamily::Ipv6),
    };
    let outer = if kind & 4 == 0 { Outer::WithIpv4Header } else { Outer::Bare { traffic_class } };
    let rules = Rules { key: (kind & 8 != 0).then_some(42), vips: Vec::new() };
    let mut datagram = input.0.to_vec();
    let length = datagram.len();
    if let Ok(inner) = decapsulate(&rules, header, outer, &mut datagram) {
        let stated = match inner[0] >> 4 {
            4 => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
            6 => 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])),
            version => panic!("IP version {version}"),
        };
        assert!(inner.len() == stated && stated <= length, "{} bytes, stated {stated}", inner.len());
    }
}
