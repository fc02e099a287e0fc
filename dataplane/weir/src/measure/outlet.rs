//! The region's data plane side: publishes frames, hears weights, and stays attached whatever happens to the file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use dataplane::tables::builder::{MAX_SERVERS, MAX_VIPS};
use ipc::{
    clock::monotonic,
    region::{
        FrameError, Reader, Region, RegionError, Shape, StatisticsChannel, StatisticsFrame, WeightsChannel,
        WeightsFrame, Writer,
    },
};

use super::names;
use crate::{config, control::Directory};

/// Between two looks at whether the file is still ours, and two tries to attach again.
const LOOK_EVERY: u64 = 1_000_000_000;

/// What a look for weights found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// No new ones.
    Nothing,
    /// Valid ones.
    Weights,
    /// Some that are not to be believed.
    Refused,
}

/// An end of the region.
#[derive(Debug)]
pub struct Outlet {
    path: PathBuf,
    slots: u32,
    /// Whether the weights of this process are published.
    decides: bool,
    /// `None`: the region could not be had; it is tried again.
    attached: Option<Attached>,
    /// When the file was last looked at.
    looked: u64,
}

#[derive(Debug)]
struct Attached {
    region: Region,
    statistics: Writer<StatisticsChannel>,
    weights: Reader<WeightsChannel>,
    /// `None`: another process sets the weights, or another one has the channel.
    decisions: Option<Writer<WeightsChannel>>,
    /// Whose names lie beside the region.
    named: Option<Arc<Directory>>,
}

impl Outlet {
    /// Attaches to the configured region; `None`: there is to be none.
    ///
    /// Errors: the region cannot be had, or another process publishes there.
    pub fn open(
        config: &config::Region,
        decides: bool,
        directory: &Directory,
    ) -> Result<Option<Self>, RegionError> {
        let Some(path) = config.path.clone() else { return Ok(None) };
        let shape = shape(config.slots, directory.vips.len(), directory.servers.len());
        let attached = attach(&path, decides, shape)?;
        Ok(Some(Self { path, slots: config.slots, decides, attached: Some(attached), looked: monotonic() }))
    }

    /// Publishes weights that this process has decided on; weights that cannot be published are in force all the same.
    pub fn publish_weights(&mut self, frame: &mut WeightsFrame) {
        let Some(writer) = self.attached.as_mut().and_then(|attached| attached.decisions.as_mut()) else {
            return;
        };
        if let Err(error) = writer.publish(frame, monotonic()) {
            tracing::error!(region = %self.path.display(), %error, "no weights published");
        }
    }

    /// The newest weights of another process that were believed and are at most `stale_after` nanoseconds old.
    pub fn believed(&self, stale_after: u64) -> Option<&WeightsFrame> {
        let believed = self.attached.as_ref()?.weights.believed()?;
        (monotonic().saturating_sub(believed.header().published) <= stale_after).then_some(believed)
    }

    /// Publishes a frame; `false`: it could not be, and what is wrong was logged.
    pub fn publish(&mut self, frame: &mut StatisticsFrame, directory: &Arc<Directory>) -> bool {
        let now = monotonic();
        if now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            if self.attached.as_ref().is_none_or(|attached| attached.region.is_replaced()) {
                self.attach_again(directory);
            }
        }
        match self.try_publish(frame, directory) {
            Some(Err(RegionError::TooLarge { .. })) => {
                // More servers came by reloads than there was room for: a larger region in the same place.
                self.attach_again(directory);
                matches!(self.try_publish(frame, directory), Some(Ok(())))
            }
            Some(Err(error)) => {
                tracing::error!(region = %self.path.display(), %error, "no statistics published");
                false
            }
            Some(Ok(())) => true,
            None => false,
        }
    }

    fn try_publish(
        &mut self,
        frame: &mut StatisticsFrame,
        directory: &Arc<Directory>,
    ) -> Option<Result<(), RegionError>> {
        let attached = self.attached.as_mut()?;
        if attached.named.as_ref().is_none_or(|named| !Arc::ptr_eq(named, directory)) {
            if let Err(error) = names::write(&self.path, attached.statistics.epoch(), directory) {
                tracing::warn!(region = %self.path.display(), %error, "no names beside the region");
            }
            attached.named = Some(Arc::clone(directory));
        }
        Some(attached.statistics.publish(frame, monotonic()).map(|_| ()))
    }

    /// Looks for weights of a policy in another process, and validates them.
    pub fn hear(&mut self) -> Heard {
        let Some(attached) = &mut self.attached else { return Heard::Nothing };
        match attached.weights.latest() {
            Ok(Some(_)) => Heard::Weights,
            Ok(None) | Err(FrameError::Overtaken) => Heard::Nothing,
            Err(error @ FrameError::Unbelievable { .. }) => {
                tracing::warn!(region = %self.path.display(), %error, "weights refused");
                Heard::Refused
            }
        }
    }

    /// Lets go of the region and attaches anew, with room for what there is now.
    fn attach_again(&mut self, directory: &Directory) {
        self.attached = None; // or we would be the other writer
        let shape = shape(self.slots, directory.vips.len(), directory.servers.len());
        match attach(&self.path, self.decides, shape) {
            Ok(attached) => {
                tracing::info!(region = %self.path.display(), "attached to the region again");
                self.attached = Some(attached);
            }
            Err(error) => {
                tracing::error!(region = %self.path.display(), %error, help = error.remedy(), "no region");
            }
        }
    }
}

/// The region at `path`, made anew if the one that is there does not fit.
fn attach(path: &Path, decides: bool, shape: Shape) -> Result<Attached, RegionError> {
    let region = match Region::create(path, shape) {
        Err(
            RegionError::Shape { .. }
            | RegionError::Size { .. }
            | RegionError::Version { .. }
            | RegionError::LayoutHash { .. },
        ) => Region::replace(path, shape)?,
        other => other?,
    };
    let statistics = region.statistics_writer(monotonic())?;
    let weights = region.weights_reader();
    let decisions = match decides.then(|| region.weights_writer(monotonic())).transpose() {
        Ok(writer) => writer,
        Err(error) => {
            tracing::warn!(region = %path.display(), %error, "our weights are not published");
            None
        }
    };
    Ok(Attached { region, statistics, weights, decisions, named: None })
}

/// Room for twice as many VIPs and servers as there are.
fn shape(slots: u32, vips: usize, servers: usize) -> Shape {
    let room =
        |count: usize, least: usize, most: usize| (2 * count).next_power_of_two().clamp(least, most) as u32;
    Shape {
        slots,
        vips: room(vips, 64, MAX_VIPS),
        servers: room(servers, 1024, MAX_SERVERS),
        vip_ids: MAX_VIPS as u32,
        server_ids: MAX_SERVERS as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_has_room_to_grow() {
        let small = shape(4, 2, 6);
        assert_eq!((small.vips, small.servers), (64, 1024));
        let large = shape(4, 100, 10_000);
        assert_eq!((large.vips, large.servers), (256, 32_768));
        assert_eq!(shape(4, MAX_VIPS, MAX_SERVERS).servers, MAX_SERVERS as u32);
    }
}
