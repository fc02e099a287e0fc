use ipc::{
    region::{KindStatistics, ServerState, ServerStatistics, VipStatistics},
    sample::Kind,
};
use proptest::prelude::*;

use super::*;
use crate::{Observation, state};

/// A server with its configured weight, open flows, and mean flow duration in seconds (0: no samples).
fn server(id: u32, weight: f64, open: u64, seconds: f32) -> ServerStatistics {
    let mut server = ServerStatistics {
        configured_weight: weight,
        open,
        created: open,
        ..ServerStatistics::new(id, ServerState::Active)
    };
    if seconds > 0.0 {
        let kind = &mut server.kinds[Kind::FlowDuration.index()];
        *kind = KindStatistics { count: 10, mean: seconds * 1e9, ..KindStatistics::from(None) };
    }
    server
}

fn propose(rule: &mut dyn Policy, t: u64, servers: &[ServerStatistics]) -> Vec<f64> {
    let (vip, mut proposal) = (VipStatistics::new(0), vec![f64::NAN; 3]);
    rule.propose(&Observation { t, vip: &vip, servers }, &mut proposal);
    assert_eq!(proposal.len(), servers.len());
    proposal
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (left, right) in found.iter().zip(expected) {
        assert!((left - right).abs() < 1e-6, "{found:?} instead of {expected:?}");
    }
}

fn rule(name: &str) -> Box<dyn Policy> {
    by_name(name).expect("a rule")
}

#[test]
fn rules_are_found_by_their_names() {
    for name in NAMES {
        assert_eq!(rule(name).name(), name);
    }
    assert!(by_name("sac-gru").is_none());
}

#[test]
fn static_is_what_is_configured() {
    let servers = [server(0, 3.0, 9, 2.0), server(1, 0.5, 0, 0.0)];
    assert_eq!(propose(&mut *rule("static"), 0, &servers), [3.0, 0.5]);
}

#[test]
fn active_wcmp_divides_by_what_is_open() {
    let servers = [server(0, 4.0, 3, 0.0), server(1, 2.0, 0, 0.0), server(2, 1.0, 4, 0.0)];
    assert_eq!(propose(&mut *rule("active-wcmp"), 0, &servers), [1.0, 2.0, 0.2]);
}

/// By hand: softmax(−1, −2) = 0.731059, 0.268941; then ½ of that and ½ of softmax(−3, −2).
#[test]
fn aquarius_is_a_blended_softmax_of_durations() {
    let mut rule = rule("aquarius");
    assert_near(
        &propose(&mut *rule, 0, &[server(0, 1.0, 0, 1.0), server(1, 9.0, 0, 2.0)]),
        &[0.731_058_6, 0.268_941_4],
    );
    let changed = [server(0, 1.0, 0, 3.0), server(1, 9.0, 0, 2.0)];
    assert_near(&propose(&mut *rule, 1, &changed), &[0.5, 0.5]);
}

#[test]
fn aquarius_does_not_take_a_server_without_samples_for_fast() {
    let servers = [server(0, 1.0, 0, 1.0), server(1, 1.0, 0, 0.0), server(2, 1.0, 0, 3.0)];
    let found = propose(&mut *rule("aquarius"), 0, &servers);
    assert_near(&[found[0] / found[1], found[1] / found[2]], &[1.0_f64.exp(), 1.0_f64.exp()]);
    let nothing = [server(0, 1.0, 0, 0.0), server(1, 5.0, 0, 0.0)];
    assert_eq!(propose(&mut *rule("aquarius"), 0, &nothing), [0.5, 0.5]);
}

/// By hand: z = (0.5, 1.5); variance 100.0001, gain 100.0001 / 100.1601 = 0.998402564; μ = 0.5, 1.498402564. Then z = (1, 1);
/// variance 0.15974441 + 0.0001, gain 0.15984441 / 0.31984441 = 0.49975683.
#[test]
fn hlb_is_a_kalman_filter_of_relative_durations() {
    let mut rule = rule("hlb");
    let first = propose(&mut *rule, 1, &[server(0, 1.0, 0, 1.0), server(1, 9.0, 0, 3.0)]);
    let ratio: f64 = 1.498_402_564 - 0.5;
    assert_near(&[(first[0] / first[1]).ln(), first[0] + first[1]], &[ratio, 1.0]);
    let second = propose(&mut *rule, 2, &[server(0, 1.0, 0, 2.0), server(1, 9.0, 0, 2.0)]);
    let means = [0.5 + 0.499_756_83 * 0.5, 1.498_402_564 - 0.499_756_83 * 0.498_402_564];
    assert_near(&[(second[0] / second[1]).ln()], &[means[1] - means[0]]);
}

/// By hand: Var z = 0.25, s = 0.99 · 0.16 + 0.01 · 0.25 + 0.0001 = 0.161, gain 100.0001 / 100.1611.
#[test]
fn adaptive_hlb_lets_the_noise_follow() {
    let found = propose(&mut *rule("hlb-ada"), 1, &[server(0, 1.0, 0, 1.0), server(1, 9.0, 0, 3.0)]);
    assert_near(&[(found[0] / found[1]).ln()], &[100.0001 / 100.1611]);
}

#[test]
fn hlb_takes_servers_without_samples_for_average_ones() {
    let mut rule = rule("hlb");
    assert_eq!(propose(&mut *rule, 0, &[server(0, 2.0, 0, 0.0), server(1, 1.0, 0, 0.0)]), [0.5, 0.5]);
    let servers = [server(0, 1.0, 0, 1.0), server(1, 1.0, 0, 0.0), server(2, 1.0, 0, 3.0)];
    let found = propose(&mut *rule, 1, &servers);
    assert!(found[0] > found[1] && found[1] > found[2], "{found:?}");
}

