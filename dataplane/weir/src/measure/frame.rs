//! A frame of statistics: counters of all workers, what the reservoirs say, states and weights.

use std::{collections::HashMap, mem};

use dataplane::{tables::server::ServerState, time::Nanos, worker::Handle};
use ipc::{
    id::VipId,
    region::{self, ServerStatistics, StatisticsFrame, VipStatistics},
    reservoir::Bank,
    sample::Kind,
};

use crate::control::{Directory, ServerLabel, Totals, live_flows};

/// What a VIP had counted in the frame before, to tell rates by.
#[derive(Clone, Copy, Debug)]
struct Before {
    t: Nanos,
    totals: Totals,
}

/// Fills one frame after the other.
#[derive(Debug, Default)]
pub struct Builder {
    frame: StatisticsFrame,
    before: HashMap<VipId, Before>,
}

impl Builder {
    /// The frame that was built last.
    pub const fn newest(&self) -> &StatisticsFrame {
        &self.frame
    }

    /// The frame of this moment.
    pub fn build(
        &mut self,
        now: Nanos,
        directory: &Directory,
        workers: &[Handle],
        bank: &mut Bank,
    ) -> &mut StatisticsFrame {
        self.frame.begin(now.0, directory.generation);
        self.frame.header_mut().lost =
            workers.iter().map(|worker| worker.counters.lcore.samples_lost.get()).sum();
        let before = mem::take(&mut self.before); // what is not in this frame is forgotten
        let mut servers = directory.servers.chunk_by(|a, b| a.vip_id == b.vip_id).peekable();
        for vip in &directory.vips {
            // A VIP without servers is not in the list of servers, whose order is that of the VIPs.
            let own = servers.next_if(|own| own[0].vip_id == vip.id).unwrap_or_default();
            let records: Vec<_> = own.iter().map(|server| statistics(server, now, workers, bank)).collect();
            let mut record = VipStatistics::new(vip.id.0);
            let mut totals = vip.departed;
            for server in &records {
                totals.packets += server.packets;
                totals.bytes += server.bytes;
                totals.created += server.created;
                record.open += server.open;
            }
            (record.packets, record.bytes, record.created) = (totals.packets, totals.bytes, totals.created);
            self.before.insert(vip.id, Before { t: now, totals });
            if let Some(before) = before.get(&vip.id) {
                let seconds = now.0.saturating_sub(before.t.0).max(1) as f64 * 1e-9;
                let news = totals.since(before.totals);
                record.packet_rate = news.packets as f64 / seconds;
                record.byte_rate = news.bytes as f64 / seconds;
                record.flow_rate = news.created as f64 / seconds;
            }
            let mut entry = self.frame.vip(record);
            for server in records {
                entry.server(server);
            }
        }
        &mut self.frame
    }
}

/// A server's record.
fn statistics(server: &ServerLabel, now: Nanos, workers: &[Handle], bank: &mut Bank) -> ServerStatistics {
    let totals = Totals::of(server.id, workers).since(server.base);
    let state = match server.state {
        ServerState::Active => region::ServerState::Active,
        ServerState::Draining => region::ServerState::Draining,
        ServerState::Down => region::ServerState::Down,
    };
    let mut record = ServerStatistics {
        configured_weight: server.configured_weight,
        weight: server.weight.get(),
        open: live_flows(server.id, workers),
        created: totals.created,
        established: totals.established,
        finished_fin: totals.finished_fin,
        finished_rst: totals.finished_rst,
        finished_timeout: totals.timed_out,
        evicted: totals.evicted,
        packets: totals.packets,
        bytes: totals.bytes,
        syn_retransmits: totals.syn_retransmits,
        ..ServerStatistics::new(server.id.0, state)
    };
    for kind in Kind::ALL {
        record.kinds[kind.index()] = bank.statistics(server.id, kind, now.0).into();
    }
    record
}
