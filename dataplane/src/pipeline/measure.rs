//! What is measured of flows: some of them are watched, and say how they fare.
//!
//! Which flows are watched is decided by their hashes, so it has nothing to do with how long they last or how much
//! they send. Entries of watched flows carry a mark that keeps their packets off the short way: a flow that nobody
//! watches pays nothing. `docs/design/measurement.md` has the definitions and the bounds on what it costs.

use std::io;

use bytemuck::Zeroable;
use ipc::{
    id::{ServerId, VipId},
    ring::{self, Consumer, Producer},
    sample::{Kind, Sample},
};

use super::{
    counters::Counters,
    parse::{Flow, L3},
    track::Flows,
};
use crate::{
    tables::{
        flow::{Addresses, EntryId, FlowKey, FlowTable, State},
        hash::HashKey,
        huge::HugeArray,
    },
    time::Nanos,
    wire::{be32, tcp},
};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At most one flow in so many is watched, a power of two; 0: none.
    pub one_in: u32,
    /// Room for samples on their way to who reads them.
    pub ring: usize,
}

impl Settings {
    /// Nothing is measured.
    pub const OFF: Self = Self { one_in: 0, ring: 0 };
}

/// Most flows that one lcore watches at once.
const SLOTS: usize = 1 << 13;

/// In which time every watched flow is looked at once.
const ROUND_NANOS: u64 = 250_000_000;

/// Most slots that one piece of a round looks at.
const PIECE: usize = 64;

/// How many packets of watched flows are looked at in a round, besides one of each; and the bounds on a flow's share.
const PACKETS_PER_ROUND: u64 = 8_000;
const LEAST_SHARE: u64 = 2;
const MOST_SHARE: u64 = 32;

/// How many flows begin to be watched in a round before it becomes one in twice as many; under a quarter of that it
/// becomes one in half as many.
const BEGINS_PER_ROUND: u64 = 1024;

/// Most often it doubles: one in a million.
const MOST_SHIFT: u32 = 20;

/// A watched flow, one cache line.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
struct Slot {
    /// Its hash; 0: nobody is watched here.
    hash: u64,
    /// When its first packet came, and its last one; 0: the last one was not looked at.
    started: u64,
    last: u64,
    /// When the request came whose answer is awaited; 0: none.
    asked: u64,
    /// Its entry.
    entry: u32,
    server: u32,
    vip: u32,
    /// TCP: the sequence number of the SYN, and the next one of the client.
    first: u32,
    next: u32,
    /// TCP: what the client had acknowledged when it asked.
    acked: u32,
    /// How many of its packets are looked at still in this round.
    left: u8,
    is_v6: u8,
    /// Whether its handshake is under way, and whether its SYN came more than once.
    shaking: u8,
    repeated: u8,
}

/// A TCP segment as far as it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    flags: tcp::Flags,
    seq: u32,
    ack: u32,
    payload: u32,
}

impl Segment {
    /// The segment in a frame; `None`: it is none.
    pub fn read(frame: &[u8], flow: &Flow) -> Option<Self> {
        let flags = flow.tcp?;
        let header = frame.get(usize::from(flow.l4)..)?.first_chunk::<{ tcp::HEADER_LEN }>()?;
        let headers = usize::from(flow.l4) - L3 + usize::from(header[12] >> 4) * 4;
        let payload = usize::from(flow.ip_len).saturating_sub(headers) as u32;
        Some(Self { flags, seq: be32(header, 4), ack: be32(header, 8), payload })
    }

    /// The sequence number behind it.
    const fn end(&self) -> u32 {
        let controls = self.flags.synchronises() as u32 + self.flags.finishes() as u32;
        self.seq.wrapping_add(self.payload).wrapping_add(controls)
    }
}

/// Whether sequence number `a` is behind `b`, around zero too.
const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// The watched flows of one lcore, and where their samples go.
#[derive(Debug)]
pub struct Watches {
    slots: HugeArray<Slot>,
    samples: Option<Producer>,
    /// One flow in two to the power of so many is watched, and the least that it may be.
    shift: u32,
    least_shift: u32,
    live: u64,
    /// Flows that began to be watched in this round.
    begun: u64,
    /// How many packets are looked at still in this round, and how many of each flow.
    budget: u64,
    share: u8,
    /// Where the round is, and when it was there.
    at: usize,
    was_there: u64,
}

