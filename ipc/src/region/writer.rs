//! The writing end of a channel.

use std::{fs::File, marker::PhantomData, process, sync::atomic::Ordering};

use super::{
    error::RegionError,
    file::Region,
    frame::{Content, Frame},
    layout::{CHANNEL_AT, ChannelBlock},
    lock::try_lock,
};

/// The one writer of a channel; the channel is free again when it is dropped or its process ends.
#[derive(Debug)]
pub struct Writer<C: Content> {
    region: Region,
    /// Holds the lock on the channel.
    _lock: File,
    number: u64,
    epoch: u64,
    content: PhantomData<fn() -> C>,
}

impl<C: Content> Writer<C> {
    /// Takes the channel over at a new epoch, or names the process that has it.
    pub(super) fn new(region: Region, now: u64) -> Result<Self, RegionError> {
        let lock = try_lock(region.file()?, CHANNEL_AT[C::CHANNEL] as u32, size_of::<ChannelBlock>() as u32)
            .map_err(|source| region.failed("lock", source))?;
        let channel = region.channel::<C>();
        let Some(lock) = lock else {
            let pid = channel.pid().load(Ordering::Relaxed);
            return Err(RegionError::Writer { channel: C::NAME, pid });
        };
        // What the writer before left behind is there: its lock was released after its last store.
        let number = channel.published().load(Ordering::Relaxed);
        let epoch = channel.epoch().load(Ordering::Relaxed).wrapping_add(1);
        channel.epoch().store(epoch, Ordering::Relaxed);
        channel.pid().store(u64::from(process::id()), Ordering::Relaxed);
        channel.heartbeat().store(now, Ordering::Relaxed);
        Ok(Self { region, _lock: lock, number, epoch, content: PhantomData })
    }

    /// Publishes a frame and returns its number. Never waits for a reader.
    pub fn publish(&mut self, frame: &mut Frame<C>, now: u64) -> Result<u64, RegionError> {
        let shape = self.region.shape();
        let header = frame.header_mut();
        if header.vips > shape.vips || header.servers > shape.servers {
            return Err(RegionError::TooLarge {
                vips: header.vips,
                servers: header.servers,
                most_vips: shape.vips,
                most_servers: shape.servers,
            });
        }
        self.number = self.number.wrapping_add(1);
        (header.number, header.epoch, header.published) = (self.number, self.epoch, now);
        self.region.channel::<C>().write(self.number, frame.words());
        self.beat(now);
        Ok(self.number)
    }

    /// Says that the writer is at work, when there is nothing to publish.
    pub fn beat(&mut self, now: u64) {
        self.region.channel::<C>().heartbeat().store(now, Ordering::Relaxed);
    }

    /// How many writers the channel has had, this one included.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl<C: Content> Drop for Writer<C> {
    fn drop(&mut self) {
        self.region.channel::<C>().pid().store(0, Ordering::Relaxed);
    }
}
