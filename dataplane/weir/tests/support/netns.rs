//! Network namespaces that cannot be left behind.
//!
//! A namespace has no name in `/run/netns`: it lives by the open descriptor here (and the processes in it), so
//! the kernel removes it even when the test is killed. While a test runs, look inside with the command that
//! [`Namespace::new`] prints.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

/// One network namespace with `lo` up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes a namespace. `name` is for messages only.
    pub fn new(name: &str) -> Self {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            File::open("/proc/thread-self/ns/net").expect("the namespace just made")
        })
        .join()
        .expect("a namespace can be made");
        let namespace = Self { name: name.to_owned(), file };
        eprintln!("namespace {name}: nsenter --net={}", namespace.path());
        namespace.ip(["link set lo up"]);
        // New namespaces inherit these from the machine; the tests must not depend on it.
        for path in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"] {
            namespace.sysctl(path, "0");
        }
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "0");
        // Link-local addresses are usable at once, not after a second of duplicate address detection.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path by which `ip` and `nsenter` find the namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Starts a thread inside; what it opens and the processes it spawns belong to the namespace.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = self.file.try_clone().expect("one more descriptor");
        thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("root may enter its namespace");
            work()
        })
    }

    /// Runs `work` inside and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).expect("root may enter its namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` with each line as its arguments.
    pub fn ip<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        let batch: String = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let mut command = Command::new("ip");
        self.checked(command.args(["-batch", "-"]), &batch);
    }

    /// Loads rules for packet filtering and mangling.
    pub fn nft(&self, rules: &str) {
        self.checked(Command::new("nft").args(["-f", "-"]), rules);
    }

    /// What a command prints.
    pub fn output(&self, program: &str, arguments: &str) -> String {
        let mut command = Command::new(program);
        let output = self.run(|| command.args(arguments.split(' ')).output());
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{}: {command:?} failed", self.name);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Turns off what would let unfinished checksums and oversized frames reach a packet socket.
    pub fn offloads_off(&self, interface: &str) {
        let options = "tx off rx off tso off gso off gro off sg off";
        let mut command = Command::new("ethtool");
        self.checked(command.args(["-K", interface]).args(options.split(' ')), "");
    }

    /// Writes a file below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) {
        let written = self.run(|| std::fs::write(format!("/proc/sys/{path}"), value));
        written.unwrap_or_else(|error| panic!("{}: cannot set {path}: {error}", self.name));
    }

    /// Runs a command to its end; it must succeed.
    fn checked(&self, command: &mut Command, input: &str) {
        let output = self.run(|| {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))?;
            child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {command:?} failed: {stderr}\ninput:\n{input}", self.name);
    }
}

/// Joins two namespaces by a veth pair, both ends up and without offloads.
pub fn link(a: (&Namespace, &str), b: (&Namespace, &str), mtu: u16) {
    let ((here, a), (there, b)) = (a, b);
    let peer = there.path();
    here.ip([format!("link add {a} mtu {mtu} type veth peer name {b} mtu {mtu} netns {peer}")]);
    for (namespace, interface) in [(here, a), (there, b)] {
        namespace.offloads_off(interface);
        namespace.ip([format!("link set {interface} up")]);
    }
}
