use ipc::region::{KindStatistics, ServerState, VipStatistics};
use proptest::prelude::*;

use super::*;

fn server(id: u32, open: u64, duration: f32) -> ServerStatistics {
    let mut server = ServerStatistics {
        configured_weight: f64::from(id + 1),
        weight: 1.0,
        open,
        created: 2 * open,
        finished_fin: open,
        ..ServerStatistics::new(id, ServerState::Active)
    };
    if duration > 0.0 {
        server.kinds[Kind::FlowDuration.index()] = KindStatistics {
            age: 1_000_000_000,
            count: 64,
            mean: duration,
            std: duration / 2.0,
            p50: duration,
            p90: 2.0 * duration,
            p99: 3.0 * duration,
            decayed_mean: duration,
            decayed_p90: 2.0 * duration,
        };
    }
    server
}

fn extractor(schema: Schema) -> Extractor {
    Extractor::new(schema, Normaliser::identity(schema).with_clip(1e6)).expect("they fit")
}

fn extract(extractor: &mut Extractor, t: u64, servers: &[ServerStatistics], base: &[f64]) -> Features {
    let (vip, mut out) =
        (VipStatistics { flow_rate: 500.0, created: 99, ..VipStatistics::new(0) }, Features::default());
    extractor.extract(
        &Observation { t, vip: &vip, servers },
        Own { base, corrections: &[0.5, -0.25], ..Own::default() },
        &mut out,
    );
    out
}

fn named(features: &Features, schema: Schema, row: usize, name: &str) -> f32 {
    let at = schema.server_names().iter().position(|&found| found == name).expect("a name");
    features.servers[row * schema.per_server() + at]
}

#[test]
fn schemas_have_the_published_sizes_and_names_of_their_own() {
    for (schema, name, per_server, context) in [
        (Schema::Native, "native", 40, 14),
        (Schema::Orig11, "orig11", 11, 0),
        (Schema::Orig6, "orig6", 6, 0),
        (Schema::Grouped18, "grouped18", 4, 2),
        (Schema::Flat74, "flat74", 4, 10),
    ] {
        assert_eq!((schema.per_server(), schema.context()), (per_server, context));
        assert_eq!(Schema::parse(name), Some(schema));
        for names in [schema.server_names(), schema.context_names()] {
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{name} twice");
            }
        }
        assert_eq!(schema.names().count(), per_server + context);
    }
    assert_eq!(Schema::parse("orig"), None);
}

#[test]
fn page_names_every_feature_in_order() {
    let page = include_str!("../../../../docs/design/features.md");
    for schema in Schema::ALL {
        let names: Vec<_> = schema.names().collect();
        let listed = page
            .split("\n## ")
            .find(|part| part.starts_with(&format!("`{}`", schema.name())))
            .unwrap_or_else(|| panic!("no part on {}", schema.name()));
        let rows: Vec<_> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(rows, names, "{}", schema.name());
    }
}

#[test]
fn fixed_schemas_have_eighteen_and_seventy_four_numbers() {
    let servers: Vec<_> = (0..20).map(|id| server(id, u64::from(id), 1e9)).collect();
    for count in [0, 1, 5, 16, 20] {
        let features = extract(&mut extractor(Schema::Flat74), 0, &servers[..count], &[]);
        let mut flat = Vec::new();
        features.append_flat(&mut flat);
        assert_eq!((flat.len(), features.active.len()), (74, 16));
        assert_eq!(features.active.iter().filter(|active| **active).count(), count.min(16));
        let features = extract(&mut extractor(Schema::Grouped18), 0, &servers[..count], &[]);
        for group in 0..4 {
            let mut own = Vec::new();
            features.append_group(group, 4, &mut own);
            assert_eq!(own.len(), 18);
            assert_eq!(own[..16], features.servers[16 * group..16 * (group + 1)]);
            assert_eq!(own[16..], features.context);
        }
    }
}

