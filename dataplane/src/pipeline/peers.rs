//! Whose packet it is, where several workers share the work.
//!
//! A flow that needs its entry for more than the choice of a server, which is one under NAT, has one owner: the
//! worker that a hash of the client's end names. Client's packets, servers' replies and errors about either all
//! know that end. `docs/design/hand-over.md` has the argument.

use std::net::IpAddr;

use ipc::id::{LcoreId, VipId};

use super::icmp::Allowance;
use crate::{
    tables::{
        Tables,
        flow::{Addresses, FlowKey},
        hash::HashKey,
    },
    time::Tick,
};

/// The client's end of a flow. Under NAT both directions have it, before and after the translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClientEnd {
    address: IpAddr,
    /// Zero where the protocol has none.
    port: u16,
    protocol: u8,
}

impl ClientEnd {
    fn hash(&self, key: HashKey) -> u64 {
        let word = u64::from(self.port) | u64::from(self.protocol) << 32;
        match self.address {
            IpAddr::V4(address) => key.v4(address.to_bits().into(), word),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                key.v6([(bits >> 64) as u64, bits as u64, 0, 0], word)
            }
        }
    }

    /// The destination of a packet with this five-tuple.
    fn destination<A: Addresses>(key: &FlowKey<A>) -> Self {
        Self { address: key.destination(), port: key.destination_port(), protocol: key.protocol }
    }
}

/// The five-tuple of an answer.
fn turned<A: Addresses>(key: &FlowKey<A>) -> FlowKey<A> {
    FlowKey { addresses: key.addresses.swapped(), ports: key.ports.rotate_left(16), protocol: key.protocol }
}

/// Which worker has to do with a packet whose flow is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody in particular.
    Nobody,
    /// This one.
    Me,
    /// Another one.
    Other(LcoreId),
}

/// The workers as one of them sees them, and how far the packets at hand have come among them.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    me: LcoreId,
    count: u16,
    /// How often the packets at hand were passed on already.
    pub hops: u8,
    /// How many errors may still be asked about.
    questions: Allowance,
}

impl Peers {
    /// Worker `me` among `count`, which are numbered from 0.
    pub const fn new(me: LcoreId, count: u16) -> Self {
        Self { me, count, hops: 0, questions: Allowance::new() }
    }

    /// Who owns the flow of a packet that is for `vip`, or for none, and whose flow is not known here.
    #[inline]
    pub fn owner<A: Addresses>(&self, key: &FlowKey<A>, vip: Option<VipId>, tables: &Tables) -> Owner {
        if self.count > 1 && tables.nat.is_used() {
            self.owner_under_nat(key, vip, tables)
        } else {
            Owner::Nobody
        }
    }

    #[inline(never)]
    fn owner_under_nat<A: Addresses>(&self, key: &FlowKey<A>, vip: Option<VipId>, tables: &Tables) -> Owner {
        let (nat, answer) = (&tables.nat, turned(key));
        let to_server = match vip {
            Some(vip) => nat.has_vip(vip),
            None => nat.has_address(key.destination()), // of a VIP that was removed and has flows left
        };
        if to_server {
            self.owner_of(&ClientEnd::destination(&answer), tables.hash_key)
        } else if vip.is_none() && nat.has_server(answer.destination()) {
            self.owner_of(&ClientEnd::destination(key), tables.hash_key)
        } else {
            Owner::Nobody
        }
    }

    fn owner_of(&self, client: &ClientEnd, key: HashKey) -> Owner {
        // The high half times the count: no division, and other bits than those that choose a bucket.
        let owner = LcoreId((((client.hash(key) >> 32) * u64::from(self.count)) >> 32) as u16);
        if owner == self.me { Owner::Me } else { Owner::Other(owner) }
    }

    /// The next worker to ask whether it knows the flow of an error, until all were asked once. Bounded in number: a
    /// flood of errors must not cost every worker as much as the one that receives it.
    #[inline(never)]
    pub fn next(&mut self, now: Tick) -> Option<LcoreId> {
        let goes_on = u16::from(self.hops) + 1 < self.count && (self.hops > 0 || self.questions.take(now));
        goes_on.then(|| LcoreId((self.me.0 + 1) % self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey::new(0);

    fn end(port: u16) -> ClientEnd {
        ClientEnd { address: IpAddr::from([203, 0, 113, 77]), port, protocol: 6 }
    }

    #[test]
    fn every_worker_names_the_same_owner_and_owners_share_evenly() {
        for count in 1..=16u16 {
            let mut owned = vec![0; usize::from(count)];
            for port in 0..16_000 {
                let named = |me| Peers::new(LcoreId(me), count).owner_of(&end(port), KEY);
                let owner = (0..count).find(|&me| named(me) == Owner::Me).unwrap();
                assert!((0..count).all(|me| me == owner || named(me) == Owner::Other(LcoreId(owner))));
                owned[usize::from(owner)] += 1;
            }
            let fair = 16_000.0 / f64::from(count);
            assert!(owned.iter().all(|&n| (f64::from(n) - fair).abs() < 6.0 * fair.sqrt()), "{owned:?}");
        }
    }

    #[test]
    fn a_round_asks_everybody_once() {
        for count in 1..=8u16 {
            let (mut at, mut asked) = (Peers::new(LcoreId(count - 1), count), vec![count - 1]);
            while let Some(LcoreId(next)) = at.next(Tick(0)) {
                asked.push(next);
                at = Peers { hops: at.hops + 1, ..Peers::new(LcoreId(next), count) };
            }
            asked.sort_unstable();
            assert!(asked.into_iter().eq(0..count));
        }
    }
}
