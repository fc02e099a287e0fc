//! Exponential and its kin in plain arithmetic, so that they give the same bits on every machine.
//!
//! Additions, multiplications and divisions are exact to the last bit by IEEE 754, and the compiler neither reorders nor fuses
//! them; the exponential of a system's library is neither.

/// ln 2 in two parts: the first is short enough that its product with any exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting it rounds to a whole number (to even), and its bits then show which.
const ROUND: f32 = 12_582_912.0;

/// e^x, within two units in the last place; x is held to −87 … 88, where the result is a normal number.
///
/// Of 0 it is exactly 1. Source of the coefficients: Cephes' `expf` (Moshier).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let exponent = shifted - ROUND;
    let rest = x - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series * rest + coefficient;
    }
    let mantissa = series * rest * rest + rest + 1.0;
    let scale = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(scale)
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, within 2·10⁻⁷. Of 0 it is exactly 0.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_double_precision() {
        for step in -870_000..=880_000_i32 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {}", exp(x));
            let exact = 1.0 / (1.0 + f64::from(-x).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 2e-7, "sigmoid({x})");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "tanh({x})");
        }
    }

    /// Computed apart, with the same operations on numpy's float32.
    #[test]
    fn bits_are_the_same_on_every_machine() {
        let bits = |values: [f32; 3]| values.map(f32::to_bits);
        assert_eq!(bits([exp(1.0), exp(-3.7), exp(50.3)]), [1_076_754_516, 1_019_906_302, 1_673_376_422]);
        assert_eq!(
            bits([tanh(0.3), tanh(-2.0), sigmoid(0.7)]),
            [1_049_962_220, 3_212_233_346, 1_059_786_330]
        );
    }

    #[test]
    fn ends_are_exact_and_nothing_hides_a_nan() {
        assert_eq!((exp(0.0), tanh(0.0), sigmoid(0.0)), (1.0, 0.0, 0.5));
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((sigmoid(f32::INFINITY), exp(f32::INFINITY).is_finite()), (1.0, true));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
