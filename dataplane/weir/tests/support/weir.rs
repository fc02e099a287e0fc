//! Runs the real binary, `weir run`, in the balancer's namespace.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::balancer::{Balancer, Weights};
use super::case::{Case, Way};
use super::lab::{ECHO_PORT, Lab, UPLOAD_PORT, VLAN};
use super::metrics::{self, Metrics};
use super::netns::Namespace;
use super::process::Process;
use super::wait_for;

const METRICS_PORT: u16 = 9400;
/// The kernel's end of the exception port.
pub const HOST: &str = "weir0";
/// The EAL maps and clears its memory first.
const START: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(5);

/// A running weir.
pub struct Weir<'a> {
    namespace: &'a Namespace,
    process: Process,
    file: PathBuf,
    config: Box<dyn Fn(Weights) -> String>,
}

impl<'a> Weir<'a> {
    /// Starts it and waits until it is ready.
    pub fn start(lab: &'a Lab, case: &Case, weights: Weights) -> Self {
        Self::start_with(lab, case, weights, "")
    }

    /// The same, with `more` below the servers of the web service.
    pub fn start_with(lab: &'a Lab, case: &Case, weights: Weights, more: &'static str) -> Self {
        let file = lab.scratch.path().join("weir.toml");
        let config = configuration(lab, case, more);
        let text = config(weights);
        eprintln!("--- {}:\n{text}---", file.display());
        write_whole(&file, &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--config"]).arg(&file);
        let mut process = Process::start(&lab.lb, "weir", command, lab.scratch.path());
        wait_for("weir to be ready", START, || {
            process.assert_running();
            metrics::get(&lab.lb, METRICS_PORT, "/readyz").filter(|&(status, _)| status == 200)
        });
        Self { namespace: &lab.lb, process, file, config: Box::new(config) }
    }

    /// A page that it serves: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        metrics::get(self.namespace, METRICS_PORT, path).expect("weir serves its pages")
    }

    /// The metrics of this moment.
    pub fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// Puts a new file in place, sends SIGHUP and waits until it has been counted.
    fn reload(&self, text: &str) {
        let count = |weir: &Self| weir.metrics().sum_of("weir_config_reload_total");
        let before = count(self);
        write_whole(&self.file, text);
        self.process.signal(Signal::SIGHUP);
        wait_for("weir to have reloaded", PATIENCE, || (count(self) > before).then_some(()));
    }

    fn server_weights(&self) -> Vec<(String, f64)> {
        self.metrics().by_label("weir_server_weight", "server")
    }
}

impl Balancer for Weir<'_> {
    fn set_weights(&mut self, weights: Weights) {
        let before = self.metrics().sum("weir_table_generation");
        self.reload(&(self.config)(weights));
        wait_for("the next generation of tables", PATIENCE, || {
            (self.metrics().sum("weir_table_generation") > before).then_some(())
        });
    }

    fn offer_wrong_config(&mut self) {
        let before = self.server_weights();
        // Right but for the last line: nothing of it may take effect.
        let wrong =
            format!("{}\n[metrics]\nlisten = \"nowhere\"\nno_such_key = 1\n", (self.config)([7, 7, 7]));
        self.reload(&wrong);
        assert_eq!(self.server_weights(), before, "a wrong configuration changed the weights");
        self.process.assert_running();
    }

    fn audit(&mut self) {
        // At every moment, and so also while stray packets (neighbour discovery) still arrive.
        for _ in 0..5 {
            let metrics = self.metrics();
            let received = metrics.sum("weir_port_rx_packets_total");
            let sent = metrics.sum("weir_port_tx_packets_total");
            let dropped = metrics.sum_of("weir_drops_total");
            let in_flight = metrics.sum("weir_packets_in_flight");
            eprintln!("received {received} = sent {sent} + dropped {dropped} + in flight {in_flight}");
            assert!(received > 0.0, "weir received nothing");
            assert_eq!(received, sent + dropped + in_flight, "packets are unaccounted for: {metrics:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let flows = self.metrics().by_label("weir_server_flows", "server");
        assert!(flows.iter().all(|&(_, count)| count >= 0.0), "negative counts of flows: {flows:?}");
        assert_eq!(self.metrics().sum_of("weir_pcc_violations_total"), 0.0, "established flows were moved");
    }

    fn stop(mut self) {
        let status = self.process.terminate(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0), "weir ended with {status} after SIGTERM:\n{}", self.process.log());
    }
}

/// The configuration for a lab, as a function of the weights.
fn configuration(lab: &Lab, case: &Case, more: &'static str) -> impl Fn(Weights) -> String + 'static {
    let workers = case.workers;
    let lcores = if workers == 1 { "1" } else { "0-1" };
    let mut head = format!("[eal]\nargs = [\"--no-huge\", \"-m\", \"256\"]\nlcores = \"{lcores}\"\n");
    let mtu = case.mtu;
    let vlan = if case.vlan { format!("vlan = {VLAN}\n") } else { String::new() };
    let announce = if case.announce { "announce = true\n" } else { "" };
    for (number, (interface, [v4, v6])) in lab.ports.iter().enumerate() {
        let device = if case.pcap {
            format!("net_pcap{number},rx_iface_in={interface},tx_iface={interface}")
        } else {
            // The kernel spreads packets over the queues by their hash: replies come to another one as they please.
            format!("net_af_packet{number},iface={interface},qpairs={workers}")
        };
        let exception = match number {
            0 if case.exception => format!("exception = \"net_tap0,iface={HOST}\"\n"),
            _ => String::new(),
        };
        let _ = write!(
            head,
            "\n[[port]]\nname = \"{interface}\"\ndevice = \"{device}\"\naddress = [\"{v4}\", \"{v6}\"]\nmtu = {mtu}\n{vlan}{announce}{exception}"
        );
    }
    let socket = lab.scratch.path().join("weir.sock");
    let _ = write!(head, "\n[control]\nsocket = \"{}\"\n", socket.display());
    if case.way.gue_port() != 6080 {
        let _ = write!(head, "\n[tunnel]\ngue_port = {}\n", case.way.gue_port());
    }
    // Protocol, port of the VIP, port of the servers where it is another.
    let services: Vec<(&str, u16, Option<u16>)> = if case.way == Way::Nat {
        vec![("tcp", 80, Some(8080)), ("udp", 53, Some(ECHO_PORT))]
    } else {
        vec![("tcp", 80, None), ("udp", ECHO_PORT, None), ("tcp", UPLOAD_PORT, None)]
    };
    let (vip, encap, keys) = (case.vip(), case.way.config(), case.keys);
    let servers: Vec<_> = lab.servers.iter().map(|server| server.address(case.server_ipv6)).collect();
    move |weights| {
        let mut text = head.clone();
        for &(protocol, port, server_port) in &services {
            let web = (protocol, port) == ("tcp", 80);
            // Draws by weight alone, so that the shares obey a known law.
            let _ = write!(
                text,
                "\n[[vip]]\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\nport = {port}\n{encap}\n\
                 select = \"alias\"\n{}",
                if web { keys } else { "" }
            );
            for (server, weight) in servers.iter().zip(weights) {
                let _ = write!(text, "[[vip.server]]\naddress = \"{server}\"\nweight = {weight}\n");
                if let Some(port) = server_port {
                    let _ = writeln!(text, "port = {port}");
                }
            }
            if web {
                text.push_str(more);
            }
        }
        text
    }
}

/// Readers see the old file or the new one, never half of it.
fn write_whole(file: &PathBuf, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).expect("the scratch folder is writable");
}
