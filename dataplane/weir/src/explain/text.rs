//! Decisions as text for people.

use std::fmt::Write as _;

use super::view::{DecisionView, View};

/// The last decision in full, and how each weight came about over those before.
pub fn render(view: &View) -> String {
    let mut text = format!("VIP {}: policy {} ({})", view.vip, view.policy, view.mode);
    if let Some(model) = &view.model {
        let _ = write!(text, ", model {model}");
    }
    text.push('\n');
    let Some((last, before)) = view.decisions.split_last() else {
        text.push_str("no decision yet\n");
        return text;
    };
    let who = last.fallback.as_ref().map_or_else(
        || format!("{} sets the weights", view.policy),
        |reason| format!("{} stands in: {reason}", view.fallback),
    );
    let _ = writeln!(text, "{who}. Weights in multiples of the mean of the active servers.\n");
    text.push_str(&servers(last));
    if !before.is_empty() {
        text.push_str("\nbefore\n");
    }
    for decision in before.iter().rev() {
        let weights: Vec<String> =
            decision.servers.iter().map(|server| format!("{:.3}", server.weight)).collect();
        let fallback = decision.fallback.as_ref().map_or(String::new(), |reason| format!("  ({reason})"));
        let _ = writeln!(text, "{:>8.3} s  {}{fallback}", decision.before, weights.join("  "));
    }
    text
}

fn servers(decision: &DecisionView) -> String {
    let mut text = format!(
        "{:<24} {:>8} {:>10} {:>10} {:>9} {:>9} {:>8}  {}\n",
        "server", "open", "finished", "duration", "proposed", "weight", "config", "guards"
    );
    for server in &decision.servers {
        let duration = server.duration.map_or("-".into(), |seconds| format!("{:.2} ms", seconds * 1e3));
        let guards = if !server.active { "takes no new flows".into() } else { server.guards.join(", ") };
        let _ = writeln!(
            text,
            "{:<24} {:>8} {:>10} {:>10} {:>9.3} {:>9.3} {:>8}  {guards}",
            server.name,
            server.open,
            server.finished,
            duration,
            server.proposed,
            server.weight,
            server.configured,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::view::ServerView, *};

    #[test]
    fn last_decision_is_shown_with_inputs_and_guards() {
        let server = |weight: f64, guards: &[&str]| ServerView {
            name: "192.0.2.11".into(),
            active: true,
            configured: 1.0,
            in_force: 1.0,
            open: 7,
            finished: 70,
            duration: Some(0.0123),
            proposed: 3.0,
            weight,
            guards: guards.iter().map(ToString::to_string).collect(),
        };
        let decision = |before, fallback: Option<&str>, weight| DecisionView {
            before,
            fallback: fallback.map(String::from),
            servers: vec![server(weight, &["max", "step"])],
        };
        let mut view = View {
            vip: "web".into(),
            policy: "sac-gru".into(),
            mode: "on".into(),
            model: Some("m.safetensors".into()),
            fallback: "static".into(),
            decisions: vec![decision(0.05, None, 1.5), decision(0.0, Some("stale"), 2.25)],
        };
        let text = render(&view);
        for part in [
            "VIP web: policy sac-gru (on), model m.safetensors\nstatic stands in: stale.",
            "192.0.2.11                      7         70   12.30 ms     3.000     2.250        1  max, step\n",
            "   0.050 s  1.500\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        view.decisions.clear();
        assert!(render(&view).ends_with("no decision yet\n"));
    }
}
