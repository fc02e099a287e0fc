//! What a run leaves behind.

/// A flow that got its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// When its client began.
    pub began: u64,
    /// From then to the answer, in nanoseconds.
    pub latency: u64,
}

/// What happened to the flows that count: those that began after the warm-up.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Flows that got their answer, in the order of the answers.
    pub completed: Vec<Completed>,
    /// Flows that a server had no room for, or that no server took.
    pub refused: u64,
    /// Flows that a server took with it when it died, or that found it dead for too long.
    pub lost: u64,
    /// Sum and number of fairness indices: [`Record::jain`].
    fairness: (f64, u64),
}

impl Record {
    /// Flows that count.
    pub fn flows(&self) -> u64 {
        self.completed.len() as u64 + self.refused + self.lost
    }

    /// The share of flows that got no answer.
    pub fn rejects(&self) -> f64 {
        (self.refused + self.lost) as f64 / self.flows().max(1) as f64
    }

    /// Jain's index of flows held for the capacity, over the servers that should get flows, averaged over the
    /// moments of a fixed grid at which anybody held any; 1 is even.
    pub fn jain(&self) -> f64 {
        match self.fairness {
            (_, 0) => 1.0,
            (sum, moments) => sum / moments as f64,
        }
    }

    /// One moment of the grid.
    pub(super) fn moment(&mut self, loads: impl Iterator<Item = f64>) {
        if let Some(index) = jain(loads) {
            self.fairness = (self.fairness.0 + index, self.fairness.1 + 1);
        }
    }
}

/// Jain's index: 1 when all are equal, 1/n when one has everything; `None` when all are zero.
pub fn jain(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        n += 1.0;
        sum += value;
        squares += value * value;
    }
    (squares > 0.0).then(|| sum * sum / (n * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_when_even_and_one_in_n_when_one_has_all() {
        assert_eq!(jain([3.0; 4].into_iter()), Some(1.0));
        assert_eq!(jain([0.0, 5.0, 0.0, 0.0].into_iter()), Some(0.25));
        assert_eq!(jain([0.0; 3].into_iter()), None);
        let mut record = Record::default();
        assert_eq!(record.jain(), 1.0);
        for loads in [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]] {
            record.moment(loads.into_iter());
        }
        assert_eq!(record.jain(), 0.75);
    }
}
