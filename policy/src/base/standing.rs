//! Flows that are counted and never end.

use super::window::sum;
use crate::state::{self, StateError};

/// Seconds over which the least count is sought, twice: in the time that goes on, and in the one before.
const SPAN: f64 = 20.0;

/// The least count of open flows lately.
///
/// Of a server that died, its balancer counts the flows until they are idle for long. Back in service, it would look
/// full all the time, complete little for that, and be taken for slow. A server that works has few flows now and then.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    seconds: f64,
    least: f64,
    before: f64,
}

impl Standing {
    /// Begins with none.
    pub const fn new(open: f64) -> Self {
        Self { seconds: 0.0, least: open, before: 0.0 }
    }

    /// How many of the open flows have stood for `SPAN` at least.
    pub const fn flows(&self) -> f64 {
        self.least.min(self.before)
    }

    /// Goes on by `seconds`, after which so many flows are open.
    pub const fn go_on(&mut self, seconds: f64, open: f64) {
        self.seconds += seconds;
        self.least = self.least.min(open);
        if self.seconds > SPAN {
            *self = Self { seconds: 0.0, least: open, before: self.least };
        }
    }

    /// Writes everything down.
    pub fn save(&self, state: &mut state::Writer) {
        [self.seconds, self.least, self.before].into_iter().for_each(|value| state.f64(value));
    }

    /// Takes over what [`Standing::save`] has written.
    pub fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { seconds: sum(state)?, least: sum(state)?, before: sum(state)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_that_stay_are_known_after_a_while_and_forgotten_when_they_go() {
        let mut standing = Standing::new(0.0);
        let found = |standing: &mut Standing, seconds: usize, open: f64| {
            (0..seconds).for_each(|second| standing.go_on(1.0, open + (second % 3) as f64));
            standing.flows()
        };
        assert_eq!(found(&mut standing, 20, 7.0), 0.0);
        assert_eq!(found(&mut standing, 45, 7.0), 7.0);
        assert_eq!(found(&mut standing, 1, 2.0), 2.0);
    }
}
