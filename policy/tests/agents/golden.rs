//! Networks against numbers of an independent implementation (tests/golden/recipe.py).

use std::path::{Path, PathBuf};

use policy::{
    agents::{Engine, Expected, Model, Network, correction},
    features::{Features, Schema},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Run {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    servers: Vec<f32>,
    context: Vec<f32>,
    active: Vec<bool>,
    head: Vec<f32>,
    hidden: Vec<f32>,
    correction: Vec<f32>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn model(kind: &str) -> Model {
    let policy = if kind == "qmix" { "qmix" } else { "sac-gru" };
    let expected = Expected { policy, schema: Schema::Grouped18 };
    Model::load(&golden(&format!("{kind}.safetensors")), &expected).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 2e-6, "{what}, {index}: {found} instead of {expected}");
    }
}

fn follow(kind: &str, engine: Engine) {
    let model = model(kind);
    let manifest = model.manifest();
    let shape = manifest.shape();
    let mut network = Network::new(&model, engine).unwrap();
    let text = std::fs::read_to_string(golden(&format!("{kind}.json"))).unwrap();
    let run: Run = serde_json::from_str(&text).unwrap();
    let servers = run.steps[0].active.len();
    let mut hidden = vec![0.0; servers * shape.hidden];
    let mut head = vec![0.0; servers * shape.outputs];
    for step in run.steps {
        let features = Features { servers: step.servers, context: step.context, active: step.active };
        network.step(&features, &mut hidden, &mut head).unwrap();
        assert_close(&head, &step.head, "head");
        assert_close(&hidden, &step.hidden, "hidden");
        let corrections: Vec<f32> = head
            .chunks(shape.outputs)
            .map(|head| correction(manifest.kind, head, &manifest.levels, manifest.delta_max))
            .collect();
        assert_close(&corrections, &step.correction, "correction");
    }
}

#[test]
fn sac_gru_says_what_the_recipe_says() {
    follow("sac-gru", Engine::Fused);
    follow("sac-gru", Engine::Candle);
}

#[test]
fn sac_gru_discrete_says_what_the_recipe_says() {
    follow("sac-gru-discrete", Engine::Fused);
    follow("sac-gru-discrete", Engine::Candle);
}

#[test]
fn qmix_says_what_the_recipe_says() {
    follow("qmix", Engine::Fused);
    follow("qmix", Engine::Candle);
}

#[test]
fn a_model_written_again_is_the_same() {
    for kind in ["sac-gru", "sac-gru-discrete", "qmix"] {
        let first = model(kind);
        let expected = Expected { policy: first.manifest().kind.policy(), schema: Schema::Grouped18 };
        let bytes = first.to_bytes().unwrap();
        let second = Model::from_bytes(&bytes, &expected).unwrap();
        assert_eq!((&second, second.to_bytes().unwrap()), (&first, bytes));
    }
}
