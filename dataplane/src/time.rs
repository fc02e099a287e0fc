//! Time as the packet path sees it: an argument, read once per burst.

use std::time::{Duration, Instant};

/// Nanoseconds since the clock's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The coarse time in which the flow table keeps its stamps.
    pub const fn tick(self) -> Tick {
        Tick((self.0 >> Tick::SHIFT) as u32)
    }

    /// This instant plus `duration`.
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_nanos() as u64))
    }
}

/// A wrapping 32-bit count of 2^16 ns (65.5 µs). Differences are right up to 39 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Tick(pub u32);

impl Tick {
    const SHIFT: u32 = 16;

    /// The length of a duration, rounded up, at most 2^31 - 1.
    pub fn count(duration: Duration) -> u32 {
        let ticks = duration.as_nanos().div_ceil(1 << Self::SHIFT);
        u32::try_from(ticks).unwrap_or(u32::MAX).min(i32::MAX as u32)
    }

    /// Ticks that have passed since `earlier`.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// A clock that costs a time-stamp counter read, calibrated against the system's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_cycles: u64,
    /// Nanoseconds per cycle, times 2^32.
    scale: u64,
}

impl Clock {
    /// Starts a clock at zero; takes about 10 ms to calibrate.
    pub fn start() -> Self {
        let (start, start_cycles) = (Instant::now(), cycles());
        std::thread::sleep(Duration::from_millis(10));
        let (nanos, elapsed) = (start.elapsed().as_nanos(), cycles().wrapping_sub(start_cycles).max(1));
        let scale = (nanos << 32) / u128::from(elapsed);
        Self { start, start_cycles, scale: scale as u64 }
    }

    /// The time now. Monotonic on one core; cores agree as far as their counters do.
    #[inline]
    pub fn now(&self) -> Nanos {
        self.at(cycles())
    }

    /// The time at a count that [`cycles`] gave.
    #[inline]
    pub fn at(&self, cycles: u64) -> Nanos {
        let elapsed = u128::from(cycles.saturating_sub(self.start_cycles));
        Nanos(((elapsed * u128::from(self.scale)) >> 32) as u64)
    }

    /// Cycles of the counter in one second.
    pub fn cycles_per_second(&self) -> f64 {
        1e9 * (1u64 << 32) as f64 / self.scale as f64
    }

    /// When the clock started.
    pub const fn started(&self) -> Instant {
        self.start
    }
}

/// The time-stamp counter.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
pub fn cycles() -> u64 {
    // SAFETY: reading the time-stamp counter has no precondition in user mode; Linux never sets CR4.TSD
    //         for a process that did not ask for it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// A nanosecond counter where there is no time-stamp counter.
#[cfg(not(target_arch = "x86_64"))]
pub fn cycles() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_wrap_and_differences_stay_right() {
        let late = Nanos((u64::from(u32::MAX) << 16) + 1).tick();
        let wrapped = Nanos((u64::from(u32::MAX) + 3) << 16).tick();
        assert_eq!(late, Tick(u32::MAX));
        assert_eq!(wrapped.since(late), 3);
        assert_eq!(Tick::count(Duration::from_secs(1)), 15_259);
        assert_eq!(Tick::count(Duration::from_secs(1 << 40)), i32::MAX as u32);
    }

    #[test]
    fn clock_goes_forward_with_the_system_clock() {
        let clock = Clock::start();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > before);
        assert!(clock.cycles_per_second() > 1e6);
    }
}
