//! The region as a file: made once, attached to as it is.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{
    error::RegionError,
    frame::Content,
    layout::{
        CHANNEL_AT, ChannelBlock, HEADER_WORDS, MAGIC, PID_AT, RegionHeader, Shape, header_of, words_of,
    },
    lock::try_lock,
    mapping::Mapping,
    reader::Reader,
    seqlock::Channel,
    statistics::StatisticsChannel,
    weights::WeightsChannel,
    writer::Writer,
};

/// A region that is attached to. Clones are the same region.
#[derive(Clone, Debug)]
pub struct Region {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    mapping: Mapping,
    shape: Shape,
    writable: bool,
}

impl Region {
    /// Makes a region at `path`, or attaches to the one that is there, if it was made with the same shape.
    ///
    /// What is there is never cleared. A new one appears at `path` complete, with mode 0600.
    pub fn create(path: impl AsRef<Path>, shape: Shape) -> Result<Self, RegionError> {
        let path = path.as_ref();
        shape.check()?;
        if !path.exists() {
            make(path, shape)?;
        }
        let region = Self::attach(path, true)?;
        region.shape().same_as(shape)?;
        Ok(region)
    }

    /// Makes a new region in the place of one that does not fit; for the data plane, after [`Region::create`] failed.
    ///
    /// Refuses while the statistics of the old one are being written, and when the file is no region. Whoever is
    /// attached to the old one keeps it, and learns from [`Region::is_replaced`].
    pub fn replace(path: impl AsRef<Path>, shape: Shape) -> Result<Self, RegionError> {
        let path = path.as_ref();
        let failed = |action| move |source| RegionError::Io { action, path: path.to_owned(), source };
        let old = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        let mut found = [0; 8];
        old.read_exact_at(&mut found, 0).map_err(failed("read"))?;
        if found != MAGIC {
            return Err(RegionError::Magic { found });
        }
        let [start, length] =
            [CHANNEL_AT[StatisticsChannel::CHANNEL] as u32, size_of::<ChannelBlock>() as u32];
        let Some(_lock) = try_lock(&old, start, length).map_err(failed("lock"))? else {
            let mut pid = [0; 8];
            old.read_exact_at(&mut pid, u64::from(start) + PID_AT).map_err(failed("read"))?;
            return Err(RegionError::Writer {
                channel: StatisticsChannel::NAME,
                pid: u64::from_le_bytes(pid),
            });
        };
        fs::remove_file(path).map_err(failed("remove"))?;
        Self::create(path, shape)
    }

    /// Attaches to the region at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RegionError> {
        Self::attach(path.as_ref(), true)
    }

    /// Attaches to the region at `path`, for reading only.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, RegionError> {
        Self::attach(path.as_ref(), false)
    }

    fn attach(path: &Path, writable: bool) -> Result<Self, RegionError> {
        let failed = |action| move |source| RegionError::Io { action, path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(writable).open(path).map_err(failed("open"))?;
        let metadata = file.metadata().map_err(failed("look at"))?;
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(RegionError::Mode { found: mode });
        }
        if metadata.len() < size_of::<RegionHeader>() as u64 {
            return Err(RegionError::Size {
                found: metadata.len(),
                expected: size_of::<RegionHeader>() as u64,
            });
        }
        let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let mapping = Mapping::new(&file, bytes, writable).map_err(failed("map"))?;
        let mut header = [0; HEADER_WORDS];
        for (value, word) in header.iter_mut().zip(mapping.words()) {
            *value = word.load(Relaxed);
        }
        let shape = Shape::of(&header_of(header), metadata.len())?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), file, mapping, shape, writable }) })
    }

    /// What the region was made for.
    pub fn shape(&self) -> Shape {
        self.inner.shape
    }

    /// Becomes the writer of statistics; `now` is [`crate::clock::monotonic`], as everywhere in this module.
    pub fn statistics_writer(&self, now: u64) -> Result<Writer<StatisticsChannel>, RegionError> {
        Writer::new(self.clone(), now)
    }

    /// Becomes the writer of weights.
    pub fn weights_writer(&self, now: u64) -> Result<Writer<WeightsChannel>, RegionError> {
        Writer::new(self.clone(), now)
    }

    /// A reader of statistics, to which the newest frame is new.
    pub fn statistics_reader(&self) -> Reader<StatisticsChannel> {
        Reader::new(self.clone())
    }

    /// A reader of weights, to which the newest frame is new.
    pub fn weights_reader(&self) -> Reader<WeightsChannel> {
        Reader::new(self.clone())
    }

    /// Whether the path leads to another file by now, or to none: time to attach again.
    pub fn is_replaced(&self) -> bool {
        let ours = self.inner.file.metadata();
        let there = fs::metadata(&self.inner.path);
        !matches!((ours, there), (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }

    pub(super) fn channel<C: Content>(&self) -> Channel<'_> {
        Channel::new(self.inner.mapping.words(), self.inner.shape.lanes()[C::CHANNEL])
    }

    /// The file, if the region may be written.
    pub(super) fn file(&self) -> Result<&File, RegionError> {
        if self.inner.writable { Ok(&self.inner.file) } else { Err(RegionError::ReadOnly) }
    }

    /// An error of a system call on the region.
    pub(super) fn failed(&self, action: &'static str, source: io::Error) -> RegionError {
        RegionError::Io { action, path: self.inner.path.clone(), source }
    }
}

/// Makes a region under another name and links it to `path`: whoever opens `path` sees it complete, and a
/// region that appeared there in the meantime stays.
fn make(path: &Path, shape: Shape) -> Result<(), RegionError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{}.new", process::id(), COUNT.fetch_add(1, Relaxed)));
    let fresh = PathBuf::from(name);
    let failed = |action| move |source| RegionError::Io { action, path: path.to_owned(), source };
    let result = fill(&fresh, shape.header()).map_err(failed("make")).and_then(|()| {
        match fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(failed("make")),
        }
    });
    let removed = fs::remove_file(&fresh).map_err(failed("tidy up beside"));
    result.and(removed)
}

/// Makes a file with this header and zeros behind.
fn fill(path: &Path, header: RegionHeader) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_len(header.region_bytes)?;
    let mapping = Mapping::new(&file, size_of::<RegionHeader>(), true)?;
    for (word, value) in mapping.words().iter().zip(words_of(header)) {
        word.store(value, Relaxed);
    }
    Ok(())
}