impl Watches {
    /// No flow yet, and who takes the samples if there are to be any.
    pub fn new(settings: Settings) -> io::Result<(Self, Option<Consumer>)> {
        let is_on = settings.one_in > 0 && settings.ring > 0;
        let (samples, consumer) = is_on.then(|| ring::channel(settings.ring)).unzip();
        let shift = settings.one_in.checked_ilog2().unwrap_or(0).min(MOST_SHIFT);
        let watches = Self {
            slots: HugeArray::zeroed(if is_on { SLOTS } else { 0 })?,
            samples,
            shift,
            least_shift: shift,
            live: 0,
            begun: 0,
            budget: PACKETS_PER_ROUND,
            share: MOST_SHARE as u8,
            at: 0,
            was_there: 0,
        };
        Ok((watches, consumer))
    }

    /// Whether flows with this hash are watched, as far as there is room.
    #[inline]
    pub const fn chooses(&self, hash: u64) -> bool {
        self.samples.is_some() && (hash >> 24) & ((1 << self.shift) - 1) == 0
    }

    /// Whether any flow is watched.
    #[inline]
    pub const fn any(&self) -> bool {
        self.live > 0
    }

    /// A client's packet of the flow `key`, which has been forwarded to a server of `vip`.
    #[inline(never)]
    pub fn client<A: Addresses>(
        &mut self,
        table: &mut FlowTable<A>,
        (key, hash): (&FlowKey<A>, u64),
        segment: Option<Segment>,
        vip: VipId,
        now: Nanos,
        counters: &Counters,
    ) {
        let Some(id) = table.find(key, hash) else { return };
        let entry = table.entry(id);
        let (state, server, is_watched) = (entry.state(), entry.server(), entry.is_watched());
        let slot = self.slot(hash);
        let is_here = slot.hash == hash && Nanos(slot.started).tick() == entry.started();
        if !is_here {
            self.free(hash); // an earlier flow of this five-tuple, if any: it has ended unseen, or moved
            let begins = match segment {
                Some(segment) => segment.flags.opens() && state == State::Embryonic,
                None => state == State::Datagram && entry.started() == now.tick(),
            };
            let is_free = self.slot(hash).hash == 0;
            if begins && is_free {
                let gap = counters.events(server).begin_gap.get();
                self.begin(hash, id, (vip, server), size_of::<A>() > 8, segment, now);
                if gap > 0 {
                    self.push(hash, Kind::FlowGap, gap, now);
                }
                table.watch(id);
            } else if is_watched {
                table.unwatch(id);
            }
            return;
        }
        if is_watched && !self.next(hash, segment, now) {
            table.unwatch(id);
        }
        if !state.is_live() {
            self.end(hash, now);
            table.unwatch(id);
        }
    }

    /// A server's packet to the client of the watched flow `hash`, under NAT.
    pub fn server(&mut self, hash: u64, state: State, segment: Option<Segment>, now: Nanos) {
        let slot = self.slot(hash);
        let Some(segment) = segment.filter(|_| slot.hash == hash) else { return };
        if slot.shaking != 0 && segment.flags.synchronises() {
            let (started, repeated) = (slot.started, slot.repeated != 0);
            slot.shaking = 0;
            if !repeated {
                self.push(hash, Kind::Handshake, now.0.saturating_sub(started), now);
            }
        } else if slot.asked != 0 && segment.payload > 0 {
            let asked = std::mem::take(&mut slot.asked);
            self.push(hash, Kind::RequestLatency, now.0.saturating_sub(asked), now);
        }
        if !state.is_live() {
            self.end(hash, now);
        }
    }

    /// Hands samples over, and goes on with the round.
    pub fn housekeeping(&mut self, flows: &mut Flows, hash_key: HashKey, now: Nanos, counters: &Counters) {
        let Some(samples) = &mut self.samples else { return };
        samples.flush();
        counters.lcore.samples_pushed.set(samples.pushed());
        counters.lcore.samples_lost.set(samples.lost());
        counters.lcore.watched.set(self.live);
        let due = now.0.saturating_sub(self.was_there).saturating_mul(SLOTS as u64) / ROUND_NANOS;
        if due == 0 {
            return;
        }
        self.was_there = now.0;
        for _ in 0..due.min(PIECE as u64) {
            self.visit(flows, hash_key, now);
            self.at = (self.at + 1) % SLOTS;
            if self.at == 0 {
                self.adapt();
            }
        }
    }

