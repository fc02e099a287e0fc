//! What networks are computed in.

use candle_core::WithDType;

use super::super::fused::math;

/// Single precision, to learn and to act; double precision, to check gradients.
pub trait Number: WithDType {
    /// 1 / (1 + e^−x).
    fn sigmoid(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn sigmoid(self) -> Self {
        math::sigmoid(self)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        math::tanh(self)
    }
}

impl Number for f64 {
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }

    fn tanh(self) -> Self {
        Self::tanh(self)
    }
}
