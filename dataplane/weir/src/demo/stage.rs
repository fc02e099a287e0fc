//! Where the world lives: a thread of its own, which takes cues.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use dataplane::{
    ports::dpdk::DpdkQueue,
    time::{Clock, Nanos},
};

use super::{
    tally::Tally,
    world::{Scene, World},
};
use crate::error::Failure;

/// How long the last connections of an act may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tallies that are told.
const TOLD_EVERY: Duration = Duration::from_millis(50);

/// Between two turns of the world.
const TURN: Duration = Duration::from_micros(20);

/// The world's thread.
#[derive(Debug)]
pub struct Stage {
    tally: Arc<Mutex<Tally>>,
    /// Its end is the end of the world.
    cues: mpsc::Sender<Cue>,
    thread: thread::JoinHandle<()>,
}

/// What the world is told.
#[derive(Debug)]
enum Cue {
    /// Arrivals begin again, from the seed.
    Act,
    /// Nobody arrives any more; the last tally is wanted when everyone is answered.
    Curtain(mpsc::SyncSender<Tally>),
}

impl Stage {
    /// Starts the thread. Nothing arrives yet.
    ///
    /// Errors: there are no threads to be had.
    pub fn raise(world: World<DpdkQueue>, clock: Clock) -> Result<Self, Failure> {
        let tally = Arc::new(Mutex::new(world.tally()));
        let (cues, its_cues) = mpsc::channel();
        let its_tally = Arc::clone(&tally);
        let thread = thread::Builder::new()
            .name("world".into())
            .spawn(move || live(world, clock, &its_tally, &its_cues))
            .map_err(|error| Failure::environment(error, "raise the limit on threads"))?;
        Ok(Self { tally, cues, thread })
    }

    /// Begins an act: the same connections arrive as in every other.
    pub fn act(&self) -> Result<(), Failure> {
        self.cues.send(Cue::Act).map_err(ended)
    }

    /// What was seen of the act up to now.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends an act; returns what was seen of it when everybody is answered.
    pub fn curtain(&self) -> Result<Tally, Failure> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.cues.send(Cue::Curtain(answer)).map_err(ended)?;
        answered.recv().map_err(ended)
    }

    /// Ends the thread.
    pub fn leave(self) -> Result<(), Failure> {
        drop(self.cues);
        self.thread.join().map_err(ended)
    }
}

fn ended<E>(_: E) -> Failure {
    Failure::internal("the demo's clients and servers ended by a panic")
}

/// The world's life: turns, as the cues say.
fn live(mut world: World<DpdkQueue>, clock: Clock, tally: &Mutex<Tally>, cues: &mpsc::Receiver<Cue>) {
    let (mut scene, mut wanted, mut told) = (Scene::Empty, None, clock.now());
    loop {
        let now = clock.now();
        match cues.try_recv() {
            Ok(Cue::Act) => {
                world.begin(now);
                (scene, told) = (Scene::Arrivals, Nanos(0));
            }
            Ok(Cue::Curtain(answer)) => {
                scene = Scene::Ending;
                wanted = Some((answer, now.after(PATIENCE)));
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
        world.turn(now, scene);
        if let Some((answer, _)) = wanted.take_if(|&mut (_, deadline)| world.is_over() || now > deadline) {
            scene = Scene::Empty;
            let _ = answer.send(world.tally()); // whoever asked may be gone
        }
        if now >= told.after(TOLD_EVERY) {
            told = now;
            *tally.lock().unwrap_or_else(PoisonError::into_inner) = world.tally();
        }
        thread::sleep(TURN);
    }
}
