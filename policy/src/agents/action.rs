//! From what a network says to a correction.

use super::{fused::math, manifest::Kind};

/// The correction δ that the numbers of one server stand for, without chance.
///
/// `sac-gru`: δ_max · tanh(mean), the median of what training draws from. Discrete heads: the level with the largest number;
/// among equals the one closest to 0, and of two that are equally close the lower. So zeros give exactly 0.
pub fn correction(kind: Kind, head: &[f32], levels: &[f32], delta_max: f32) -> f32 {
    match kind {
        Kind::SacGru => delta_max * math::tanh(head[0]),
        Kind::SacGruDiscrete | Kind::Qmix => best(head, levels),
    }
}

fn best(values: &[f32], levels: &[f32]) -> f32 {
    let mut best = (f32::NEG_INFINITY, f32::NAN);
    for (&value, &level) in values.iter().zip(levels) {
        if value > best.0 || (value == best.0 && level.abs() < best.1.abs()) {
            best = (value, level);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_correct_nothing() {
        for kind in [Kind::SacGru, Kind::SacGruDiscrete, Kind::Qmix] {
            assert_eq!(correction(kind, &[0.0; 3], &[-0.7, 0.0, 0.7], 0.7).to_bits(), 0);
        }
    }

    #[test]
    fn means_are_squashed_and_levels_chosen() {
        let levels = [-0.5, -0.25, 0.0, 0.25];
        assert_eq!(correction(Kind::SacGru, &[90.0, -1.0], &[], 0.7), 0.7);
        assert_eq!(correction(Kind::Qmix, &[3.0, 1.0, 2.0, -5.0], &levels, 0.7), -0.5);
        assert_eq!(correction(Kind::Qmix, &[0.0, 1.0, 0.5, 1.0], &levels, 0.7), -0.25);
        assert_eq!(correction(Kind::SacGruDiscrete, &[-2.0, -1.0, -3.0, -4.0], &levels, 0.7), -0.25);
        assert!(correction(Kind::Qmix, &[f32::NAN; 4], &levels, 0.7).is_nan());
    }
}
