//! The command line.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Benchmarks of Weir, on software ports.
#[derive(Debug, Parser)]
#[command(name = "weir-bench", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to measure; left out: `cycles`.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub cycles: CyclesArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What a packet costs in TSC cycles, from bare forwarding to the whole worker.
    #[command(
        after_help = "Examples:\n  weir-bench cycles\n  weir-bench cycles --flows 1M --encap gre4 --rounds 21 --json run.json\n  weir-bench cycles --markdown docs/results/performance.md"
    )]
    Cycles(CyclesArgs),
    /// How long packets wait while a new generation is taken over.
    #[command(
        after_help = "Examples:\n  weir-bench reload\n  weir-bench reload --vips 1 --servers 1000 --rounds 100"
    )]
    Reload(ReloadArgs),
    /// Measure how long it takes from an observation to weights in force, and how evenly decisions come.
    #[command(
        after_help = "Examples:\n  weir-bench steer\n  weir-bench steer --periods 10,50 --servers 64 --seconds 20"
    )]
    Steer(SteerArgs),
}

/// What is steered, and how long.
#[derive(Clone, Debug, Args)]
pub struct SteerArgs {
    /// Periods of the policy, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50])]
    pub periods: Vec<u64>,
    /// Servers of the VIP
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub servers: u16,
    /// The policy; one whose weights change with every observation, or there is nothing to measure
    #[arg(long, default_value = "active-wcmp")]
    pub policy: String,
    /// Its model
    #[arg(long)]
    pub model: Option<std::path::PathBuf>,
    /// Seconds for each period
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// Use 4 KiB pages
    #[arg(long)]
    pub no_huge: bool,
}

/// What is reloaded, and how often.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// VIPs
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub vips: u16,
    /// Servers of each VIP
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub servers: u16,
    /// Established flows
    #[arg(long, default_value = "16k")]
    pub flows: FlowCount,
    /// How many generations are taken over
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Use 4 KiB pages; the numbers are then not comparable with others
    #[arg(long)]
    pub no_huge: bool,
}

/// What to measure, how long, and where to write it.
#[derive(Clone, Debug, Args)]
pub struct CyclesArgs {
    /// Numbers of established flows to measure with; those above a million only with the first encapsulation
    #[arg(long, value_delimiter = ',', default_values = ["1k", "16k", "100k", "1M", "10M"])]
    pub flows: Vec<FlowCount>,
    /// Ways to the servers to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["gre4", "ipip4", "gue4", "gre4in6", "gre6in4", "gre6in6", "l3dsr4", "nat4"])]
    pub encap: Vec<Encap>,
    /// How many slices each row gets
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Time on the CPU that a slice lasts
    #[arg(long, default_value = "0.3s", value_parser = duration)]
    pub slice: Duration,
    /// Servers behind each VIP; the first number goes with everything else, the others with the first encapsulation
    #[arg(long, value_delimiter = ',', default_values = ["100", "4", "1000"], value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub servers: Vec<u16>,
    /// VIPs, in the same way
    #[arg(long, value_delimiter = ',', default_values = ["1", "1000"], value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub vips: Vec<u16>,
    /// The CPU to measure on; left out: the last one this process may use
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Write everything that was measured, slice by slice, to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the results as a page to this file
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Only rows whose name, as in JSON, contains this; what is left out is no floor either
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Leave out DPDK's own forwarder
    #[arg(long)]
    pub no_testpmd: bool,
    /// Use 4 KiB pages; the numbers are then not comparable with others
    #[arg(long)]
    pub no_huge: bool,
    /// Only see that everything runs: 2 rounds of 10 ms, at most 16k flows
    #[arg(long)]
    pub quick: bool,
}

impl CyclesArgs {
    /// Whether the row `id` is wanted.
    pub fn wants(&self, id: &str) -> bool {
        self.only.as_ref().is_none_or(|name| id.contains(name))
    }

    /// The same with what `quick` shortens.
    pub fn resolved(&self) -> Self {
        let mut args = self.clone();
        if args.quick {
            args.rounds = args.rounds.min(2);
            args.slice = args.slice.min(Duration::from_millis(10));
            args.flows.retain(|flows| flows.0 <= 16_000);
        }
        args.flows.sort_unstable();
        args.flows.dedup();
        args
    }

    /// What workers are measured with: every encapsulation with every number of flows, and the first one without a
    /// look at its flows, and with every other number of servers and of VIPs.
    pub fn settings(&self) -> Vec<Setting> {
        let (Some(&first), Some(&servers), Some(&vips)) =
            (self.encap.first(), self.servers.first(), self.vips.first())
        else {
            return Vec::new(); // clap asks for one of each
        };
        let of = |encap| {
            self.flows.iter().map(move |&flows| Setting { encap, flows, servers, vips, measured: true })
        };
        let usual = |setting: &Setting| setting.flows.0 <= USUAL_FLOWS;
        let base = of(first);
        let encaps = self.encap[1..].iter().flat_map(|&encap| of(encap)).filter(usual);
        let servers = self.servers[1..]
            .iter()
            .flat_map(|&servers| of(first).map(move |setting| Setting { servers, ..setting }));
        let vips =
            self.vips[1..].iter().flat_map(|&vips| of(first).map(move |setting| Setting { vips, ..setting }));
        let unmeasured = of(first).map(|setting| Setting { measured: false, ..setting });
        base.chain(unmeasured.filter(usual))
            .chain(encaps)
            .chain(servers.filter(usual))
            .chain(vips.filter(usual))
            .collect()
    }
}

