//! One round of the policy thread: take samples, forget servers that are gone, publish a frame, hear weights.

use std::{collections::HashMap, sync::Arc};

use dataplane::{tables::builder::MAX_SERVERS, time::Nanos, worker::Handle};
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
use crate::{config, control::Directory};

/// What an observer is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The workers, for their counters.
    pub workers: Vec<Handle>,
    /// How samples are remembered.
    pub measure: config::Measure,
    /// Where frames go.
    pub region: config::Region,
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
    period: u64,
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
        let outlet = Outlet::open(&parts.region, &directory)?;
        Ok(Self {
            workers: parts.workers.clone(),
            findings: Arc::clone(&parts.findings),
            bank: Bank::new(settings),
            born: births(&directory),
            directory,
            frames: frame::Builder::default(),
            outlet,
            period: parts.region.period.as_nanos() as u64,
            due: now,
            samples: Vec::new(),
        })
    }

    /// One round. Frames are published at most once a period, whenever a round comes first.
    pub fn round(&mut self, rings: &mut [Consumer], now: Nanos) {
        // The directory first: whatever it has given up, all samples of that are in the rings by now.
        let directory = self.findings.directory();
        self.take(rings);
        self.follow(directory);
        let Some(outlet) = &mut self.outlet else { return };
        match outlet.hear() {
            Heard::Nothing => {}
            Heard::Weights => Findings::count(&self.findings.weights_read),
            Heard::Refused => Findings::count(&self.findings.weights_refused),
        }
        if now >= self.due {
            self.due = Nanos(now.0 + self.period);
            let frame = self.frames.build(now, &self.directory, &self.workers, &self.bank);
            let counter = match outlet.publish(frame, &self.directory) {
                true => &self.findings.frames_published,
                false => &self.findings.frames_failed,
            };
            Findings::count(counter);
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
