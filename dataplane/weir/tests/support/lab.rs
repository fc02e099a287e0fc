//! The two networks that the balancers work in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use super::Scratch;
use super::case::{Case, DSCP, Way};
use super::netns::{Namespace, link};
use super::nginx::{self, Site};
use super::process::Process;
use super::trunk::Trunk;

/// The address of the service (RFC 2544's block for benchmarks, and the documentation prefix).
pub const VIP4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0x18, 0, 0, 0, 0, 1);
/// Prefixes around them, for services on a whole prefix.
pub const PREFIX4: &str = "198.18.0.0/28";
pub const PREFIX6: &str = "2001:db8:18::/124";
/// The tag of the balancer's frames, where they have one.
pub const VLAN: u16 = 100;
/// Where the echo servers listen.
pub const ECHO_PORT: u16 = 5300;
/// Where uploads go.
pub const UPLOAD_PORT: u16 = 5400;

/// Room for an inner packet of 1500 bytes and 44 bytes of outer IPv6 and GRE.
pub const TUNNEL_MTU: u16 = 1600;
pub const SERVERS: usize = 3;

/// One server: a namespace with nginx, and the decapsulator if the layout has tunnels.
pub struct Server {
    pub namespace: Namespace,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub decap: Option<Process>,
    nginx: Option<Process>,
    http_port: u16,
}

impl Server {
    pub fn address(&self, ipv6: bool) -> IpAddr {
        if ipv6 { self.v6.into() } else { self.v4.into() }
    }

    /// Hands over the web server, for a test that stops it.
    pub fn take_nginx(&mut self) -> Process {
        self.nginx.take().expect("it is taken once")
    }

    /// Starts the web server again.
    pub fn start_nginx(&self, site: &Site, scratch: &Scratch) -> Process {
        nginx::start(&self.namespace, self.http_port, site, scratch)
    }
}

/// Namespaces `client`, `lb` and `s1` to `s3`. The balancer's interfaces in `lb` are up and have no address:
/// the kernel answers for nothing there until [`Lab::lend_addresses`].
pub struct Lab {
    pub client: Namespace,
    pub lb: Namespace,
    pub servers: Vec<Server>,
    pub site: Site,
    pub scratch: Scratch,
    /// The balancer's interfaces, each with its addresses.
    pub ports: Vec<(&'static str, [String; 2])>,
    /// Between the balancer and the rest, where its frames are tagged.
    pub trunks: Vec<Trunk>,
    switch: Namespace,
}

impl Lab {
    /// The network that a case needs.
    pub fn of(case: &Case) -> Self {
        if case.way == Way::Nat { Self::routed(case.vlan) } else { Self::direct(case) }
    }

    /// All on one switch; answers go from server to client directly.
    ///
    /// ```text
    /// client .1 ──┐   lb .2 ──┐   s1 .11, s2 .12, s3 .13 ──┐     10.77.0.0/24, fd77::/64
    ///             └───────────┴── switch ──────────────────┘     VIP by way of .2
    /// ```
    pub fn direct(case: &Case) -> Self {
        let scratch = Scratch::new();
        let site = Site::new(77);
        let switch = new_switch();
        let client = Namespace::new("client");
        let lb = new_balancer();
        plug(&client, "eth0", &switch, "client");
        let mut trunks = Vec::new();
        plug_balancer(&lb, &switch, case.vlan, &mut trunks);
        // The client's packets must leave room for the tunnel; its MSS tells the servers the same.
        client.ip(["link set eth0 mtu 1500"]);
        configure(&client, "eth0", "10.77.0.1/24", "fd77::1/64");
        client.ip([format!("route add {PREFIX4} via 10.77.0.2"), format!("route add {PREFIX6} via fd77::2")]);
        let servers = (0..SERVERS)
            .map(|index| {
                let mut server = new_server(index, [10, 77, 0], 0xFD77, &switch, 80, &site, &scratch);
                // The VIP is on lo: it must not be claimed on the link.
                server.namespace.sysctl("net/ipv4/conf/all/arp_ignore", "1");
                server.namespace.sysctl("net/ipv4/conf/all/arp_announce", "2");
                server.decap = prepare_for_vips(&server.namespace, case, &scratch);
                server
            })
            .collect();
        let ports = vec![("lan0", ["10.77.0.2/24".to_owned(), "fd77::2/64".to_owned()])];
        Self { client, lb, servers, site, scratch, ports, trunks, switch }
    }

