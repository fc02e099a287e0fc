//! What the demo shows: a live table, and at the end what was promised against what was achieved.

use std::{fmt::Write as _, io::Write as _};

use console::Term;
use dataplane::pipeline::counters::Ledger;

use super::world::{ServerTally, Tally};

/// Standard deviations that a share may be off by chance.
pub const TOLERANCE: f64 = 5.0;

/// A server as the demo knows it.
#[derive(Clone, Debug)]
pub struct DemoServer {
    /// Its name.
    pub name: String,
    /// How fast it works, relative to the slowest. The balancer does not know it.
    pub speed: f64,
    /// Its weight in this phase.
    pub weight: f64,
}

/// A finished phase.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The servers with their weights.
    pub servers: Vec<DemoServer>,
    /// What happened.
    pub tally: Tally,
}

/// Writes to the terminal; on one that can, a live table replaces the last.
#[derive(Debug)]
pub struct View {
    term: Term,
    lines: usize,
}

impl View {
    /// A view on standard output.
    pub fn new() -> Self {
        Self { term: Term::stdout(), lines: 0 }
    }

    /// Shows text that stays.
    pub fn say(&mut self, text: &str) {
        self.lines = 0;
        let _ = self.term.write_line(text);
    }

    /// Shows the state of a running phase, over the last one on a terminal. Elsewhere only `say` speaks.
    pub fn live(&mut self, text: &str) {
        if !self.term.is_term() {
            return;
        }
        let _ = self.term.clear_last_lines(self.lines);
        let _ = self.term.write_all(text.as_bytes());
        self.lines = text.lines().count();
    }
}

/// The share of new connections that each server should have and has, and how long they took.
pub fn table(servers: &[DemoServer], tallies: &[ServerTally]) -> String {
    let total: u64 = tallies.iter().map(|tally| tally.connections).sum();
    let weights: f64 = servers.iter().map(|server| server.weight).sum();
    let mut text = format!(
        "  {:<8} {:>5} {:>6} {:>11} {:>7} {:>7} {:>8} {:>7} {:>9} {:>9}\n",
        "server", "speed", "weight", "connections", "share", "wanted", "off by", "active", "mean", "p99"
    );
    for (server, tally) in servers.iter().zip(tallies) {
        let wanted = server.weight / weights;
        let _ = writeln!(
            text,
            "  {:<8} {:>5} {:>6} {:>11} {:>6.2}% {:>6.2}% {:>6.1} σ {:>7} {:>6.1} ms {:>6.1} ms",
            server.name,
            server.speed,
            server.weight,
            tally.connections,
            100.0 * tally.connections as f64 / total.max(1) as f64,
            100.0 * wanted,
            deviation(tally.connections, total, wanted),
            tally.active,
            mean(&tally.completions) * 1e3,
            quantile(&tally.completions, 0.99) * 1e3,
        );
    }
    let all: Vec<f32> = tallies.iter().flat_map(|tally| &tally.completions).copied().collect();
    let _ = writeln!(
        text,
        "  {:<8} {:>5} {:>6} {:>11} {:>42} {:>6.1} ms {:>6.1} ms",
        "all",
        "",
        "",
        total,
        "",
        mean(&all) * 1e3,
        quantile(&all, 0.99) * 1e3
    );
    text
}

/// How many standard deviations a count of a binomial share is off.
pub fn deviation(count: u64, total: u64, share: f64) -> f64 {
    let spread = (total as f64 * share * (1.0 - share)).sqrt();
    if spread == 0.0 { 0.0 } else { (count as f64 - total as f64 * share) / spread }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64
}

/// The empirical quantile; zero of nothing.
fn quantile(values: &[f32], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = (q * sorted.len() as f64) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |&value| f64::from(value))
}

/// What was promised, and whether it was kept.
pub fn verdict(phases: &[Phase], last: &Tally, ledger: Option<&Ledger>) -> (String, bool) {
    let mut text = String::from("Verdict\n");
    let mut kept = true;
    let mut promise = |holds: bool, line: String| {
        kept &= holds;
        let _ = writeln!(text, "  {} {line}", if holds { "yes" } else { "NO " });
    };
    let worst = phases.iter().map(worst_deviation).fold(0.0, f64::max);
    promise(
        worst <= TOLERANCE,
        format!(
            "shares follow the weights: at most {worst:.1} standard deviations off (chance allows {TOLERANCE})"
        ),
    );
    promise(
        last.moved == 0,
        format!("connections stay on their server: {} of {} moved", last.moved, last.opened),
    );
    promise(
        last.completed == last.opened,
        format!(
            "every connection is answered: {} of {}, {} segments sent again",
            last.completed, last.opened, last.retries
        ),
    );
    match ledger {
        Some(ledger) => {
            let places = 0..ledger.places();
            let rx: u64 = places.clone().map(|place| ledger.rx(place).packets).sum();
            let tx: u64 = places.map(|place| ledger.tx(place).packets).sum();
            let (drops, held) = (ledger.all_drops(), ledger.in_flight());
            let law = format!(
                "every packet is accounted for: rx {rx} = tx {tx} + drops {drops} + in flight {held}"
            );
            promise(ledger.imbalance() == 0, law);
        }
        None => promise(false, "the packet counters could be read".into()),
    }
    (text, kept)
}

fn worst_deviation(phase: &Phase) -> f64 {
    let total: u64 = phase.tally.servers.iter().map(|server| server.connections).sum();
    let weights: f64 = phase.servers.iter().map(|server| server.weight).sum();
    let servers = phase.servers.iter().zip(&phase.tally.servers);
    servers
        .map(|(server, tally)| deviation(tally.connections, total, server.weight / weights).abs())
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_that_of_a_binomial_count() {
        assert_eq!(deviation(60, 100, 0.5), 2.0);
        assert_eq!(deviation(0, 0, 0.5), 0.0);
    }

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(&[], 0.99), 0.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), 3.0);
    }

    #[test]
    fn verdict_is_no_when_the_law_is_broken() {
        let mut ledger = Ledger::new(1);
        assert!(verdict(&[], &Tally::default(), Some(&ledger)).1);
        ledger.count_rx(0, dataplane::pipeline::counters::Traffic { packets: 1, bytes: 60 });
        let (text, kept) = verdict(&[], &Tally::default(), Some(&ledger));
        assert!(!kept && text.contains("NO "), "{text}");
    }
}