    /// Looks at one slot: its flow says how long it has lasted, and may be looked at again.
    fn visit(&mut self, flows: &mut Flows, hash_key: HashKey, now: Nanos) {
        let Some(slot) = self.slots.get_mut(self.at) else { return };
        let (hash, id, is_v6) = (slot.hash, EntryId(slot.entry), slot.is_v6 != 0);
        if hash == 0 {
            return;
        }
        slot.left = self.share;
        let lives = match is_v6 {
            false => flows.v4.watch_again(id, hash, hash_key),
            true => flows.v6.watch_again(id, hash, hash_key),
        };
        if lives {
            let lasted = now.0.saturating_sub(slot.started);
            self.push(hash, Kind::FlowDuration, lasted, now);
        } else {
            self.free(hash); // it has timed out, or made room for another
        }
    }

    /// At the end of a round: more or fewer flows, and packets of each.
    fn adapt(&mut self) {
        if self.begun > BEGINS_PER_ROUND {
            self.shift = (self.shift + 1).min(MOST_SHIFT);
        } else if self.begun < BEGINS_PER_ROUND / 4 {
            self.shift = self.shift.saturating_sub(1).max(self.least_shift);
        }
        (self.begun, self.budget) = (0, PACKETS_PER_ROUND);
        self.share = (PACKETS_PER_ROUND / self.live.max(1)).clamp(LEAST_SHARE, MOST_SHARE) as u8;
    }

    fn slot(&mut self, hash: u64) -> &mut Slot {
        &mut self.slots[(hash >> 8) as usize % SLOTS]
    }

    fn begin(
        &mut self,
        hash: u64,
        EntryId(entry): EntryId,
        (vip, server): (VipId, ServerId),
        is_v6: bool,
        segment: Option<Segment>,
        now: Nanos,
    ) {
        let left = self.share;
        *self.slot(hash) = Slot {
            hash,
            started: now.0,
            last: now.0,
            asked: 0,
            entry,
            server: server.0,
            vip: vip.0,
            first: segment.map_or(0, |segment| segment.seq),
            next: segment.map_or(0, |segment| segment.end()),
            acked: 0,
            left,
            is_v6: is_v6.into(),
            shaking: segment.is_some().into(),
            repeated: 0,
        };
        self.live += 1;
        self.begun += 1;
    }

    /// One more packet of the client; false: it was the last one to be looked at in this round.
    fn next(&mut self, hash: u64, segment: Option<Segment>, now: Nanos) -> bool {
        self.budget = self.budget.saturating_sub(1);
        let is_spent = self.budget == 0;
        let slot = self.slot(hash);
        let mut samples = [None; 2];
        if slot.last != 0 {
            samples[0] = Some((Kind::PacketGap, now.0.saturating_sub(slot.last)));
        }
        slot.last = now.0;
        if let Some(segment) = segment {
            if segment.flags.opens() {
                slot.repeated = 1;
            } else if slot.shaking != 0 {
                slot.shaking = 0;
                slot.acked = segment.ack;
                if slot.repeated == 0 {
                    samples[1] = Some((Kind::Handshake, now.0.saturating_sub(slot.started)));
                }
            } else if slot.asked != 0 && is_after(segment.ack, slot.acked) {
                let asked = std::mem::take(&mut slot.asked);
                samples[1] = Some((Kind::RequestLatency, now.0.saturating_sub(asked)));
            }
            if segment.payload > 0 && slot.asked == 0 {
                (slot.asked, slot.acked) = (now.0, segment.ack);
            }
            if is_after(segment.end(), slot.next) {
                slot.next = segment.end();
            }
        }
        slot.left = slot.left.saturating_sub(1);
        let goes_on = slot.left > 0 && !is_spent;
        if !goes_on {
            (slot.last, slot.asked) = (0, 0);
        }
        for (kind, value) in samples.into_iter().flatten() {
            self.push(hash, kind, value, now);
        }
        goes_on
    }

    /// A FIN or RST was seen.
    fn end(&mut self, hash: u64, now: Nanos) {
        let Slot { started, first, next, .. } = *self.slot(hash);
        // SYN and FIN count as one each.
        let bytes = next.wrapping_sub(first).saturating_sub(2);
        self.push(hash, Kind::FlowCompletion, now.0.saturating_sub(started), now);
        self.push(hash, Kind::FlowBytes, u64::from(bytes), now);
        self.free(hash);
    }

    fn free(&mut self, hash: u64) {
        let slot = self.slot(hash);
        if slot.hash == hash {
            slot.hash = 0;
            self.live -= 1;
        }
    }

