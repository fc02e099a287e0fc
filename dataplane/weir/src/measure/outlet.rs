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
        Writer,
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
    /// Whose names lie beside the region.
    named: Option<Arc<Directory>>,
}

impl Outlet {
    /// Attaches to the configured region; `None`: there is to be none.
    ///
    /// Errors: the region cannot be had, or another process publishes there.
    pub fn open(config: &config::Region, directory: &Directory) -> Result<Option<Self>, RegionError> {
        let Some(path) = config.path.clone() else { return Ok(None) };
        let attached = attach(&path, shape(config.slots, directory.vips.len(), directory.servers.len()))?;
        Ok(Some(Self { path, slots: config.slots, attached: Some(attached), looked: monotonic() }))
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
        match attach(&self.path, shape) {
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
fn attach(path: &Path, shape: Shape) -> Result<Attached, RegionError> {
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
    Ok(Attached { region, statistics, weights, named: None })
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