/// Features of servers with samples of these kinds only, each kind with other numbers.
fn features_of(extractor: &Extractor, kinds: Kinds) -> [Features; 2] {
    let servers = [0, 1].map(|id| {
        let mut server = server(id, 3, 1e9);
        let said = server.kinds[Kind::FlowDuration.index()];
        for kind in Kind::ALL {
            let mean = said.mean * (kind.index() as f32 + 1.0) * (id as f32 + 1.0);
            let full = KindStatistics { mean, decayed_mean: mean, ..said };
            server.kinds[kind.index()] = if kinds.contains(kind) { full } else { None.into() };
        }
        server
    });
    let mut extractor = extractor.clone();
    [0, 50_000_000].map(|t| extract(&mut extractor, t, &servers, &[0.5, 1.5]))
}

#[test]
fn features_depend_on_the_kinds_of_their_schema_and_on_no_others() {
    for schema in Schema::ALL {
        let extractor = extractor(schema);
        let features = |kinds| features_of(&extractor, kinds);
        for kind in Kind::ALL {
            let others = Kind::ALL.into_iter().filter(|&other| other != kind);
            let others = others.fold(Kinds::NONE, |all, other| all.and(Kinds::of(&[other])));
            // Beside all others, or alone: some stand in for others.
            let matters = features(Kinds::ALL) != features(others)
                || features(Kinds::of(&[kind])) != features(Kinds::NONE);
            assert_eq!(matters, schema.kinds().contains(kind), "{} {}", schema.name(), kind.name());
        }
        assert_eq!(features(Kinds::ALL), features(schema.kinds()), "{}", schema.name());
    }
}

#[test]
fn features_depend_on_the_kind_of_the_reward_too() {
    let objective = Objective { kind: Kind::FlowGap, ..Objective::default() };
    let extractor = extractor(Schema::Native).with_objective(objective);
    let all = features_of(&extractor, Kinds::ALL);
    assert_eq!(all, features_of(&extractor, extractor.kinds()));
    assert!(all != features_of(&extractor, Schema::Native.kinds()));
}

/// Two servers with 3 and 8 open flows: worked out by hand.
#[test]
fn published_features_are_as_published() {
    let servers = [server(0, 3, 2e9), server(1, 8, 0.0)];
    let six = extract(&mut extractor(Schema::Orig6), 0, &servers, &[]);
    assert_eq!(six.servers[..6], [3.0, 2.0, 4.0, 1.0, 2.0, 4.0]);
    assert_eq!(six.servers[6..7], [8.0]);
    assert!((six.servers[7] - 2.0).abs() < 1e-5, "no data is what the others have, not fast");
    let eleven = extract(&mut extractor(Schema::Orig11), 0, &servers, &[]);
    assert_eq!(eleven.servers[..11], [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 1.0, 2.0, 4.0]);
    let grouped = extract(&mut extractor(Schema::Grouped18), 0, &servers, &[]);
    assert_eq!(grouped.servers[..4], [0.03, 1.0, 0.02, 2.0]);
    assert_eq!(grouped.context, [0.011, 1.0]);
    let flat = extract(&mut extractor(Schema::Flat74), 0, &servers, &[1.0, 3.0]);
    let expected = [0.460_517, 0.5, 2.0, 49.0 / 50.0, 1.0, 0.005, 0.04, 0.03, 0.0, 1.0];
    for (found, expected) in flat.context.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{:?}", flat.context);
    }
}

#[test]
fn native_features_are_ratios_to_the_pool() {
    let schema = Schema::Native;
    let servers = [server(0, 3, 1e9), server(1, 7, 4e9)];
    let features = extract(&mut extractor(schema), 0, &servers, &[0.5, 1.5]);
    let of = |row, name| f64::from(named(&features, schema, row, name));
    for (name, expected) in [
        ("open", [(4.0_f64 / 6.0).ln(), (8.0_f64 / 6.0).ln()]),
        ("weight", [0.0, 0.0]),
        ("base", [0.5_f64.ln(), 1.5_f64.ln()]),
        ("configured_weight", [-(2.0_f64.ln()) / 2.0, 2.0_f64.ln() / 2.0]),
        ("load", [(8.0_f64 / (16.0 / 3.0)).ln() / 2.0, -(8.0_f64 / (16.0 / 3.0)).ln() / 2.0]),
        ("flow_duration_mean", [-(2.0_f64.ln()), 2.0_f64.ln()]),
        ("flow_duration_p90", [0.0, 4.0_f64.ln()]),
        ("flow_duration_std", [-(4.0_f64.ln()), 0.0]),
        ("flow_duration_count", [0.5, 0.5]),
        ("flow_duration_age", [2.0_f64.ln(), 2.0_f64.ln()]),
        ("flow_duration_present", [1.0, 1.0]),
        ("handshake_present", [0.0, 0.0]),
        ("correction", [0.5, -0.25]),
    ] {
        for row in [0, 1] {
            assert!((of(row, name) - expected[row]).abs() < 1e-5, "{name} {row} {}", of(row, name));
        }
    }
}

