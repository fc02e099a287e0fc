//! A step of the policy allocates nothing once it has seen as many servers.

use allocation_counter::measure;
use ipc::region::{ServerState, ServerStatistics, StatisticsFrame, VipStatistics};
use policy::{
    Observation,
    base::RateEstimate,
    features::{Extractor, Features, Normaliser, Own, Schema},
    rules,
};

/// A frame of 64 servers at a step: flows come and complete, and samples are held.
fn frame(step: u64) -> StatisticsFrame {
    let mut frame = StatisticsFrame::default();
    frame.begin(step * 50_000_000, 1);
    let mut vip = frame.vip(VipStatistics { flow_rate: 1e4, ..VipStatistics::new(0) });
    for id in 0..64 {
        let mut server = ServerStatistics {
            configured_weight: 1.0,
            weight: 1.0,
            open: (step * 7 + u64::from(id)) % 13,
            finished_fin: step * u64::from(id + 1),
            ..ServerStatistics::new(id, ServerState::Active)
        };
        server.created = server.open + server.finished_fin + 20 * step;
        for kind in &mut server.kinds {
            (kind.count, kind.mean, kind.decayed_mean) = (100, 1e6 * (id + 1) as f32, 2e6);
        }
        vip.server(server);
    }
    frame
}

/// How often `work` allocates in the steps after three others.
fn allocations(mut work: impl FnMut(&Observation<'_>)) -> u64 {
    let mut count = 0;
    for step in 0..20 {
        let frame = frame(step);
        let observation = Observation::of(&frame).next().expect("a VIP");
        let step_allocations = measure(|| work(&observation)).count_total;
        count += if step < 3 { 0 } else { step_allocations };
    }
    count
}

#[test]
fn rules_allocate_nothing_after_the_first_steps() {
    for name in rules::NAMES {
        let (mut rule, mut proposal) = (rules::by_name(name).expect("a rule"), Vec::new());
        assert_eq!(allocations(|observation| rule.propose(observation, &mut proposal)), 0, "{name}");
    }
}

#[test]
fn features_allocate_nothing_after_the_first_steps() {
    for schema in Schema::ALL {
        let mut extractor = Extractor::new(schema, Normaliser::identity(schema)).expect("they fit");
        let (mut estimate, mut base, mut out) = (RateEstimate::default(), Vec::new(), Features::default());
        let count = allocations(|observation| {
            estimate.estimate(observation, &mut base);
            let own = Own { base: &base, corrections: &[0.1; 64], ..Own::default() };
            extractor.extract(observation, own, &mut out);
        });
        assert_eq!(count, 0, "{}", schema.name());
    }
}
