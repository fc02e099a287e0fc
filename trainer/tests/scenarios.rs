//! The scenarios that come with Weir.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path};

use trainer::{
    evaluate::{contender::Contender, run::run},
    scenario::Scenario,
    sim::setup::End,
};

#[test]
fn every_scenario_that_comes_with_weir_can_be_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/scenarios");
    let mut scenarios = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut scenario =
            Scenario::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        scenario.setup_mut().end = End::Flows(300);
        let contender: Contender = "rate".parse().unwrap();
        let outcome = run(&scenario, &contender, 1);
        let counted = 300 - (300.0 * scenario.setup().warmup) as u64;
        assert_eq!(outcome.flows, counted, "{}", path.display());
        assert!(outcome.mean.is_finite());
        scenarios += 1;
    }
    assert!(scenarios > 5);
}