    /// Clients on one side, servers on the other, and both ways through the balancer.
    ///
    /// ```text
    /// client .1 ── wan0 .2 lb lan0 .2 ── switch ── s1 .11, s2 .12, s3 .13
    ///   10.78.1.0/24, fd78:1::/64        10.78.2.0/24, fd78:2::/64; default gateway .2
    /// ```
    pub fn routed(vlan: bool) -> Self {
        let scratch = Scratch::new();
        let site = Site::new(78);
        let switch = new_switch();
        let client = Namespace::new("client");
        let lb = new_balancer();
        let mut trunks = Vec::new();
        if vlan {
            trunks.push(Trunk::join((&lb, "wan0"), (&client, "eth0"), VLAN, 1500));
        } else {
            link((&lb, "wan0"), (&client, "eth0"), 1500);
        }
        plug_balancer(&lb, &switch, vlan, &mut trunks);
        configure(&client, "eth0", "10.78.1.1/24", "fd78:1::1/64");
        client.ip(["route add default via 10.78.1.2", "route add ::/0 via fd78:1::2"]);
        let servers = (0..SERVERS)
            .map(|index| {
                let server = new_server(index, [10, 78, 2], 0xFD78, &switch, 8080, &site, &scratch);
                server.namespace.ip(["route add default via 10.78.2.2", "route add ::/0 via fd78:2::2"]);
                server
            })
            .collect();
        let ports = vec![
            ("wan0", ["10.78.1.2/24".to_owned(), "fd78:1::2/64".to_owned()]),
            ("lan0", ["10.78.2.2/24".to_owned(), "fd78:2::2/64".to_owned()]),
        ];
        Self { client, lb, servers, site, scratch, ports, trunks, switch }
    }

    /// The balancer's address on the clients' side.
    pub fn own_address(&self, ipv6: bool) -> IpAddr {
        let (_, addresses) = &self.ports[0];
        let address = addresses[usize::from(ipv6)].split('/').next().unwrap_or_default();
        address.parse().expect("the layouts have addresses with prefix lengths")
    }

    /// Gives the kernel of the balancer's namespace an address and a way to the servers of its own, as a
    /// management network does. Only for [`Lab::direct`].
    pub fn manage(&self) {
        // The kernel sees the frames of weir's port too: it must not answer there for the other one.
        self.lb.sysctl("net/ipv4/conf/all/arp_ignore", "1");
        plug(&self.lb, "mgmt0", &self.switch, "mgmt");
        self.lb.ip(["addr add 10.77.0.3/24 dev mgmt0"]);
    }

    /// Has the servers send no more at once than the client's link carries: they are told by TCP, and not by UDP.
    pub fn narrow_the_way_back(&self) {
        let routed = self.ports.len() > 1;
        for server in &self.servers {
            let routes: [&str; 2] = if routed {
                ["route change default via 10.78.2.2 mtu 1500", "route change ::/0 via fd78:2::2 mtu 1500"]
            } else {
                ["route add 10.77.0.1/32 dev eth0 mtu 1500", "route add fd77::1/128 dev eth0 mtu 1500"]
            };
            server.namespace.ip(routes);
        }
    }

