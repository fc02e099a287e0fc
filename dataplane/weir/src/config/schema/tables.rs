//! The tables themselves.

use std::time::Duration;

use super::Default::{Derived, Required, Value};
use super::{Default, Key, Kind, Table};

const fn key(
    name: &'static str,
    kind: Kind,
    default: Default,
    example: &'static str,
    help: &'static str,
) -> Key {
    Key { name, kind, default, example, help }
}

const fn table(name: &'static str, array: bool, default: Default, help: &'static str) -> Key {
    key(name, Kind::Table { array }, default, "", help)
}

const fn int(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

const fn time(min: Duration) -> Kind {
    Kind::Duration { min, max: Duration::from_secs(12 * 3600) }
}

const CHECKS: &[&str] = &["tcp", "http", "none"];
const CHECK_MIN: Duration = Duration::from_millis(10);
const MILLISECOND: Duration = Duration::from_millis(1);

const PROTOCOLS: &[&str] = &["tcp", "udp", "any"];
const STATES: &[&str] = &["active", "draining", "down"];
const ENCAPS: &[&str] = &["gre", "ipip", "gue", "l3dsr", "nat"];
const SELECTS: &[&str] = &["hash", "alias", "lsq", "lsq2", "sed", "sed2", "maglev", "rr"];
const POLICIES: &[&str] = &["static", "active-wcmp", "aquarius", "hlb", "rate", "sac-gru", "qmix"];

/// Every table, in the order in which they are documented.
#[rustfmt::skip] // one key reads best as one entry: what it is, then what it does
pub const TABLES: &[Table] = &[
    Table {
        path: "",
        help: "The tables of the file.",
        keys: &[
            table("eal", false, Value("{}"), "What DPDK itself is told."),
            table("port", true, Required, "The ports."),
            table("neighbor", true, Value("[]"), "Static ARP and NDP entries."),
            table("tunnel", false, Value("{}"), "Outer addresses of tunnels."),
            table("flow_table", false, Value("{}"), "Size and time-outs of the flow tables."),
            table("vip", true, Value("[]"), "The virtual services."),
            table("policy", false, Value("{}"), "How policies set weights, and how they are guarded."),
            table("measure", false, Value("{}"), "What is measured of flows."),
            table("region", false, Value("{}"), "Statistics in shared memory."),
            table("metrics", false, Value("{}"), "Where the metrics are served."),
            table("control", false, Value("{}"), "The socket of the operator's commands."),
        ],
    },
    Table {
        path: "eal",
        help: "What DPDK itself is told. Leave it out on a NIC with hugepages.",
        keys: &[
            key("args", Kind::Texts("EAL arguments"), Value("[]"), r#"["--no-huge", "-m", "256"]"#,
                "Further EAL arguments, passed on as they are."),
            key("lcores", Kind::Text("a list of CPUs"), Derived("every CPU that Weir may use but the first"), r#""1-4,6""#,
                "The CPUs of the workers, one worker on each; the other threads stay off these."),
        ],
    },
    Table {
        path: "port",
        help: "One port of a NIC, or a software port. At least one is needed.",
        keys: &[
            key("device", Kind::Text("a PCI address or a DPDK vdev string"), Required, r#""0000:3b:00.0""#,
                "Which device: a PCI address, or a vdev string such as `net_af_packet0,iface=lan0`."),
            key("address", Kind::Texts("addresses with prefix length"), Required, r#"["192.0.2.2/24"]"#,
                "Our own addresses on this port; the prefix says what is on-link."),
            key("gateway", Kind::Texts("IP addresses"), Value("[]"), r#"["192.0.2.1"]"#,
                "Next hops for what is not on-link, at most one of each family; each must be on-link here. The first gateway of a family in the file is the one that is used."),
            key("name", Kind::Text("a name"), Derived("`port0`, `port1`, … by position"), r#""lan""#,
                "The name in logs and metrics; unique."),
            key("mac", Kind::Text("a MAC address"), Derived("the device's own"), r#""02:00:00:00:00:01""#,
                "The MAC address to use instead of the device's own."),
            key("queues", int(1, 64), Derived("the number of workers"), "4",
                "Queue pairs; each worker polls one of every port, so no other number than that of the workers."),
            key("rx_ring", int(64, 16384), Value("1024"), "1024",
                "Descriptors of one receive queue."),
            key("tx_ring", int(64, 16384), Value("1024"), "1024",
                "Descriptors of one transmit queue."),
            key("mtu", int(1280, 9216), Value("1500"), "1500",
                "Largest IP packet in bytes, without the Ethernet header."),
            key("promiscuous", Kind::Boolean, Value("false"), "false",
                "Whether to receive frames for other MAC addresses too."),
            key("vlan", int(1, 4094), Derived("untagged"), "100",
                "802.1Q tag of the port's frames, taken off what comes in and put on what goes out; other frames are dropped."),
            key("exception", Kind::Text("a DPDK vdev string"), Derived("none: packets for the host are dropped"), r#""net_tap1,iface=weir0""#,
                "A software port through which the kernel gets what is for the host itself, and sends; see [the host's own traffic](operations.md#the-hosts-own-traffic)."),
            key("announce", Kind::Boolean, Value("false"), "false",
                "Whether neighbours on this port are told its addresses and the VIPs by gratuitous ARP and unsolicited neighbour advertisements: at the start, when a reload adds some, and when the link comes up."),
        ],
    },
    Table {
        path: "neighbor",
        help: "A static ARP or NDP entry; all other neighbours are resolved.",
        keys: &[
            key("address", Kind::Text("an IP address"), Required, r#""192.0.2.11""#,
                "The neighbour's address; must be on-link on a port."),
            key("mac", Kind::Text("a MAC address"), Required, r#""02:00:00:00:00:0b""#,
                "Its MAC address."),
        ],
    },
    Table {
        path: "tunnel",
        help: "Outer addresses of tunnels.",
        keys: &[
            key("source", Kind::Texts("IP addresses"), Derived("the first address of the family among the ports' addresses"), r#"["192.0.2.2", "2001:db8::2"]"#,
                "Outer source addresses, at most one of each family."),
            key("gue_port", int(1, 65535), Value("6080"), "6080",
                "UDP destination port of GUE."),
            key("ipip_source", Kind::Text("an IPv4 network"), Derived("none: `source` for all flows"), r#""172.16.0.0/16""#,
                "Network for the outer source of IPIP over IPv4; its host bits carry the flow's entropy, so that routers and NICs spread flows."),
        ],
    },
    Table {
        path: "flow_table",
        help: "Size and time-outs of the flow tables; each worker has one.",
        keys: &[
            key("entries_per_lcore", int(1024, 1 << 28), Value("1048576"), "1048576",
                "Flows that one worker can remember; the address space is reserved at start, the memory is used as flows come."),
            key("tcp_idle", time(MILLISECOND), Value(r#""300s""#), r#""300s""#,
                "An established TCP flow ends after this much silence."),
            key("udp_idle", time(MILLISECOND), Value(r#""30s""#), r#""30s""#,
                "A UDP flow, or one of another protocol, ends after this much silence."),
            key("syn_timeout", time(MILLISECOND), Value(r#""10s""#), r#""10s""#,
                "A TCP flow that never got past its SYN ends after this."),
            key("closed_timeout", time(MILLISECOND), Value(r#""5s""#), r#""5s""#,
                "A TCP flow that was closed or reset is forgotten after this."),
        ],
    },
    Table {
        path: "vip",
        help: "One virtual service: an address that clients use, and the servers behind it.",
        keys: &[
            key("address", Kind::Text("an IP address or a prefix"), Required, r#""203.0.113.10""#,
                "The address that clients use, or a prefix like `203.0.113.0/28`, all of whose addresses are the service's; not a prefix with `encap = \"l3dsr\"`."),
            key("protocol", Kind::Word(PROTOCOLS), Value(r#""tcp""#), r#""tcp""#,
                "Which packets to these addresses belong to the VIP."),
            key("port", Kind::Ports, Derived("every port"), "80",
                "The destination port, or several that share servers and policy, like `[80, 443, \"8000-8010\"]`; not possible with `protocol = \"any\"`."),
            key("encap", Kind::Word(ENCAPS), Value(r#""gre""#), r#""gre""#,
                "How packets get to the server: in a GRE, IP or UDP tunnel, with a rewritten destination and the VIP told by DSCP (`l3dsr`), or with translated addresses and replies through us (`nat`)."),
            key("select", Kind::Word(SELECTS), Derived("`\"sed2\"`; with a policy and at most 64 servers `\"sed\"`"), r#""sed""#,
                "How a server is chosen for a new flow; see [choosing a server](#choosing-a-server)."),
            key("name", Kind::Text("a name"), Derived("like `203.0.113.10:80/tcp`"), r#""web""#,
                "The name in logs, metrics and commands; unique."),
            key("mss_clamp", Kind::IntegerOrTrue { min: 500, max: 9156 }, Value("false"), "1400",
                "Largest TCP segment that clients and servers may ask each other for, as far as their SYNs pass Weir; `true`, only with `encap = \"nat\"`: the largest that fits every port. See [segment size](#segment-size)."),
            key("servers", Kind::Texts("server addresses"), Derived("the `[[vip.server]]` tables"), r#"["198.51.100.11", "198.51.100.12:8080"]"#,
                "The servers, short form; a port only with `encap = \"nat\"`."),
            table("server", true, Derived("`servers`"), "The servers, long form."),
            table("health", false, Derived("no checks: every server counts as healthy"), "How servers are checked."),
            key("policy", Kind::Word(POLICIES), Value(r#""static""#), r#""static""#,
                "Who sets the weights while running: nobody (`static`), a rule, or an agent; see [policies](#policies)."),
            key("policy_mode", Kind::Word(&["on", "shadow", "off"]), Value(r#""on""#), r#""on""#,
                "Whether the policy's weights are applied; `shadow` computes and publishes them only, `off` does not compute them."),
            key("model", Kind::Text("a file"), Derived("the one that ships"), r#""/etc/weir/sac_gru.safetensors""#,
                "The trained model of `policy = \"sac-gru\"` or `\"qmix\"`; it goes with nothing else."),
            key("key", int(0, 0xffff_ffff), Derived("no key"), "42",
                "GRE key; only with `encap = \"gre\"`."),
            key("dscp", int(0, 63), Derived("none"), "7",
                "Code point by which servers know the VIP; needed with `encap = \"l3dsr\"`, and only there."),
            key("variant", int(0, 1), Derived("0 with `encap = \"gue\"`"), "0",
                "Variant of the GUE header: 0 names the payload's protocol, 1 has no header; only with `encap = \"gue\"`."),
        ],
    },
    Table {
        path: "vip.server",
        help: "One server of the VIP above it.",
        keys: &[
            key("address", Kind::Text("an IP address"), Required, r#""198.51.100.11""#,
                "The server's address; with `encap = \"nat\"` or `\"l3dsr\"` of the VIP's family."),
            key("port", int(1, 65535), Derived("the VIP's port"), "8080",
                "The port it serves; another one than the VIP's only with `encap = \"nat\"`."),
            key("weight", Kind::Float { min: 0.0, max: 1000.0 }, Value("1.0"), "1.0",
                "Its share of new flows, relative to the VIP's other servers; 0: no new flows."),
            key("state", Kind::Word(STATES), Value(r#""active""#), r#""active""#,
                "`draining` keeps its flows and takes no new ones; `down` takes nothing."),
        ],
    },
    Table {
        path: "vip.health",
        help: "How the servers of the VIP above it are checked, from this machine's own addresses and not through the ports.",
        keys: &[
            key("kind", Kind::Word(CHECKS), Value(r#""tcp""#), r#""tcp""#,
                "What a check is."),
            key("port", int(1, 65535), Derived("the server's port"), "8080",
                "The TCP port to check; needed where the VIP takes every port."),
            key("interval", time(CHECK_MIN), Value(r#""1s""#), r#""1s""#,
                "Time between two checks of a server."),
            key("timeout", time(MILLISECOND), Value(r#""500ms""#), r#""500ms""#,
                "A check without an answer for this long has failed; at most `interval`."),
            key("rise", int(1, 100), Value("2"), "2",
                "Checks in a row that must pass until a server is up again."),
            key("fall", int(1, 100), Value("3"), "3",
                "Checks in a row that must fail until a server is down."),
            key("path", Kind::Text("a path"), Value(r#""/""#), r#""/healthz""#,
                "What `http` asks for; any status from 200 to 399 is good."),
            key("host", Kind::Text("a host name"), Derived("the server's address and port"), r#""www.example.org""#,
                "The `Host` that `http` names."),
            key("passive", Kind::Boolean, Value("true"), "true",
                "Whether a server whose clients never get past the SYN, while the VIP's other servers are fine, gets no new flows for a while; only with `protocol = \"tcp\"`."),
        ],
    },
    Table {
        path: "policy",
        help: "How policies set weights, and how they are guarded. Weights count in multiples of the mean of a VIP's active servers.",
        keys: &[
            key("period", Kind::Duration { min: Duration::from_millis(10), max: Duration::from_secs(1) }, Value(r#""50ms""#), r#""50ms""#,
                "Time between two frames of statistics, and so between two decisions."),
            key("stale_after", time(Duration::from_millis(10)), Value(r#""1s""#), r#""1s""#,
                "Statistics, or weights of another process, that are older are not believed; at least `period`."),
            key("weight_min", Kind::Float { min: 0.001, max: 1.0 }, Value("0.05"), "0.05",
                "Least weight of an active server, and its least share of the mean."),
            key("weight_max", Kind::Float { min: 1.0, max: 1000.0 }, Value("20.0"), "20.0",
                "Largest weight of a server."),
            key("step_max", Kind::Float { min: 0.001, max: 100.0 }, Value("0.5"), "0.5",
                "Largest relative change of a weight in one period."),
            key("fallback", Kind::Word(&["static", "hlb"]), Value(r#""static""#), r#""static""#,
                "The rule that sets weights while the policy cannot."),
            key("source", Kind::Word(&["thread", "region"]), Value(r#""thread""#), r#""thread""#,
                "Who decides: a thread of this process, or another process over the region."),
            key("log", Kind::Text("a file"), Derived("none: decisions are not written down"), r#""/var/lib/weir/decisions""#,
                "The decision log; its folder must exist. What is older is in the same name with `.1` behind."),
            key("log_size", int(1, 1 << 20), Value("64"), "64",
                "Most megabytes of the decision log, in both files together."),
        ],
    },
    Table {
        path: "measure",
        help: "What is measured of flows: how long they last, how fast servers answer.",
        keys: &[
            key("flows", Kind::IntegerOrOff { min: 0, max: 1 << 20 }, Value("1"), "64",
                "At most one flow in so many is watched, a power of two, and fewer while very many begin; 1: every flow; 0 or `\"off\"`: none. See [measuring](#measuring)."),
            key("ring", int(64, 1 << 20), Value("16384"), "16384",
                "Samples that one worker may have on their way to the policy thread, 32 bytes each; what does not fit is counted as lost."),
            key("acceptance", Kind::Float { min: 0.001, max: 1.0 }, Value("1.0"), "1.0",
                "Share of the samples that the statistics of a server take in: the less, the longer they remember."),
            key("decay", Kind::Float { min: 0.001, max: 1.0 }, Value("0.9"), "0.9",
                "Weight that a sample keeps each second in the decayed statistics."),
        ],
    },
    Table {
        path: "region",
        help: "A file in shared memory with statistics for `weir status` and for a policy in another process.",
        keys: &[
            key("path", Kind::Text("a file"), Derived("none: nothing is published"), r#""/run/weir/region""#,
                "The file; its folder must exist. Put it where files are memory, like `/run` or `/dev/shm`."),
            key("slots", int(2, 64), Value("4"), "4",
                "Frames that the file keeps: how far a reader may fall behind while it copies one."),
        ],
    },
    Table {
        path: "metrics",
        help: "Where the metrics are served (Prometheus text).",
        keys: &[
            key("listen", Kind::Text("an address with port, or \"off\""), Value(r#""127.0.0.1:9400""#), r#""127.0.0.1:9400""#,
                "Where to listen for HTTP; `\"off\"`: nowhere."),
        ],
    },
    Table {
        path: "control",
        help: "The socket of the operator's commands.",
        keys: &[
            key("socket", Kind::Text("a path, or \"off\""), Value(r#""/run/weir/weir.sock""#), r#""/run/weir/weir.sock""#,
                "The Unix socket, which only the user that runs Weir may open; its folder must exist; `\"off\"`: none. Where the default's folder does not exist, there is none either."),
        ],
    },
];
