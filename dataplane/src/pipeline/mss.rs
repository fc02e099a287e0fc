//! Lowers the maximum segment size that the two ends of a TCP connection tell each other (RFC 9293 §3.7.1).
//!
//! An end's option limits what the *other* end sends. A client's SYN limits the server's segments; the server's SYN with
//! ACK limits the client's, and comes by here under NAT only.

use super::parse::Flow;
use crate::{
    ports::Packet,
    wire::{be16, checksum::Delta, put16, tcp},
};

/// Kinds of options.
const END: u8 = 0;
const PADDING: u8 = 1;
const MSS: u8 = 2;

/// Length of the MSS option with its kind and length.
const MSS_LEN: usize = 4;

/// Lowers the MSS option of a SYN to `most`, never raises it. Without one nothing is put in: the other end then sends
/// 536 or 1220 bytes at most by itself.
#[inline(never)]
pub fn clamp<P: Packet>(packet: &mut P, flow: &Flow, most: u16) {
    let end = super::parse::L3 + usize::from(flow.ip_len);
    let data = packet.data_mut();
    let end = end.min(data.len());
    let Some(segment) = data.get_mut(usize::from(flow.l4)..end) else { return };
    let Some(at) = option(segment) else { return };
    if be16(segment, at) <= most {
        return;
    }
    // The checksum is over words from the start of the segment; the option may begin anywhere.
    let words = at & !1..(at + 3) & !1;
    let mut old = [0; 4];
    let old = &mut old[..words.len()];
    old.copy_from_slice(&segment[words.clone()]);
    put16(segment, at, most);
    let delta = Delta::default().replace(old, &segment[words]);
    let sum = be16(segment, tcp::CHECKSUM);
    put16(segment, tcp::CHECKSUM, delta.apply(sum));
}

/// Where in a segment the value of the MSS option stands, if it is there whole.
fn option(segment: &[u8]) -> Option<usize> {
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let header = segment.get(..header_len)?;
    let mut at = tcp::HEADER_LEN;
    loop {
        match *header.get(at)? {
            END => return None,
            PADDING => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if kind == MSS {
                    return (len == MSS_LEN && at + MSS_LEN <= header.len()).then_some(at + 2);
                }
                at += len.max(2); // a length below two is wrong; go on
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ports::memory::MemoryPacket,
        wire::{Mac, checksum, protocol},
    };

    const L4: usize = 34;

    /// A SYN over IPv4 with these options, whose checksum is right without the pseudo-header.
    fn syn(options: &[u8]) -> Vec<u8> {
        let options = &options[..options.len().min(40)];
        let padding = options.len().next_multiple_of(4) - options.len();
        let header_len = tcp::HEADER_LEN + options.len() + padding;
        let mut frame = vec![0; L4];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[16..18].copy_from_slice(&(20 + header_len as u16).to_be_bytes());
        (frame[22], frame[23]) = (64, protocol::TCP);
        let mut segment = vec![0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0, 2, 0x20, 0, 0, 0, 0, 0];
        segment[12] = (header_len << 2) as u8;
        segment.extend(options);
        segment.extend(vec![END; padding]);
        let sum = checksum::of(&segment);
        put16(&mut segment, tcp::CHECKSUM, sum);
        [frame, segment].concat()
    }

    fn clamped(frame: &[u8], most: u16) -> Vec<u8> {
        let mut packet = MemoryPacket::new(frame);
        let mut flow = Flow::default();
        crate::pipeline::parse::parse(&packet, Mac([2, 0, 0, 0, 0, 1]), &mut flow).unwrap();
        clamp(&mut packet, &flow, most);
        packet.data().to_vec()
    }

    #[test]
    fn mss_is_lowered_wherever_it_stands_and_never_raised() {
        for before in
            [&[][..], &[PADDING], &[PADDING; 2], &[3, 3, 7], &[4, 2], &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8]]
        {
            let with = |mss: u16| syn(&[before, &[MSS, 4], &mss.to_be_bytes(), &[4, 2]].concat());
            assert_eq!(clamped(&with(1460), 1400), with(1400), "behind {before:?}");
            assert_eq!(clamped(&with(1400), 1400), with(1400));
            assert_eq!(clamped(&with(536), 1400), with(536));
        }
    }

    #[test]
    fn segment_without_a_whole_mss_option_stays_as_it_is() {
        for options in
            [&[][..], &[4, 2], &[END, MSS, 4, 5, 0xb4], &[MSS, 3, 5], &[MSS, 6, 5, 0xb4, 0, 0], &[MSS]]
        {
            assert_eq!(clamped(&syn(options), 1400), syn(options), "{options:?}");
        }
        let mut cut = syn(&[PADDING, PADDING, MSS, 4, 5, 0xb4, 0, 0]);
        cut[46] = 0xf0; // the header is said to go on behind the packet
        assert_eq!(clamped(&cut, 1400), cut);
    }

    proptest! {
        #[test]
        fn any_options_keep_their_bytes_but_the_mss(
            options in prop::collection::vec(prop_oneof![any::<u8>(), Just(PADDING), Just(MSS), Just(4)], 0..40),
            most in any::<u16>(),
        ) {
            let before = syn(&options);
            let after = clamped(&before, most);
            prop_assert_eq!(checksum::fold(checksum::add(0, &after[L4..])), 0xffff);
            let at = option(&before[L4..]);
            let changes = |i: &usize| before[*i] != after[*i] && !(L4 + 16..L4 + 18).contains(i);
            match at.map(|at| L4 + at).filter(|at| be16(&before, *at) > most) {
                Some(at) => {
                    prop_assert_eq!(be16(&after, at), most);
                    prop_assert!((0..before.len()).filter(changes).all(|i| (at..at + 2).contains(&i)));
                }
                None => prop_assert_eq!(after, before),
            }
        }
    }
}
