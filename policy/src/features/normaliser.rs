//! Brings features to the scale that a model was trained with.

use serde::{Deserialize, Serialize};

use super::{Features, Schema};

/// A feature that hardly ever changed is not blown up more than by the inverse of this.
const LEAST_STD: f64 = 0.01;

/// A normaliser that is not one for a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NormaliserError {
    /// It has another number of features.
    #[error("the normaliser has {found} features of {of} where the schema has {expected}")]
    Width {
        /// `"servers"` or `"the context"`.
        of: &'static str,
        /// What it has.
        found: usize,
        /// What the schema has.
        expected: usize,
    },
    /// A moment or the limit is not a number, or a negative one.
    #[error("the normaliser's feature {feature} of {of} has a moment that makes no sense")]
    Moment {
        /// `"servers"`, `"the context"` or `"the limit"`.
        of: &'static str,
        /// Which one, from 0 on.
        feature: usize,
    },
}

/// Mean and standard deviation of each feature, and where they are cut.
///
/// A feature becomes (x − mean) / std, within `clip`. Until two values are known it stays as it is, within `clip`. Written as
/// JSON and read again, it is the same to the bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normaliser {
    clip: f32,
    servers: Running,
    context: Running,
}

impl Normaliser {
    /// No larger number leaves a normaliser, unless it is told otherwise.
    pub const CLIP: f32 = 10.0;

    /// Changes nothing but what is larger than [`Normaliser::CLIP`].
    pub fn identity(schema: Schema) -> Self {
        Self {
            clip: Self::CLIP,
            servers: Running::new(schema.per_server()),
            context: Running::new(schema.context()),
        }
    }

    /// The same, cut at another place.
    #[must_use]
    pub const fn with_clip(mut self, clip: f32) -> Self {
        self.clip = clip;
        self
    }

    /// Whether it is one for the schema: number of features, and moments that make sense.
    pub fn check(&self, schema: Schema) -> Result<(), NormaliserError> {
        if !(self.clip.is_finite() && self.clip > 0.0) {
            return Err(NormaliserError::Moment { of: "the limit", feature: 0 });
        }
        self.servers.check("servers", schema.per_server())?;
        self.context.check("the context", schema.context())
    }

    /// Learns from features as they are before they are normalised. Servers that are not active teach nothing.
    pub fn update(&mut self, features: &Features) {
        let width = self.servers.mean.len();
        for (row, _) in
            features.servers.chunks_exact(width).zip(&features.active).filter(|(_, active)| **active)
        {
            self.servers.update(row);
        }
        self.context.update(&features.context);
    }

    /// Takes over what another one of the same schema has learned, as if it had been learned here.
    pub fn merge(&mut self, other: &Self) {
        self.servers.merge(&other.servers);
        self.context.merge(&other.context);
    }

    /// Normalises features. Rows of servers that are not active stay zero.
    pub fn apply(&self, features: &mut Features) {
        let width = self.servers.mean.len();
        for (row, _) in
            features.servers.chunks_exact_mut(width).zip(&features.active).filter(|(_, active)| **active)
        {
            self.servers.apply(row, self.clip);
        }
        self.context.apply(&mut features.context, self.clip);
    }

    /// How many rows and contexts it has learned from.
    pub const fn seen(&self) -> [u64; 2] {
        [self.servers.count, self.context.count]
    }
}

/// Mean and variance of some numbers each, by Welford's update; merged by Chan, Golub and LeVeque's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    count: u64,
    mean: Vec<f64>,
    /// Sums of squared distances from the mean.
    squares: Vec<f64>,
}

