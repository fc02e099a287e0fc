//! What a flow costs, if flows go on coming.

/// No server is taken to be loaded more than this, or less than that.
const LOADS: [f64; 2] = [0.05, 0.95];

/// By how much a further flow on a server adds to the time that all flows spend there, now and later, in units of mean work.
///
/// For memoryless work that cores share, and a Poisson stream with rate λ of its own: the difference of the relative values of n + 1 and
/// n flows, D(n), which solves
///
/// ```text
/// n + λ D(n) − min(n, c) s D(n − 1) = E[N]
/// ```
///
/// Whoever gives each flow to the server with the smallest D improves on any static split by one step of policy iteration, and is close to
/// the best: Krishnan, "Joining the right queue: a Markov decision-rule", 1987. For one core it is (n + 1) / (s − λ).
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// D(0), D(1), … while there are idle cores.
    first: Vec<f64>,
    /// How much a flow more costs from then on.
    slope: f64,
}

impl Price {
    /// Of a server with so many cores, each of which does `speed` of work in a unit of time, under this load (a share of what it can do).
    pub fn new(cores: f64, speed: f64, load: f64) -> Self {
        let load = load.clamp(LOADS[0], LOADS[1]);
        let cores = cores.max(1.0).round();
        let (rate, slope) = (load * cores * speed, 1.0 / (cores * speed * (1.0 - load)));
        let mean = mean_flows(cores, load * cores);
        let mut first = vec![mean / rate];
        for n in 1..cores as usize {
            let flows = n as f64;
            first.push((mean - flows + flows * speed * first[n - 1]) / rate);
        }
        Self { first, slope }
    }

    /// On top of so many flows.
    pub fn at(&self, flows: usize) -> f64 {
        let last = self.first.len() - 1;
        self.first[flows.min(last)] + self.slope * flows.saturating_sub(last) as f64
    }
}

/// Flows on the mean at so many cores, by Erlang's formula for waiting; `offered` is how many cores they keep busy.
fn mean_flows(cores: f64, offered: f64) -> f64 {
    let loss = (1..=cores as usize).fold(1.0, |loss, n| offered * loss / (n as f64 + offered * loss));
    let wait = cores * loss / (cores - offered * (1.0 - loss));
    offered + wait * offered / (cores - offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_costs_flows_over_what_is_left_of_it() {
        let price = Price::new(1.0, 2.0, 0.75);
        for flows in 0..20 {
            assert!((price.at(flows) - (flows as f64 + 1.0) / 0.5).abs() < 1e-9);
        }
    }

    /// Values by iteration of the chain of a server with so few flows that the end does not matter.
    #[test]
    fn prices_are_differences_of_relative_values() {
        let (cores, speed, load) = (4.0, 0.5, 0.8);
        let rate = cores * speed * load;
        let step = 1.0 / (rate + cores * speed);
        let mut values = vec![0.0_f64; 200];
        for _ in 0..60_000 {
            let next = |n: usize| {
                let served = (n as f64).min(cores) * speed;
                let up = values[(n + 1).min(199)];
                let down = values[n.saturating_sub(1)];
                let stay = values[n];
                step * (n as f64 + rate * up + served * down + (cores * speed - served) * stay)
            };
            let all: Vec<f64> = (0..200).map(next).collect();
            values = all.iter().map(|value| value - all[0]).collect();
        }
        let price = Price::new(cores, speed, load);
        for n in 0..20 {
            let known = values[n + 1] - values[n];
            assert!((price.at(n) - known).abs() < 1e-3 * known, "{n}: {} {known}", price.at(n));
        }
    }
}
