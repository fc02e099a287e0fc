//! Rules: policies that do not learn.
//!
//! One file each, with formula and source. They stand in while an agent cannot, are what agents are compared with, and
//! are policies in their own right. `docs/design/rules.md` compares them.

mod active_wcmp;
mod aquarius;
mod hlb;
mod rate;
mod static_weights;

pub use self::{active_wcmp::ActiveWcmp, aquarius::Aquarius, hlb::Hlb, rate::Rate, static_weights::Static};
use crate::Policy;

/// Names of all rules, as the configuration has them.
pub const NAMES: [&str; 6] = ["static", "active-wcmp", "aquarius", "hlb", "hlb-ada", "rate"];

/// A fresh rule of this name; `None` if there is none.
pub fn by_name(name: &str) -> Option<Box<dyn Policy>> {
    Some(match name {
        "static" => Box::new(Static),
        "active-wcmp" => Box::new(ActiveWcmp),
        "aquarius" => Box::new(Aquarius::default()),
        "hlb" => Box::new(Hlb::new()),
        "hlb-ada" => Box::new(Hlb::adaptive()),
        "rate" => Box::new(Rate::default()),
        _ => return None,
    })
}

/// The mean of what there is; `None` without any.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests;
