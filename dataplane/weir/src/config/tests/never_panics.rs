//! No text whatever makes the reader panic, and whatever it accepts keeps its promises.

use proptest::prelude::*;

use super::super::*;
use super::repository;

/// Reads the text and checks what must hold whatever it is.
fn read_anything(text: &str) {
    match Config::parse(text, "any.toml") {
        Ok(Loaded { config, warnings }) => {
            assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
            assert_sound(&config);
        }
        Err(errors) => {
            assert!(
                errors.diagnostics.iter().any(|d| d.severity == Severity::Error),
                "refused for no reason"
            );
            let lines = text.split('\n').count();
            for diagnostic in &errors.diagnostics {
                let (line, column) = diagnostic.position.unwrap();
                let length = text.split('\n').nth(line - 1).unwrap().chars().count();
                assert!(line <= lines && (1..=length + 1).contains(&column), "{diagnostic}");
                assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
}

/// What the documentation of the types promises.
fn assert_sound(config: &Config) {
    assert!(!config.ports.is_empty());
    assert!(config.ports.iter().all(|p| !p.addresses.is_empty() && !p.device.is_empty()));
    for vip in &config.vips {
        assert!(!vip.servers.is_empty());
        assert!(vip.encap != Encap::L3dsr || vip.dscp.is_some());
        assert!(vip.protocol != Protocol::Any || vip.ports.first().is_none());
        for server in &vip.servers {
            assert!((0.0..=1000.0).contains(&server.weight));
            assert!(!config.is_own_address(server.address));
            match (vip.encap, server.address.is_ipv4()) {
                (Encap::Nat | Encap::L3dsr, v4) => assert_eq!(v4, vip.network.addr().is_ipv4()),
                (_, true) => assert!(config.tunnel.source_v4.is_some()),
                (_, false) => assert!(config.tunnel.source_v6.is_some()),
            }
        }
    }
    let names: std::collections::HashSet<_> = config.vips.iter().map(|v| &v.name).collect();
    assert_eq!(names.len(), config.vips.len());
}

fn full() -> String {
    std::fs::read_to_string(repository("configs/full.toml")).unwrap()
}

/// Pieces that configuration files are made of, right and wrong ones.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "[[port]]\n", "[port]\n", "[[vip]]\n", "[[vip.server]]\n", "[vip.health]\n", "[eal]\n", "[policy]\n", "[[", "]]",
    "[", "]", "{", "}", "=", ",", "\"", "'", "\"\"\"", "#", "\n", "\r\n", "\\", ".", " ", "\t", "\u{feff}", "é",
    "address", "device", "servers", "weight", "port", "tcp_idle", "lcores", "= [\"192.0.2.2/24\"]\n",
    "= \"203.0.113.1\"\n", "= \"net_tap0\"\n", "= 80\n", "= 1e308\n", "= nan\n", "= -0x10\n", "= \"300s\"\n",
    "= \"1-4\"\n", "= 1979-05-27\n", "= [\"192.0.2.11\"]\n", "= { a = 1 }\n", "= \"::1\"\n", "= true\n",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(PIECES).prop_map(String::from), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_string_is_answered(text in any::<String>()) {
        read_anything(&text);
    }

    #[test]
    fn any_heap_of_pieces_is_answered(pieces in prop::collection::vec(piece(), 0..60)) {
        read_anything(&pieces.concat());
    }

    #[test]
    fn the_full_file_with_something_cut_out_or_put_in_is_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20usize, piece()), 1..6),
    ) {
        let mut chars: Vec<char> = full().chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        read_anything(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn the_full_file_with_lines_moved_is_answered(
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..10),
    ) {
        let text = full();
        let mut lines: Vec<&str> = text.lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        read_anything(&lines.join("\n"));
    }
}

#[test]
fn every_beginning_of_the_full_file_is_answered() {
    let text = full();
    for (end, _) in text.char_indices() {
        read_anything(&text[..end]);
    }
}
