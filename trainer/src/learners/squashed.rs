//! Actions between −1 and 1: normal draws through a hyperbolic tangent.

use candle_core::{D, Result, Tensor};

/// The logarithm of a standard deviation is between these: LEAST + HALF_RANGE · (tanh + 1), as in CleanRL.
const LEAST: f64 = -5.0;
const HALF_RANGE: f64 = 3.5;

/// Actions and how likely they were.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Between −1 and 1, `[.., S]`.
    pub actions: Tensor,
    /// The logarithm of their density, `[.., S]`.
    pub log_density: Tensor,
}

/// Draws actions from what an actor says, `[.., S, 2]` (mean, and a number that stands for the log standard deviation), and
/// standard normal noise, `[.., S]`. Gradients flow through both results.
///
/// ```text
/// u = mean + σ ε     a = tanh(u)     log p(a) = log N(u; mean, σ) − 2 (ln 2 − u − softplus(−2u))
/// ```
///
/// The last term is log(1 − tanh²u), written so that it is exact for large u.
/// Source: Haarnoja and others, "Soft actor-critic algorithms and applications", 2018, appendix C.
pub fn draw(head: &Tensor, noise: &Tensor) -> Result<Drawn> {
    let mean = head.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?;
    let said = head.narrow(D::Minus1, 1, 1)?.squeeze(D::Minus1)?;
    let log_std = (((said.tanh()? + 1.0)? * HALF_RANGE)? + LEAST)?;
    let raw = (mean + (log_std.exp()? * noise)?)?;
    let normal = ((noise.sqr()? * -0.5)? - log_std)?;
    let normal = (normal - 0.5 * std::f64::consts::TAU.ln())?;
    let squashing = ((&raw + softplus(&(&raw * -2.0)?)?)? - std::f64::consts::LN_2)?;
    Ok(Drawn { actions: raw.tanh()?, log_density: (normal + (squashing * 2.0)?)? })
}

/// One action, drawn with the same law from what an actor says of a server.
///
/// # Panics
///
/// If that is not a mean and the number for the deviation.
pub fn draw_one(head: &[f32], noise: f32) -> f32 {
    let log_std = (f64::from(head[1]).tanh() + 1.0).mul_add(HALF_RANGE, LEAST);
    log_std.exp().mul_add(f64::from(noise), f64::from(head[0])).tanh() as f32
}

/// The action without chance, `[.., S]`: the tangent of the mean.
pub fn median(head: &Tensor) -> Result<Tensor> {
    head.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?.tanh()
}

/// ln(1 + e^x), as max(x, 0) + ln(1 + e^−|x|).
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: &[f64], shape: &[usize]) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    /// The density at an action, which the noise that leads there tells.
    #[test]
    fn density_integrates_to_one() {
        for (mean, said) in [(0.0, 0.3), (0.8, 0.0), (-1.5, 0.6), (0.3, -0.4)] {
            let std = (-5.0 + 3.5 * (f64::tanh(said) + 1.0)).exp();
            let cells = 20_000;
            let width = 2.0 / f64::from(cells);
            let actions: Vec<f64> = (0..cells).map(|cell| -1.0 + (f64::from(cell) + 0.5) * width).collect();
            let noise: Vec<f64> = actions.iter().map(|action| (action.atanh() - mean) / std).collect();
            let count = actions.len();
            let head = tensor(&[mean, said].repeat(count), &[count, 1, 2]);
            let drawn = draw(&head, &tensor(&noise, &[count, 1])).unwrap();
            let found: Vec<f64> = drawn.actions.flatten_all().unwrap().to_vec1().unwrap();
            assert!(found.iter().zip(&actions).all(|(found, action)| (found - action).abs() < 1e-9));
            let density: Vec<f64> = drawn.log_density.flatten_all().unwrap().to_vec1().unwrap();
            let integral = density.iter().map(|log| log.exp() * width).sum::<f64>();
            assert!((integral - 1.0).abs() < 2e-3, "{mean} {said}: {integral}");
        }
    }

    #[test]
    fn one_action_is_drawn_like_many() {
        for (mean, said, noise) in [(0.3_f32, 0.1_f32, 0.7_f32), (-2.0, -0.8, -1.1), (0.0, 0.9, 2.0)] {
            let heads = tensor(&[f64::from(mean), f64::from(said)], &[1, 2]);
            let drawn = draw(&heads, &tensor(&[f64::from(noise)], &[1])).unwrap();
            let many = drawn.actions.to_vec1::<f64>().unwrap()[0];
            assert!((f64::from(draw_one(&[mean, said], noise)) - many).abs() < 1e-6);
        }
    }

    #[test]
    fn far_ends_are_finite() {
        let head = tensor(&[40.0, 0.0, -40.0, 5.0, 0.0, -90.0], &[3, 1, 2]);
        let drawn = draw(&head, &tensor(&[1.0, -3.0, 0.0], &[3, 1])).unwrap();
        let density: Vec<f64> = drawn.log_density.flatten_all().unwrap().to_vec1().unwrap();
        assert!(density.iter().all(|log| log.is_finite()), "{density:?}");
    }
}
