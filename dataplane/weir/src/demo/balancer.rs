//! The balancer of the demo: the threads of `weir run`, without signals, files and metrics.

use std::{
    net::IpAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use dataplane::{
    pipeline::measure::Settings,
    ports::dpdk::{DpdkQueue, Eal, WorkerHandle},
    tables::{builder::BuildError, hash::HashKey},
    time::Clock,
    wire::Mac,
    worker::{Handle, Parts, Worker},
};
use ipc::id::LcoreId;

use super::contender::addresses;
use crate::{
    config::Config,
    control::Control,
    error::Failure,
    measure::{self, Findings},
    steer::Wishes,
};

/// Flows that the worker can remember: those of the last seconds, as clients end them.
const FLOWS: u32 = 1 << 17;

/// A new configuration, and where to answer.
type Order = (Config, mpsc::SyncSender<Result<(), BuildError>>);

/// A worker on its lcore, the control thread and the policy thread.
#[derive(Debug)]
pub struct Balancer {
    handle: Handle,
    findings: Arc<Findings>,
    running: WorkerHandle<()>,
    policy: measure::Thread,
    /// Its end is the end of the control thread.
    orders: mpsc::Sender<Order>,
    control: JoinHandle<()>,
}

impl Balancer {
    /// Starts one on these queues of one port.
    ///
    /// Errors: memory or threads cannot be had.
    pub fn start(
        eal: &Eal,
        queues: Vec<DpdkQueue>,
        mac: Mac,
        mut config: Config,
        clock: Clock,
    ) -> Result<Self, Failure> {
        // Every flow, as a worker with such a load watches by default; and nothing beside this process.
        config.region.path = None;
        let (measure, region, policy) = (config.measure, config.region.clone(), config.policy.clone());
        let watched = Settings { one_in: measure.flows, ring: measure.ring };
        let (mut control, mut readers) =
            Control::new(config, vec![mac], 1, clock.now()).map_err(Failure::internal)?;
        let tables = readers.pop().ok_or_else(|| Failure::internal("no reader of the tables"))?;
        let parts = Parts {
            lcore: LcoreId(0),
            queues,
            tables,
            flow_capacity: FLOWS,
            hash_key: HashKey::default(),
            measure: watched,
            clock,
        };
        let (mut worker, handle) = Worker::new(parts)
            .map_err(|error| Failure::environment(error, "free some memory: the demo needs about 200 MiB"))?;
        control.attach(vec![handle.clone()]);

        let findings = Arc::new(Findings::default());
        findings.follow(control.directory());
        let workers = vec![handle.clone()];
        let its_findings = Arc::clone(&findings);
        let parts = measure::Parts { workers, measure, region, policy, findings: its_findings, clock };
        let policy = crate::run::start_policy(parts)?;
        let running = eal
            .launch(0, move || worker.run())
            .map_err(|error| Failure::environment(error, error.remedy()))?;
        let (orders, for_control) = mpsc::channel();
        let its_findings = Arc::clone(&findings);
        let control = thread::Builder::new()
            .name("control".into())
            .spawn(move || keep(control, &its_findings, &for_control, clock))
            .map_err(|error| Failure::environment(error, "raise the limit on threads"))?;
        Ok(Self { handle, findings, running, policy, orders, control })
    }

    /// Puts a configuration in force, by a reload as of a file; returns when every worker uses it.
    pub fn reload(&self, config: Config) -> Result<(), Failure> {
        let (answer, answered) = mpsc::sync_channel(1);
        let gone = |_| Failure::internal("the control thread ended by a panic");
        self.orders.send((config, answer)).map_err(|_| gone(mpsc::RecvError))?;
        answered.recv().map_err(gone)?.map_err(Failure::internal)
    }

    /// The weights in force, in the order of the servers' addresses.
    pub fn weights(&self) -> [f64; 4] {
        let directory = self.findings.directory();
        addresses().map(|address| {
            let name = IpAddr::from(address).to_string();
            directory
                .servers
                .iter()
                .find(|server| server.name == name)
                .map_or(0.0, |server| server.weight.get())
        })
    }

    /// Stops everything; returns the worker's counters.
    ///
    /// Errors: a thread had ended by a panic.
    pub fn stop(self) -> Result<Handle, Failure> {
        self.policy.stop();
        drop(self.orders);
        self.control.join().map_err(|_| Failure::internal("the control thread ended by a panic"))?;
        self.handle.stop();
        self.running.join().map_err(Failure::internal)?;
        Ok(self.handle)
    }
}

/// The control thread's rounds, until nobody can give orders any more.
fn keep(mut control: Control, findings: &Findings, orders: &mpsc::Receiver<Order>, clock: Clock) {
    findings.wake(thread::current());
    loop {
        control.round(findings, clock);
        match orders.try_recv() {
            Ok((config, answer)) => {
                let outcome = control.reload(config, clock.now());
                findings.wish(Wishes::new(control.config(), control.directory()));
                while !control.settled() {
                    control.round(findings, clock);
                    thread::yield_now();
                }
                let _ = answer.send(outcome); // whoever asked may be gone
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
        control.pause();
    }
}
