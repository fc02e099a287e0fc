//! What two frames of a region say, with names, rates and ages.

use std::{collections::BTreeMap, collections::HashMap, path::PathBuf};

use ipc::{
    clock::monotonic,
    region::{ServerState, ServerStatistics, StatisticsFrame, VipStatistics},
    reservoir::Statistics,
    sample::{Kind, Unit},
};
use serde::Serialize;

use super::attach::Attached;
use crate::measure::names::Names;

/// Everything that is shown. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Where the region is.
    pub region: PathBuf,
    /// The instance's process.
    pub pid: Option<u64>,
    /// How many writers the region has had.
    pub epoch: u64,
    /// How long ago the instance was at work.
    pub heartbeat_age: f64,
    /// The number of the frame that is shown.
    pub frame: u64,
    /// How long ago it was published.
    pub frame_age: f64,
    /// The generation of the tables.
    pub generation: u64,
    /// Samples that found their ring full, since the start.
    pub samples_lost: u64,
    /// The time between the two frames that rates are told by.
    pub interval: f64,
    /// The VIPs.
    pub vips: Vec<Vip>,
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vip {
    /// Its number.
    pub vip: u32,
    /// Its name; `None`: it could not be read.
    pub name: Option<String>,
    /// Flows that live now.
    pub open: u64,
    /// Flows, packets and bytes since the start.
    #[serde(flatten)]
    pub totals: Totals,
    /// Flows, packets and bytes a second; `None`: there are no two frames to tell them by.
    pub rates: Option<Rates>,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Server {
    /// Its number.
    pub server: u32,
    /// Its name; `None`: it could not be read.
    pub name: Option<String>,
    /// Whether it gets flows.
    pub state: &'static str,
    /// The weight in force.
    pub weight: f64,
    /// The weight in the configuration.
    pub configured_weight: f64,
    /// Flows that live now.
    pub open: u64,
    /// Flows, packets and bytes since its slot became its own.
    #[serde(flatten)]
    pub totals: Totals,
    /// TCP flows that got past their first packet.
    pub established: u64,
    /// Flows that ended, by how.
    pub finished: Finished,
    /// SYNs that came again.
    pub syn_retransmits: u64,
    /// As of the VIP.
    pub rates: Option<Rates>,
    /// What its watched flows say, by the name of the kind; `None`: no data.
    pub samples: BTreeMap<&'static str, Option<Said>>,
}

/// What has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Flows that began.
    pub created: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Flows that begin.
    pub flows: f64,
    /// Packets forwarded.
    pub packets: f64,
    /// Their bytes.
    pub bytes: f64,
}

/// How flows ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// By FIN.
    pub fin: u64,
    /// By RST.
    pub rst: u64,
    /// Because nothing came any more.
    pub timeout: u64,
    /// To make room for others.
    pub evicted: u64,
}

/// What the samples of one kind say, in seconds, or in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Said {
    /// How many samples.
    pub count: u32,
    /// How old the newest is, now.
    pub age: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean in which older samples weigh less.
    pub decayed_mean: f64,
    /// 90th percentile in which older samples weigh less.
    pub decayed_p90: f64,
}

