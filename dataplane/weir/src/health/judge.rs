//! Rise and fall: what a row of check results says about one server.

/// Checks in a row until the verdict changes; both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones until a server that was down is up.
    pub rise: u32,
    /// Failed ones until a server that was up is down.
    pub fall: u32,
}

/// What is known about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Not enough yet. It serves, so that a start does not cut anyone off, but the first failure takes it
    /// out: nothing ever spoke for it.
    #[default]
    Unproven,
    /// It passed `rise` checks in a row, and did not fail `fall` since.
    Up,
    /// It failed, and did not pass `rise` checks in a row since.
    Down,
}

/// The state machine of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Judge {
    health: Health,
    /// Results in a row that speak against `health`; while unproven, good ones.
    streak: u32,
}

impl Judge {
    /// What is known now.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Whether the server must not serve.
    pub const fn is_down(&self) -> bool {
        matches!(self.health, Health::Down)
    }

    /// Takes one result; returns the new verdict when it changes.
    pub fn hear(&mut self, good: bool, thresholds: Thresholds) -> Option<Health> {
        let (counts, limit, next) = match self.health {
            Health::Unproven if !good => (true, 1, Health::Down),
            Health::Unproven | Health::Down => (good, thresholds.rise, Health::Up),
            Health::Up => (!good, thresholds.fall, Health::Down),
        };
        self.streak = if counts { self.streak + 1 } else { 0 };
        if self.streak < limit {
            return None;
        }
        *self = Self { health: next, streak: 0 };
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: Thresholds = Thresholds { rise: 2, fall: 3 };

    /// The verdicts after each result of a row such as `"+-"`.
    fn course(results: &str, thresholds: Thresholds) -> Vec<Health> {
        let mut judge = Judge::default();
        results
            .chars()
            .map(|result| {
                judge.hear(result == '+', thresholds);
                judge.health()
            })
            .collect()
    }

    #[test]
    fn server_falls_after_fall_failures_and_rises_after_rise_successes() {
        use Health::{Down, Unproven, Up};
        assert_eq!(
            course("++---+-++", USUAL),
            [Unproven, Up, Up, Up, Down, Down, Down, Down, Up],
            "a failure between two successes starts the count anew"
        );
    }

    #[test]
    fn new_server_goes_out_at_its_first_failure() {
        assert_eq!(course("-", USUAL), [Health::Down]);
        assert_eq!(course("+-", USUAL), [Health::Unproven, Health::Down]);
    }

    #[test]
    fn flapping_below_the_thresholds_changes_nothing() {
        let course = course("++--+--+--+--+-+--+", USUAL);
        assert!(course[1..].iter().all(|&health| health == Health::Up), "{course:?}");
    }

    #[test]
    fn thresholds_of_one_follow_every_result() {
        let one = Thresholds { rise: 1, fall: 1 };
        assert_eq!(course("+-+", one), [Health::Up, Health::Down, Health::Up]);
    }

    proptest! {
        /// The verdict depends on rows alone: up never without `rise` successes in a row before it, and
        /// from up to down never without `fall` failures in a row.
        #[test]
        fn verdicts_change_only_after_full_rows(
            results in prop::collection::vec(any::<bool>(), 1..200),
            rise in 1u32..6,
            fall in 1u32..6,
        ) {
            let thresholds = Thresholds { rise, fall };
            let mut judge = Judge::default();
            for at in 0..results.len() {
                let before = judge.health();
                let change = judge.hear(results[at], thresholds);
                let ends_with = |good: bool, row: u32| {
                    let seen = &results[..=at];
                    seen.len() >= row as usize
                        && seen[seen.len() - row as usize..].iter().all(|&result| result == good)
                };
                prop_assert_eq!(change.is_some(), judge.health() != before);
                match (before, judge.health()) {
                    (_, Health::Up) if before != Health::Up => prop_assert!(ends_with(true, rise)),
                    (Health::Up, Health::Down) => prop_assert!(ends_with(false, fall)),
                    // Nothing changed: then no full row stands against the verdict.
                    (Health::Up, Health::Up) => prop_assert!(!ends_with(false, fall)),
                    (Health::Down, Health::Down) => prop_assert!(!ends_with(true, rise)),
                    (Health::Unproven, Health::Unproven) => prop_assert!(results[..=at].iter().all(|&good| good)),
                    (Health::Unproven, Health::Down) => prop_assert!(!results[at]),
                    (before, after) => prop_assert!(false, "{before:?} to {after:?}"),
                }
            }
        }
    }
}
