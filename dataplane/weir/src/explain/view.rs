//! What is said about a VIP, as it crosses the control socket.

use std::collections::HashMap;

use policy::guard::GUARDS;
use serde::{Deserialize, Serialize};

use crate::{
    metrics::Source,
    steer::{Entry, ServerEntry},
};

/// The last decisions about a VIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub vip: String,
    /// Who proposes.
    pub policy: String,
    /// `on` or `shadow`.
    pub mode: String,
    /// The agent's model.
    pub model: Option<String>,
    /// The rule that stands in.
    pub fallback: String,
    /// The last decisions, the oldest first.
    pub decisions: Vec<DecisionView>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// Seconds before the newest one.
    pub before: f64,
    /// Why the fallback rule's weights count; `null`: the policy's do.
    pub fallback: Option<String>,
    /// By server.
    pub servers: Vec<ServerView>,
}

/// A server in a decision. Weights are in multiples of the mean of the active servers, but for the first two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its name.
    pub name: String,
    /// Whether it takes new flows.
    pub active: bool,
    /// Its configured weight.
    pub configured: f64,
    /// The weight in force when it was observed.
    pub in_force: f64,
    /// Its live flows.
    pub open: u64,
    /// Flows that ended by FIN or RST, since the start.
    pub finished: u64,
    /// How long its live flows have lasted, in seconds; `null`: no samples.
    pub duration: Option<f64>,
    /// What was proposed.
    pub proposed: f64,
    /// What the guard made of it.
    pub weight: f64,
    /// The guards that changed it.
    pub guards: Vec<String>,
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoView {
    /// There is no such VIP.
    #[error("there is no VIP {0:?}")]
    Unknown(String),
    /// Nobody steers it.
    #[error("VIP {0:?} has its configured weights: no policy steers it")]
    Unsteered(String),
}

impl View {
    /// What is known of a VIP by name.
    pub fn new(source: &Source, name: &str) -> Result<Self, NoView> {
        let directory = source.findings.directory();
        let vip = directory.vips.iter().find(|vip| vip.name == name);
        let vip = vip.ok_or_else(|| NoView::Unknown(name.into()))?;
        let board = source.findings.board.vip(vip.id.0).ok_or_else(|| NoView::Unsteered(name.into()))?;
        let names: HashMap<u32, &str> =
            directory.servers.iter().map(|server| (server.id.0, server.name.as_str())).collect();
        let newest = board.entries.back().map_or(0, |entry| entry.t);
        Ok(Self {
            vip: name.into(),
            policy: board.plan.policy.to_string(),
            mode: if board.plan.mode == policy::steering::Mode::On { "on" } else { "shadow" }.into(),
            model: board.plan.model.as_ref().map(ToString::to_string),
            fallback: board.plan.fallback.to_string(),
            decisions: board.entries.iter().map(|entry| decision(entry, newest, &names)).collect(),
        })
    }
}

fn decision(entry: &Entry, newest: u64, names: &HashMap<u32, &str>) -> DecisionView {
    DecisionView {
        before: newest.saturating_sub(entry.t) as f64 * 1e-9,
        fallback: entry.fallback.map(|reason| reason.to_string()),
        servers: entry.servers.iter().map(|server| server_view(server, names)).collect(),
    }
}

fn server_view(server: &ServerEntry, names: &HashMap<u32, &str>) -> ServerView {
    let guards = GUARDS.iter().filter(|(bit, _)| server.weight.guards & bit != 0);
    ServerView {
        name: names
            .get(&server.server)
            .map_or_else(|| format!("server {}", server.server), |&name| name.into()),
        active: server.active,
        configured: server.configured,
        in_force: server.in_force,
        open: server.open,
        finished: server.finished,
        duration: server.duration,
        proposed: server.weight.proposed,
        weight: server.weight.weight,
        guards: guards.map(|&(_, name)| name.into()).collect(),
    }
}
