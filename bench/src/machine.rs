//! Where and on what a measurement was made.

use std::{fs, process::Command};

use nix::{sched::sched_getaffinity, unistd::Pid};
use serde::Serialize;

/// What a reader needs to compare a result with another.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub caches: String,
    pub tsc_mhz: f64,
    pub kernel: String,
    pub libdpdk: String,
    /// The commit, with "+" behind it when files differ from it.
    pub revision: String,
    pub profile: &'static str,
}

impl Machine {
    pub fn describe(cpu: usize, tsc_hz: f64) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            caches: caches(cpu),
            tsc_mhz: (tsc_hz / 1e5).round() / 10.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            libdpdk: output("pkg-config", &["--modversion", "libdpdk"]).unwrap_or_else(|| "unknown".into()),
            revision: revision(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

/// The CPUs that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

fn caches(cpu: usize) -> String {
    let caches = (0..8).filter_map(|index| {
        let read = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{name}");
            fs::read_to_string(path).map(|text| text.trim().to_owned()).ok()
        };
        (read("type")? != "Instruction").then(|| Some(format!("L{} {}", read("level")?, read("size")?)))?
    });
    caches.collect::<Vec<_>>().join(", ")
}

fn revision() -> String {
    let source = env!("CARGO_MANIFEST_DIR");
    let commit = output("git", &["-C", source, "rev-parse", "--short", "HEAD"]);
    let changed = output("git", &["-C", source, "status", "--porcelain", "--untracked-files=no", ".."]);
    match (commit, changed) {
        (Some(commit), Some(changed)) if changed.is_empty() => commit,
        (Some(commit), _) => commit + "+",
        _ => "unknown".into(),
    }
}

/// What a command prints, if it runs and succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
