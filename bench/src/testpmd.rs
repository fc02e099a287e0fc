//! DPDK's own forwarder beside us: `dpdk-testpmd` on the same CPU, started and stopped slice by slice.

use std::{
    fs,
    io::{Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    error::Error,
    timing::{Slice, Stopwatch, calibrate},
};

/// How long an answer may take.
const PATIENCE_MILLIS: u16 = 20_000;

/// A running `dpdk-testpmd --forward-mode=io` on one `net_null` port, waiting for a slice.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    commands: ChildStdin,
    answers: ChildStdout,
    /// Where the kernel counts the time of the forwarding thread.
    schedstat: PathBuf,
}

impl Testpmd {
    /// Whether it is installed.
    pub fn is_installed() -> bool {
        let null = Stdio::null;
        Command::new("dpdk-testpmd").arg("--version").stdout(null()).stderr(null()).status().is_ok()
    }

    /// Starts it with its forwarding thread on `cpu` and the rest of it on `other_cpu`.
    pub fn start(cpu: usize, other_cpu: usize, eal_args: &[String]) -> Result<Self, Error> {
        let mut child = Command::new("stdbuf")
            .args(["-oL", "dpdk-testpmd", "--lcores", &format!("0@{other_cpu},1@{cpu}")])
            .args(["--no-pci", "--iova-mode=va", "--no-telemetry", "--vdev", "net_null0,size=64"])
            .args(eal_args)
            .args(["--", "-i", "--forward-mode=io", "--nb-cores=1", "--port-topology=loop"])
            .args(["--burst=32", "--mbcache=256", "--total-num-mbufs=16383"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::Testpmd(format!("stdbuf cannot be started: {error}")))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Testpmd("no pipes".into()));
        };
        let mut testpmd = Self { child, commands, answers, schedstat: PathBuf::new() };
        testpmd.ask("set fwd io", "Set io packet forwarding mode")?;
        testpmd.schedstat = testpmd.find_forwarder()?;
        Ok(testpmd)
    }

    /// Forwards for about `slice` and says how many packets that were.
    pub fn measure(&mut self, slice: Duration) -> Result<Slice, Error> {
        let before = calibrate();
        let watch = Stopwatch::start_at(self.forwarder_time()?);
        self.tell("start")?;
        thread::sleep(slice);
        let answer = self.ask("stop", "Done.")?;
        let (cycles, on_cpu) = watch.stop_at(self.forwarder_time()?);
        let packets = accumulated_packets(&answer)
            .ok_or_else(|| Error::Testpmd(format!("no packets in its statistics: {answer}")))?;
        Ok(Slice { packets, cycles, on_cpu, calibration: before.max(calibrate()) })
    }

    fn tell(&mut self, command: &str) -> Result<(), Error> {
        writeln!(self.commands, "{command}")
            .map_err(|error| Error::Testpmd(format!("takes no commands: {error}")))
    }

    /// Sends a command and reads until `end` is there.
    fn ask(&mut self, command: &str, end: &str) -> Result<String, Error> {
        self.tell(command)?;
        let mut answer = Vec::new();
        loop {
            let mut fds = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(PATIENCE_MILLIS));
            let mut chunk = [0; 4096];
            let read = match ready {
                Ok(ready) if ready > 0 => self.answers.read(&mut chunk).unwrap_or(0),
                _ => 0,
            };
            answer.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&answer);
            if text.contains(end) {
                return Ok(text.into_owned());
            }
            if read == 0 {
                return Err(Error::Testpmd(format!("no answer to {command:?} but {:?}", text.trim())));
            }
        }
    }

    /// The forwarding thread is the only one that EAL calls a worker.
    fn find_forwarder(&self) -> Result<PathBuf, Error> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let is_worker = |name: &str| name.contains("worker");
        tasks
            .map(|task| task.path())
            .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| is_worker(&name)))
            .map(|task| task.join("schedstat"))
            .ok_or_else(|| Error::Testpmd("its forwarding thread cannot be found".into()))
    }

    /// The time that the forwarding thread has spent on its CPU; exact while it sleeps.
    fn forwarder_time(&self) -> Result<Duration, Error> {
        let text = fs::read_to_string(&self.schedstat).unwrap_or_default();
        let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
        nanos
            .map(Duration::from_nanos)
            .ok_or_else(|| Error::Testpmd("the kernel does not say how long its thread ran".into()))
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.tell("quit");
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The packets received on all ports since `start`, out of what `stop` prints.
fn accumulated_packets(text: &str) -> Option<u64> {
    let (_, statistics) = text.split_once("Accumulated forward statistics")?;
    let (_, packets) = statistics.split_once("RX-packets:")?;
    packets.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_from_the_accumulated_statistics() {
        let text = "\
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 1              RX-dropped: 0             RX-total: 1
  ----------------------------------------------------------------------------
  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 24563520       RX-dropped: 0             RX-total: 24563520
  TX-packets: 24563520       TX-dropped: 0             TX-total: 24563520
Done.";
        assert_eq!(accumulated_packets(text), Some(24_563_520));
        assert_eq!(accumulated_packets("Done."), None);
    }
}
