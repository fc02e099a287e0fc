//! What the scenario asks of a balancer, be it weir or the reference.

use super::lab::SERVERS;

/// Integer weights of the servers, in their order.
pub type Weights = [u32; SERVERS];

/// A balancer under load.
pub trait Balancer {
    /// Changes the weights for new connections; in effect when this returns.
    fn set_weights(&mut self, weights: Weights);

    /// Offers a wrong configuration, which must change nothing.
    fn offer_wrong_config(&mut self) {}

    /// Checks the books once the load is over.
    fn audit(&mut self) {}

    /// Ends it; it must end well.
    fn stop(self);
}