#[test]
fn change_shows_in_the_next_features() {
    let schema = Schema::Native;
    let mut extractor = extractor(schema);
    extract(&mut extractor, 0, &[server(0, 3, 1e9), server(1, 7, 1e9)], &[]);
    let after = [server(0, 7, 2e9), server(1, 7, 1e9)];
    let features = extract(&mut extractor, 50_000_000, &after, &[]);
    assert!((named(&features, schema, 0, "open_change") - 2.0_f32.ln()).abs() < 1e-6);
    assert!((named(&features, schema, 0, "flow_duration_change") - 2.0_f32.ln()).abs() < 1e-6);
    assert_eq!(named(&features, schema, 1, "open_change"), 0.0);
    // Four of four completions were the first one's, where the base gives it two: ln(5 / 3), and ln(1 / 3).
    assert!((named(&features, schema, 0, "finished") - (5.0_f32 / 3.0).ln()).abs() < 1e-6);
    assert!((named(&features, schema, 1, "finished") - (1.0_f32 / 3.0).ln()).abs() < 1e-6);
}

#[test]
fn restored_extractor_goes_on_to_the_bit() {
    for schema in Schema::ALL {
        let mut one = extractor(schema);
        let records =
            |step: u64| -> Vec<_> { (0..5).map(|id| server(id, step * u64::from(id + 3), 1e9)).collect() };
        for step in 0..5 {
            extract(&mut one, step * 50_000_000, &records(step), &[]);
        }
        let mut writer = state::Writer::default();
        one.save(&mut writer);
        let words = writer.into_words();
        let mut other = extractor(schema);
        let mut reader = state::Reader::new(&words);
        other.restore(&mut reader).unwrap();
        reader.end().unwrap();
        let next = extract(&mut one, 300_000_000, &records(9), &[]);
        assert_eq!(extract(&mut other, 300_000_000, &records(9), &[]), next);
        assert_eq!(other.restore(&mut state::Reader::new(&words[..7])), Err(StateError::Short));
        assert_eq!(other.servers, PerServer::default());
    }
}

/// A record that the region's check lets through.
fn record() -> impl Strategy<Value = ServerStatistics> {
    let float = || prop_oneof![Just(0.0_f32), 0.0..1e12_f32, Just(f32::MAX), Just(f32::MIN_POSITIVE)];
    let counter = || prop_oneof![0..1000_u64, any::<u64>()];
    let weight = || prop_oneof![Just(0.0), 0.0..1e9_f64, Just(1e9), Just(f64::MIN_POSITIVE)];
    let kind =
        (any::<u64>(), 0..=128_u32, prop::array::uniform7(float())).prop_map(|(age, count, values)| {
            let [mean, std, p50, p90, p99, decayed_mean, decayed_p90] = values;
            let some = KindStatistics { age, count, mean, std, p50, p90, p99, decayed_mean, decayed_p90 };
            if count > 0 { some } else { KindStatistics::from(None) }
        });
    (0..3_u32, prop::array::uniform2(weight()), prop::array::uniform7(counter()), prop::array::uniform7(kind))
        .prop_map(|(state, [configured_weight, weight], counters, kinds)| {
            let [open, created, finished_fin, finished_rst, finished_timeout, evicted, syn_retransmits] =
                counters;
            ServerStatistics {
                state,
                configured_weight,
                weight,
                open,
                created,
                finished_fin,
                finished_rst,
                finished_timeout,
                evicted,
                syn_retransmits,
                kinds,
                ..ServerStatistics::new(0, ServerState::Active)
            }
        })
}

fn numbered(mut servers: Vec<ServerStatistics>) -> Vec<ServerStatistics> {
    servers.iter_mut().enumerate().for_each(|(at, server)| server.server = at as u32);
    servers
}

