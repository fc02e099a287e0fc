//! What each stage of a worker's turn costs.

use dataplane::{
    pipeline::watch::{Stage, Watch},
    time::cycles,
};

/// Sums up cycles by stage. Reading the counter at each border costs some cycles itself, and a core works on both sides
/// of a border at once: sums are right to within a few cycles a packet.
#[derive(Clone, Debug)]
pub struct StageCycles {
    sums: [u64; Stage::ALL.len()],
    stage: Stage,
    since: u64,
}

impl Default for StageCycles {
    fn default() -> Self {
        Self { sums: [0; Stage::ALL.len()], stage: Stage::Rest, since: cycles() }
    }
}

impl StageCycles {
    /// The sums since the last time, in the order of [`Stage::ALL`].
    pub fn take(&mut self) -> [u64; Stage::ALL.len()] {
        self.enter(self.stage);
        std::mem::take(&mut self.sums)
    }
}

impl Watch for StageCycles {
    #[inline(always)]
    fn enter(&mut self, stage: Stage) {
        let now = cycles();
        self.sums[self.stage as usize] += now.wrapping_sub(self.since);
        (self.stage, self.since) = (stage, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cycle_belongs_to_a_stage() {
        let start = cycles();
        let mut watch = StageCycles::default();
        watch.enter(Stage::Receive);
        watch.enter(Stage::Send);
        let sums = watch.take();
        assert!(sums.iter().sum::<u64>() <= cycles() - start);
        assert!(sums[Stage::Receive as usize] > 0 && sums[Stage::Send as usize] > 0);
        assert_eq!(sums[Stage::Read as usize], 0);
    }
}
