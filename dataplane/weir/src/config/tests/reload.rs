//! What a reload may change.

use super::super::*;
use super::repository;

fn full() -> Config {
    Config::load(&repository("configs/full.toml")).unwrap().config
}

/// The full file with one piece of its text replaced.
fn full_with(old: &str, new: &str) -> Config {
    let text = std::fs::read_to_string(repository("configs/full.toml")).unwrap();
    assert!(text.contains(old), "{old}");
    Config::parse(&text.replacen(old, new, 1), "full.toml").unwrap_or_else(|e| panic!("{e}")).config
}

#[test]
fn services_neighbours_time_outs_and_tunnel_sources_change_at_run_time() {
    for (old, new) in [
        ("weight  = 1.0", "weight  = 3.5"),
        ("state   = \"draining\"", "state   = \"down\""),
        ("\"198.51.100.11\", \"2001:db8:1::12\"", "\"198.51.100.11\""),
        ("02:00:00:00:00:0b", "02:00:00:00:00:0c"),
        ("tcp_idle          = \"300s\"", "tcp_idle = \"1h\""),
        ("[\"192.0.2.2\", \"2001:db8::2\"]", "[\"192.0.2.9\"]"),
    ] {
        assert_eq!(full().unreloadable_changes(&full_with(old, new)), [], "{old}");
    }
}

#[test]
fn nothing_changed_is_no_obstacle() {
    assert_eq!(full().unreloadable_changes(&full()), []);
}

#[test]
fn what_needs_a_restart_is_named_with_both_values() {
    for (old, new, said) in [
        ("mtu         = 1500", "mtu = 9000", "[[port]] \"lan\": mtu cannot change from 1500 to 9000"),
        (
            "queues      = 4",
            "# queues",
            "[[port]] \"lan\": queues cannot change from 4 to one for each worker",
        ),
        ("0000:3b:00.0", "0000:3b:00.1", "device cannot change from 0000:3b:00.0 to 0000:3b:00.1"),
        ("\"lan\"", "\"wan\"", "[[port]] \"lan\": name cannot change from lan to wan"),
        ("192.0.2.2/24", "192.0.2.3/24", "address cannot change from [192.0.2.2/24, 2001:db8::2/64]"),
        ("\"1-4\"", "\"5-8\"", "[eal] lcores cannot change from [1, 2, 3, 4] to [5, 6, 7, 8]"),
        ("\"256\"", "\"512\"", "[eal] args cannot change from [--no-huge, -m, 256] to [--no-huge, -m, 512]"),
        ("1048576", "2048", "[flow_table] entries_per_lcore cannot change from 1048576 to 2048"),
        ("flows      = 1 ", "flows = 0", "[measure] flows cannot change from 1 to off"),
        ("ring       = 16384", "ring = 1024", "[measure] ring cannot change from 16384 to 1024"),
        ("decay      = 0.9", "decay = 0.5", "[measure] decay cannot change from 0.9 to 0.5"),
        ("/run/weir/region", "/dev/shm/weir", "path cannot change from /run/weir/region to /dev/shm/weir"),
        ("\"thread\"", "\"region\"", "[policy] source cannot change from thread to region"),
        ("/run/weir/weir.sock", "off", "[control] socket cannot change from /run/weir/weir.sock to off"),
        ("127.0.0.1:9400", "off", "[metrics] listen cannot change from 127.0.0.1:9400 to off"),
    ] {
        let changes = full().unreloadable_changes(&full_with(old, new));
        assert_eq!(changes.len(), 1, "{old}: {changes:?}");
        assert!(changes[0].to_string().contains(said), "{}", changes[0]);
        assert!(changes[0].to_string().contains("restart weir"), "{}", changes[0]);
    }
}

#[test]
fn a_new_port_and_a_lost_port_are_named() {
    let (one, two) = (
        full(),
        full_with(
            "[[neighbor]]",
            "[[port]]\ndevice = \"net_tap0\"\naddress = [\"10.0.0.1/24\"]\n[[neighbor]]",
        ),
    );
    let said = |changes: Vec<Change>| changes.iter().map(Change::to_string).collect::<String>();
    assert!(
        said(one.unreloadable_changes(&two))
            .contains("number 2 cannot change from none to \"port1\" (net_tap0)")
    );
    assert!(
        said(two.unreloadable_changes(&one))
            .contains("number 2 cannot change from \"port1\" (net_tap0) to none")
    );
}
