//! What came of it: who was how fast, and whether what is promised was kept.

use std::fmt::Write as _;

use dataplane::pipeline::counters::Ledger;
use serde::Serialize;

use super::{
    contender::SPEEDS,
    tally::{Figures, Tally, deviation},
    view::as_speeds,
};

/// Standard deviations that a share may be off by chance.
pub const TOLERANCE: f64 = 5.0;

/// A contender's turn.
#[derive(Clone, Debug, Serialize)]
pub struct Act {
    /// Who it was.
    pub contender: String,
    /// How long connections took, without the warm-up.
    pub figures: Figures,
    /// Most requests that one server had in service at once.
    pub longest: usize,
    /// The weights at its end, in the servers' order.
    pub weights: [f64; 4],
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that were answered.
    pub completed: u64,
    /// Packets that reached another server than their connection's first one.
    pub moved: u64,
    /// SYNs and requests sent again.
    pub retries: u64,
    /// How many standard deviations a server's share is off, at most; `None`: the contender looks at load.
    pub deviation: Option<f64>,
}

impl Act {
    /// What `tally` amounts to when the first `warmup` seconds do not count.
    pub fn new(contender: String, is_blind: bool, tally: &Tally, weights: [f64; 4], warmup: f32) -> Self {
        Self {
            contender,
            figures: Figures::of(tally, warmup),
            longest: tally.servers.iter().map(|server| server.longest).max().unwrap_or(0),
            weights,
            opened: tally.opened,
            completed: tally.completed,
            moved: tally.moved,
            retries: tally.retries,
            deviation: is_blind.then(|| worst_deviation(tally)),
        }
    }
}

/// How far the shares are from equal ones.
fn worst_deviation(tally: &Tally) -> f64 {
    let total: u64 = tally.servers.iter().map(|server| server.connections).sum();
    let share = 1.0 / tally.servers.len() as f64;
    let deviations = tally.servers.iter().map(|server| deviation(server.connections, total, share).abs());
    deviations.fold(0.0, f64::max)
}

/// What was promised, and whether it was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    /// Whether it was.
    pub kept: bool,
    /// What it was, with the numbers.
    pub what: String,
}

/// Everything, when all have had their turn.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Everyone's turn, the policy's last.
    pub acts: Vec<Act>,
    /// What was promised.
    pub promises: Vec<Promise>,
    /// The servers' true speeds.
    pub speeds: [f64; 4],
}

impl Summary {
    /// Of these turns and the worker's last counters: its ledger, and established flows that it saw move.
    pub fn new(acts: Vec<Act>, ledger: Option<&Ledger>, violations: u64) -> Self {
        let sum = |read: fn(&Act) -> u64| acts.iter().map(read).sum::<u64>();
        let (opened, completed) = (sum(|act| act.opened), sum(|act| act.completed));
        let (moved, retries) = (sum(|act| act.moved) + violations, sum(|act| act.retries));
        let worst = acts.iter().filter_map(|act| act.deviation).fold(0.0, f64::max);
        let promise = |kept, what| Promise { kept, what };
        let promises = vec![
            promise(
                worst <= TOLERANCE,
                format!(
                    "hash gives equal shares: at most {worst:.1} standard deviations off (chance allows {TOLERANCE})"
                ),
            ),
            promise(moved == 0, format!("connections stay on their server: {moved} of {opened} moved")),
            promise(
                completed == opened,
                format!(
                    "every connection is answered: {completed} of {opened}, {retries} segments sent again"
                ),
            ),
            law(ledger),
        ];
        Self { acts, promises, speeds: SPEEDS }
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.kept)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "  {:<20} {:>10} {:>10} {:>10} {:>10} {:>6} {:>13} {:>6}\n",
            "", "mean", "p50", "p95", "p99", "Jain", "longest queue", "moved"
        );
        for act in &self.acts {
            let Figures { mean, p50, p95, p99, jain, .. } = act.figures;
            let _ = write!(text, "  {:<20}", act.contender);
            for seconds in [mean, p50, p95, p99] {
                let _ = write!(text, " {:>7.1} ms", seconds * 1e3);
            }
            let _ = writeln!(text, " {jain:>6.3} {:>13} {:>6}", act.longest, act.moved);
        }
        if let Some((policy, rules)) = self.acts.split_last() {
            let _ = writeln!(text, "\n  {}", beliefs(policy));
            for rule in rules {
                let _ = writeln!(text, "  {}", against(policy, rule));
            }
        }
        text.push_str("\nVerdict\n");
        for Promise { kept, what } in &self.promises {
            let _ = writeln!(text, "  {} {what}", if *kept { "yes" } else { "NO " });
        }
        text
    }
}

