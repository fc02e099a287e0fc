//! Replies under NAT get the address that their client has sent to, and no other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dataplane::tables::encap::Encap;
use support::*;

const VIP: &str = "203.0.113.10";
const SERVERS: [&str; 2] = ["198.51.100.11", "198.51.100.12"];

/// A reply and a SYN come in one burst, and the SYN takes the place of the reply's flow in the table.
#[test]
fn reply_whose_flow_is_evicted_in_its_burst_never_gets_anothers_address() {
    let other = "203.0.113.11";
    let one = |last: usize| vec![server(SERVERS[last], Some(8080), 1.0)];
    let vips =
        vec![vip(service(VIP, 6, 80), Encap::Nat, one(0)), vip(service(other, 6, 80), Encap::Nat, one(1))];
    let mut evictions = 0;
    for sport in 2000..2100 {
        let mut rig = Rig::with(spec(vips.clone()), neighbors(), 2);
        let opening = frame(LAN_MAC, CLIENT_MAC, &Ip::new("203.0.113.77", VIP, 6).tcp(1000, 80, SYN, b""));
        assert!(rig.server_of(&opening).is_some());
        let reply = Ip::new(SERVERS[0], "203.0.113.77", 6).tcp(8080, 1000, SYN | ACK, b"");
        let syn = Ip::new("203.0.113.77", other, 6).tcp(sport, 80, SYN, b"");
        enqueue(&mut rig, 1, &frame(SERVER_NET_MAC, server_mac(11), &reply));
        enqueue(&mut rig, 1, &frame(SERVER_NET_MAC, CLIENT_MAC, &syn));
        rig.worker.turn();
        rig.assert_law();
        evictions += rig.handle.counters.lcore.evicted.get();
        let replies = drain(&mut rig, 0);
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0][26..30], [203, 0, 113, 10], "its VIP's address");
    }
    assert!(evictions > 10, "{evictions}");
}
