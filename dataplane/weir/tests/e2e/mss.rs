//! What both ends of a real connection make of a lowered MSS.

use std::net::{TcpListener, TcpStream};

use nix::sys::socket::{getsockopt, sockopt};

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::lab::{Lab, vip};
use crate::support::weir::Weir;

/// The most that the kernel will put into a segment of this connection; timestamps take 12 bytes.
fn segment_size(stream: &TcpStream) -> u32 {
    getsockopt(stream, sockopt::TcpMaxSeg).expect("a TCP socket has a segment size") + 12
}

#[test]
fn both_ends_of_a_translated_connection_see_the_lowered_mss() {
    const CLAMPED: &str = "
        [[vip]]
        address = \"198.18.0.1\"
        port = 7000
        encap = \"nat\"
        mss_clamp = 1200
        servers = [\"10.78.2.11\"]

        [[vip]]
        address = \"198.18.0.1\"
        port = 7001
        encap = \"nat\"
        servers = [\"10.78.2.11\"]
        ";
    if !can_run() {
        return;
    }
    let case = Case::new(Way::Nat, Family::V4, Family::V4);
    let lab = Lab::of(&case);
    let mut weir = Weir::start_with(&lab, &case, [1, 1, 1], CLAMPED);
    for (port, expected) in [(7000, 1200), (7001, 1460)] {
        let server = &lab.servers[0];
        let listener = server.namespace.run(|| TcpListener::bind((server.v4, port))).expect("a free port");
        let client = lab.client.run(|| TcpStream::connect(vip(false, port))).expect("a connection");
        let (accepted, _) = listener.accept().expect("the same connection");
        assert_eq!((segment_size(&client), segment_size(&accepted)), (expected, expected), "port {port}");
    }
    weir.audit();
    weir.stop();
}