fn assert_fit(schema: Schema, features: &Features, servers: &[ServerStatistics]) {
    assert!(features.servers.iter().chain(&features.context).all(|value| value.abs() <= 10.0));
    let rows = schema.rows().unwrap_or(servers.len());
    assert_eq!((features.active.len(), features.context.len()), (rows, schema.context()));
    assert_eq!(features.servers.len(), rows * schema.per_server());
    for (at, row) in features.servers.chunks_exact(schema.per_server()).enumerate() {
        let active = servers.get(at).is_some_and(Observation::is_active);
        assert_eq!(features.active[at], active);
        assert!(active || row.iter().all(|&value| value == 0.0));
    }
}

proptest! {
    #[test]
    fn features_of_any_frames_are_finite_and_rows_of_inactive_servers_zero(
        frames in prop::collection::vec((any::<u64>(), prop::collection::vec(record(), 0..20)), 1..4),
        rates in prop::array::uniform3(prop_oneof![Just(0.0), Just(f64::MAX), 0.0..1e9_f64]),
        base in prop::collection::vec(prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), 0.0..1e9_f64], 0..20),
        previous in prop::collection::vec(any::<f32>(), 0..20),
        grounds in prop::collection::vec((0.0..f64::MAX, 0.0..f64::MAX, 0.0..=1.0), 0..20),
    ) {
        let grounds: Vec<_> = grounds
            .into_iter()
            .map(|(completed, seconds, unbounded)| Grounds { completed, seconds, unbounded })
            .collect();
        for schema in Schema::ALL {
            let mut extractor = Extractor::new(schema, Normaliser::identity(schema)).unwrap();
            let mut out = Features::default();
            for (t, servers) in &frames {
                let servers = numbered(servers.clone());
                let [packet_rate, byte_rate, flow_rate] = rates;
                let vip = VipStatistics { packet_rate, byte_rate, flow_rate, created: *t, ..VipStatistics::new(0) };
                extractor.extract(&Observation { t: *t, vip: &vip, servers: &servers }, Own { base: &base, grounds: &grounds, corrections: &previous }, &mut out);
                assert_fit(schema, &out, &servers);
            }
        }
    }

    #[test]
    fn features_follow_servers_wherever_they_stand(
        frames in prop::collection::vec(prop::collection::vec(record(), 6), 2),
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let base = [0.3, 0.9, 1.2, 0.6, 2.0, 1.0];
        let previous = [0.1, -0.2, 0.3, -0.4, 0.5, -0.6];
        let grounds: [Grounds; 6] = std::array::from_fn(|at| Grounds {
            completed: 100.0 * at as f64,
            seconds: at as f64,
            unbounded: 0.1 * at as f64,
        });
        let vip = VipStatistics::new(0);
        for schema in [Schema::Native, Schema::Orig11, Schema::Orig6] {
            let (mut one, mut other) = (extractor(schema), extractor(schema));
            let (mut straight, mut shuffled) = (Features::default(), Features::default());
            for (step, servers) in frames.iter().enumerate() {
                let servers = numbered(servers.clone());
                let moved: Vec<_> = order.iter().map(|&at| servers[at]).collect();
                let t = step as u64 * 50_000_000;
                one.extract(&Observation { t, vip: &vip, servers: &servers }, Own { base: &base, grounds: &grounds, corrections: &previous }, &mut straight);
                let bases: Vec<_> = order.iter().map(|&at| base[at]).collect();
                let corrections: Vec<_> = order.iter().map(|&at| previous[at]).collect();
                let moved_grounds: Vec<_> = order.iter().map(|&at| grounds[at]).collect();
                other.extract(&Observation { t, vip: &vip, servers: &moved }, Own { base: &bases, grounds: &moved_grounds, corrections: &corrections }, &mut shuffled);
            }
            let width = schema.per_server();
            for (place, &at) in order.iter().enumerate() {
                let (found, expected) = (&shuffled.servers[place * width..][..width], &straight.servers[at * width..][..width]);
                for (found, expected) in found.iter().zip(expected) {
                    // Sums over servers are rounded in another order.
                    prop_assert!((found - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{} {}", found, expected);
                }
            }
        }
    }
}
