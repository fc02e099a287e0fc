//! What is accepted, and what it means.

use std::net::IpAddr;
use std::time::Duration;

use dataplane::wire::Mac;

use super::super::*;
use super::repository;

fn load(path: &str) -> Config {
    let loaded = Config::load(&repository(path)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, [], "{path}");
    loaded.config
}

fn parse(text: &str) -> Config {
    Config::parse(text, "weir.toml").unwrap_or_else(|e| panic!("{e}")).config
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_file_under_configs_is_accepted_without_warnings() {
    let mut files = 0;
    for entry in std::fs::read_dir(repository("configs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let loaded = Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(loaded.warnings, [], "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 3);
}

#[test]
fn the_smallest_file_gets_every_default() {
    let server =
        |address| Server { address: ip(address), port: Some(80), weight: 1.0, state: ServerState::Active };
    let expected = Config {
        eal: Eal::default(),
        ports: vec![Port {
            name: "port0".into(),
            device: "0000:3b:00.0".into(),
            addresses: vec!["192.0.2.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
            gateways: vec![ip("192.0.2.1")],
            mac: None,
            queues: None,
            rx_ring: 1024,
            tx_ring: 1024,
            mtu: 1500,
            promiscuous: false,
            exception: None,
            vlan: None,
            announce: false,
        }],
        neighbors: vec![],
        tunnel: Tunnel {
            source_v4: Some("192.0.2.2".parse().unwrap()),
            source_v6: Some("2001:db8::2".parse().unwrap()),
            ipip_source: None,
            gue_port: 6080,
        },
        flow_table: FlowTable {
            entries_per_lcore: 1 << 20,
            tcp_idle: Duration::from_secs(300),
            udp_idle: Duration::from_secs(30),
            syn_timeout: Duration::from_secs(10),
            closed_timeout: Duration::from_secs(5),
        },
        vips: vec![Vip {
            name: "203.0.113.10:80/tcp".into(),
            network: ip("203.0.113.10").into(),
            protocol: Protocol::Tcp,
            ports: PortSet::new(vec![80..=80]),
            encap: Encap::Gre,
            key: None,
            variant: 0,
            dscp: None,
            mss_clamp: None,
            select: Select::Sed2,
            servers: vec![server("198.51.100.11"), server("198.51.100.12")],
            health: None,
            policy: VipPolicy { kind: Policy::Static, mode: PolicyMode::On, model: None },
        }],
        policy: PolicySettings {
            period: Duration::from_millis(50),
            stale_after: Duration::from_secs(1),
            weight_min: 0.05,
            weight_max: 20.0,
            step_max: 0.5,
            fallback: Fallback::Static,
            source: PolicySource::Thread,
            log: None,
            log_bytes: 64 << 20,
        },
        measure: Measure { flows: 1, ring: 16384, acceptance: 1.0, decay: 0.9 },
        region: Region { path: None, slots: 4 },
        metrics: Metrics { listen: Some("127.0.0.1:9400".parse().unwrap()) },
        control: ControlSocket { socket: Some(DEFAULT_SOCKET.into()) },
    };
    assert_eq!(load("configs/smallest.toml"), expected);
}

#[test]
fn the_full_file_says_what_it_seems_to_say() {
    let config = load("configs/full.toml");
    assert_eq!(config.eal.args, ["--no-huge", "-m", "256"]);
    assert_eq!(config.eal.lcores, Some(vec![1, 2, 3, 4]));
    let port = &config.ports[0];
    assert_eq!((port.name.as_str(), port.queues), ("lan", Some(4)));
    assert_eq!(port.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(port.gateways, [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!(config.neighbors, [Neighbor { address: ip("192.0.2.11"), mac: Mac([2, 0, 0, 0, 0, 0x0b]) }]);
    let [web, all] = &config.vips[..] else { panic!("two VIPs") };
    assert_eq!(web.name, "web");
    assert_eq!(web.servers[1].state, ServerState::Draining);
    assert_eq!(web.servers[1].port, Some(80), "the VIP's");
    assert_eq!((all.name.as_str(), all.ports.first()), ("2001:db8:ffff::10/any", None));
    assert_eq!(all.servers[0].port, None, "every port");
}

/// The comments of the full file promise that it shows the defaults.
#[test]
fn the_full_file_shows_the_defaults() {
    let (full, smallest) = (load("configs/full.toml"), load("configs/smallest.toml"));
    assert_eq!(full.flow_table, smallest.flow_table);
    assert_eq!(full.metrics, smallest.metrics);
    assert_eq!(full.measure, smallest.measure);
    assert_eq!(full.region.slots, smallest.region.slots);
    assert_eq!((&full.policy, &full.control), (&smallest.policy, &smallest.control));
    assert_eq!(full.tunnel, smallest.tunnel);
    let (a, b) = (&full.ports[0], &smallest.ports[0]);
    assert_eq!((a.rx_ring, a.tx_ring, a.mtu, a.promiscuous), (b.rx_ring, b.tx_ring, b.mtu, b.promiscuous));
    let (a, b) = (&full.vips[0], &smallest.vips[0]);
    assert_eq!((a.protocol, a.encap, a.select), (b.protocol, b.encap, b.select));
    assert_eq!(a.servers[0], b.servers[0]);
}

#[test]
fn the_full_file_has_every_key() {
    let text = std::fs::read_to_string(repository("configs/full.toml")).unwrap();
    for table in schema::TABLES.iter().filter(|t| text.contains(&format!("\n{}", t.header()))) {
        for key in table.keys.iter() {
            let there = text.lines().any(|l| {
                let word = l.trim_start_matches("# ").split([' ', '=', ']']).next().unwrap_or_default();
                word == key.name || word.trim_matches('[').rsplit('.').next() == Some(key.name)
            });
            assert!(there, "{} in {}", key.name, table.header());
        }
    }
}

#[test]
fn nat_translates_ports_and_keeps_the_vips_where_none_is_given() {
    let config = load("configs/nat.toml");
    let [web, dns] = &config.vips[..] else { panic!("two VIPs") };
    assert_eq!((web.encap, web.ports.single()), (Encap::Nat, Some(80)));
    assert_eq!(web.servers[0].port, Some(8080));
    assert_eq!((web.servers[0].weight, web.servers[1].weight), (2.0, 1.0));
    assert_eq!(dns.protocol, Protocol::Udp);
    let ports: Vec<_> = dns.servers.iter().map(|s| s.port).collect();
    assert_eq!(ports, [Some(53), Some(5353)]);
}

#[test]
fn measuring_is_off_by_the_word_and_by_zero() {
    let flows = |value: &str| parse(&format!("{PORT}[measure]\nflows = {value}\n")).measure.flows;
    assert_eq!([flows("0"), flows("\"off\""), flows("1"), flows("1024")], [0, 0, 1, 1024]);
}

const PORT: &str = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\", \"2001:db8::2/64\"]\n";

#[test]
fn a_tunnel_crosses_families_both_ways() {
    let vip = |address, server| format!("[[vip]]\naddress = \"{address}\"\nservers = [\"{server}\"]\n");
    let config =
        parse(&format!("{PORT}{}{}", vip("203.0.113.1", "2001:db8::11"), vip("2001:db8:f::1", "192.0.2.11")));
    assert_eq!(config.vips[0].servers[0].address, ip("2001:db8::11"));
    assert_eq!(config.vips[1].servers[0].address, ip("192.0.2.11"));
}

#[test]
fn a_tunnel_source_by_hand_stands_in_for_a_missing_address() {
    let text = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n\
                [tunnel]\nsource = [\"192.0.2.9\"]\n\
                [[vip]]\naddress = \"203.0.113.1\"\nservers = [\"192.0.2.11\"]\n";
    let config = parse(text);
    assert_eq!(config.tunnel.source_v4, Some("192.0.2.9".parse().unwrap()));
    assert_eq!(config.tunnel.source_v6, None);
}

#[test]
fn one_address_serves_several_ports_and_protocols() {
    let vip =
        |extra: &str| format!("[[vip]]\naddress = \"203.0.113.1\"\n{extra}servers = [\"192.0.2.11\"]\n");
    let config = parse(&format!(
        "{PORT}{}{}{}{}{}",
        vip("port = 80\n"),
        vip("port = 443\n"),
        vip("port = 443\nprotocol = \"udp\"\n"),
        vip(""),
        vip("protocol = \"any\"\n"),
    ));
    let names: Vec<_> = config.vips.iter().map(|v| v.name.as_str()).collect();
    let address = "203.0.113.1";
    assert_eq!(names[..2], [format!("{address}:80/tcp"), format!("{address}:443/tcp")]);
    assert_eq!(
        names[2..],
        [format!("{address}:443/udp"), format!("{address}/tcp"), format!("{address}/any")]
    );
}

#[test]
fn an_ipv6_name_has_brackets_only_with_a_port() {
    let address = ip("2001:db8::1").into();
    assert_eq!(Vip::default_name(address, Some(80), Protocol::Tcp), "[2001:db8::1]:80/tcp");
    assert_eq!(Vip::default_name(address, None, Protocol::Any), "2001:db8::1/any");
}

#[test]
fn segments_are_limited_by_a_number_or_under_nat_by_the_ports() {
    let vip = |address: &str, extra: &str| format!("[[vip]]\naddress = \"{address}\"\n{extra}");
    let (v4, v6) = ("servers = [\"192.0.2.11\"]\n", "servers = [\"2001:db8::11\"]\n");
    let nat = "encap = \"nat\"\nport = 80\nmss_clamp = true\n";
    let config = parse(&format!(
        "{PORT}mtu = 9000\n[[port]]\ndevice = \"net_tap1\"\naddress = [\"198.51.100.2/24\"]\nmtu = 1400\n{}{}{}{}",
        vip("203.0.113.1", &format!("mss_clamp = 1220\n{v4}")),
        vip("203.0.113.2", &format!("{nat}{v4}")),
        vip("2001:db8:f::1", &format!("{nat}{v6}")),
        vip("203.0.113.3", &format!("mss_clamp = false\n{v4}")),
    ));
    let limits: Vec<_> = config.vips.iter().map(|vip| vip.mss_clamp).collect();
    assert_eq!(limits, [Some(1220), Some(1360), Some(1340), None]);
}

#[test]
fn several_ports_share_a_vip_which_is_known_by_the_first() {
    let vip = |extra: &str| format!("[[vip]]\naddress = \"203.0.113.1\"\n{extra}");
    let config = parse(&format!(
        "{PORT}{}{}{}",
        vip(
            "port = [443, 80, \"8000-8010\"]\nencap = \"nat\"\nservers = [\"192.0.2.11\", \"192.0.2.12:90\"]\n"
        ),
        vip("port = \"9000-9001\"\nservers = [\"192.0.2.11\"]\n[vip.health]\n"),
        vip("port = [82]\nencap = \"nat\"\nservers = [\"192.0.2.11\"]\n"),
    ));
    let [web, range, one] = &config.vips[..] else { panic!("three VIPs") };
    assert_eq!(web.ports.ranges(), [443..=443, 80..=80, 8000..=8010]);
    assert_eq!((web.ports.count(), web.ports.first(), web.ports.single()), (13, Some(443), None));
    assert_eq!(web.name, "203.0.113.1:443/tcp");
    let ports = |vip: &Vip| vip.servers.iter().map(|server| server.port).collect::<Vec<_>>();
    assert_eq!(ports(web), [None, Some(90)], "without a port of its own a server keeps the client's");
    assert_eq!((range.name.as_str(), ports(range)), ("203.0.113.1:9000/tcp", vec![None]));
    assert_eq!(ports(one), [Some(82)], "a list of one is that one");
}

#[test]
fn a_prefix_of_either_family_is_a_vip() {
    let vip = |extra: &str| format!("[[vip]]\naddress = \"{extra}\"\nservers = [\"192.0.2.11\"]\n");
    let networks = ["203.0.113.0/28", "203.0.113.0/24", "2001:db8:1::/64", "203.0.113.10/32"];
    let config = parse(&format!("{PORT}{}", networks.map(vip).concat()));
    assert_eq!(config.vips.iter().map(|vip| vip.network.to_string()).collect::<Vec<_>>(), networks);
    let names: Vec<_> = config.vips.iter().map(|vip| vip.name.as_str()).collect();
    assert_eq!(
        names,
        ["203.0.113.0/28/tcp", "203.0.113.0/24/tcp", "2001:db8:1::/64/tcp", "203.0.113.10/tcp"]
    );
    let network = "2001:db8:1::/64".parse().unwrap();
    assert_eq!(Vip::default_name(network, Some(80), Protocol::Tcp), "[2001:db8:1::/64]:80/tcp");
}

#[test]
fn inline_tables_and_dotted_keys_are_as_good_as_headers() {
    let headers = format!(
        "metrics.listen = \"off\"\n{PORT}[[vip]]\naddress = \"203.0.113.1\"\n\
         [[vip.server]]\naddress = \"192.0.2.11\"\nweight = 2\n"
    );
    let inline = "metrics = { listen = \"off\" }\n\
        port = [{ device = \"net_tap0\", address = [\"192.0.2.2/24\", \"2001:db8::2/64\"] }]\n\
        vip = [{ address = \"203.0.113.1\", server = [{ address = \"192.0.2.11\", weight = 2.0 }] }]\n";
    assert_eq!(parse(&headers), parse(inline));
    assert_eq!(parse(inline).metrics.listen, None);
}

#[test]
fn a_file_without_vips_is_accepted_with_a_warning() {
    let loaded = Config::parse(PORT, "weir.toml").unwrap();
    assert_eq!(loaded.config.vips, []);
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].severity, Severity::Warning);
}

#[test]
fn vip_has_the_policy_that_it_was_given_and_warns_where_weights_have_no_effect() {
    let vip = "[[vip]]\naddress = \"203.0.113.1\"\nservers = [\"192.0.2.11\"]\n";
    let plain = parse(&format!("{PORT}{vip}"));
    let unsteered = VipPolicy { kind: Policy::Static, mode: PolicyMode::On, model: None };
    assert_eq!(plain.vips[0].policy, unsteered);
    let steered = "policy = \"sac-gru\"\npolicy_mode = \"shadow\"\nmodel = \"m.safetensors\"\n";
    let expected =
        VipPolicy { kind: Policy::SacGru, mode: PolicyMode::Shadow, model: Some("m.safetensors".into()) };
    assert_eq!(parse(&format!("{PORT}{vip}{steered}")).vips[0].policy, expected);
    let useless = format!("{PORT}{vip}select = \"hash\"\npolicy = \"hlb\"\n");
    assert_eq!(Config::parse(&useless, "weir.toml").unwrap().warnings.len(), 1);
}

#[test]
fn vip_with_a_policy_looks_at_all_servers_unless_they_are_many_or_it_says_otherwise() {
    let select = |servers: usize, keys: &str| {
        let servers: Vec<_> = (0..servers).map(|j| format!("\"192.0.2.{}\"", 11 + j)).collect();
        let vip = format!("[[vip]]\naddress = \"203.0.113.1\"\nservers = [{}]\n", servers.join(", "));
        parse(&format!("{PORT}{vip}{keys}")).vips[0].select
    };
    assert_eq!((select(1, ""), select(1, "policy = \"static\"\n")), (Select::Sed2, Select::Sed2));
    let steered = "policy = \"rate\"\n";
    assert_eq!((select(64, steered), select(65, steered)), (Select::Sed, Select::Sed2));
    assert_eq!(select(1, &format!("{steered}select = \"alias\"\n")), Select::Alias);
}

#[test]
fn checks_are_there_only_when_asked_for_and_have_defaults() {
    let config = load("configs/health.toml");
    let [web, shop, dns] = &config.vips[..] else { panic!("three VIPs") };
    let defaults = Health {
        kind: HealthKind::Tcp,
        port: None,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        path: "/".into(),
        host: None,
        passive: true,
    };
    assert_eq!(web.health.as_ref(), Some(&defaults));
    let shop = shop.health.as_ref().unwrap();
    assert_eq!((shop.kind, shop.path.as_str()), (HealthKind::Http, "/healthz"));
    assert_eq!((shop.port, shop.host.as_deref()), (Some(8080), Some("shop.example.org")));
    assert!(!dns.health.as_ref().unwrap().passive, "UDP has no handshake");
    assert_eq!(load("configs/smallest.toml").vips[0].health, None);
}

#[test]
fn a_check_sums_up_what_the_file_has() {
    let checked = check(&repository("configs/nat.toml"));
    assert!(checked.usable);
    assert!(checked.text.ends_with("nat.toml: ok: 2 ports, 2 VIPs, 4 servers\n"), "{}", checked.text);
}

#[test]
fn a_thousand_vips_of_a_hundred_servers_are_read() {
    let servers: Vec<String> = (1..=100).map(|n| format!("\"192.0.2.{}\"", n + 100)).collect();
    let vips: String = (0..1000)
        .map(|n| {
            format!(
                "[[vip]]\naddress = \"10.0.{}.{}\"\nservers = [{}]\n",
                n / 250,
                n % 250 + 1,
                servers.join(",")
            )
        })
        .collect();
    let config = parse(&format!("{PORT}{vips}"));
    assert_eq!(config.vips.iter().map(|v| v.servers.len()).sum::<usize>(), 100_000);
}