    /// Gives the balancer's addresses to the kernel, for tests without weir.
    pub fn lend_addresses(&self) {
        self.lb.sysctl("net/ipv4/ip_forward", "1");
        self.lb.sysctl("net/ipv6/conf/all/forwarding", "1");
        self.lb.sysctl("net/ipv6/conf/default/disable_ipv6", "0");
        for (interface, [v4, v6]) in &self.ports {
            self.lb.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0");
            configure(&self.lb, interface, v4, v6);
        }
    }
}

/// The service's address with a port.
pub fn vip(ipv6: bool, port: u16) -> SocketAddr {
    if ipv6 { (VIP6, port).into() } else { (VIP4, port).into() }
}

fn new_switch() -> Namespace {
    let switch = Namespace::new("switch");
    switch.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    // Snooping would hold back neighbour discovery until it has seen reports.
    switch.ip([
        format!("link add br0 mtu {TUNNEL_MTU} type bridge mcast_snooping 0"),
        "link set br0 up".into(),
    ]);
    switch
}

fn new_balancer() -> Namespace {
    let lb = Namespace::new("lb");
    lb.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    lb
}

/// Connects an interface to the switch.
fn plug(namespace: &Namespace, interface: &str, switch: &Namespace, port: &str) {
    link((namespace, interface), (switch, port), TUNNEL_MTU);
    switch.ip([format!("link set {port} master br0")]);
}

/// Connects the balancer to the switch, by a trunk if its frames are tagged.
fn plug_balancer(lb: &Namespace, switch: &Namespace, vlan: bool, trunks: &mut Vec<Trunk>) {
    if vlan {
        trunks.push(Trunk::join((lb, "lan0"), (switch, "lb"), VLAN, TUNNEL_MTU));
        switch.ip(["link set lb master br0"]);
    } else {
        plug(lb, "lan0", switch, "lb");
    }
}

fn configure(namespace: &Namespace, interface: &str, v4: &str, v6: &str) {
    namespace.ip([
        format!("address add {v4} dev {interface}"),
        // Duplicate address detection would delay the first packet by a second or two.
        format!("address add {v6} dev {interface} nodad"),
    ]);
}

fn new_server(
    index: usize,
    [a, b, c]: [u8; 3],
    prefix: u16,
    switch: &Namespace,
    http_port: u16,
    site: &Site,
    scratch: &Scratch,
) -> Server {
    let name = format!("s{}", index + 1);
    let namespace = Namespace::new(&name);
    plug(&namespace, "eth0", switch, &name);
    let host = u8::try_from(11 + index).expect("few servers");
    let v4 = Ipv4Addr::new(a, b, c, host);
    // fd77::11, fd78:2::11: the host number reads the same in both families.
    let subnet = if c == 0 { 0 } else { u16::from(c) };
    let v6 = Ipv6Addr::new(prefix, subnet, 0, 0, 0, 0, 0, 0x11 + u16::from(host) - 11);
    configure(&namespace, "eth0", &format!("{v4}/24"), &format!("{v6}/64"));
    let nginx = nginx::start(&namespace, http_port, site, scratch);
    Server { namespace, v4, v6, decap: None, nginx: Some(nginx), http_port }
}

/// Makes a server answer for the VIPs.
fn prepare_for_vips(namespace: &Namespace, case: &Case, scratch: &Scratch) -> Option<Process> {
    if case.prefix {
        // `weir decap --vip` takes addresses; these routes make every address of the prefix the server's own.
        namespace
            .ip([format!("route add local {PREFIX4} dev lo"), format!("route add local {PREFIX6} dev lo")]);
        // An IPv6 socket may then be bound to an address that only a route makes ours.
        namespace.sysctl("net/ipv6/ip_nonlocal_bind", "1");
    }
    let Some(mut options) = case.way.decap_options() else {
        accept_marked_packets(namespace);
        return None;
    };
    if !case.prefix {
        options.extend(["--vip".into(), VIP4.to_string(), "--vip".into(), VIP6.to_string()]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("decap").args(options);
    let mut decap =
        Process::start(namespace, &format!("decap-{}", namespace.name()), command, scratch.path());
    decap.wait_for_log("ready", Duration::from_secs(5));
    Some(decap)
}

/// The server's side of L3DSR: the DSCP names the VIP.
fn accept_marked_packets(namespace: &Namespace) {
    namespace.ip([
        format!("address add {VIP4}/32 dev lo scope host"),
        format!("address add {VIP6}/128 dev lo nodad"),
    ]);
    namespace.nft(&format!(
        "table ip l3dsr {{
             chain pre {{
                 type filter hook prerouting priority raw
                 ip dscp {DSCP} ip daddr set {VIP4} ip dscp set 0
             }}
         }}
         table ip6 l3dsr {{
             chain pre {{
                 type filter hook prerouting priority raw
                 ip6 dscp {DSCP} ip6 daddr set {VIP6} ip6 dscp set 0
             }}
         }}
"
    ));
}
