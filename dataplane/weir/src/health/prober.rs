//! The thread that carries out the checks, spread in time and bounded in number.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        mpsc::{self, TryRecvError},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::probe::{Check, Outcome, probe};

/// Most connections at the same time. Below the usual limit of 1024 open files.
const CONCURRENCY: usize = 512;

/// How far the time between two checks strays from the interval, up or down.
const JITTER: f64 = 0.05;

type Checks = Arc<HashSet<Arc<Check>>>;
type Report = (Arc<Check>, Outcome);

/// The checks that run; they end when it is dropped.
#[derive(Debug)]
pub struct Prober {
    wanted: watch::Sender<Checks>,
    reports: mpsc::Receiver<Report>,
    ended: bool,
}

impl Prober {
    /// Starts the thread, with nothing to check. Errors: no thread or no poller can be had.
    pub fn start() -> io::Result<Self> {
        let (wanted, checks) = watch::channel(Checks::default());
        let (sender, reports) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        thread::Builder::new()
            .name("health".into())
            .spawn(move || runtime.block_on(supervise(checks, sender)))?;
        Ok(Self { wanted, reports, ended: false })
    }

    /// Says what to check from now on. Checks that were there before go on in their rhythm.
    pub fn set_checks(&self, checks: HashSet<Arc<Check>>) {
        self.wanted.send_replace(Arc::new(checks));
    }

    /// The next result that has come in.
    pub fn next_report(&mut self) -> Option<(Arc<Check>, Outcome)> {
        match self.reports.try_recv() {
            Ok(report) => Some(report),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                if !std::mem::replace(&mut self.ended, true) {
                    tracing::error!("the health checks ended by themselves: servers stay as they are");
                }
                None
            }
        }
    }
}

/// Runs a task for each check that is wanted, until nobody wants any.
async fn supervise(mut wanted: watch::Receiver<Checks>, reports: mpsc::Sender<Report>) {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running: HashMap<Arc<Check>, AbortHandle> = HashMap::new();
    loop {
        let checks = Arc::clone(&wanted.borrow_and_update());
        running.retain(|check, task| {
            let stays = checks.contains(check);
            if !stays {
                task.abort();
            }
            stays
        });
        for check in checks.iter() {
            running.entry(Arc::clone(check)).or_insert_with(|| {
                let task = repeat(Arc::clone(check), Arc::clone(&slots), reports.clone());
                tokio::spawn(task).abort_handle()
            });
        }
        if wanted.changed().await.is_err() {
            return; // dropping the runtime ends the tasks
        }
    }
}

async fn repeat(check: Arc<Check>, slots: Arc<Semaphore>, reports: mpsc::Sender<Report>) {
    // The first ones of many servers are spread over a whole interval.
    let mut due = Instant::now() + check.interval.mul_f64(fastrand::f64());
    loop {
        sleep_until(due).await;
        let outcome = {
            // Waiting for a slot does not count as waiting for the server.
            let Ok(_slot) = slots.acquire().await else { return };
            probe(&check).await
        };
        if reports.send((Arc::clone(&check), outcome)).is_err() {
            return;
        }
        due = following(due, Instant::now(), check.interval, fastrand::f64());
    }
}

/// When the next check is due: about an interval after the last one was, `random` from 0 to 1 saying what
/// "about" is, so that checks do not fall into step. Late ones are not made up for.
fn following(due: Instant, now: Instant, interval: Duration, random: f64) -> Instant {
    let about = interval.mul_f64(1.0 + JITTER * (2.0 * random - 1.0));
    (due + about).max(now)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::TcpListener};

    use super::{super::probe::Request, *};

    fn check(port: u16, interval: Duration) -> Arc<Check> {
        let target = ([127, 0, 0, 1], port).into();
        Arc::new(Check { target, request: Request::Connect, interval, timeout: interval })
    }

    /// Results by port, until each of `ports` has `count`.
    fn gather(prober: &mut Prober, ports: &[u16], count: usize) -> BTreeMap<u16, Vec<Outcome>> {
        let start = std::time::Instant::now();
        let mut results: BTreeMap<u16, Vec<Outcome>> = BTreeMap::new();
        while !ports.iter().all(|port| results.get(port).is_some_and(|row| row.len() >= count)) {
            assert!(start.elapsed() < Duration::from_secs(20), "{results:?}");
            match prober.next_report() {
                Some((check, outcome)) => results.entry(check.target.port()).or_default().push(outcome),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        results
    }

    #[test]
    fn checks_repeat_until_they_are_not_wanted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = gone.local_addr().unwrap().port();
        drop(gone);
        let every = Duration::from_millis(20);
        let mut prober = Prober::start().unwrap();
        prober.set_checks([check(open, every), check(closed, every)].into());
        let results = gather(&mut prober, &[open, closed], 3);
        assert!(results[&open].iter().all(|&outcome| outcome == Outcome::Ok), "{results:?}");
        assert!(results[&closed].iter().all(|&outcome| outcome == Outcome::Refused), "{results:?}");
        prober.set_checks([check(open, every)].into());
        thread::sleep(Duration::from_millis(200));
        while prober.next_report().is_some() {}
        let results = gather(&mut prober, &[open], 3);
        assert_eq!(results.keys().collect::<Vec<_>>(), [&open]);
    }

    #[test]
    fn thousands_of_checks_keep_their_rhythm() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || while listener.accept().is_ok() {});
        let mut prober = Prober::start().unwrap();
        // Loopback is a /8: as many servers as there are addresses.
        let checks = (0..2000u32).map(|number| {
            let target = (std::net::Ipv4Addr::from(0x7f01_0000 + number), port).into();
            let (interval, timeout) = (Duration::from_secs(1), Duration::from_millis(500));
            Arc::new(Check { target, request: Request::Connect, interval, timeout })
        });
        // The listener has 127.0.0.1 alone: the others refuse, which is an answer as well.
        prober.set_checks(checks.collect());
        let mut rows: HashMap<Arc<Check>, u32> = HashMap::new();
        let start = std::time::Instant::now();
        while rows.len() < 2000 || rows.values().any(|&row| row < 2) {
            assert!(start.elapsed() < Duration::from_secs(20), "{} servers had a result", rows.len());
            match prober.next_report() {
                Some((check, _)) => *rows.entry(check).or_default() += 1,
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn due_times_stay_near_the_interval_and_never_pile_up() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let gap = |random| following(start, start, second, random) - start;
        assert_eq!([0.0, 0.5, 1.0].map(|random| gap(random).as_millis()), [950, 1000, 1050]);
        let late = start + 10 * second;
        assert_eq!(following(start, late, second, 0.5), late);
    }
}
