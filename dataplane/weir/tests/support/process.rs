//! Child processes that end with the test, with their output at hand when it fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Namespace;
use super::wait_for;

/// A running program in a namespace; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` inside, with both outputs going to `folder/name.log`.
    pub fn start(namespace: &Namespace, name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("the scratch folder is writable");
        let copy = file.try_clone().expect("one more descriptor");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = namespace.run(|| command.spawn());
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) {
        let what = format!("`{text}` from {}", self.name);
        wait_for(&what, limit, || {
            let found = self.log().contains(text);
            self.assert_running();
            found.then_some(())
        });
    }

    /// Fails the test if the process has ended.
    pub fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Sends a signal to this process, and to no other.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"));
        kill(pid, signal).unwrap_or_else(|errno| panic!("cannot signal {}: {errno}", self.name));
    }

    /// Asks it to end with SIGTERM and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || self.child.try_wait().expect("the child is ours"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child is ours and not reaped twice; both calls fail harmlessly if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- last lines of {}:\n{tail}\n---", self.name);
        }
    }
}
