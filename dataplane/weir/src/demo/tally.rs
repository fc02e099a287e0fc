//! What the demo's world has seen, and what it amounts to.

use serde::Serialize;

/// Length of the windows that fairness is told of, in seconds.
const WINDOW: f32 = 1.0;

/// A connection that got its response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    /// When it was opened, in seconds since its part of the demo began.
    pub opened: f32,
    /// How long it took from its first SYN to the response, in seconds.
    pub seconds: f32,
}

impl Completion {
    /// When it was answered, in seconds since its part of the demo began.
    fn answered(self) -> f32 {
        self.opened + self.seconds
    }
}

/// What the world has seen of a server.
#[derive(Clone, Debug, Default)]
pub struct ServerTally {
    /// Connections that began here.
    pub connections: u64,
    /// Requests in service now.
    pub active: usize,
    /// Most requests that were in service at once.
    pub longest: usize,
    /// Connections that were answered.
    pub completions: Vec<Completion>,
}

/// What the world has seen in one part of the demo.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By server.
    pub servers: Vec<ServerTally>,
    /// Packets that reached another server than their connection's first one. Must stay zero.
    pub moved: u64,
    /// SYNs and requests sent again.
    pub retries: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that got their response.
    pub completed: u64,
}

/// How long connections took, and how alike the servers were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Connections that these are of.
    pub count: usize,
    /// Mean completion time in seconds, as all below.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// Jain's index of the servers' mean completion times, by windows of one second in which connections were opened;
    /// the mean of all windows. 1: all alike; 1/n: one of n takes all the time.
    pub jain: f64,
}

impl Figures {
    /// Of one server's connections that were answered at `since` or later. Without fairness.
    pub fn lately(server: &ServerTally, since: f32) -> Self {
        let late = server.completions.iter().filter(|completion| completion.answered() >= since);
        Self::of_times(late.map(|completion| completion.seconds).collect())
    }

    /// Of all servers' connections that were opened at `since` or later.
    pub fn of(tally: &Tally, since: f32) -> Self {
        let counted = |server: &ServerTally| -> Vec<Completion> {
            server.completions.iter().copied().filter(|completion| completion.opened >= since).collect()
        };
        let servers: Vec<Vec<Completion>> = tally.servers.iter().map(counted).collect();
        let times = servers.iter().flatten().map(|completion| completion.seconds).collect();
        Self { jain: fairness(&servers, since), ..Self::of_times(times) }
    }

    fn of_times(mut times: Vec<f32>) -> Self {
        times.sort_by(f32::total_cmp);
        Self {
            count: times.len(),
            mean: mean(times.iter().copied()),
            p50: quantile(&times, 0.5),
            p95: quantile(&times, 0.95),
            p99: quantile(&times, 0.99),
            jain: 0.0,
        }
    }
}

/// The mean over windows of Jain's index of the servers' means; windows in which a server has no connection are left out.
fn fairness(servers: &[Vec<Completion>], since: f32) -> f64 {
    let mut windows: Vec<Vec<(f64, u32)>> = Vec::new();
    for (server, completions) in servers.iter().enumerate() {
        for completion in completions {
            let window = ((completion.opened - since) / WINDOW) as usize;
            if windows.len() <= window {
                windows.resize(window + 1, vec![(0.0, 0); servers.len()]);
            }
            let (sum, count) = &mut windows[window][server];
            *sum += f64::from(completion.seconds);
            *count += 1;
        }
    }
    let whole = windows.iter().filter(|window| window.iter().all(|&(_, count)| count > 0));
    let indices = whole.map(|window| jain(window.iter().map(|&(sum, count)| sum / f64::from(count))));
    let indices: Vec<f64> = indices.collect();
    indices.iter().fold(0.0, |sum, index| sum + index) / indices.len().max(1) as f64
}

/// Jain's index of fairness, `(Σx)² / (n Σx²)`; 1 of nothing. Source: Jain, Chiu, Hawe, DEC-TR-301, 1984.
pub fn jain(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut count, mut sum, mut squares) = (0u32, 0.0, 0.0);
    for value in values {
        count += 1;
        sum += value;
        squares += value * value;
    }
    if squares > 0.0 { sum * sum / (f64::from(count) * squares) } else { 1.0 }
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let count = values.len().max(1) as f64;
    values.fold(0.0, |sum, value| sum + f64::from(value)) / count
}

/// The empirical quantile of ascending values; zero of nothing.
fn quantile(sorted: &[f32], q: f64) -> f64 {
    let at = (q * sorted.len() as f64) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |&value| f64::from(value))
}

/// How many standard deviations a count of a binomial share is off.
pub fn deviation(count: u64, total: u64, share: f64) -> f64 {
    let spread = (total as f64 * share * (1.0 - share)).sqrt();
    if spread == 0.0 { 0.0 } else { (count as f64 - total as f64 * share) / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(servers: &[&[(f32, f32)]]) -> Tally {
        let completion = |&(opened, seconds): &(f32, f32)| Completion { opened, seconds };
        let server = |times: &&[(f32, f32)]| ServerTally {
            completions: times.iter().map(completion).collect(),
            ..ServerTally::default()
        };
        Tally { servers: servers.iter().map(server).collect(), ..Tally::default() }
    }

    #[test]
    fn deviation_is_that_of_a_binomial_count() {
        assert_eq!(deviation(60, 100, 0.5), 2.0);
        assert_eq!(deviation(0, 0, 0.5), 0.0);
    }

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(&[], 0.99), 0.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.99), 3.0);
    }

    #[test]
    fn jain_is_one_for_equals_and_one_nth_for_one_of_n() {
        assert_eq!(jain([3.0; 7]), 1.0);
        assert_eq!(jain([0.0, 5.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain([]), 1.0);
    }

    #[test]
    fn connections_of_the_warm_up_do_not_count() {
        let tally = tally(&[&[(0.5, 9.0), (1.0, 1.0)], &[(0.9, 9.0), (1.5, 3.0)]]);
        let figures = Figures::of(&tally, 1.0);
        assert_eq!((figures.count, figures.mean, figures.p99), (2, 2.0, 3.0));
        assert_eq!(figures.jain, 0.8); // means 1 and 3: 16 / (2 * 10)
    }

    #[test]
    fn fairness_is_the_mean_of_the_windows() {
        // The first window has means 1 and 1, the second 1 and 3; the third lacks a server.
        let tally = tally(&[&[(0.1, 1.0), (1.1, 1.0), (2.1, 1.0)], &[(0.2, 1.0), (1.3, 3.0)]]);
        assert_eq!(Figures::of(&tally, 0.0).jain, 0.9);
    }

    #[test]
    fn lately_is_what_was_answered_lately() {
        let tally = tally(&[&[(0.0, 1.0), (0.5, 2.0)]]);
        let figures = Figures::lately(&tally.servers[0], 2.0);
        assert_eq!((figures.count, figures.mean), (1, 2.0));
    }
}