impl View {
    /// What the newer of two frames says, and rates from one to the other.
    pub fn of(attached: &Attached, before: &StatisticsFrame, after: &StatisticsFrame) -> Self {
        let (origin, header) = (attached.origin(), after.header());
        let frame_age = seconds(monotonic().saturating_sub(header.published));
        Self {
            region: attached.path().to_owned(),
            pid: origin.pid,
            epoch: header.epoch,
            heartbeat_age: attached.heartbeat_age().as_secs_f64(),
            frame: header.number,
            frame_age,
            generation: header.generation,
            samples_lost: header.lost,
            interval: interval(before, after).unwrap_or(0.0),
            vips: vips(&attached.names(), before, after, frame_age),
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let text = serde_json::to_string(self).expect("numbers and strings can always be written");
        format!("{text}\n")
    }
}

/// The time between two frames of one writer; `None`: they are the same, or of two.
fn interval(before: &StatisticsFrame, after: &StatisticsFrame) -> Option<f64> {
    let (before, after) = (before.header(), after.header());
    (before.epoch == after.epoch && after.t > before.t).then(|| seconds(after.t - before.t))
}

fn vips(names: &Names, before: &StatisticsFrame, after: &StatisticsFrame, frame_age: f64) -> Vec<Vip> {
    let interval = interval(before, after);
    let old: HashMap<u32, &[ServerStatistics]> =
        before.vips().map(|(vip, servers)| (vip.vip, servers)).collect();
    let old_vips: HashMap<u32, Totals> = before.vips().map(|(vip, _)| (vip.vip, of_vip(vip))).collect();
    let vips = after.vips().map(|(vip, servers)| {
        let old: HashMap<u32, Totals> =
            old.get(&vip.vip).into_iter().copied().flatten().map(|s| (s.server, of_server(s))).collect();
        let totals = of_vip(vip);
        Vip {
            vip: vip.vip,
            name: names.vip(vip.vip).map(String::from),
            open: vip.open,
            totals,
            rates: rates(old_vips.get(&vip.vip), totals, interval),
            servers: servers
                .iter()
                .map(|server| view_of(server, names, old.get(&server.server), interval, frame_age))
                .collect(),
        }
    });
    vips.collect()
}

fn view_of(
    server: &ServerStatistics,
    names: &Names,
    old: Option<&Totals>,
    interval: Option<f64>,
    frame_age: f64,
) -> Server {
    let totals = of_server(server);
    let samples =
        Kind::ALL.map(|kind| (kind.name(), server.kind(kind).map(|said| say(kind, said, frame_age))));
    Server {
        server: server.server,
        name: names.server(server.server).map(String::from),
        state: match server.state() {
            Some(ServerState::Active) => "active",
            Some(ServerState::Draining) => "draining",
            Some(ServerState::Down) | None => "down",
        },
        weight: server.weight,
        configured_weight: server.configured_weight,
        open: server.open,
        totals,
        established: server.established,
        finished: Finished {
            fin: server.finished_fin,
            rst: server.finished_rst,
            timeout: server.finished_timeout,
            evicted: server.evicted,
        },
        syn_retransmits: server.syn_retransmits,
        rates: rates(old, totals, interval),
        samples: samples.into_iter().collect(),
    }
}

const fn of_vip(vip: &VipStatistics) -> Totals {
    Totals { created: vip.created, packets: vip.packets, bytes: vip.bytes }
}

const fn of_server(server: &ServerStatistics) -> Totals {
    Totals { created: server.created, packets: server.packets, bytes: server.bytes }
}

/// What happened in a second between two counts; `None`: there is no earlier one, or it is another server's.
fn rates(old: Option<&Totals>, new: Totals, interval: Option<f64>) -> Option<Rates> {
    let (old, interval) = (old?, interval?);
    let rate = |old: u64, new: u64| new.checked_sub(old).map(|news| news as f64 / interval);
    Some(Rates {
        flows: rate(old.created, new.created)?,
        packets: rate(old.packets, new.packets)?,
        bytes: rate(old.bytes, new.bytes)?,
    })
}

fn say(kind: Kind, said: Statistics, frame_age: f64) -> Said {
    let scale = match kind.unit() {
        Unit::Nanoseconds => 1e-9,
        Unit::Bytes => 1.0,
    };
    let value = |value: f32| f64::from(value) * scale;
    Said {
        count: said.count,
        age: seconds(said.age) + frame_age,
        mean: value(said.mean),
        std: value(said.std),
        p50: value(said.p50),
        p90: value(said.p90),
        p99: value(said.p99),
        decayed_mean: value(said.decayed_mean),
        decayed_p90: value(said.decayed_p90),
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}
