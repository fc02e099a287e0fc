//! The board: what reports, counts and reloads make of the servers' states.

use std::{collections::HashMap, sync::Arc, time::Duration};

use dataplane::{
    tables::{
        builder::{Builder, ServerKey},
        neighbor::Neighbors,
        server::ServerState,
    },
    time::Nanos,
    wire::Mac,
};

use super::{Board, Check, Counts, HealthStatus, Outcome, passive};
use crate::{config::Config, spec};

const HEAD: &str = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n";

/// One VIP with these servers, checked as `health` says.
fn config(servers: &str, health: &str) -> Config {
    let text = format!(
        "{HEAD}[[vip]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n{servers}\n[vip.health]\n{health}\n"
    );
    Config::parse(&text, "weir.toml").unwrap_or_else(|errors| panic!("{errors}")).config
}

fn short(hosts: std::ops::Range<u8>) -> String {
    let list: Vec<String> = hosts.map(|host| format!("\"192.0.2.{host}\"")).collect();
    format!("servers = [{}]", list.join(", "))
}

fn board(config: &Config) -> Board {
    let mut board = Board::default();
    board.configure(config);
    board
}

const fn at(milliseconds: u64) -> Nanos {
    Nanos(milliseconds * 1_000_000)
}

/// The check of the server 192.0.2.`host`.
fn check(board: &Board, host: u8) -> Arc<Check> {
    let found = board
        .checks()
        .into_iter()
        .find(|check| check.target.ip() == std::net::IpAddr::from([192, 0, 2, host]));
    found.unwrap_or_else(|| panic!("nobody checks {host}"))
}

fn hear(board: &mut Board, host: u8, outcomes: &[Outcome], now: Nanos) -> bool {
    let check = check(board, host);
    outcomes.iter().fold(false, |changed, &outcome| changed | board.report(&check, outcome, now))
}

fn up(board: &mut Board, host: u8) -> bool {
    hear(board, host, &[Outcome::Ok; 2], at(0))
}

fn down(board: &mut Board, host: u8, now: Nanos) -> bool {
    hear(board, host, &[Outcome::Timeout; 3], now)
}

/// The states of all servers, `A`, `D`(raining) or `-`.
fn states(board: &Board, config: &Config) -> String {
    let states = config.vips.iter().flat_map(|vip| vip.servers.iter().map(|server| board.state(vip, server)));
    states
        .map(|state| match state {
            ServerState::Active => 'A',
            ServerState::Draining => 'D',
            ServerState::Down => '-',
        })
        .collect()
}

fn unhealthy(status: &HealthStatus) -> bool {
    status.vips[0].1
}

#[test]
fn failing_server_is_down_until_it_has_risen() {
    let config = config(&short(11..14), "");
    let mut board = board(&config);
    assert_eq!(states(&board, &config), "AAA", "nobody is cut off at the start");
    for host in 11..14 {
        assert!(!up(&mut board, host), "the states stay as they were");
    }
    assert!(!hear(&mut board, 12, &[Outcome::Refused; 2], at(1000)));
    assert!(hear(&mut board, 12, &[Outcome::Refused], at(2000)));
    assert_eq!(states(&board, &config), "A-A");
    assert!(!hear(&mut board, 12, &[Outcome::Ok, Outcome::Timeout, Outcome::Ok], at(5000)));
    assert!(hear(&mut board, 12, &[Outcome::Ok], at(6000)));
    assert_eq!(states(&board, &config), "AAA");
    let server = &board.status().servers[1];
    assert_eq!((server.vip.as_str(), server.server.as_str()), ("web", "192.0.2.12"));
    assert_eq!(server.checks, [5, 3, 1, 0, 0], "ok, refused, timeout");
    assert_eq!(server.transitions, [1, 1, 0, 0], "up, down");
}

#[test]
fn tables_leave_out_what_the_checks_say_is_down() {
    let config = config(&short(11..13), "");
    let mut board = board(&config);
    up(&mut board, 11);
    hear(&mut board, 12, &[Outcome::Error], at(0));
    let spec = spec::from_config(&config, &[Mac([2, 0, 0, 0, 0, 1])], &board);
    let tables = Builder::default().build(&spec, &Neighbors::default()).unwrap();
    let states: HashMap<_, _> =
        tables.servers.iter().flatten().map(|server| (server.address.to_string(), server.state)).collect();
    assert_eq!((states["192.0.2.11"], states["192.0.2.12"]), (ServerState::Active, ServerState::Down));
}

