//! Models and features at random, for tests and benchmarks.

use fastrand::Rng;
use policy::{
    agents::{Expected, Kind, Manifest, Model, Shape},
    features::{Features, Normaliser, Schema},
};

pub fn manifest(kind: Kind, schema: Schema, hidden: usize) -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        kind,
        schema: schema.into(),
        hidden,
        levels: if kind == Kind::SacGru { vec![] } else { vec![-0.5, 0.0, 0.5] },
        delta_max: Manifest::DELTA_MAX,
        normaliser: Normaliser::identity(schema),
        seed: 1,
        revision: "test".into(),
    }
}

/// A model with random parameters of the size that activations neither vanish nor saturate at.
pub fn model(manifest: Manifest, rng: &mut Rng) -> Model {
    let schema = Schema::parse(&manifest.schema.name).unwrap();
    let expected = Expected { policy: manifest.kind.policy(), schema };
    Model::new(manifest, &expected, |(_, shape): &(_, Vec<usize>)| {
        let scale = 1.5 / (shape[shape.len() - 1].max(1) as f32).sqrt();
        Ok((0..shape.iter().product()).map(|_| (rng.f32() * 2.0 - 1.0) * scale).collect())
    })
    .unwrap()
}

pub fn features(shape: Shape, servers: usize, rng: &mut Rng) -> Features {
    let mut numbers = |count| (0..count).map(|_| rng.f32() * 4.0 - 2.0).collect();
    Features {
        servers: numbers(servers * shape.server_features),
        context: numbers(shape.context_features),
        active: (0..servers).map(|_| rng.u8(..10) > 0).collect(),
    }
}
