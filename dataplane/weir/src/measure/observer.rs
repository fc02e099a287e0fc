//! One round of the policy thread: take samples, forget servers that are gone, publish a frame, hear weights.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use dataplane::{
    tables::builder::MAX_SERVERS,
    time::{Clock, Nanos},
    worker::Handle,
};
use ipc::{
    id::ServerId,
    region::RegionError,
    reservoir::{Acceptance, Bank, Decay, Settings},
    ring::Consumer,
    sample::{Kind, Sample},
};

use super::{
    findings::Findings,
    frame,
    outlet::{Heard, Outlet},
};
use crate::{
    config::{self, PolicySource},
    control::Directory,
    steer::{Pilot, Wishes},
};

/// What an observer is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The workers, for their counters.
    pub workers: Vec<Handle>,
    /// How samples are remembered.
    pub measure: config::Measure,
    /// Where frames go.
    pub region: config::Region,
    /// Who decides, and where that is written down. The rest of it comes with the wishes in `findings`.
    pub policy: config::PolicySettings,
    /// The workers' clock.
    pub clock: Clock,
    /// What is shared with others.
    pub findings: Arc<Findings>,
}

/// What the policy thread knows. After a panic it starts without a past; the rings stay.
#[derive(Debug)]
pub struct Observer {
    workers: Vec<Handle>,
    findings: Arc<Findings>,
    bank: Bank,
    /// What was known of the servers in the round before, and which generation each slot's meaning dates from.
    directory: Arc<Directory>,
    born: HashMap<ServerId, u64>,
    frames: frame::Builder,
    outlet: Option<Outlet>,
    pilot: Pilot,
    clock: Clock,
    /// Whether another process decides.
    elsewhere: bool,
    /// Whether the newest frame still waits for a decision.
    undecided: bool,
    due: Nanos,
    /// Samples of this round, out of their rings before anything is done with them.
    samples: Vec<Sample>,
}

impl Observer {
    /// Attaches to the region, if there is to be one. Errors: the region cannot be had.
    pub fn new(parts: &Parts, now: Nanos) -> Result<Self, RegionError> {
        let settings = Settings {
            seed: 1,
            acceptance: [Acceptance::new(parts.measure.acceptance).unwrap_or(Acceptance::ALWAYS);
                Kind::COUNT],
            decay: Decay::per_second(parts.measure.decay).expect("the configuration has a share"),
            servers: MAX_SERVERS,
        };
        let directory = parts.findings.directory();
        let elsewhere = parts.policy.source == PolicySource::Region;
        let outlet = Outlet::open(&parts.region, !elsewhere, &directory)?;
        // Who decides writes it down.
        let log = parts.policy.log.as_deref().filter(|_| !elsewhere);
        Ok(Self {
            workers: parts.workers.clone(),
            findings: Arc::clone(&parts.findings),
            bank: Bank::new(settings),
            born: births(&directory),
            directory,
            frames: frame::Builder::default(),
            outlet,
            pilot: Pilot::new(log.map(|log| (log, parts.policy.log_bytes))),
            clock: parts.clock,
            elsewhere,
            undecided: false,
            due: now,
            samples: Vec::new(),
        })
    }

    /// One round. Frames are published once a period, whenever a round comes first, and decided by at once; or when
    /// another process has answered them, at the latest with the next one.
    pub fn round(&mut self, rings: &mut [Consumer], now: Nanos) {
        // The directory first: whatever it has given up, all samples of that are in the rings by now.
        let directory = self.findings.directory();
        self.take(rings);
        self.follow(directory);
        let wishes = self.findings.wishes();
        self.pilot.follow(&wishes, &self.findings.board);
        let answered = self.hear() == Heard::Weights && self.elsewhere;
        let due = now >= self.due;
        if self.undecided && (answered || due) {
            self.decide(&wishes);
        }
        if !due {
            return;
        }
        let period = wishes.period.as_nanos() as u64;
        // On the grid of periods, unless a whole one was missed.
        let grid = if now.0 < self.due.0.saturating_add(period) { self.due } else { now };
        self.due = grid.after(wishes.period);
        if self.outlet.is_none() && self.pilot.is_idle() {
            return;
        }
        let frame = self.frames.build(now, &self.directory, &self.workers, &mut self.bank);
        if let Some(outlet) = &mut self.outlet {
            Findings::count(match outlet.publish(frame, &self.directory) {
                true => &self.findings.frames_published,
                false => &self.findings.frames_failed,
            });
        }
        self.undecided = true;
        if !self.elsewhere {
            self.decide(&wishes);
        }
    }

    /// When the next round is due at the latest, if frames are to come in time.
    pub const fn due(&self) -> Nanos {
        self.due
    }

    /// Whether a decision of another process is awaited, so that rounds should be short.
    pub const fn awaits(&self) -> bool {
        self.elsewhere && self.undecided
    }

    fn hear(&mut self) -> Heard {
        let heard = self.outlet.as_mut().map_or(Heard::Nothing, Outlet::hear);
        match heard {
            Heard::Nothing => {}
            Heard::Weights => Findings::count(&self.findings.weights_read),
            Heard::Refused => Findings::count(&self.findings.weights_refused),
        }
        heard
    }

    /// Decides on the newest frame, and has the control thread put in force what is new.
    fn decide(&mut self, wishes: &Wishes) {
        self.undecided = false;
        let stale_after = wishes.stale_after.as_nanos() as u64;
        let outlet = self.outlet.as_ref().filter(|_| self.elsewhere);
        let heard = outlet.and_then(|outlet| outlet.believed(stale_after));
        let frame = self.frames.newest();
        let stale = self.clock.now().0.saturating_sub(frame.header().t) > stale_after;
        let news = self.pilot.step(frame, stale, heard, self.clock, &self.findings.board);
        if let Some(weights) = news {
            self.findings.put_weights(weights);
        }
        self.findings.log_lost.store(self.pilot.log_lost(), Ordering::Relaxed);
        let decided = !self.elsewhere && !wishes.plans.is_empty();
        if let Some(outlet) = self.outlet.as_mut().filter(|_| decided) {
            outlet.publish_weights(self.pilot.answer_mut());
        }
    }

    /// Takes what is in the rings.
    fn take(&mut self, rings: &mut [Consumer]) {
        for ring in rings {
            // Out of the ring first: a sample that should make us panic does not come again.
            ring.drain(usize::MAX, |samples| self.samples.extend_from_slice(samples));
            for sample in &self.samples {
                self.bank.offer(sample);
            }
            self.findings.take(&self.samples);
            self.samples.clear();
        }
    }

    /// Goes by a new directory; servers whose slots are given up, or mean another server by now, are forgotten.
    fn follow(&mut self, directory: Arc<Directory>) {
        if Arc::ptr_eq(&directory, &self.directory) {
            return;
        }
        let born = births(&directory);
        let gone: Vec<ServerId> =
            self.born.iter().filter(|(id, then)| born.get(id) != Some(then)).map(|(&id, _)| id).collect();
        gone.iter().for_each(|&id| self.bank.forget(id));
        self.findings.forget(&gone);
        (self.born, self.directory) = (born, directory);
    }
}

fn births(directory: &Directory) -> HashMap<ServerId, u64> {
    directory.servers.iter().map(|server| (server.id, server.born)).collect()
}
