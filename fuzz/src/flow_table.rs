//! Lists of operations on a flow table, beside a map that does the same.

use std::{collections::HashMap, time::Duration};

use dataplane::{
    tables::{
        flow::{FlowKey, FlowTable, State, Timeouts},
        hash::HashKey,
    },
    time::Tick,
};
use ipc::id::ServerId;

use crate::input::Input;

/// Different flows; a few times as many as fit.
const FLOWS: u16 = 300;

const STATES: [State; 5] =
    [State::Embryonic, State::Established, State::Closing, State::Closed, State::Datagram];

fn key(flow: u16) -> FlowKey<u64> {
    FlowKey { addresses: u64::from(flow), ports: 0x5000_0400, protocol: 6 }
}

/// The table knows what the map knows, after each operation, and both are empty in the end.
pub fn run(input: &[u8]) {
    crate::without_huge_pages();
    let hash_key = HashKey::default();
    let seconds = Duration::from_secs;
    let timeouts = Timeouts::new(seconds(300), seconds(30), seconds(10), seconds(5));
    let Ok(mut table) = FlowTable::<u64>::new(128, hash_key) else { return };
    let mut model: HashMap<u16, ServerId> = HashMap::new();
    let (mut input, mut now) = (Input(input), Tick(0));
    while let (Some(operation), Some(word)) = (input.byte(), input.word()) {
        let flow = word % FLOWS;
        let key = key(flow);
        let found = table.find(&key, key.hash(hash_key));
        assert_eq!(found.map(|id| table.entry(id).server()), model.get(&flow).copied(), "flow {flow}");
        match (operation % 8, found) {
            (0..4, None) => {
                let (server, state) =
                    (ServerId(u32::from(operation)), STATES[usize::from(operation / 8) % 5]);
                if let Ok(inserted) = table.insert(&key, key.hash(hash_key), (server, state), now, &timeouts)
                {
                    if let Some(evicted) = inserted.evicted {
                        assert!(model.remove(&(evicted.key().addresses as u16)).is_some());
                    }
                    model.insert(flow, server);
                }
            }
            (0..4, Some(id)) => table.entry_mut(id).touch(now),
            (4, _) => assert_eq!(table.remove(&key).is_some(), model.remove(&flow).is_some()),
            (5, _) => now = Tick(now.0.wrapping_add(u32::from(word) * 64)),
            _ => table.sweep(usize::from(operation / 8), now, &timeouts, |entry| {
                assert!(model.remove(&(entry.key().addresses as u16)).is_some());
            }),
        }
        assert_eq!(table.len() as usize, model.len());
    }
    for flow in 0..FLOWS {
        assert_eq!(table.remove(&key(flow)).is_some(), model.remove(&flow).is_some(), "flow {flow}");
    }
    assert!(table.is_empty() && model.is_empty());
}
