//! What holds for every network and model, and which models are refused.

use crate::random::{features, manifest, model};
use fastrand::Rng;
use policy::{
    agents::{Engine, Expected, Kind, Manifest, Model, ModelError, Network, Shape},
    features::{Features, Schema},
};
use proptest::prelude::*;

const KINDS: [Kind; 3] = [Kind::SacGru, Kind::SacGruDiscrete, Kind::Qmix];

fn run(network: &mut Network, shape: Shape, steps: &[Features]) -> (Vec<f32>, Vec<f32>) {
    let servers = steps[0].active.len();
    let mut hidden = vec![0.0; servers * shape.hidden];
    let mut head = vec![0.0; servers * shape.outputs];
    for features in steps {
        network.step(features, &mut hidden, &mut head).unwrap();
    }
    (head, hidden)
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-5)
}

/// Rows of a table in another order.
fn permuted<T: Clone>(rows: &[T], order: &[usize], width: usize) -> Vec<T> {
    order.iter().flat_map(|&row| rows[row * width..][..width].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_engines_say_the_same(
        (kind, schema, hidden) in (0..3_usize, 0..Schema::ALL.len(), 1..40_usize),
        (servers, steps, seed) in (1..40_usize, 1..6_usize, any::<u64>()),
    ) {
        let mut rng = Rng::with_seed(seed);
        let manifest = manifest(KINDS[kind], Schema::ALL[schema], hidden);
        let shape = manifest.shape();
        let model = model(manifest, &mut rng);
        let steps: Vec<_> = (0..steps).map(|_| features(shape, servers, &mut rng)).collect();
        let by_hand = run(&mut Network::new(&model, Engine::Fused).unwrap(), shape, &steps);
        let on_candle = run(&mut Network::new(&model, Engine::Candle).unwrap(), shape, &steps);
        prop_assert!(close(&by_hand.0, &on_candle.0), "head {:?} {:?}", by_hand.0, on_candle.0);
        prop_assert!(close(&by_hand.1, &on_candle.1), "hidden {:?} {:?}", by_hand.1, on_candle.1);
    }

    #[test]
    fn to_permute_servers_is_to_permute_what_comes_out(servers in 1..40_usize, steps in 1..4_usize, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let manifest = manifest(Kind::Qmix, Schema::Grouped18, 16);
        let shape = manifest.shape();
        let model = model(manifest, &mut rng);
        let mut order: Vec<usize> = (0..servers).collect();
        rng.shuffle(&mut order);
        let steps: Vec<_> = (0..steps).map(|_| features(shape, servers, &mut rng)).collect();
        let others: Vec<_> = steps
            .iter()
            .map(|step| Features {
                servers: permuted(&step.servers, &order, shape.server_features),
                context: step.context.clone(),
                active: permuted(&step.active, &order, 1),
            })
            .collect();
        for engine in [Engine::Fused, Engine::Candle] {
            let (head, hidden) = run(&mut Network::new(&model, engine).unwrap(), shape, &steps);
            let (other_head, other_hidden) = run(&mut Network::new(&model, engine).unwrap(), shape, &others);
            prop_assert!(close(&permuted(&head, &order, shape.outputs), &other_head));
            prop_assert!(close(&permuted(&hidden, &order, shape.hidden), &other_hidden));
        }
    }

    #[test]
    fn servers_that_are_not_active_change_nothing(servers in 2..20_usize, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let manifest = manifest(Kind::SacGru, Schema::Flat74, 12);
        let shape = manifest.shape();
        let model = model(manifest, &mut rng);
        let mut step = features(shape, servers, &mut rng);
        let away = rng.usize(..servers);
        step.active[away] = false;
        let mut other = step.clone();
        for value in &mut other.servers[away * shape.server_features..][..shape.server_features] {
            *value = rng.f32() * 100.0;
        }
        for engine in [Engine::Fused, Engine::Candle] {
            let mut network = Network::new(&model, engine).unwrap();
            let said = run(&mut network, shape, &[step.clone(), step.clone()]);
            prop_assert_eq!(&said, &run(&mut network, shape, &[other.clone(), other.clone()]));
            prop_assert!(said.0[away * shape.outputs..][..shape.outputs].iter().all(|&value| value == 0.0));
            prop_assert!(said.1[away * shape.hidden..][..shape.hidden].iter().all(|&value| value == 0.0));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 0..4000_usize, (at, bit) in (0..4000_usize, 0..8)) {
        let expected = Expected { policy: "qmix", schema: Schema::Grouped18 };
        prop_assert!(Model::from_bytes(&bytes, &expected).is_err());
        let mut whole = small(Kind::Qmix).to_bytes().unwrap();
        prop_assert!(Model::from_bytes(&whole[..cut.min(whole.len() - 1)], &expected).is_err());
        let at = at % whole.len();
        whole[at] ^= 1_u8 << bit;
        let _ = Model::from_bytes(&whole, &expected);
    }
}

fn small(kind: Kind) -> Model {
    model(manifest(kind, Schema::Grouped18, 4), &mut Rng::with_seed(5))
}

#[test]
fn servers_without_number_are_no_problem() {
    for engine in [Engine::Fused, Engine::Candle] {
        let model = small(Kind::Qmix);
        let nobody = Features { servers: vec![], context: vec![1.0, 2.0], active: vec![] };
        let said = run(&mut Network::new(&model, engine).unwrap(), model.manifest().shape(), &[nobody]);
        assert_eq!(said, (vec![], vec![]));
    }
}

/// The file of a small model, with its header changed as text.
fn altered(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let bytes = small(Kind::Qmix).to_bytes().unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    let mut altered = (header.len() as u64).to_le_bytes().to_vec();
    altered.extend(header.as_bytes());
    altered.extend(&bytes[8 + length..]);
    altered
}

fn refused_as(bytes: &[u8], policy: &str, schema: Schema) -> String {
    let error = Model::from_bytes(bytes, &Expected { policy, schema }).unwrap_err();
    assert!(!error.remedy().is_empty());
    error.to_string()
}

fn replaced(from: &str, to: &str) -> String {
    let bytes = altered(|header| {
        assert!(header.contains(from), "{header}");
        header.replace(from, to)
    });
    refused_as(&bytes, "qmix", Schema::Grouped18)
}

#[test]
fn model_of_something_else_is_refused_by_name() {
    let whole = altered(|header| header);
    assert_eq!(
        refused_as(&whole, "sac-gru", Schema::Grouped18),
        "is of kind qmix; the configured policy is sac-gru"
    );
    assert_eq!(
        refused_as(&whole, "qmix", Schema::Flat74),
        "was trained on features grouped18 version 1 (4 for each server, 2 for the VIP); \
         this program has flat74 version 1 (4 for each server, 10 for the VIP)"
    );
    assert!(replaced(r#"\"version\":1"#, r#"\"version\":9"#).contains("features grouped18 version 9 (4"));
    assert_eq!(replaced(r#"\"format\":1"#, r#"\"format\":7"#), "has manifest format 7; this program has 1");
    assert_eq!(replaced("\"weir\"", "\"else\""), "has no manifest under \"weir\" in its metadata");
    let unknown = replaced(r#"{\"format\""#, r#"{\"colour\":\"red\",\"format\""#);
    assert!(unknown.starts_with("has a manifest that cannot be read: unknown field `colour`"), "{unknown}");
    let unknown = replaced(r#"\"qmix\""#, r#"\"dqn\""#);
    assert!(unknown.contains("unknown variant `dqn`"), "{unknown}");
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    assert_eq!(
        replaced("\"head.bias\"", "\"hat.bias\""),
        "has a tensor \"hat.bias\" that this network does not have"
    );
    assert_eq!(
        replaced(r#"\"hidden\":4"#, r#"\"hidden\":5"#),
        "has tensor \"encoder.server.weight\" of shape [4, 4]; by its manifest it should be [5, 4]"
    );
    let typed = altered(|header| {
        let (before, rest) = header.split_once("\"head.bias\":").unwrap();
        format!("{before}\"head.bias\":{}", rest.replacen("F32", "I32", 1))
    });
    assert_eq!(
        refused_as(&typed, "qmix", Schema::Grouped18),
        "has tensor \"head.bias\" of type I32; it has to be F32"
    );
    let file = small(Kind::Qmix).to_bytes().unwrap();
    let view = safetensors::SafeTensors::deserialize(&file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let fewer = view.iter().filter(|&(name, _)| name != "pool.bias").collect::<Vec<_>>();
    let fewer = safetensors::serialize(fewer, header.metadata().clone()).unwrap();
    assert_eq!(
        refused_as(&fewer, "qmix", Schema::Grouped18),
        "has no tensor \"pool.bias\", which should be [4]"
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    let whole = small(Kind::Qmix);
    let expected = Expected { policy: "qmix", schema: Schema::Grouped18 };
    let refused = |change: fn(&mut Manifest)| {
        let mut manifest = whole.manifest().clone();
        change(&mut manifest);
        Model::new(manifest, &expected, |(_, shape)| Ok(vec![0.0; shape.iter().product()]))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(|manifest| manifest.hidden = 0), "has hidden 0; it has to be 1 to 1024");
    assert_eq!(
        refused(|manifest| manifest.delta_max = f32::NAN),
        "has delta_max NaN; it has to be above 0 and at most 3"
    );
    assert_eq!(
        refused(|manifest| manifest.levels.clear()),
        "has count of levels 0; it has to be two or more"
    );
    assert_eq!(
        refused(|manifest| manifest.levels = vec![-0.5, 0.0, 0.75]),
        "has level 0.75; it has to be at most delta_max to either side"
    );
    assert_eq!(
        refused(|manifest| manifest.levels = vec![0.0, 0.0]),
        "has level 0; it has to be above the one before it"
    );
    assert_eq!(
        refused(|manifest| manifest.levels = vec![-0.5, 0.5]),
        "has count of zero levels 0; it has to be 1"
    );
}

#[test]
fn parameter_that_is_no_number_is_refused_by_name() {
    let whole = small(Kind::SacGru);
    let expected = Expected { policy: "sac-gru", schema: Schema::Grouped18 };
    let error = Model::new(whole.manifest().clone(), &expected, |(name, _)| {
        let mut values = whole.tensor(name).to_vec();
        if *name == "decoder.bias" {
            values[3] = f32::INFINITY;
        }
        Ok(values)
    })
    .unwrap_err();
    assert!(matches!(error, ModelError::NotFinite { name: "decoder.bias", index: 3, .. }), "{error}");
}
