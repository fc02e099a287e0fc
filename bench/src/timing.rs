//! Slices: how long a number of packets took, on the CPU.

use std::time::{Duration, Instant};

use dataplane::time::cycles;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What a slice measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Slice {
    /// Packets forwarded.
    pub packets: u64,
    /// TSC cycles on the CPU; what other processes took is left out.
    pub cycles: u64,
    /// Which part of its time the slice was on the CPU.
    pub on_cpu: f64,
    /// TSC cycles of a step of fixed work just before and after; see [`calibrate`].
    pub calibration: f64,
}

impl Slice {
    pub fn cycles_per_packet(&self) -> f64 {
        self.cycles as f64 / self.packets.max(1) as f64
    }
}

/// A stopwatch for the time that a thread spends on its CPU.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    wall: Instant,
    cycles: u64,
    on_cpu: Duration,
}

impl Stopwatch {
    /// Starts for the calling thread.
    pub fn start() -> Self {
        Self::start_at(thread_time())
    }

    /// Starts for a thread that has spent `on_cpu` so far.
    pub fn start_at(on_cpu: Duration) -> Self {
        Self { wall: Instant::now(), cycles: cycles(), on_cpu }
    }

    /// TSC cycles on the CPU since the start, and their part of all that have passed.
    pub fn stop(&self) -> (u64, f64) {
        self.stop_at(thread_time())
    }

    /// The same for a thread that has spent `on_cpu` by now.
    #[expect(clippy::cast_sign_loss, reason = "time does not run backwards")]
    pub fn stop_at(&self, on_cpu: Duration) -> (u64, f64) {
        let (cycles, wall) = (cycles() - self.cycles, self.wall.elapsed());
        let share = (on_cpu.saturating_sub(self.on_cpu).as_secs_f64() / wall.as_secs_f64()).min(1.0);
        ((cycles as f64 * share).round() as u64, share)
    }

    fn on_cpu(&self) -> Duration {
        thread_time().saturating_sub(self.on_cpu)
    }
}

/// The time that the calling thread has spent on a CPU.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Calls `turn`, which returns the packets that it forwarded, until the thread has been on its CPU for
/// `slice`, or has waited for it three times as long.
pub fn measure(slice: Duration, tsc_hz: f64, mut turn: impl FnMut() -> u64) -> Slice {
    #[expect(clippy::cast_sign_loss, reason = "neither is negative")]
    let ticks = |duration: Duration| (duration.as_secs_f64() * tsc_hz) as u64;
    let before = calibrate();
    let watch = Stopwatch::start();
    let mut packets = 0;
    let mut deadline = cycles() + ticks(slice);
    loop {
        while cycles() < deadline {
            packets += turn();
        }
        let left = slice.saturating_sub(watch.on_cpu());
        if left < slice / 20 || watch.wall.elapsed() > 4 * slice {
            break;
        }
        deadline = cycles() + ticks(left);
    }
    let (cycles, on_cpu) = watch.stop();
    Slice { packets, cycles, on_cpu, calibration: before.max(calibrate()) }
}

/// TSC cycles of one step in a chain of dependent work, an OR and a multiplication: four cycles of the core.
///
/// So it shows the core's clock against the TSC, and a machine that gives us less than a core. Takes
/// about a millisecond; the best of four tries, so that being preempted alone does not count.
pub fn calibrate() -> f64 {
    const STEPS: u64 = 1 << 18;
    let best = (0..4).map(|_| {
        let start = cycles();
        let mut word = std::hint::black_box(3u64);
        for _ in 0..STEPS {
            word = (word | 1).wrapping_mul(word);
        }
        std::hint::black_box(word);
        cycles() - start
    });
    best.min().unwrap_or(0) as f64 / STEPS as f64
}

/// Least, middle and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { min, median: f64::midpoint(low, high), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_has_the_middle_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn slice_counts_what_its_turns_forwarded() {
        let mut turns = 0;
        let slice = measure(Duration::from_millis(2), 1e9, || {
            turns += 1;
            3
        });
        assert_eq!(slice.packets, 3 * turns);
        assert!(slice.cycles > 0 && slice.on_cpu <= 1.0 && slice.calibration > 0.0);
    }
}