#[test]
fn hlb_does_not_measure_the_same_samples_twice() {
    let mut rule = rule("hlb");
    let mut servers = [server(0, 1.0, 0, 1.0), server(1, 1.0, 0, 3.0)];
    let first = propose(&mut *rule, 1_000, &servers);
    for step in 1..50 {
        for server in &mut servers {
            let kind = &mut server.kinds[Kind::FlowDuration.index()];
            (kind.age, kind.mean) = (step * 1_000, 2e9);
        }
        assert_eq!(propose(&mut *rule, 1_000 + step * 1_000, &servers), first);
    }
}

#[test]
fn rate_is_the_base_estimate() {
    let servers = [server(0, 3.0, 0, 0.0), server(1, 1.0, 0, 0.0)];
    assert_eq!(propose(&mut *rule("rate"), 0, &servers), [1.5, 0.5]);
}

/// Observations in which flows complete, durations change, and servers come, go and move.
fn scene(step: u64) -> Vec<ServerStatistics> {
    let mut servers: Vec<_> = (0..6)
        .filter(|id| !(step / 4 + u64::from(*id)).is_multiple_of(5))
        .map(|id| {
            let mut server =
                server(id, f64::from(id + 1), (step * 7 + u64::from(id) * 3) % 11, 0.1 + (step % 5) as f32);
            server.finished_fin = 40 * step * u64::from(id + 1);
            server.created = server.finished_fin + server.open;
            server
        })
        .collect();
    let at = step as usize % servers.len();
    servers.rotate_left(at);
    servers
}

#[test]
fn restored_rules_go_on_to_the_bit() {
    for name in NAMES {
        let mut one = rule(name);
        for step in 0..30 {
            propose(&mut *one, step * 50_000_000, &scene(step));
        }
        let mut writer = state::Writer::default();
        one.save(&mut writer);
        let words = writer.into_words();
        let mut other = rule(name);
        let mut reader = state::Reader::new(&words);
        other.restore(&mut reader).unwrap();
        reader.end().unwrap();
        for step in 30..60 {
            let (left, right) = [&mut one, &mut other]
                .map(|rule| propose(&mut **rule, step * 50_000_000, &scene(step)))
                .into();
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(left), bits(right), "{name}");
        }
    }
}

#[test]
fn rules_that_are_reset_or_cannot_be_restored_are_as_fresh_ones() {
    for name in NAMES {
        let mut one = rule(name);
        let fresh = format!("{one:?}");
        for step in 0..30 {
            propose(&mut *one, step * 50_000_000, &scene(step));
        }
        let mut writer = state::Writer::default();
        one.save(&mut writer);
        let words = writer.into_words();
        for cut in 0..words.len() {
            assert_eq!(one.restore(&mut state::Reader::new(&words[..cut])), Err(state::StateError::Short));
            assert_eq!(format!("{one:?}"), fresh, "{name}");
        }
        propose(&mut *one, 0, &scene(0));
        one.reset();
        assert_eq!(format!("{one:?}"), fresh, "{name}");
    }
}

#[test]
fn servers_that_come_begin_anew_and_others_keep_what_they_have() {
    for name in ["aquarius", "hlb", "rate"] {
        let mut rule = rule(name);
        let slow = |id| server(id, 1.0, 2, 2.0);
        let fast = |id| server(id, 1.0, 2, 0.5);
        for step in 1..40 {
            let mut servers = [slow(0), fast(1)];
            (servers[0].finished_fin, servers[1].finished_fin) = (5 * step, 20 * step);
            (servers[0].created, servers[1].created) = (5 * step, 20 * step);
            propose(&mut *rule, step * 50_000_000, &servers);
        }
        let mut servers = [fast(7), fast(1), slow(0)];
        servers[1].created = 800;
        servers[2].created = 800;
        (servers[1].finished_fin, servers[2].finished_fin) = (780, 195);
        let found = propose(&mut *rule, 2_000_000_000, &servers);
        assert!(found[1] > 1.2 * found[2], "{name}: {found:?}");
    }
}

fn any_server() -> impl Strategy<Value = ServerStatistics> {
    let seconds = prop_oneof![Just(0.0_f32), 1e-9..100.0_f32, Just(1e29)];
    let count = || prop_oneof![0..100_u64, any::<u64>()];
    (0..3_u32, prop_oneof![Just(0.0), 0.0..1e9_f64], count(), count(), seconds, count()).prop_map(
        |(state, weight, open, finished_fin, seconds, age)| {
            let mut server = ServerStatistics { state, finished_fin, ..server(0, weight, open, seconds) };
            if seconds > 0.0 {
                server.kinds[Kind::FlowDuration.index()].age = age;
            }
            server
        },
    )
}

proptest! {
    #[test]
    fn proposals_are_positive_for_active_servers_whatever_is_observed(
        frames in prop::collection::vec((0..2_000_000_000_u64, prop::collection::vec(any_server(), 0..8)), 1..10),
    ) {
        for name in NAMES {
            let mut rule = rule(name);
            let mut t = 0;
            for (dt, servers) in &frames {
                t += dt;
                let mut servers = servers.clone();
                servers.iter_mut().enumerate().for_each(|(at, server)| server.server = at as u32);
                for (weight, server) in propose(&mut *rule, t, &servers).into_iter().zip(&servers) {
                    prop_assert!(weight.is_finite() && weight >= 0.0, "{} {}", name, weight);
                    // A softmax of seconds may underflow; the guard lifts that to its minimum.
                    let positive = weight > 0.0 || name == "aquarius" || !Observation::is_active(server);
                    prop_assert!(positive, "{} {}", name, weight);
                }
            }
        }
    }
}