    fn push(&mut self, hash: u64, kind: Kind, value: u64, now: Nanos) {
        let Slot { vip, server, .. } = *self.slot(hash);
        if let Some(samples) = &mut self.samples {
            samples.push(Sample { t: now.0, value, vip: VipId(vip), server: ServerId(server), kind });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipc::id::LcoreId;

    use super::*;
    use crate::tables::flow::Timeouts;

    const MS: u64 = 1_000_000;
    const VIP: VipId = VipId(3);
    const SERVER: ServerId = ServerId(7);

    /// A lcore whose flows are all watched, by IPv4.
    struct Rig {
        watches: Watches,
        flows: Flows,
        samples: Consumer,
        counters: Counters,
    }

    impl Rig {
        fn new(one_in: u32) -> Self {
            let (watches, samples) = Watches::new(Settings { one_in, ring: 4096 }).unwrap();
            Self {
                watches,
                flows: Flows::new(4096, HashKey::default()).unwrap(),
                samples: samples.unwrap(),
                counters: Counters::new(LcoreId(0)).unwrap(),
            }
        }

        fn open(&mut self, flow: u64, state: State, now: u64) -> (FlowKey<u64>, u64, EntryId) {
            let key = FlowKey { addresses: flow, ports: 80 << 24, protocol: 6 };
            let hash = key.hash(HashKey::default());
            let second = Duration::from_secs(1);
            let timeouts = Timeouts::new(second * 300, second * 30, second * 10, second * 5);
            let now = Nanos(now).tick();
            let inserted = self.flows.v4.insert(&key, hash, (SERVER, state), now, &timeouts).unwrap();
            (key, hash, inserted.id)
        }

        /// A segment of the client: flags, sequence number, acknowledgement, bytes of payload.
        fn client(&mut self, key: &FlowKey<u64>, segment: Option<(u8, u32, u32, u32)>, now: u64) {
            let segment = segment.map(|(flags, seq, ack, payload)| Segment {
                flags: tcp::Flags(flags),
                seq,
                ack,
                payload,
            });
            let hash = key.hash(HashKey::default());
            let key = (key, hash);
            self.watches.client(&mut self.flows.v4, key, segment, VIP, Nanos(now), &self.counters);
        }

        fn samples(&mut self) -> Vec<(Kind, u64)> {
            let mut samples = Vec::new();
            self.watches.samples.as_mut().unwrap().flush();
            self.samples.drain(4096, |some| {
                for sample in some {
                    assert_eq!((sample.vip, sample.server), (VIP, SERVER));
                    samples.push((sample.kind, sample.value));
                }
            });
            samples
        }

        /// A round of housekeeping, from `now` on.
        fn round(&mut self, now: u64) {
            for piece in 0..(SLOTS / PIECE) as u64 {
                let now = Nanos(now + piece * ROUND_NANOS * PIECE as u64 / SLOTS as u64 + piece);
                self.watches.housekeeping(&mut self.flows, HashKey::default(), now, &self.counters);
            }
        }
    }

    const SYN: u8 = tcp::Flags::SYN;
    const ACK: u8 = tcp::Flags::ACK;
    const FIN: u8 = tcp::Flags::FIN;

    #[test]
    fn life_of_a_connection_is_measured() {
        let mut rig = Rig::new(1);
        let start = 1000 * MS;
        let (key, _, id) = rig.open(1, State::Embryonic, start);
        rig.client(&key, Some((SYN, 100, 0, 0)), start);
        assert!(rig.flows.v4.entry(id).is_watched());
        rig.flows.v4.entry_mut(id).set_state(State::Established);
        rig.client(&key, Some((ACK, 101, 5001, 0)), start + 2 * MS);
        assert_eq!(rig.samples(), [(Kind::PacketGap, 2 * MS), (Kind::Handshake, 2 * MS)]);
        // A request in two segments, of which the answer acknowledges the first alone, then the answer's data.
        rig.client(&key, Some((ACK, 101, 5001, 1000)), start + 3 * MS);
        rig.client(&key, Some((ACK, 1101, 5001, 200)), start + 4 * MS);
        rig.client(&key, Some((ACK, 1301, 6449, 0)), start + 11 * MS);
        let samples = rig.samples();
        assert_eq!(samples.last(), Some(&(Kind::RequestLatency, 8 * MS)));
        assert_eq!(samples.iter().filter(|(kind, _)| *kind == Kind::RequestLatency).count(), 1);
        rig.flows.v4.entry_mut(id).set_state(State::Closing);
        rig.client(&key, Some((FIN | ACK, 1301, 6449, 0)), start + 20 * MS);
        let samples = rig.samples();
        assert_eq!(samples[1..], [(Kind::FlowCompletion, 20 * MS), (Kind::FlowBytes, 1200)]);
        assert!(!rig.flows.v4.entry(id).is_watched() && !rig.watches.any());
    }

    #[test]
    fn repeated_syn_says_nothing_of_the_handshake() {
        let mut rig = Rig::new(1);
        let (key, _, id) = rig.open(1, State::Embryonic, MS);
        rig.client(&key, Some((SYN, 100, 0, 0)), MS);
        rig.client(&key, Some((SYN, 100, 0, 0)), 1001 * MS);
        rig.flows.v4.entry_mut(id).set_state(State::Established);
        rig.client(&key, Some((ACK, 101, 5001, 0)), 1002 * MS);
        assert!(rig.samples().iter().all(|(kind, _)| *kind == Kind::PacketGap));
    }

    #[test]
    fn live_flows_say_once_a_round_how_long_they_have_lasted_idle_or_not() {
        let mut rig = Rig::new(1);
        let mut busy = None;
        for flow in 1..=20 {
            let (key, ..) = rig.open(flow, State::Datagram, 0);
            rig.client(&key, None, 0);
            busy = Some(key);
        }
        let watched = rig.watches.live as usize; // two may want one slot
        assert!(watched >= 18);
        for packet in 1..200 {
            rig.client(&busy.unwrap(), None, packet);
        }
        let gaps = rig.samples().len();
        assert!(gaps <= 2 * MOST_SHARE as usize, "{gaps}: one flow cannot have all the attention");
        rig.round(300 * MS);
        let samples = rig.samples();
        assert_eq!(samples.len(), watched);
        assert!(samples.iter().all(|&(kind, value)| kind == Kind::FlowDuration && value >= 300 * MS));
    }

    #[test]
    fn flow_that_is_gone_is_no_longer_watched() {
        let mut rig = Rig::new(1);
        let (key, ..) = rig.open(1, State::Datagram, 0);
        rig.client(&key, None, 0);
        rig.flows.v4.remove(&key);
        let (_, _, other) = rig.open(2, State::Datagram, 0); // in the same entry
        rig.round(300 * MS);
        assert!(!rig.watches.any() && !rig.flows.v4.entry(other).is_watched());
        assert_eq!(rig.samples(), []);
    }

    #[test]
    fn flow_that_moves_or_begins_anew_says_nothing_of_its_former_life() {
        let mut rig = Rig::new(1);
        let (key, ..) = rig.open(1, State::Embryonic, MS);
        rig.client(&key, Some((SYN, 100, 0, 0)), MS);
        rig.flows.v4.remove(&key);
        let (_, _, id) = rig.open(1, State::Embryonic, 500 * MS);
        rig.client(&key, Some((SYN, 900, 0, 0)), 500 * MS);
        assert!(rig.flows.v4.entry(id).is_watched());
        rig.flows.v4.entry_mut(id).set_state(State::Established);
        rig.client(&key, Some((ACK, 901, 7001, 0)), 503 * MS);
        assert_eq!(rig.samples(), [(Kind::PacketGap, 3 * MS), (Kind::Handshake, 3 * MS)]);
        // In mid-flow on a new server: its beginning was not seen.
        rig.flows.v4.remove(&key);
        let (_, _, id) = rig.open(1, State::Established, 800 * MS);
        rig.client(&key, Some((ACK, 901, 7001, 0)), 800 * MS);
        assert!(!rig.watches.any() && !rig.flows.v4.entry(id).is_watched());
    }

    #[test]
    fn one_in_so_many_is_chosen_by_the_hash_alone() {
        let (watches, _) = Watches::new(Settings { one_in: 8, ring: 64 }).unwrap();
        let chosen =
            (0..80_000u64).filter(|&flow| watches.chooses(HashKey::default().v4(flow, 6 << 32 | 80)));
        let chosen = chosen.count() as f64;
        assert!((chosen - 10_000.0).abs() < 5.0 * 94.0, "{chosen}"); // 5 standard deviations
        let (off, samples) = Watches::new(Settings::OFF).unwrap();
        assert!(samples.is_none() && !off.chooses(0));
    }

    #[test]
    fn fewer_flows_are_watched_while_many_begin_and_more_again_later() {
        let mut rig = Rig::new(2);
        for flow in 0..8 * BEGINS_PER_ROUND {
            let (key, hash, _) = rig.open(flow, State::Datagram, 0);
            if rig.watches.chooses(hash) {
                rig.client(&key, None, 0);
            }
            rig.flows.v4.remove(&key);
        }
        rig.round(300 * MS);
        assert_eq!(rig.watches.shift, 2);
        rig.round(600 * MS);
        rig.round(900 * MS);
        assert_eq!(rig.watches.shift, 1, "never more than was asked for");
    }
}
