//! A forgetting reservoir for each server and kind, fed with samples from the rings.

use super::{Acceptance, Decay, Forgetting, Statistics};
use crate::{
    id::{ServerId, VipId},
    rng::SplitMix64,
    sample::{Kind, Sample},
};

/// How a bank remembers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The same seed and the same samples give the same statistics.
    pub seed: u64,
    /// The share of the samples of each kind that reservoirs accept, by the kind's number.
    pub acceptance: [Acceptance; Kind::COUNT],
    /// For the decayed statistics.
    pub decay: Decay,
    /// Server slots that may be named; samples of others are counted as strays.
    pub servers: usize,
}

/// The reservoirs of all servers. A server costs memory (12 KiB) from its first sample on.
#[derive(Debug)]
pub struct Bank {
    settings: Settings,
    rng: SplitMix64,
    servers: Vec<Option<Box<OfServer>>>,
    strays: u64,
}

#[derive(Debug)]
struct OfServer {
    vip: VipId,
    kinds: [Forgetting; Kind::COUNT],
}

impl OfServer {
    fn new(vip: VipId) -> Box<Self> {
        Box::new(Self { vip, kinds: std::array::from_fn(|_| Forgetting::default()) })
    }
}

impl Bank {
    /// A bank without samples.
    pub const fn new(settings: Settings) -> Self {
        let rng = SplitMix64::new(settings.seed);
        Self { settings, rng, servers: Vec::new(), strays: 0 }
    }

    /// Offers a sample to its reservoir.
    ///
    /// A server slot that now belongs to another VIP starts afresh.
    pub fn offer(&mut self, sample: &Sample) {
        let index = sample.server.index();
        if index >= self.servers.len() {
            if index >= self.settings.servers {
                self.strays += 1;
                return;
            }
            self.servers.resize_with(index + 1, || None);
        }
        let server = self.servers[index].get_or_insert_with(|| OfServer::new(sample.vip));
        if server.vip != sample.vip {
            *server = OfServer::new(sample.vip);
        }
        let kind = sample.kind.index();
        let random = self.rng.bits();
        server.kinds[kind].offer(sample.t, sample.value, self.settings.acceptance[kind], random);
    }

    /// Statistics of a server's samples of one kind at time `now`; `None` when there are none.
    pub fn statistics(&mut self, server: ServerId, kind: Kind, now: u64) -> Option<Statistics> {
        let server = self.servers.get_mut(server.index())?.as_mut()?;
        server.kinds[kind.index()].statistics(now, self.settings.decay)
    }

    /// Forgets everything about a server slot: it was given up, or means another server now.
    pub fn forget(&mut self, server: ServerId) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            *server = None;
        }
    }

    /// Samples of server slots that there are not.
    pub const fn strays(&self) -> u64 {
        self.strays
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bank(seed: u64) -> Bank {
        let decay = Decay::per_second(0.9).expect("a share");
        Bank::new(Settings { seed, acceptance: [Acceptance::ALWAYS; Kind::COUNT], decay, servers: 100 })
    }

    fn sample(server: u32, kind: Kind, value: u64) -> Sample {
        Sample { t: value, vip: VipId(1), server: ServerId(server), kind, value }
    }

    #[test]
    fn servers_and_kinds_are_kept_apart() {
        let mut bank = bank(1);
        bank.offer(&sample(5, Kind::Handshake, 100));
        bank.offer(&sample(5, Kind::FlowBytes, 200));
        bank.offer(&sample(99, Kind::Handshake, 300));
        let mut mean = |server, kind| bank.statistics(ServerId(server), kind, 500).map(|found| found.mean);
        assert_eq!(mean(5, Kind::Handshake), Some(100.0));
        assert_eq!(mean(5, Kind::FlowBytes), Some(200.0));
        assert_eq!(mean(99, Kind::Handshake), Some(300.0));
        assert_eq!(
            (mean(5, Kind::FlowGap), mean(4, Kind::Handshake), mean(1000, Kind::Handshake)),
            (None, None, None)
        );
    }

    #[test]
    fn stray_samples_are_counted_and_cost_nothing() {
        let mut bank = bank(1);
        bank.offer(&sample(100, Kind::Handshake, 1));
        bank.offer(&sample(u32::MAX, Kind::Handshake, 1));
        assert_eq!((bank.strays(), bank.servers.len()), (2, 0));
    }

    #[test]
    fn server_slot_with_a_new_meaning_starts_afresh() {
        let mut bank = bank(1);
        bank.offer(&sample(5, Kind::Handshake, 100));
        bank.offer(&Sample { vip: VipId(2), ..sample(5, Kind::FlowGap, 7) });
        assert_eq!(bank.statistics(ServerId(5), Kind::Handshake, 0), None);
        bank.forget(ServerId(5));
        bank.forget(ServerId(70));
        assert_eq!(bank.statistics(ServerId(5), Kind::FlowGap, 0), None);
    }

    #[test]
    fn same_seed_and_samples_give_the_same_statistics() {
        let run = |seed| {
            let mut bank = bank(seed);
            for value in 0..5000 {
                bank.offer(&sample(3, Kind::FlowDuration, value));
            }
            bank.statistics(ServerId(3), Kind::FlowDuration, 6000).unwrap()
        };
        assert_eq!(run(42), run(42));
        assert_ne!(run(42), run(43));
    }
}
