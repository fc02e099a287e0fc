//! Hugepages for the time of a run.

use std::fs;

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";

/// Pages of 2 MiB that we and `dpdk-testpmd` need together.
const WANTED: u64 = 192;

/// What memory DPDK gets, and what to undo afterwards.
#[derive(Debug)]
pub enum Hugepages {
    /// There are enough.
    Present,
    /// We have raised their number.
    Raised {
        /// What it was.
        before: u64,
        /// What we made it.
        to: u64,
    },
    /// There are none: 4 KiB pages.
    None,
}

impl Hugepages {
    /// Sees to it that there are enough, as far as this process may.
    pub fn prepare() -> Self {
        let free = meminfo("HugePages_Free:").unwrap_or(0);
        if free >= WANTED {
            return Self::Present;
        }
        let raised = read().and_then(|before| {
            let to = before + WANTED - free;
            fs::write(NR_HUGEPAGES, to.to_string()).ok()?;
            Some(Self::Raised { before, to })
        });
        let Some(raised) = raised else { return Self::None };
        if meminfo("HugePages_Free:").unwrap_or(0) < WANTED {
            return Self::None; // the kernel found no room; dropping `raised` gives back what it found
        }
        raised
    }

    /// EAL's arguments for it.
    pub fn eal_args(&self) -> Vec<String> {
        let args: &[&str] = match self {
            Self::Present | Self::Raised { .. } => &["--in-memory"],
            Self::None => &["--no-huge", "-m", "256"],
        };
        args.iter().map(|&arg| arg.to_owned()).collect()
    }

    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Present | Self::Raised { .. } => "2 MiB pages",
            Self::None => "4 KiB pages (--no-huge)",
        }
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Self::Raised { before, to } = *self {
            // Who changed it meanwhile has reasons of their own.
            if read() == Some(to) && fs::write(NR_HUGEPAGES, before.to_string()).is_err() {
                eprintln!("weir-bench: could not set {NR_HUGEPAGES} back to {before}");
            }
        }
    }
}

fn read() -> Option<u64> {
    fs::read_to_string(NR_HUGEPAGES).ok()?.trim().parse().ok()
}

fn meminfo(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}
