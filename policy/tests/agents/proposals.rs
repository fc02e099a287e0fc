//! Agents as policies: what they propose, remember and survive.

use crate::random::{manifest, model};
use fastrand::Rng;
use ipc::region::{ServerState, ServerStatistics, VipStatistics};
use policy::{
    Observation, Policy,
    agents::{Agent, Engine, Expected, Kind, Manifest, Model},
    base::RateEstimate,
    features::Schema,
    state::{Reader, Writer},
};
use proptest::prelude::*;

const KINDS: [Kind; 3] = [Kind::SacGru, Kind::SacGruDiscrete, Kind::Qmix];

/// A VIP whose counters grow at random.
struct World {
    rng: Rng,
    t: u64,
    vip: VipStatistics,
    servers: Vec<ServerStatistics>,
}

impl World {
    fn new(servers: u32, seed: u64) -> Self {
        let server = |id| ServerStatistics {
            configured_weight: f64::from(1 + id % 3),
            ..ServerStatistics::new(id, ServerState::Active)
        };
        let servers = (0..servers).map(server).collect();
        Self { rng: Rng::with_seed(seed), t: 0, vip: VipStatistics::new(1), servers }
    }

    fn go_on(&mut self) {
        self.t += 50_000_000;
        for server in &mut self.servers {
            let (begun, ended) = (self.rng.u64(..20), self.rng.u64(..20));
            server.created += begun;
            let ended = ended.min(server.open + begun);
            server.open = server.open + begun - ended;
            server.finished_fin += ended;
        }
    }

    fn observation(&self) -> Observation<'_> {
        Observation { t: self.t, vip: &self.vip, servers: &self.servers }
    }
}

fn agent(kind: Kind, seed: u64) -> Agent {
    let model = model(manifest(kind, Schema::Native, 12), &mut Rng::with_seed(seed));
    Agent::new(model, Engine::Fused).unwrap()
}

