//! Flows that are gone at once.

use super::window::{Frame, sum};
use crate::state::{self, StateError};

/// How many flows must have come to empty servers before half of what they say is believed.
const PRIOR: f64 = 20.0;
/// As many standard deviations of a Poisson count are taken for chance.
const DEVIATIONS: f64 = 4.0;

/// The share of flows that end in the frame that they begin in, whatever else the server does: files beside pages.
///
/// Their completions go with what was sent to a server, not with what it can do. What comes to an empty server shows how
/// many there are: all that ends there has begun there. It is a property of the clients, so all servers show the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Brief {
    /// Flows that came to empty servers.
    came: f64,
    /// Those that ended in the same frame.
    gone: f64,
    /// Those that would have, if none were brief.
    served: f64,
}

impl Brief {
    /// Lets what is remembered shrink to this share.
    pub fn forget(&mut self, keep: f64) {
        self.came *= keep;
        self.gone *= keep;
        self.served *= keep;
    }

    /// Takes in a frame of a server that completes at most `rate` flows a second while it has any.
    pub fn add(&mut self, frame: &Frame, rate: f64) {
        if frame.open[0] == 0.0 {
            self.came += frame.came;
            self.gone += frame.completed.min(frame.came);
            self.served += frame.came * served(rate * frame.seconds);
        }
    }

    /// How many of the flows that begin are brief, 0 to 1.
    pub fn share(&self) -> f64 {
        let chance = DEVIATIONS * self.gone.sqrt();
        (self.gone - self.served - chance).max(0.0) / ((self.came - self.served).max(0.0) + PRIOR)
    }

    /// Writes everything down.
    pub fn save(&self, state: &mut state::Writer) {
        [self.came, self.gone, self.served].into_iter().for_each(|value| state.f64(value));
    }

    /// Takes over what [`Brief::save`] has written.
    pub fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { came: sum(state)?, gone: sum(state)?, served: sum(state)? })
    }
}

/// How likely a flow that begins at any moment of a frame ends within it, if `ends` of those in service do in a whole frame.
fn served(ends: f64) -> f64 {
    if ends > 0.0 { 1.0 + (-ends).exp_m1() / ends } else { 0.0 }
}
