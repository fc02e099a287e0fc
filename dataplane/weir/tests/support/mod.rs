//! What the end-to-end tests stand on: namespaces, servers, load, and balancers to put under load.

pub mod balancer;
pub mod case;
pub mod http;
pub mod icmp;
pub mod lab;
pub mod metrics;
pub mod netns;
pub mod nginx;
pub mod process;
pub mod reference;
pub mod scenario;
pub mod trunk;
pub mod udp;
pub mod upload;
pub mod weir;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SKIP: &str = "WEIR_SKIP_ROOT_TESTS";

/// Whether the test can run here. A test that cannot must not look like one that passed: it fails, unless
/// `WEIR_SKIP_ROOT_TESTS=1` says that this is known.
pub fn can_run() -> bool {
    let missing = missing();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(
        std::env::var_os(SKIP).is_some_and(|value| value == "1"),
        "this end-to-end test needs {missing}. Run it as root after `make setup`, or set {SKIP}=1 to skip it"
    );
    eprintln!("\n!!! SKIPPED, NOTHING TESTED: {SKIP}=1 is set and this machine lacks {missing} !!!\n");
    false
}

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for tool in ["ip", "ethtool", "nginx", "nft"] {
        if !std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()) {
            missing.push(format!("`{tool}`"));
        }
    }
    missing
}

/// Asks `poll` until it answers, for at most `limit`; `what` is named in the failure.
pub fn wait_for<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of this test's own, removed with the value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weir-e2e-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
