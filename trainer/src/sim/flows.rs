//! The flows of a run that are not over yet.

use super::balancer::Tracked;

/// A flow, from its client's SYN until its balancer has forgotten it.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// When its client began, and whether it counts.
    pub began: u64,
    pub counts: bool,
    /// One way between client and balancer; servers are beside the balancers.
    pub delay: u64,
    pub hash: u64,
    pub balancer: u32,
    /// What each of its stages asks of cores and disk, and how many stages are left; two for each round.
    pub cpu: f64,
    pub io: f64,
    pub stages: u32,
    /// What its balancer knows of it.
    pub tracked: Tracked,
    /// When its server took it, how often that had died then, and when its request came.
    pub admitted: u64,
    pub deaths: u32,
    pub asked: u64,
    /// How often its SYN was sent again.
    pub retries: u32,
}

/// Flows by number; numbers are used again.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    slots: Vec<Flow>,
    free: Vec<u32>,
}

impl Flows {
    /// Takes a flow in and gives it a number.
    pub fn insert(&mut self, flow: Flow) -> u32 {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = flow;
            return id;
        }
        self.slots.push(flow);
        self.slots.len() as u32 - 1
    }

    /// Gives a number up.
    pub fn remove(&mut self, id: u32) {
        self.free.push(id);
    }

    /// Flows that are there.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl std::ops::Index<u32> for Flows {
    type Output = Flow;

    #[inline]
    fn index(&self, id: u32) -> &Flow {
        &self.slots[id as usize]
    }
}

impl std::ops::IndexMut<u32> for Flows {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Flow {
        &mut self.slots[id as usize]
    }
}