fn proposal(agent: &mut Agent, world: &World) -> Vec<f64> {
    let mut proposal = Vec::new();
    agent.propose(&world.observation(), &mut proposal);
    proposal
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The agent's model with its last layer at zero.
fn untrained(kind: Kind) -> Agent {
    let manifest = manifest(kind, Schema::Native, 12);
    let whole = model(manifest.clone(), &mut Rng::with_seed(3));
    let expected = Expected { policy: kind.policy(), schema: Schema::Native };
    let model = Model::new(manifest, &expected, |(name, _)| {
        let values = whole.tensor(name).to_vec();
        Ok(if name.starts_with("head.") { vec![0.0; values.len()] } else { values })
    });
    Agent::new(model.unwrap(), Engine::Fused).unwrap()
}

#[test]
fn last_layer_of_zeros_is_the_base_to_the_bit() {
    for kind in KINDS {
        let (mut world, mut agent, mut base) = (World::new(5, 1), untrained(kind), RateEstimate::default());
        for _ in 0..50 {
            world.go_on();
            let mut expected = Vec::new();
            base.estimate(&world.observation(), &mut expected);
            assert_eq!(bits(&proposal(&mut agent, &world)), bits(&expected));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn corrections_stay_within_their_bound(kind in 0..3_usize, servers in 1..30_u32, seed: u64) {
        let mut world = World::new(servers, seed);
        let (mut agent, mut base) = (agent(KINDS[kind], seed), RateEstimate::default());
        for _ in 0..10 {
            world.go_on();
            let down = world.rng.usize(..world.servers.len());
            world.servers[down].state ^= ServerState::Down as u32;
            let proposed = proposal(&mut agent, &world);
            let mut expected = Vec::new();
            base.estimate(&world.observation(), &mut expected);
            prop_assert_eq!(proposed.len(), expected.len());
            let bound = f64::from(Manifest::DELTA_MAX) + 1e-6;
            for (proposed, base) in proposed.iter().zip(expected) {
                prop_assert!((proposed / base).ln().abs() <= bound || (*proposed == 0.0 && base == 0.0));
            }
        }
    }

    #[test]
    fn replay_from_a_saved_state_gives_the_same_bits(kind in 0..3_usize, seed: u64, before in 0..10) {
        let (mut world, mut first) = (World::new(6, seed), agent(KINDS[kind], seed));
        for _ in 0..before {
            world.go_on();
            proposal(&mut first, &world);
        }
        let mut writer = Writer::default();
        first.save(&mut writer);
        let words = writer.into_words();
        let mut second = agent(KINDS[kind], seed);
        let mut reader = Reader::new(&words);
        second.restore(&mut reader).unwrap();
        reader.end().unwrap();
        for _ in 0..5 {
            world.go_on();
            prop_assert_eq!(bits(&proposal(&mut first, &world)), bits(&proposal(&mut second, &world)));
        }
        for cut in 0..words.len() {
            prop_assert!(second.restore(&mut Reader::new(&words[..cut])).is_err());
        }
        let (fresh, cut) = (proposal(&mut agent(KINDS[kind], seed), &world), proposal(&mut second, &world));
        prop_assert_eq!(bits(&fresh), bits(&cut), "after an error it is as after a reset");
    }
}

#[test]
fn corrections_that_are_tried_out_count_like_the_networks_own() {
    let mut world = World::new(3, 5);
    let mut tried = untrained(Kind::SacGru);
    let mut base = RateEstimate::default();
    let (mut proposal, mut rates) = (Vec::new(), Vec::new());
    for round in 0..10 {
        world.go_on();
        let observation = world.observation();
        tried.propose_by(&observation, &mut proposal, |manifest, at, head| {
            assert_eq!(head, [0.0; 2], "this network says nothing");
            manifest.delta_max * [0.5, -0.25, 0.0][at]
        });
        let correction = Manifest::DELTA_MAX;
        assert_eq!(tried.corrections(), [0.5, -0.25, 0.0].map(|share| share * correction));
        base.estimate(&observation, &mut rates);
        for ((weight, rate), share) in proposal.iter().zip(&rates).zip([0.5, -0.25, 0.0]) {
            let expected = rate * (f64::from(correction) * share).exp();
            assert!((weight - expected).abs() < 1e-6 * expected, "round {round}: {weight} {expected}");
        }
    }
    tried.propose_by(&world.observation(), &mut proposal, |_, _, _| f32::NAN);
    assert!(proposal.is_empty(), "what is no number costs the proposal");
}

#[test]
fn memory_starts_over_when_the_servers_change() {
    let (mut world, mut agent) = (World::new(4, 1), agent(Kind::SacGru, 1));
    for _ in 0..20 {
        world.go_on();
        proposal(&mut agent, &world);
    }
    let remembered = agent.memory().to_vec();
    world.servers.swap(0, 3);
    proposal(&mut agent, &world);
    let after = agent.memory().to_vec();
    assert_ne!(remembered, after);
    let mut other = agent;
    other.reset();
    assert!(other.memory().is_empty() && other.corrections().is_empty());
}

#[test]
fn numbers_out_of_range_cost_one_proposal() {
    let mut manifest = manifest(Kind::SacGru, Schema::Native, 12);
    manifest.delta_max = 1.0;
    let expected = Expected { policy: "sac-gru", schema: Schema::Native };
    let mut rng = Rng::with_seed(1);
    // Parameters so large that sums overflow as soon as a feature is not zero.
    let model = Model::new(manifest, &expected, |(_, shape)| {
        let count = shape.iter().product();
        Ok((0..count).map(|_| if rng.bool() { f32::MAX } else { -f32::MAX }).collect())
    });
    let mut agent = Agent::new(model.unwrap(), Engine::Fused).unwrap();
    let mut world = World::new(3, 1);
    for _ in 0..5 {
        world.go_on();
        let proposed = proposal(&mut agent, &world);
        assert!(proposed.is_empty(), "{proposed:?}");
        assert!(agent.memory().is_empty() && agent.corrections().is_empty());
    }
}

#[test]
fn a_proposal_allocates_nothing() {
    for kind in KINDS {
        let (mut world, mut agent, mut proposal) = (World::new(64, 1), agent(kind, 1), Vec::new());
        for step in 0..10 {
            world.go_on();
            let observation = world.observation();
            let info = allocation_counter::measure(|| agent.propose(&observation, &mut proposal));
            assert!(step == 0 || info.count_total == 0, "step {step}: {info:?}");
        }
    }
}
