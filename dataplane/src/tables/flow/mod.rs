//! The flow table of one lcore: which server each flow is on.
//!
//! No locks: each worker has its own. No allocation after [`FlowTable::new`]. A bucket is one cache line
//! of twelve tags and indices; a hash has two buckets, and the second is looked at only while the first
//! says that it overflowed. Entries hold the full five-tuple, which is always compared.
//!
//! Memory per flow of capacity: 32 bytes of entry and 8 to 16 of bucket for IPv4, 64 and 8 to 16 for IPv6.
//! `docs/design/flow-table.md` has the invariants.

mod bucket;
mod entry;

use std::{io, time::Duration};

use ipc::id::ServerId;

use self::{bucket::Bucket, entry::NO_PEER};
pub use self::{
    bucket::LANES,
    entry::{Addresses, Entry, EntryId, FlowKey, State},
};
use super::{hash::HashKey, huge::HugeArray};
use crate::{prefetch::prefetch, time::Tick};

/// How long an entry lives after its last packet, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts([u32; State::COUNT]);

impl Timeouts {
    /// Time-outs of established TCP, of datagrams, of embryonic and of closing or closed flows.
    pub fn new(tcp_idle: Duration, udp_idle: Duration, syn: Duration, closed: Duration) -> Self {
        let mut ticks = [0; State::COUNT];
        ticks[State::Established as usize] = Tick::count(tcp_idle);
        ticks[State::Datagram as usize] = Tick::count(udp_idle);
        ticks[State::Embryonic as usize] = Tick::count(syn);
        ticks[State::Closing as usize] = Tick::count(closed);
        ticks[State::Closed as usize] = Tick::count(closed);
        Self(ticks)
    }

    /// Whether an entry has outlived its state.
    pub fn is_over<A: Addresses>(&self, entry: &Entry<A>, now: Tick) -> bool {
        now.since(entry.seen()) > self.0[entry.state() as usize]
    }
}

/// There is no room for a flow, and nothing that may be evicted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the flow table is full")]
pub struct Full;

/// A flow that was just entered, and the one that had to go for it.
#[derive(Clone, Copy, Debug)]
pub struct Inserted<A: Addresses> {
    /// The new entry.
    pub id: EntryId,
    /// What was evicted; its peer, if it has one, is still there.
    pub evicted: Option<Entry<A>>,
}

/// The flows of one lcore and one address family.
#[derive(Debug)]
pub struct FlowTable<A: Addresses> {
    buckets: HugeArray<Bucket>,
    entries: HugeArray<Entry<A>>,
    hash_key: HashKey,
    /// First entry of the list of freed ones.
    freed: u32,
    /// Entries from here on were never used.
    fresh: u32,
    len: u32,
    /// The bucket that the next sweep starts at.
    sweep_at: usize,
}

impl<A: Addresses> FlowTable<A> {
    /// A table for `capacity` flows. Memory is committed as it is used.
    pub fn new(capacity: u32, hash_key: HashKey) -> io::Result<Self> {
        let buckets = (capacity as usize).div_ceil(8).next_power_of_two().max(2);
        Ok(Self {
            buckets: HugeArray::zeroed(buckets)?,
            entries: HugeArray::zeroed(capacity as usize)?,
            hash_key,
            freed: NO_PEER,
            fresh: 0,
            len: 0,
            sweep_at: 0,
        })
    }

    /// Number of entries; under NAT a flow has two.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of entries that fit.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Number of buckets, for the pace of [`FlowTable::sweep`].
    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// A hash's tag, never 0: bits that the bucket index does not use.
    #[inline]
    const fn tag(hash: u64) -> u8 {
        let tag = (hash >> 48) as u8;
        if tag == 0 { 1 } else { tag }
    }

    /// The other bucket of a tag; its own inverse.
    #[inline]
    fn other(&self, bucket: usize, tag: u8) -> usize {
        (bucket ^ ((tag as usize * 0x5bd1) | 1)) & (self.buckets.len() - 1)
    }

