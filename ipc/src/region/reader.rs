//! A reading end of a channel.

use std::{mem, sync::atomic::Ordering};

use super::{
    error::FrameError,
    file::Region,
    frame::{Content, Frame},
};

/// Reads the newest frame of a channel. Keeps the last one that it believed.
#[derive(Debug)]
pub struct Reader<C: Content> {
    region: Region,
    /// The number of the newest frame that was looked at; 0: none.
    last: u64,
    believed: Option<Frame<C>>,
    incoming: Frame<C>,
}

/// What a channel says about its writer. For people and for patience: nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How many writers there have been; 0: none yet.
    pub epoch: u64,
    /// When it last was at work, on the machine's monotonic clock.
    pub heartbeat: u64,
    /// Its process; `None` when it has ended in order.
    pub pid: Option<u64>,
}

impl<C: Content> Reader<C> {
    pub(super) fn new(region: Region) -> Self {
        Self { region, last: 0, believed: None, incoming: Frame::default() }
    }

    /// The newest frame, if it was not returned before. Copies, checks that the copy is of one piece, validates.
    ///
    /// Takes no memory once it has seen frames of full size. An error says why the newest frame is not to be
    /// had; the one before stays in [`Reader::believed`]. A frame that cannot be believed is reported once.
    pub fn latest(&mut self) -> Result<Option<&Frame<C>>, FrameError> {
        let read = self.region.channel::<C>().read(self.last, self.incoming.words_mut());
        let Some(number) = read.map_err(|_| FrameError::Overtaken)? else { return Ok(None) };
        self.last = number;
        self.incoming
            .check(number, self.region.shape())
            .map_err(|fault| FrameError::Unbelievable { number, fault })?;
        mem::swap(self.believed.get_or_insert_default(), &mut self.incoming);
        Ok(self.believed.as_ref())
    }

    /// The newest frame that was believed.
    pub const fn believed(&self) -> Option<&Frame<C>> {
        self.believed.as_ref()
    }

    /// What the channel says about its writer.
    pub fn origin(&self) -> Origin {
        let channel = self.region.channel::<C>();
        let pid = channel.pid().load(Ordering::Relaxed);
        Origin {
            epoch: channel.epoch().load(Ordering::Relaxed),
            heartbeat: channel.heartbeat().load(Ordering::Relaxed),
            pid: (pid > 0).then_some(pid),
        }
    }
}
