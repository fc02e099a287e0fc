//! Passive checks: what the data path itself tells about servers.
//!
//! A client that got an answer to its SYN goes on with an ACK, which establishes the flow. A server that
//! takes new flows of which almost none is established, while those of the VIP's other servers are, does not
//! answer, whatever the active checks say: they may take another way or ask another port.

use std::time::Duration;

use dataplane::time::Nanos;

/// Over which time flows are compared. Much longer than a round trip: flows that began at its end and are
/// not established yet carry no weight.
pub const WINDOW: Duration = Duration::from_secs(5);

/// How long the first ejection lasts; each further one twice as long.
pub const FIRST_EJECTION: Duration = Duration::from_secs(30);

/// The longest ejection.
pub const LONGEST_EJECTION: Duration = Duration::from_secs(480);

/// At most one server in this many is ejected.
pub const EJECTED_SHARE: usize = 3;

/// How many established flows must be missing for a suspicion. If a server has 20 to expect and is well,
/// it has 2 or fewer with a probability below 1e-6.
const MISSING: f64 = 20.0;

/// A server with at most this part of what it should have is suspected.
const TOO_FEW: f64 = 0.1;

/// What one server of a VIP did in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Flows that were given to it.
    pub created: u64,
    /// Flows that were established.
    pub established: u64,
    /// Its weight.
    pub weight: f64,
}

/// For each server of a VIP how much it is to be suspected: the established flows that it lacks. `None`: not.
///
/// Two measures must agree. *By rate*: its new flows establish far less often than those of the others; under
/// a flood of forged SYNs all rates are low alike, and nobody is suspected. *By share*: it has far fewer
/// established flows than its weight should bring; a flood aimed at one server lowers its rate, not these.
pub fn suspicions(samples: &[Sample]) -> Vec<Option<f64>> {
    let sum = |read: fn(&Sample) -> f64| samples.iter().map(read).sum::<f64>();
    let (created, established, weight) =
        (sum(|s| s.created as f64), sum(|s| s.established as f64), sum(|s| s.weight));
    let suspicion = |sample: &Sample| {
        let own = sample.established as f64;
        let others = established - own;
        let by_rate = sample.created as f64 * (others / (created - sample.created as f64));
        let by_share = sample.weight * (others / (weight - sample.weight));
        let expected = by_rate.min(by_share); // NaN and infinity, without others, are ignored by the test below
        let suspected = expected.is_finite() && expected >= MISSING && own <= TOO_FEW * expected;
        suspected.then_some(expected - own)
    };
    samples.iter().map(suspicion).collect()
}

/// When a server may take flows again, and how long the next ejection would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ejection {
    until: Option<Nanos>,
    /// The last ejection's length, and when it ended or will end.
    last: Option<(Duration, Nanos)>,
}

impl Ejection {
    /// Whether the server is ejected now.
    pub const fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Ejects the server; returns for how long. An ejection soon after another one lasts twice as long; once
    /// a server has been well for as long as its last ejection lasted, that one is forgotten.
    pub fn begin(&mut self, now: Nanos) -> Duration {
        let length = match self.last {
            Some((last, ended)) if now.0.saturating_sub(ended.0) <= nanos(last) + nanos(2 * WINDOW) => {
                (last * 2).min(LONGEST_EJECTION)
            }
            _ => FIRST_EJECTION,
        };
        let until = Nanos(now.0 + nanos(length));
        *self = Self { until: Some(until), last: Some((length, until)) };
        length
    }

    /// Ends the ejection when its time is over; returns whether it just ended.
    pub fn expire(&mut self, now: Nanos) -> bool {
        let over = self.until.is_some_and(|until| now.0 >= until.0);
        if over {
            self.until = None;
        }
        over
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many of `servers` may be ejected at the same time.
pub const fn most_ejected(servers: usize) -> usize {
    servers / EJECTED_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspected(samples: &[(u64, u64, f64)]) -> Vec<usize> {
        let samples: Vec<Sample> = samples
            .iter()
            .map(|&(created, established, weight)| Sample { created, established, weight })
            .collect();
        let suspicions = suspicions(&samples);
        (0..samples.len()).filter(|&at| suspicions[at].is_some()).collect()
    }

    #[test]
    fn server_that_establishes_nothing_is_suspected() {
        assert_eq!(suspected(&[(100, 99, 1.0), (100, 0, 1.0), (100, 98, 1.0)]), [1]);
        assert_eq!(suspected(&[(100, 99, 1.0), (100, 50, 1.0), (100, 98, 1.0)]), [0; 0], "slow is not dead");
    }

    #[test]
    fn few_flows_prove_nothing() {
        assert_eq!(suspected(&[(19, 19, 1.0), (19, 0, 1.0)]), [0; 0]);
        assert_eq!(suspected(&[]), [0; 0]);
        assert_eq!(suspected(&[(1000, 0, 1.0)]), [0; 0], "there is nobody to compare it with");
    }

    #[test]
    fn when_nobody_establishes_the_fault_is_not_the_servers() {
        assert_eq!(suspected(&[(1000, 0, 1.0), (1000, 0, 1.0), (1000, 0, 1.0)]), [0; 0]);
    }

    #[test]
    fn syn_flood_at_a_vip_leaves_its_servers_in_service() {
        assert_eq!(suspected(&[(90_000, 300, 1.0), (91_000, 310, 1.0), (89_000, 290, 1.0)]), [0; 0]);
        assert_eq!(suspected(&[(90_000, 300, 1.0), (91_000, 0, 1.0), (89_000, 290, 1.0)]), [1]);
    }

    #[test]
    fn flood_aimed_at_one_server_does_not_eject_it() {
        assert_eq!(suspected(&[(100, 99, 1.0), (50_000, 97, 1.0), (100, 98, 1.0)]), [0; 0]);
    }

    #[test]
    fn small_weight_is_not_taken_for_silence() {
        assert_eq!(suspected(&[(10_000, 9_900, 20.0), (30, 30, 0.06), (9_000, 8_900, 20.0)]), [0; 0]);
        assert_eq!(suspected(&[(10_000, 9_900, 20.0), (30, 0, 0.06), (9_000, 8_900, 20.0)]), [1]);
    }

    fn at(seconds: u64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn ejections_double_up_to_a_bound_and_are_forgotten_in_good_time() {
        let mut ejection = Ejection::default();
        let mut now = 0;
        let mut lengths = Vec::new();
        for _ in 0..6 {
            let length = ejection.begin(at(now)).as_secs();
            assert!(ejection.is_on() && !ejection.expire(at(now + length - 1)));
            now += length;
            assert!(ejection.expire(at(now)) && !ejection.is_on());
            assert!(!ejection.expire(at(now)), "it ends once");
            lengths.push(length);
            now += 5;
        }
        assert_eq!(lengths, [30, 60, 120, 240, 480, 480]);
        assert_eq!(ejection.begin(at(now + 500)).as_secs(), 30);
    }

    #[test]
    fn small_pools_are_never_ejected_from() {
        assert_eq!([1, 2, 3, 5, 6, 100].map(most_ejected), [0, 0, 1, 1, 2, 33]);
    }
}
