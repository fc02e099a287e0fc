//! `weir-train trace`: says what is in a trace, and makes one.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

use trainer::{
    sim::{
        arrivals::{Arrivals, Mmpp, Poisson},
        law::{Law, LawError},
    },
    traces::{
        Summary, TraceError,
        generate::{Generator, Loops},
        open, tsv,
        wikipedia::{Day, Wikipedia},
    },
};

/// `weir-train trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Debug, Subcommand)]
enum TraceCommand {
    /// What is in a trace: `time<TAB>query`, or a packet capture (classic pcap).
    Info {
        /// The file.
        file: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes a trace of the form `time<TAB>query`.
    Generate(Generate),
}

/// What a trace is made of.
#[derive(Debug, Args)]
struct Generate {
    /// How flows arrive.
    kind: Kind,
    /// Flows a second, on the mean. Left out: 350, and for wikipedia what is published.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// How many flows; with --seconds, at most so many.
    #[arg(long)]
    flows: Option<u64>,
    /// Until when, in seconds.
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// How long a day of wikipedia is, in seconds.
    #[arg(long, default_value_t = 86_400.0, value_parser = positive)]
    day: f64,
    /// mmpp: how many times as many flows come in a burst.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    burst: f64,
    /// mmpp: mean length of a burst, in seconds; the calm between is four times as long.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    busy: f64,
    /// The law of a loop's turns (poisson and mmpp).
    #[arg(long, default_value = "exponential")]
    law: Turns,
    /// Mean turns of a loop.
    #[arg(long, default_value_t = Loops::TURNS, value_parser = positive)]
    turns: f64,
    /// The same seed makes the same trace.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file; without it, standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Loops at an even rate.
    Poisson,
    /// Loops in bursts (a Markov-modulated Poisson process).
    Mmpp,
    /// Pages and files of a synthetic day.
    Wikipedia,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Turns {
    /// All alike.
    Constant,
    /// Memoryless, as in the published traces.
    Exponential,
    /// Squared coefficient of variation 4.
    Lognormal,
    /// Bounded, exponent 1.5, the largest 1000 times the smallest.
    Pareto,
    /// Squared coefficient of variation 10.
    Hyperexponential,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A trace cannot be used.
    #[error("{}: {error}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: TraceError,
    },
    /// It does not say when to end.
    #[error("a trace has to end: give --flows or --seconds")]
    Endless,
    /// A law makes no sense.
    #[error(transparent)]
    Law(#[from] LawError),
    /// What was made cannot be written.
    #[error("cannot write {to}: {error}")]
    Write {
        /// Where to.
        to: String,
        /// Why not.
        error: io::Error,
    },
}

impl CommandError {
    /// Whether it is the machine's fault, and not that of what was given.
    pub const fn is_of_the_machine(&self) -> bool {
        let reads = matches!(self, Self::Trace { error: TraceError::Read { .. } | TraceError::Io(_), .. });
        reads || matches!(self, Self::Write { .. })
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("it must be a number above zero".into()),
    }
}

impl TraceArgs {
    /// Does what is asked. What is said goes to `out`.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        match &self.command {
            TraceCommand::Info { file, json } => info(file, *json, out),
            TraceCommand::Generate(generate) => generate.run(out),
        }
    }
}

fn info(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let summary = open(path)
        .and_then(|mut source| Summary::of(&mut *source))
        .map_err(|error| CommandError::Trace { path: path.into(), error })?;
    let written = if json {
        serde_json::to_writer(&mut *out, &summary).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write!(out, "{summary}")
    };
    written.map_err(|error| CommandError::Write { to: "standard output".into(), error })
}

impl Generate {
    fn run(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        if self.flows.is_none() && self.seconds.is_none() {
            return Err(CommandError::Endless);
        }
        let mut generator = self.generator()?;
        let to =
            self.out.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
        let written = match &self.out {
            Some(path) => {
                File::create(path).and_then(|file| self.rows(&mut *generator, BufWriter::new(file)))
            }
            None => self.rows(&mut *generator, BufWriter::new(out)),
        };
        written.map_err(|error| CommandError::Write { to, error })
    }