#[test]
fn configured_draining_and_down_win_over_health() {
    let server = |host: u8, state: &str| {
        format!("[[vip.server]]\naddress = \"192.0.2.{host}\"\nstate = \"{state}\"\n")
    };
    let config = config(&[server(11, "active"), server(12, "draining"), server(13, "down")].concat(), "");
    let mut board = board(&config);
    for host in 11..14 {
        up(&mut board, host);
    }
    assert_eq!(states(&board, &config), "AD-");
    assert!(down(&mut board, 12, at(1000)), "known, for when it is active again");
    assert_eq!(states(&board, &config), "AD-");
    assert!(!unhealthy(&board.status()));
    // Servers that take no new flows by configuration are no last good set.
    down(&mut board, 11, at(2000));
    assert_eq!(states(&board, &config), "AD-");
    assert!(unhealthy(&board.status()));
}

#[test]
fn when_all_are_down_the_last_good_ones_stay() {
    let config = config(&short(11..15), "");
    let mut board = board(&config);
    for host in 11..15 {
        up(&mut board, host);
    }
    down(&mut board, 11, at(10_000));
    assert_eq!(states(&board, &config), "-AAA");
    // The management network fails: all others fall within one round of checks.
    down(&mut board, 12, at(60_000));
    down(&mut board, 13, at(60_700));
    assert!(!unhealthy(&board.status()));
    assert!(down(&mut board, 14, at(61_100)));
    assert_eq!(states(&board, &config), "-AAA", "the one that fell long before was not good");
    assert!(unhealthy(&board.status()));
    // Even a reload in this state changes nothing.
    board.configure(&config);
    assert_eq!(states(&board, &config), "-AAA");
    assert!(unhealthy(&board.status()));
    // As soon as one is well again, the checks decide.
    assert!(up(&mut board, 13));
    assert_eq!(states(&board, &config), "--A-");
    assert!(!unhealthy(&board.status()));
}

#[test]
fn when_nobody_was_ever_good_all_serve() {
    let config = config(&short(11..14), "");
    let mut board = board(&config);
    for host in 11..14 {
        hear(&mut board, host, &[Outcome::Timeout], at(u64::from(host) * 100_000));
    }
    assert_eq!(states(&board, &config), "AAA");
    assert!(unhealthy(&board.status()));
}

#[test]
fn reload_keeps_the_health_of_servers_that_stay() {
    let before = config(&short(11..14), "");
    let mut board = board(&before);
    for host in 11..14 {
        up(&mut board, host);
    }
    down(&mut board, 12, at(1000));
    let after = config(&short(12..15), "fall = 5\ninterval = \"2s\"");
    board.configure(&after);
    assert_eq!(states(&board, &after), "-AA");
    assert_eq!(board.status().servers[0].transitions, [0, 1, 0, 0], "counts go on");
    assert_eq!(board.checks().len(), 3);
    assert!(board.checks().iter().all(|check| check.interval == Duration::from_secs(2)));
    // A result of the old check that was under way is nobody's.
    let old = Check { interval: Duration::from_secs(1), ..check(&board, 12).as_ref().clone() };
    assert!(!board.report(&Arc::new(old), Outcome::Ok, at(2000)));
    assert_eq!(board.status().servers[0].checks[Outcome::Ok.index()], 2);
}

#[test]
fn server_that_is_no_longer_checked_is_not_down_for_ever() {
    let checked = config(&short(11..14), "");
    let mut board = board(&checked);
    for host in 11..14 {
        up(&mut board, host);
    }
    down(&mut board, 12, at(1000));
    let unchecked = config(&short(11..14), "kind = \"none\"");
    board.configure(&unchecked);
    assert_eq!(states(&board, &unchecked), "AAA");
    assert!(board.checks().is_empty());
}

#[test]
fn vips_with_the_same_server_share_its_check() {
    let vip = |port: u16| {
        format!(
            "[[vip]]\naddress = \"203.0.113.10\"\nport = {port}\nservers = [\"192.0.2.11\", \"192.0.2.12\"]\n\
             [vip.health]\nport = 80\n"
        )
    };
    let text = format!("{HEAD}{}{}", vip(80), vip(443));
    let config = Config::parse(&text, "weir.toml").unwrap().config;
    let mut board = board(&config);
    assert_eq!(board.checks().len(), 2);
    hear(&mut board, 12, &[Outcome::Refused], at(0));
    assert_eq!(states(&board, &config), "A-A-");
}

