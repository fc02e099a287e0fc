//! What the demo shows while it plays: a table that moves on a terminal, and stands still elsewhere.

use std::{fmt::Write as _, io::Write as _};

use console::Term;

use super::{
    contender::SPEEDS,
    tally::{Figures, ServerTally, Tally, jain},
};

/// "Lately", in seconds.
const LATELY: f32 = 2.0;

/// Cells of the longest bar.
const BAR: f64 = 20.0;

/// Writes to the terminal; on one that can, a live table replaces the last.
#[derive(Debug)]
pub struct View {
    term: Term,
    lines: usize,
    silent: bool,
}

impl View {
    /// A view on standard output; a silent one shows nothing.
    pub fn new(silent: bool) -> Self {
        Self { term: Term::stdout(), lines: 0, silent }
    }

    /// Shows text that stays.
    pub fn say(&mut self, text: &str) {
        self.lines = 0;
        if !self.silent {
            let _ = self.term.write_line(text);
        }
    }

    /// Shows how it stands, over the last time on a terminal. Elsewhere only `say` speaks.
    pub fn live(&mut self, text: &str) {
        if !self.term.is_term() || self.silent {
            return;
        }
        let _ = self.term.clear_last_lines(self.lines);
        let _ = self.term.write_all(text.as_bytes());
        self.lines = text.lines().count();
    }
}

/// Weights as the speeds that they say: in proportion to them, and of the same sum as the true ones.
pub fn as_speeds(weights: [f64; 4]) -> [f64; 4] {
    let (speeds, sum): (f64, f64) = (SPEEDS.iter().sum(), weights.iter().sum());
    weights.map(|weight| if sum > 0.0 { weight / sum * speeds } else { 0.0 })
}

/// The servers `elapsed` seconds after an act began: what the balancer believes of them, and how they do lately.
pub fn table(tally: &Tally, weights: [f64; 4], elapsed: f32) -> String {
    let total: u64 = tally.servers.iter().map(|server| server.connections).sum();
    let mut text = format!(
        "  {:<7} {:>5} {:>7} {:>12} {:>7} {:>7} {:>10} {:>10}\n",
        "server", "speed", "weight", "connections", "share", "active", "mean", "p99"
    );
    let since = (elapsed - LATELY).max(0.0);
    let lately: Vec<Figures> = tally.servers.iter().map(|server| Figures::lately(server, since)).collect();
    let slowest = lately.iter().map(|figures| figures.mean).fold(0.0, f64::max);
    let rows = tally.servers.iter().zip(&lately).zip(SPEEDS).zip(as_speeds(weights)).enumerate();
    for (at, (((server, figures), speed), weight)) in rows {
        let ServerTally { connections, active, .. } = *server;
        let share = 100.0 * connections as f64 / total.max(1) as f64;
        let bar = "▪".repeat((BAR * figures.mean / slowest.max(f64::MIN_POSITIVE)).ceil() as usize);
        let _ = writeln!(
            text,
            "  s{:<6} {speed:>5.1} {weight:>7.2} {connections:>12} {share:>6.1}% {active:>7} {:>7.1} ms {:>7.1} ms  {bar}",
            at + 1,
            figures.mean * 1e3,
            figures.p99 * 1e3,
        );
    }
    let fairness = jain(lately.iter().map(|figures| figures.mean));
    let _ = writeln!(
        text,
        "  mean and p99 of the last {LATELY:.0} s; Jain's index of the four means {fairness:.3}; moved {}",
        tally.moved
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shown_as_the_speeds_that_they_say() {
        assert_eq!(as_speeds([2.0, 4.0, 6.0, 8.0]), SPEEDS);
        assert_eq!(as_speeds([1.0; 4]), [2.5; 4]);
        assert_eq!(as_speeds([0.0; 4]), [0.0; 4]);
    }

    #[test]
    fn table_has_a_row_for_each_server_and_two_lines() {
        let tally = Tally { servers: vec![ServerTally::default(); 4], ..Tally::default() };
        assert_eq!(table(&tally, [1.0; 4], 0.5).lines().count(), 6);
    }
}