    /// Asks the cache for the bucket of `hash`.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: u64) {
        prefetch(&self.buckets[self.home(hash)]);
    }

    /// Asks the cache for the entry that `hash` most likely means, and says which it is. There may be none of that
    /// number: only [`FlowTable::goes_on`] takes it.
    #[inline(always)]
    pub fn prefetch_entry(&self, hash: u64) -> EntryId {
        let bucket = &self.buckets[self.home(hash)];
        let Some(lane) = bucket.matching(Self::tag(hash)).next() else {
            self.prefetch_room(hash);
            return EntryId::NONE;
        };
        let id = bucket.entry(lane);
        if let Some(entry) = self.entries.get(id as usize) {
            prefetch(entry);
        }
        EntryId(id)
    }

    /// Asks the cache for what [`FlowTable::insert`] will look at: the second bucket, and in a full table every entry
    /// that may have to go.
    #[inline(never)]
    fn prefetch_room(&self, hash: u64) {
        let home = self.home(hash);
        prefetch(&self.buckets[self.other(home, Self::tag(hash))]);
        if self.len as usize == self.entries.len() {
            let bucket = &self.buckets[home];
            for lane in bucket.occupied() {
                if let Some(entry) = self.entries.get(bucket.entry(lane) as usize) {
                    prefetch(entry);
                }
            }
        }
    }

    /// The server of a flow that goes on: if `guess` is its entry and the packet changes nothing about it
    /// ([`Entry::goes_on`]), which is then noted as seen. `None` says nothing: [`FlowTable::find`] knows.
    #[inline(always)]
    pub fn goes_on(&mut self, guess: EntryId, addresses: &A, word: u64, now: Tick) -> Option<ServerId> {
        let entry = self.entries.get_mut(guess.0 as usize)?;
        if !entry.goes_on(addresses, word) {
            return None;
        }
        entry.touch(now);
        Some(entry.server())
    }

    /// The entry of `key`, whose hash is `hash`.
    #[inline]
    pub fn find(&self, key: &FlowKey<A>, hash: u64) -> Option<EntryId> {
        let (home, tag) = (self.home(hash), Self::tag(hash));
        let bucket = &self.buckets[home];
        self.find_in(bucket, tag, key).or_else(|| {
            if bucket.overflow() == 0 {
                return None;
            }
            self.find_in(&self.buckets[self.other(home, tag)], tag, key)
        })
    }

    #[inline(always)]
    fn find_in(&self, bucket: &Bucket, tag: u8, key: &FlowKey<A>) -> Option<EntryId> {
        bucket
            .matching(tag)
            .map(|lane| bucket.entry(lane))
            .find(|&entry| self.entries.get(entry as usize).is_some_and(|entry| entry.is(key)))
            .map(EntryId)
    }

    /// The entry `id`.
    #[inline]
    pub fn entry(&self, id: EntryId) -> &Entry<A> {
        &self.entries[id.0 as usize]
    }

    /// The entry `id`, writable.
    #[inline]
    pub fn entry_mut(&mut self, id: EntryId) -> &mut Entry<A> {
        &mut self.entries[id.0 as usize]
    }

    /// Enters a flow that is not in the table.
    ///
    /// When the table or both buckets (with no entry to move elsewhere) are full, an entry of the home bucket makes room,
    /// or if none may, one of the other bucket: one that has timed out, else a closed one, else an embryonic one
    /// (so that a SYN flood evicts itself), else the one that was idle longest. Reply entries are never chosen: they go
    /// with their flow.
    pub fn insert(
        &mut self,
        key: &FlowKey<A>,
        hash: u64,
        (server, state): (ServerId, State),
        now: Tick,
        timeouts: &Timeouts,
    ) -> Result<Inserted<A>, Full> {
        let (home, tag) = (self.home(hash), Self::tag(hash));
        let other = self.other(home, tag);
        let pool_full = self.len as usize == self.entries.len();
        let vacancy = if pool_full { None } else { self.vacancy(home, other) };
        let (bucket, lane, evicted) = match vacancy {
            Some((bucket, lane)) => (bucket, lane, None),
            None => {
                let (bucket, lane) = [home, other]
                    .into_iter()
                    .find_map(|bucket| Some((bucket, self.victim(bucket, now, timeouts)?)))
                    .ok_or(Full)?;
                let evicted = self.remove_lane(bucket, lane);
                // When it was the second bucket's, the first one had none that may go, but perhaps a vacancy.
                let (bucket, lane) = self.vacancy(home, other).unwrap_or((bucket, lane));
                (bucket, lane, Some(evicted))
            }
        };
        let id = self.take_entry();
        let entry = &mut self.entries[id as usize];
        *entry = Entry::new(key, server, state, now);
        if bucket != home {
            entry.displace();
            self.buckets[home].change_overflow(1);
        }
        self.buckets[bucket].fill(lane, tag, id);
        self.len += 1;
        Ok(Inserted { id: EntryId(id), evicted })
    }

    /// Makes `reply` the reply entry of `flow`: the two live and die together.
    pub fn tie(&mut self, flow: EntryId, reply: EntryId) {
        self.entry_mut(flow).peer = reply.0;
        self.entry_mut(reply).set_reply_of(flow);
    }

    /// Marks a flow as watched, and its reply entry.
    pub fn watch(&mut self, flow: EntryId) {
        self.set_watched(flow, true);
    }

    /// Takes the mark away.
    pub fn unwatch(&mut self, flow: EntryId) {
        self.set_watched(flow, false);
    }

    fn set_watched(&mut self, flow: EntryId, is_watched: bool) {
        let entry = self.entry_mut(flow);
        entry.set_watched(is_watched);
        if let Some(peer) = entry.peer() {
            self.entry_mut(peer).set_watched(is_watched);
        }
    }

    /// Marks the flow that has the entry `id` as watched, if it is live and still the one whose hash is `hash`; else
    /// returns false.
    pub fn watch_again(&mut self, id: EntryId, hash: u64, hash_key: HashKey) -> bool {
        let Some(entry) = self.entries.get(id.0 as usize) else { return false };
        let lives = entry.state().is_live() && !entry.is_reply() && entry.key().hash(hash_key) == hash;
        if lives {
            self.watch(id);
        }
        lives
    }

    /// The hash and state of the watched flow that `reply` is the reply of; `None`: there is none.
    pub fn watched_by_reply(&self, reply: &FlowKey<A>, hash: u64, hash_key: HashKey) -> Option<(u64, State)> {
        let reply = self.find(reply, hash).map(|id| self.entry(id)).filter(|entry| entry.is_watched())?;
        let flow = self.entry(reply.peer()?);
        Some((flow.key().hash(hash_key), flow.state()))
    }

    /// Removes the entry of `key`; returns it.
    pub fn remove(&mut self, key: &FlowKey<A>) -> Option<Entry<A>> {
        let hash = key.hash(self.hash_key);
        let (home, tag) = (self.home(hash), Self::tag(hash));
        for bucket in [home, self.other(home, tag)] {
            let lane = self.buckets[bucket]
                .matching(tag)
                .find(|&lane| self.entries[self.buckets[bucket].entry(lane) as usize].is(key));
            if let Some(lane) = lane {
                return Some(self.remove_lane(bucket, lane));
            }
        }
        None
    }

    /// Looks at the next `buckets` buckets and removes what has timed out; at most [`LANES`] entries a
    /// bucket. `expired` gets each removed flow; its reply entry is removed with it.
    pub fn sweep(
        &mut self,
        buckets: usize,
        now: Tick,
        timeouts: &Timeouts,
        mut expired: impl FnMut(&Entry<A>),
    ) {
        for _ in 0..buckets.min(self.buckets.len()) {
            let at = self.sweep_at;
            self.sweep_at = (at + 1) & (self.buckets.len() - 1);
            for lane in self.buckets[at].occupied() {
                let entry = &self.entries[self.buckets[at].entry(lane) as usize];
                if self.buckets[at].tag(lane) != 0 && !entry.is_reply() && timeouts.is_over(entry, now) {
                    let entry = self.remove_lane(at, lane);
                    self.remove_peer(&entry);
                    expired(&entry);
                }
            }
        }
    }

    /// Removes the reply entry of a flow that was removed.
    pub fn remove_peer(&mut self, flow: &Entry<A>) {
        if let Some(peer) = flow.peer() {
            let key = self.entry(peer).key();
            self.remove(&key);
        }
    }

    /// An empty lane in either bucket; when both are full, one is made by moving an entry of the first
    /// to that entry's own other bucket (one step of cuckoo hashing).
    fn vacancy(&mut self, home: usize, other: usize) -> Option<(usize, usize)> {
        for bucket in [home, other] {
            if let Some(lane) = self.buckets[bucket].vacant() {
                return Some((bucket, lane));
            }
        }
        for lane in 0..LANES {
            let (tag, id) = (self.buckets[home].tag(lane), self.buckets[home].entry(lane));
            let target = self.other(home, tag);
            if let Some(vacant) = self.buckets[target].vacant() {
                self.buckets[target].fill(vacant, tag, id);
                self.buckets[home].clear(lane);
                let entry = &mut self.entries[id as usize];
                entry.displace();
                if entry.is_displaced() {
                    self.buckets[home].change_overflow(1);
                } else {
                    self.buckets[target].change_overflow(-1);
                }
                return Some((home, lane));
            }
        }
        None
    }

    /// The lane of `bucket` that had best make room, if any may.
    fn victim(&self, bucket: usize, now: Tick, timeouts: &Timeouts) -> Option<usize> {
        let bucket = &self.buckets[bucket];
        bucket
            .occupied()
            .map(|lane| (lane, &self.entries[bucket.entry(lane) as usize]))
            .filter(|(_, entry)| !entry.is_reply())
            .max_by_key(|(_, entry)| {
                let class = match entry.state() {
                    _ if timeouts.is_over(entry, now) => 3,
                    State::Closing | State::Closed => 2,
                    State::Embryonic => 1,
                    _ => 0,
                };
                (class, now.since(entry.seen()))
            })
            .map(|(lane, _)| lane)
    }

    fn remove_lane(&mut self, bucket: usize, lane: usize) -> Entry<A> {
        let (id, tag) = (self.buckets[bucket].entry(lane), self.buckets[bucket].tag(lane));
        self.buckets[bucket].clear(lane);
        let entry = self.entries[id as usize];
        if entry.is_displaced() {
            let home = self.other(bucket, tag);
            self.buckets[home].change_overflow(-1);
        }
        let slot = &mut self.entries[id as usize];
        slot.set_state(State::Free);
        slot.peer = self.freed;
        self.freed = id;
        self.len -= 1;
        entry
    }

    /// An unused entry. The caller has made sure that there is one.
    fn take_entry(&mut self) -> u32 {
        if self.freed != NO_PEER {
            let id = self.freed;
            self.freed = self.entries[id as usize].peer;
            return id;
        }
        let id = self.fresh;
        self.fresh += 1;
        id
    }

    /// All entries, for tests and tools; not for the packet path.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<A>> {
        self.entries[..self.fresh as usize].iter().filter(|entry| entry.state() != State::Free)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u32 = 15_259;

    fn timeouts() -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts::new(seconds(300), seconds(30), seconds(10), seconds(5))
    }

    fn key(flow: u64) -> FlowKey<u64> {
        FlowKey { addresses: flow, ports: 0x5000_0400, protocol: 6 }
    }

    fn insert(table: &mut FlowTable<u64>, flow: u64, state: State, now: u32) -> Result<Inserted<u64>, Full> {
        let key = key(flow);
        table.insert(
            &key,
            key.hash(HashKey::default()),
            (ServerId(flow as u32), state),
            Tick(now),
            &timeouts(),
        )
    }

    fn find(table: &FlowTable<u64>, flow: u64) -> Option<EntryId> {
        table.find(&key(flow), key(flow).hash(HashKey::default()))
    }

    #[test]
    fn nominal_capacity_is_reached_without_evictions() {
        let mut table = FlowTable::new(100_000, HashKey::default()).unwrap();
        for flow in 0..100_000 {
            assert!(
                insert(&mut table, flow, State::Established, 0).unwrap().evicted.is_none(),
                "flow {flow}"
            );
        }
        for flow in 0..100_000 {
            assert_eq!(table.entry(find(&table, flow).unwrap()).server(), ServerId(flow as u32));
        }
        assert_eq!(find(&table, 100_000), None);
    }

    #[test]
    fn equal_hashes_are_told_apart_by_the_full_key() {
        let mut table = FlowTable::new(64, HashKey::default()).unwrap();
        for flow in 0..20 {
            let _ = table.insert(
                &key(flow),
                7,
                (ServerId(flow as u32), State::Established),
                Tick(0),
                &timeouts(),
            );
        }
        for flow in 0..20 {
            if let Some(id) = table.find(&key(flow), 7) {
                assert_eq!(table.entry(id).server(), ServerId(flow as u32));
            }
        }
        assert_eq!(table.len(), 20);
    }

    #[test]
    fn syn_flood_evicts_itself_and_not_the_established() {
        let mut table = FlowTable::new(64, HashKey::default()).unwrap();
        for flow in 0..32 {
            insert(&mut table, flow, State::Established, 0).unwrap();
        }
        for flow in 1000..100_000 {
            if let Ok(inserted) = insert(&mut table, flow, State::Embryonic, SECOND)
                && let Some(evicted) = inserted.evicted
            {
                assert!(evicted.state() == State::Embryonic || find(&table, flow).is_some());
            }
        }
        let kept = (0..32).filter(|&flow| find(&table, flow).is_some()).count();
        assert!(kept >= 24, "{kept} of 32 established flows left");
    }

    #[test]
    fn sweep_ends_flows_by_their_state_and_takes_replies_along() {
        let mut table = FlowTable::new(64, HashKey::default()).unwrap();
        insert(&mut table, 1, State::Embryonic, 0).unwrap();
        insert(&mut table, 2, State::Established, 0).unwrap();
        let flow = insert(&mut table, 3, State::Closing, 0).unwrap().id;
        let reply = insert(&mut table, 4, State::Established, 0).unwrap().id;
        table.tie(flow, reply);
        let mut gone = Vec::new();
        for seconds in [4, 6, 11, 299, 301] {
            let all = table.bucket_count();
            table.sweep(all, Tick(seconds * SECOND), &timeouts(), |entry| {
                gone.push((seconds, entry.server().0));
            });
        }
        assert_eq!(gone, [(6, 3), (11, 1), (301, 2)]);
        assert!(table.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(u64),
        Touch(u64),
        Advance(u32),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let flow = 0u64..300;
        prop::collection::vec(
            prop_oneof![
                6 => flow.clone().prop_map(Op::Insert),
                2 => flow.clone().prop_map(Op::Remove),
                2 => flow.prop_map(Op::Touch),
                1 => (1u32..40 * SECOND).prop_map(Op::Advance),
            ],
            1..600,
        )
    }

    proptest! {
        #[test]
        fn table_agrees_with_a_map(ops in ops()) {
            let mut table = FlowTable::new(128, HashKey::default()).unwrap();
            let mut model: HashMap<u64, u32> = HashMap::new();
            let mut now = 0u32;
            for op in ops {
                match op {
                    Op::Insert(flow) => {
                        if find(&table, flow).is_none()
                            && let Ok(inserted) = insert(&mut table, flow, State::Datagram, now)
                        {
                            if let Some(evicted) = inserted.evicted {
                                prop_assert!(model.remove(&evicted.key().addresses).is_some());
                            }
                            model.insert(flow, now);
                        }
                    }
                    Op::Remove(flow) => prop_assert_eq!(table.remove(&key(flow)).is_some(), model.remove(&flow).is_some()),
                    Op::Touch(flow) => {
                        if let Some(id) = find(&table, flow) {
                            table.entry_mut(id).touch(Tick(now));
                            model.insert(flow, now);
                        }
                    }
                    Op::Advance(ticks) => {
                        now = now.wrapping_add(ticks);
                        let all = table.bucket_count();
                        let mut expired = Vec::new();
                        table.sweep(all, Tick(now), &timeouts(), |entry| expired.push(entry.key().addresses));
                        for flow in expired {
                            let seen = model.remove(&flow).unwrap();
                            prop_assert!(now.wrapping_sub(seen) > Tick::count(Duration::from_secs(30)));
                        }
                        prop_assert!(model.values().all(|&seen| now.wrapping_sub(seen) <= 30 * SECOND + 1000));
                    }
                }
                prop_assert_eq!(table.len() as usize, model.len());
                prop_assert_eq!(table.iter().count(), model.len());
                for &flow in model.keys() {
                    prop_assert!(find(&table, flow).is_some());
                }
            }
            for flow in model.keys() {
                table.remove(&key(*flow));
            }
            prop_assert!(table.is_empty());
            prop_assert!(table.buckets.iter().all(|bucket| bucket.overflow() == 0));
        }
    }
}