    fn rows(&self, generator: &mut dyn Generator, out: impl Write) -> io::Result<()> {
        let mut writer = tsv::Writer::new(out)?;
        let mut query = String::new();
        for _ in 0..self.flows.unwrap_or(u64::MAX) {
            query.clear();
            let seconds = generator.row(&mut query);
            if self.seconds.is_some_and(|end| seconds > end) {
                break;
            }
            writer.row(seconds, &query)?;
        }
        writer.finish()
    }

    fn generator(&self) -> Result<Box<dyn Generator>, CommandError> {
        let rate = self.rate.unwrap_or(350.0);
        Ok(match self.kind {
            Kind::Poisson => self.loops(Box::new(Poisson::new(rate, self.seed)))?,
            Kind::Mmpp => {
                let busy = self.busy * 1e9;
                self.loops(Box::new(Mmpp::new(rate, self.burst, busy, 4.0 * busy, self.seed)))?
            }
            Kind::Wikipedia => {
                let day = Day::default().lasting(self.day);
                let day = self.rate.map_or(day, |rate| day.with_mean(rate));
                Box::new(Wikipedia::new(day, self.seed))
            }
        })
    }

    fn loops(&self, arrivals: Box<dyn Arrivals>) -> Result<Box<dyn Generator>, CommandError> {
        let mean = self.turns;
        let law = match self.law {
            Turns::Constant => Law::Constant { mean },
            Turns::Exponential => Law::Exponential { mean },
            Turns::Lognormal => Law::Lognormal { mean, cv2: 4.0 },
            Turns::Pareto => Law::Pareto { mean, shape: 1.5, spread: 1000.0 },
            Turns::Hyperexponential => Law::Hyperexponential { mean, cv2: 10.0 },
        };
        law.check()?;
        Ok(Box::new(Loops::new(arrivals, law, self.seed)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        trace: TraceArgs,
    }

    fn run(arguments: &str) -> Result<String, CommandError> {
        let cli = Cli::try_parse_from(["trace"].into_iter().chain(arguments.split(' '))).expect("arguments");
        let mut out = Vec::new();
        cli.trace.run(&mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn made_traces_are_the_same_for_a_seed_and_end_where_told() {
        for kind in ["poisson", "mmpp", "wikipedia"] {
            let made = run(&format!("generate {kind} --flows 100 --seed 3")).unwrap();
            assert_eq!(made.lines().count(), 101);
            assert!(made.starts_with("time\tquery\n"));
            assert_eq!(run(&format!("generate {kind} --flows 100 --seed 3")).unwrap(), made);
            assert_ne!(run(&format!("generate {kind} --flows 100 --seed 4")).unwrap(), made);
            let short = run(&format!("generate {kind} --seconds 0.1 --rate 500")).unwrap();
            assert!((20..100).contains(&short.lines().count()), "{kind}");
        }
        assert!(matches!(run("generate poisson"), Err(CommandError::Endless)));
    }

    #[test]
    fn info_says_what_is_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tsv");
        let file = path.display();
        for law in ["constant", "exponential", "lognormal", "pareto", "hyperexponential"] {
            run(&format!("generate poisson --flows 1000 --law {law} --turns 1000 --out {file}")).unwrap();
            let said = run(&format!("info {file}")).unwrap();
            assert!(said.starts_with("flows          1000\n") && said.contains("loops"), "{said}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&run(&format!("info {file} --json")).unwrap()).unwrap();
        assert_eq!(json["flows"], 1000);
        std::fs::write(&path, "time\tquery\n1\t/a\nx\t/a\n").unwrap();
        let error = run(&format!("info {file}")).unwrap_err().to_string();
        assert!(error.contains("t.tsv: line 3, column 1"), "{error}");
        let missing = run("info /nonexistent/trace.tsv").unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/trace.tsv"), "{missing}");
    }
}
