//! Measures CPU time, so that what other processes take of the CPU is left out.

use std::time::Duration;

use criterion::{
    Criterion,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use nix::time::{ClockId, clock_gettime};

/// CPU time by a clock: that of the calling thread, or of the process.
pub struct CpuTime(ClockId);

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(self.0).expect("every Linux has this clock").into()
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Criterion on CPU time by this clock, with the options of the command line.
pub fn criterion(clock: ClockId) -> Criterion<CpuTime> {
    Criterion::default().with_measurement(CpuTime(clock)).configure_from_args()
}