impl Running {
    /// Has seen nothing of `width` numbers.
    pub fn new(width: usize) -> Self {
        Self { count: 0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Takes in one row.
    pub fn update(&mut self, row: &[f32]) {
        self.count += 1;
        for ((mean, squares), &value) in self.mean.iter_mut().zip(&mut self.squares).zip(row) {
            let before = f64::from(value) - *mean;
            *mean += before / self.count as f64;
            *squares += before * (f64::from(value) - *mean);
        }
    }

    /// Takes in all that the other one has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let total = here + there;
        for (((mean, squares), other_mean), other_squares) in
            self.mean.iter_mut().zip(&mut self.squares).zip(&other.mean).zip(&other.squares)
        {
            let distance = other_mean - *mean;
            *mean += distance * there / total;
            *squares += other_squares + distance * distance * here * there / total;
        }
        self.count += other.count;
    }

    /// Mean and standard deviation (divided by the count) of a number.
    pub fn moments(&self, index: usize) -> (f64, f64) {
        (self.mean[index], (self.squares[index] / self.count.max(1) as f64).sqrt())
    }

    fn apply(&self, row: &mut [f32], clip: f32) {
        for (index, value) in row.iter_mut().enumerate() {
            if self.count > 1 {
                let (mean, std) = self.moments(index);
                *value = ((f64::from(*value) - mean) / std.max(LEAST_STD)) as f32;
            }
            *value = value.clamp(-clip, clip);
        }
    }

    fn check(&self, of: &'static str, expected: usize) -> Result<(), NormaliserError> {
        for found in [self.mean.len(), self.squares.len()] {
            if found != expected {
                return Err(NormaliserError::Width { of, found, expected });
            }
        }
        let wrong = self
            .mean
            .iter()
            .zip(&self.squares)
            .position(|(mean, squares)| !(mean.is_finite() && squares.is_finite() && *squares >= 0.0));
        wrong.map_or(Ok(()), |feature| Err(NormaliserError::Moment { of, feature }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn features(rows: &[[f32; 6]]) -> Features {
        Features { servers: rows.concat(), context: vec![], active: vec![true; rows.len()] }
    }

    #[test]
    fn identity_changes_nothing_within_its_limit() {
        let mut given = features(&[[1.0, -9.5, 0.0, 3.0, 100.0, -100.0]]);
        Normaliser::identity(Schema::Orig6).apply(&mut given);
        assert_eq!(given.servers, [1.0, -9.5, 0.0, 3.0, 10.0, -10.0]);
    }

    #[test]
    fn features_get_mean_zero_and_deviation_one() {
        let mut normaliser = Normaliser::identity(Schema::Orig6).with_clip(5.0);
        let mut given = features(&[[1.0, 2.0, 0.0, 1e6, 4.0, 7.0], [3.0, 6.0, 0.0, -1e6, 4.0, 7.0]]);
        given.active = vec![true, true, false];
        given.servers.extend([0.0; 6]);
        normaliser.update(&given);
        assert_eq!(normaliser.seen(), [2, 1]);
        normaliser.apply(&mut given);
        let first = [-1.0, -1.0, 0.0, 1.0, 0.0, 0.0];
        assert_eq!(given.servers[..6], first);
        assert_eq!(given.servers[6..12], first.map(|value: f32| -value));
        assert_eq!(given.servers[12..], [0.0; 6], "rows of servers that are not active stay zero");
    }

    #[test]
    fn normaliser_of_another_schema_is_refused() {
        let normaliser = Normaliser::identity(Schema::Orig6);
        assert_eq!(normaliser.check(Schema::Orig6), Ok(()));
        assert_eq!(
            normaliser.check(Schema::Orig11),
            Err(NormaliserError::Width { of: "servers", found: 6, expected: 11 })
        );
        let mut broken = normaliser.clone();
        broken.servers.mean[2] = f64::NAN;
        assert_eq!(broken.check(Schema::Orig6), Err(NormaliserError::Moment { of: "servers", feature: 2 }));
        let limit = NormaliserError::Moment { of: "the limit", feature: 0 };
        assert_eq!(normaliser.with_clip(0.0).check(Schema::Orig6), Err(limit));
    }

    proptest! {
        #[test]
        fn json_keeps_every_bit(rows in prop::collection::vec(prop::array::uniform6(-1e6_f32..1e6), 0..20)) {
            let mut normaliser = Normaliser::identity(Schema::Orig6);
            normaliser.update(&features(&rows));
            let text = serde_json::to_string(&normaliser).unwrap();
            prop_assert_eq!(serde_json::from_str::<Normaliser>(&text).unwrap(), normaliser);
        }

        #[test]
        fn merged_ones_are_as_one_that_saw_everything(
            rows in prop::collection::vec(prop::array::uniform6(-100.0_f32..100.0), 2..40),
            at in 0_usize..40,
        ) {
            let at = at.min(rows.len());
            let (mut left, mut right) = (Running::new(6), Running::new(6));
            let mut whole = Running::new(6);
            rows[..at].iter().for_each(|row| left.update(row));
            rows[at..].iter().for_each(|row| right.update(row));
            rows.iter().for_each(|row| whole.update(row));
            left.merge(&right);
            for index in 0..6 {
                let ((mean, std), (whole_mean, whole_std)) = (left.moments(index), whole.moments(index));
                let plain = rows.iter().map(|row| f64::from(row[index])).sum::<f64>() / rows.len() as f64;
                prop_assert!((mean - whole_mean).abs() < 1e-9 && (mean - plain).abs() < 1e-9);
                prop_assert!((std - whole_std).abs() < 1e-9);
            }
        }
    }
}
