//! `weir decap`: the far end of the tunnel on a server without kernel tunnel devices.
//!
//! ```text
//!  balancer ──GRE, IPIP──▶ raw socket (IPv4, IPv6) ──┐
//!           ─────GUE─────▶ UDP socket (IPv4, IPv6) ──┴─strip─▶ TUN device ──▶ kernel TCP, VIP on lo ──▶ client
//! ```
//!
//! The kernel hands over whole (reassembled) outer datagrams; [`packet`] strips and validates them, and the
//! inner packet goes into a TUN device, where the kernel takes it for an arriving one. The answer leaves by
//! the server's own route, past the balancer (direct server return).
//!
//! The way of a packet allocates nothing, and every packet ends as delivered or under one named [`DropReason`]:
//! `received = delivered + Σ dropped`.
//!
//! Another encapsulation is one variant of [`Encap`], the sockets it listens on (`receive::open`), each with
//! the [`packet::Header`] that its datagrams start with, and the function that strips that header.
//!
//! A raw socket gets every datagram of its protocol whether or not the kernel has a driver for it, and keeps
//! the kernel from answering "protocol unreachable". (A loaded `ipip` or `sit` module without a device that
//! takes the packet answers "port unreachable" all the same: unload it, or use its device instead.)

use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd;

use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

mod counters;
mod error;
mod gre;
mod gue;
mod host;
mod netlink;
pub mod packet;
mod receive;
mod sys;
mod tun;

pub use counters::{Counters, DropReason};
pub use error::DecapError;
pub use tun::Tun;

use packet::Rules;
use receive::{Buffers, Receiver};

/// Batches taken from one socket before the others get a turn.
const BATCHES_PER_TURN: usize = 8;

/// The encapsulations that can be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encap {
    /// Generic Routing Encapsulation: RFC 2784, and the key and sequence fields of RFC 2890.
    Gre,
    /// IP in IP: protocols 4 (RFC 2003) and 41 (RFC 2473, RFC 4213) over IPv4 and IPv6.
    Ipip,
    /// Generic UDP Encapsulation: draft-ietf-intarea-gue, variants 0 and 1.
    Gue,
}

/// Options of `weir decap`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir decap --vip 203.0.113.10
  weir decap --tun weir1 --vip 203.0.113.10 --vip 2001:db8:1::10 --key 42
  weir decap --encap gue --gue-port 6080 --vip 203.0.113.10

Signals: SIGUSR1 prints the counters; SIGTERM or SIGINT prints them and stops.")]
pub struct DecapArgs {
    /// What the balancer wraps the packets in
    #[arg(long, value_enum, default_value = "gre")]
    pub encap: Encap,

    /// TUN device to create; it goes away with the command
    #[arg(long, value_name = "NAME", default_value = "weir0")]
    pub tun: String,

    /// Address to answer for (repeatable): put on lo while the command runs, unless it is there already.
    /// Packets to other addresses are then dropped. Without --vip nothing is configured and all pass
    #[arg(long, value_name = "ADDR")]
    pub vip: Vec<IpAddr>,

    /// Accept only packets with this GRE key
    #[arg(long, value_name = "KEY")]
    pub key: Option<u32>,

    /// UDP port of GUE [default: 6080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub gue_port: Option<u16>,
}

/// The UDP port that IANA gave to GUE.
const GUE_PORT: u16 = 6080;

impl DecapArgs {
    /// An option that the encapsulation has no use for is a misunderstanding better met now.
    fn check(&self) -> Result<(), DecapError> {
        let stray = |option, belongs_to| Err(DecapError::StrayOption { option, belongs_to });
        match self {
            Self { key: Some(_), encap: Encap::Ipip | Encap::Gue, .. } => stray("--key", "gre"),
            Self { gue_port: Some(_), encap: Encap::Gre | Encap::Ipip, .. } => stray("--gue-port", "gue"),
            _ => Ok(()),
        }
    }
}

/// Runs until SIGTERM or SIGINT; status lines and counters go to standard error.
pub fn run(args: DecapArgs) -> Result<(), DecapError> {
    args.check()?;
    // Blocked before anything is set up, so that a signal at any later moment ends in the loop and the addresses are removed.
    let signals = block_signals()?;
    let tun = Tun::open(&args.tun)?;
    let mut receivers = receive::open(args.encap, args.gue_port.unwrap_or(GUE_PORT))?;
    let _addresses = host::prepare(tun.name(), &args.vip)?;
    say(format_args!("ready: {} into {}", receive::names(&receivers), tun.name()));
    if args.vip.is_empty() {
        say(format_args!("note: {}", host::advice()));
    }
    if let Some(advice) = host::arp_advice(&args.vip) {
        say(format_args!("note: {advice}"));
    }
    let rules = Rules { key: args.key, vips: args.vip };
    let mut counters = Counters::default();
    let outcome = forward(&signals, &mut receivers, &tun, &rules, &mut counters);
    report(&counters, &receivers);
    outcome
}

/// Waits for packets and signals, and moves packets, until a signal says stop.
fn forward(
    signals: &SignalFd,
    receivers: &mut [Receiver],
    tun: &Tun,
    rules: &Rules,
    counters: &mut Counters,
) -> Result<(), DecapError> {
    let mut buffers = Buffers::new();
    loop {
        wait(signals, receivers)?;
        while let Some(signal) = next_signal(signals)? {
            if signal != Signal::SIGUSR1 {
                return Ok(());
            }
            report(counters, receivers);
        }
        for receiver in receivers.iter_mut() {
            let header = receiver.header();
            for _ in 0..BATCHES_PER_TURN {
                let full = receiver.batch(&mut buffers, |outer, datagram| {
                    counters.received += 1;
                    match packet::decapsulate(rules, header, outer, datagram)
                        .and_then(|inner| tun.deliver(inner))
                    {
                        Ok(()) => counters.delivered += 1,
                        Err(reason) => counters.drop(reason),
                    }
                })?;
                if !full {
                    break;
                }
            }
        }
    }
}

/// Sleeps until a signal or a packet is there.
fn wait(signals: &SignalFd, receivers: &[Receiver]) -> Result<(), DecapError> {
    // One slot for the signals and one for each socket an encapsulation may need; unused ones watch the signals.
    let mut fds = [const { None }; 1 + receive::MAX_RECEIVERS];
    let all = std::iter::once(signals.as_fd()).chain(receivers.iter().map(AsFd::as_fd));
    for (slot, fd) in fds.iter_mut().zip(all) {
        *slot = Some(fd);
    }
    let mut polled = fds.map(|fd| PollFd::new(fd.unwrap_or(signals.as_fd()), PollFlags::POLLIN));
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(DecapError::Wait { errno }),
    }
}

fn block_signals() -> Result<SignalFd, DecapError> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1]);
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| DecapError::Wait { errno })
}

fn next_signal(signals: &SignalFd) -> Result<Option<Signal>, DecapError> {
    let info = signals.read_signal().map_err(|errno| DecapError::Wait { errno })?;
    Ok(info.and_then(|info| i32::try_from(info.ssi_signo).ok()).and_then(|n| Signal::try_from(n).ok()))
}

fn report(counters: &Counters, receivers: &[Receiver]) {
    say(format_args!("{counters}; lost in full receive buffers {}", receive::lost_in_kernel(receivers)));
}

/// One line to standard error. A closed standard error is no reason to stop decapsulating.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "weir decap: {line}");
}