/// Most flows that everything is measured with.
const USUAL_FLOWS: u32 = 1_000_000;

/// What a worker is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub encap: Encap,
    /// Established flows.
    pub flows: FlowCount,
    /// Servers of each VIP.
    pub servers: u16,
    pub vips: u16,
    /// Whether flows are measured, as by default.
    pub measured: bool,
}

/// How packets travel on to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encap {
    /// GRE over IPv4 around IPv4
    #[value(name = "gre4")]
    Gre4,
    /// IPv4 around IPv4
    #[value(name = "ipip4")]
    Ipip4,
    /// GUE with a header, over IPv4 around IPv4
    #[value(name = "gue4")]
    Gue4,
    /// GRE over IPv6 around IPv4
    #[value(name = "gre4in6")]
    Gre4In6,
    /// GRE over IPv4 around IPv6
    #[value(name = "gre6in4")]
    Gre6In4,
    /// GRE over IPv6 around IPv6
    #[value(name = "gre6in6")]
    Gre6In6,
    /// IPv4 with the destination and the DSCP rewritten
    #[value(name = "l3dsr4")]
    L3dsr4,
    /// IPv4 with the destination rewritten; only the way to the server
    #[value(name = "nat4")]
    Nat4,
}

impl Encap {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre4 => "gre4",
            Self::Ipip4 => "ipip4",
            Self::Gue4 => "gue4",
            Self::Gre4In6 => "gre4in6",
            Self::Gre6In4 => "gre6in4",
            Self::Gre6In6 => "gre6in6",
            Self::L3dsr4 => "l3dsr4",
            Self::Nat4 => "nat4",
        }
    }

    /// Whether clients speak IPv6.
    pub const fn is_v6_inside(self) -> bool {
        matches!(self, Self::Gre6In4 | Self::Gre6In6)
    }

    /// Whether servers are reached over IPv6.
    pub const fn is_v6_outside(self) -> bool {
        matches!(self, Self::Gre4In6 | Self::Gre6In6)
    }
}

/// A number of flows, written as 1000, 16k or 1M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowCount(pub u32);

/// Most flows of one worker: the flow table of 16 M entries takes 640 MiB.
const MAX_FLOWS: u32 = 16_000_000;

impl FromStr for FlowCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            _ => (text, 1),
        };
        let count = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(factor));
        count
            .filter(|count| (1..=MAX_FLOWS).contains(count))
            .map(Self)
            .ok_or_else(|| "write a number from 1 to 16M, for instance 1000, 16k or 1M".into())
    }
}

impl fmt::Display for FlowCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            count if count.is_multiple_of(1_000_000) => write!(f, "{}M", count / 1_000_000),
            count if count.is_multiple_of(1_000) => write!(f, "{}k", count / 1_000),
            count => write!(f, "{count}"),
        }
    }
}

/// A duration in seconds or milliseconds: 0.3s, 20ms.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse().map(|number: f64| number * unit);
    match seconds {
        Ok(seconds) if (1e-3..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write a time from 1ms to 60s, for instance 0.3s or 20ms".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_counts_are_read_as_they_are_shown() {
        for (text, count) in [("7", 7), ("1k", 1000), ("100k", 100_000), ("1M", 1_000_000)] {
            assert_eq!(text.parse(), Ok(FlowCount(count)));
            assert_eq!(FlowCount(count).to_string(), text);
        }
        for wrong in ["", "k", "0", "-1", "1G", "17M", "5000M"] {
            wrong.parse::<FlowCount>().unwrap_err();
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("0.3s"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        for wrong in ["", "s", "0s", "nan", "1h", "61s"] {
            duration(wrong).unwrap_err();
        }
    }

    #[test]
    fn cycles_is_the_default_command() {
        let cli = Cli::try_parse_from(["weir-bench", "--quick"]).unwrap();
        assert!(cli.command.is_none() && cli.cycles.quick);
        let resolved = cli.cycles.resolved();
        assert_eq!(resolved.flows, [FlowCount(1000), FlowCount(16_000)]);
        assert_eq!(resolved.rounds, 2);
    }

    #[test]
    fn settings_vary_one_thing_at_a_time() {
        let args = [
            "weir-bench",
            "--flows",
            "1k,10M",
            "--encap",
            "gre4,nat4",
            "--servers",
            "100,4",
            "--vips",
            "1,7",
        ];
        let settings = Cli::try_parse_from(args).unwrap().cycles.resolved().settings();
        let shown: Vec<_> = settings
            .iter()
            .map(|setting| {
                let Setting { encap, flows, servers, vips, measured } = setting;
                format!("{} {flows} {servers} {vips} {measured}", encap.name())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "gre4 1k 100 1 true",
                "gre4 10M 100 1 true",
                "gre4 1k 100 1 false",
                "nat4 1k 100 1 true",
                "gre4 1k 4 1 true",
                "gre4 1k 100 7 true"
            ]
        );
    }
}