/// What the policy found out, beside the truth.
fn beliefs(policy: &Act) -> String {
    let learned = as_speeds(policy.weights).into_iter().zip(SPEEDS).enumerate();
    let learned: Vec<String> =
        learned.map(|(at, (weight, speed))| format!("s{} {weight:.2} ({speed:.0})", at + 1)).collect();
    format!("{}: weights, with the speeds that nobody told it: {}", policy.contender, learned.join(", "))
}

/// By how much the policy was faster, or slower.
fn against(policy: &Act, rule: &Act) -> String {
    let change = |read: fn(&Figures) -> f64| {
        let (own, other) = (read(&policy.figures), read(&rule.figures));
        if other <= 0.0 {
            return "not known".into();
        }
        let change = 100.0 * (own / other - 1.0);
        match own > 0.0 && other / own >= 10.0 {
            true => format!("{:.0} times shorter", other / own),
            false => format!("{:.0} % {}", change.abs(), if change <= 0.0 { "shorter" } else { "longer" }),
        }
    };
    let (mean, p99) = (change(|figures| figures.mean), change(|figures| figures.p99));
    format!("{} against {}: mean {mean}, p99 {p99}", policy.contender, rule.contender)
}

fn law(ledger: Option<&Ledger>) -> Promise {
    let Some(ledger) = ledger else {
        return Promise { kept: false, what: "the packet counters could be read".into() };
    };
    let places = 0..ledger.places();
    let rx: u64 = places.clone().map(|place| ledger.rx(place).packets).sum();
    let tx: u64 = places.map(|place| ledger.tx(place).packets).sum();
    let (drops, held) = (ledger.all_drops(), ledger.in_flight());
    let what = format!("every packet is accounted for: rx {rx} = tx {tx} + drops {drops} + in flight {held}");
    Promise { kept: ledger.imbalance() == 0, what }
}

#[cfg(test)]
mod tests {
    use dataplane::pipeline::counters::Traffic;

    use super::*;

    fn act(contender: &str, mean: f64, p99: f64) -> Act {
        let figures = Figures { mean, p99, ..Figures::default() };
        Act { figures, ..Act::new(contender.into(), false, &Tally::default(), [1.0, 2.0, 3.0, 4.0], 0.0) }
    }

    #[test]
    fn law_that_is_broken_breaks_a_promise() {
        let mut ledger = Ledger::new(1);
        assert!(Summary::new(Vec::new(), Some(&ledger), 0).is_kept());
        ledger.count_rx(0, Traffic { packets: 1, bytes: 60 });
        let broken = Summary::new(Vec::new(), Some(&ledger), 0);
        assert!(!broken.is_kept() && broken.text().contains("\n  NO  every packet"), "{}", broken.text());
        assert!(!Summary::new(Vec::new(), None, 0).is_kept());
    }

    #[test]
    fn moved_and_unanswered_connections_break_promises() {
        let ledger = Ledger::new(1);
        let kept = |act: Act, violations| Summary::new(vec![act], Some(&ledger), violations).is_kept();
        assert!(kept(act("a", 1.0, 1.0), 0));
        assert!(!kept(act("a", 1.0, 1.0), 1), "as the worker counts");
        assert!(!kept(Act { moved: 1, ..act("a", 1.0, 1.0) }, 0), "as the servers see");
        assert!(!kept(Act { opened: 1, ..act("a", 1.0, 1.0) }, 0));
        assert!(!kept(Act { deviation: Some(5.1), ..act("a", 1.0, 1.0) }, 0));
    }

    #[test]
    fn what_the_policy_gained_or_lost_is_said_and_breaks_nothing() {
        let ledger = Ledger::new(1);
        let acts = vec![act("hash", 4.0, 8.0), act("sed2", 1.0, 2.0), act("sed2 + x", 2.0, 1.0)];
        let summary = Summary::new(acts, Some(&ledger), 0);
        let text = summary.text();
        assert!(text.contains("sed2 + x against hash: mean 50 % shorter, p99 88 % shorter"), "{text}");
        assert!(text.contains("sed2 + x against sed2: mean 100 % longer, p99 50 % shorter"), "{text}");
        assert!(text.contains("s4 4.00 (4)"), "{text}");
        assert!(summary.is_kept());
    }
}