/// What the workers have counted for servers 11, 12, …: new flows and established ones.
fn counted(config: &Config, counts: &[(u64, u64)]) -> Vec<(ServerKey, Counts)> {
    let spec = spec::from_config(config, &[Mac([2, 0, 0, 0, 0, 1])], &Board::default());
    let mut builder = Builder::default();
    builder.build(&spec, &Neighbors::default()).unwrap();
    let place = |key: &ServerKey| {
        config.vips[0].servers.iter().position(|server| server.address == key.address).unwrap()
    };
    let count = |id: u32, key: &ServerKey| {
        let (created, established) = counts[place(key)];
        Counts { id, created, established }
    };
    builder.servers().map(|(id, key)| (*key, count(id.0, key))).collect()
}

const WINDOW: u64 = passive::WINDOW.as_millis() as u64;

#[test]
fn server_that_answers_no_syn_takes_no_new_flows_for_a_while() {
    let config = config(&short(11..14), "kind = \"none\"");
    let mut board = board(&config);
    let mut now = 0;
    let mut window = |board: &mut Board, counts: &[(u64, u64)]| {
        let changed = board.tick(at(now), || counted(&config, counts));
        now += WINDOW;
        changed
    };
    assert!(!window(&mut board, &[(0, 0); 3]), "begins the first window");
    assert!(!window(&mut board, &[(5000, 5000), (5000, 0), (5000, 5000)]), "counts from before do not count");
    assert!(!window(&mut board, &[(5100, 5100), (5100, 80), (5100, 5100)]));
    assert!(window(&mut board, &[(5200, 5199), (5200, 80), (5200, 5199)]));
    assert_eq!(states(&board, &config), "ADA", "its established flows stay");
    assert!(board.status().servers[1].ejected);
    // Another one has to stay: a third of three is one.
    assert!(!window(&mut board, &[(5300, 5300), (5200, 80), (5300, 5199)]));
    assert_eq!(states(&board, &config), "ADA");
    // After 30 seconds it may try again, and then for twice as long.
    for _ in 0..4 {
        assert!(!window(&mut board, &[(5300, 5300), (5200, 80), (5300, 5300)]));
    }
    assert!(window(&mut board, &[(5300, 5300), (5200, 80), (5300, 5300)]));
    assert_eq!(states(&board, &config), "AAA");
    assert!(window(&mut board, &[(5400, 5400), (5300, 80), (5400, 5400)]));
    assert_eq!(states(&board, &config), "ADA");
    assert_eq!(board.status().servers[1].transitions, [0, 0, 2, 1], "ejected, readmitted");
}

#[test]
fn passive_checks_can_be_turned_off() {
    let config = config(&short(11..14), "passive = false");
    let mut board = board(&config);
    for window in 0..4 {
        let counts = [(window * 100, window * 100), (window * 100, 0), (window * 100, window * 100)];
        assert!(!board.tick(at(window * WINDOW), || counted(&config, &counts)));
    }
}

#[test]
fn ejected_server_serves_when_it_is_the_only_one_left() {
    let config = config(&short(11..14), "");
    let mut board = board(&config);
    for host in 11..14 {
        up(&mut board, host);
    }
    for window in 0..3 {
        let counts = [(window * 100, 0), (window * 100, window * 100), (window * 100, window * 100)];
        board.tick(at(window * WINDOW), || counted(&config, &counts));
    }
    assert_eq!(states(&board, &config), "DAA");
    down(&mut board, 12, at(20_000));
    assert_eq!(states(&board, &config), "D-A");
    down(&mut board, 13, at(20_100));
    assert_eq!(states(&board, &config), "A--");
    assert!(!unhealthy(&board.status()), "its checks pass");
}

proptest::proptest! {
    /// Whatever happens, a VIP with servers that the configuration lets serve has one that takes new flows.
    #[test]
    fn somebody_always_serves(
        events in proptest::collection::vec((11u8..16, proptest::bool::ANY, 0u64..3000), 1..120),
    ) {
        let config = config(&short(11..16), "rise = 2\nfall = 2");
        let mut board = board(&config);
        let mut now = 0;
        for (host, good, pause) in events {
            now += pause;
            let before = states(&board, &config);
            let outcome = if good { Outcome::Ok } else { Outcome::Error };
            let changed = hear(&mut board, host, &[outcome], at(now));
            let after = states(&board, &config);
            proptest::prop_assert_eq!(changed, before != after);
            proptest::prop_assert!(after.contains('A'), "{}", after);
        }
    }
}
