//! Attaches to a region, and says what is wrong with it in an operator's words.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ipc::{
    clock::monotonic,
    region::{FrameError, Origin, Reader, Region, RegionError, StatisticsChannel, StatisticsFrame},
};

use crate::{
    error::{EXIT_NOT_RUNNING, Failure},
    measure::names::Names,
};

/// A writer that was not at work for this long is taken for gone. The longest period is a second.
const STALE: Duration = Duration::from_secs(3);

/// How long the first frame may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A region, opened for reading.
#[derive(Debug)]
pub struct Attached {
    path: PathBuf,
    region: Region,
    reader: Reader<StatisticsChannel>,
}

impl Attached {
    /// Attaches to the region at `path`.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let region = Region::open_read_only(path).map_err(|error| match &error {
            RegionError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                not_running(format!("{} does not exist: no instance publishes there", path.display()))
            }
            RegionError::Io { .. } => Failure::environment(&error, "run it as the user that weir runs as"),
            _ => Failure::environment(format!("{}: {error}", path.display()), error.remedy()),
        })?;
        let reader = region.statistics_reader();
        Ok(Self { path: path.to_owned(), region, reader })
    }

    /// The newest frame of a writer that is at work.
    pub fn frame(&mut self) -> Result<StatisticsFrame, Failure> {
        let start = Instant::now();
        loop {
            self.check_writer()?;
            match self.reader.latest() {
                Ok(Some(frame)) => return Ok(frame.clone()),
                Ok(None) => {
                    if let Some(frame) = self.reader.believed() {
                        return Ok(frame.clone());
                    }
                }
                Err(FrameError::Overtaken) => {}
                Err(error @ FrameError::Unbelievable { .. }) => {
                    let remedy = "restart weir: something else wrote into its region";
                    return Err(Failure::environment(format!("{}: {error}", self.path.display()), remedy));
                }
            }
            if start.elapsed() > PATIENCE {
                return Err(not_running(format!("{} has no frame yet", self.path.display())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether somebody is at work.
    fn check_writer(&self) -> Result<(), Failure> {
        let Origin { pid, .. } = self.origin();
        let (age, path) = (self.heartbeat_age(), self.path.display());
        match pid {
            None => Err(not_running(format!("{path} has no writer: weir has stopped {}", Ago(age)))),
            Some(pid) if age > STALE => Err(not_running(format!(
                "{path} is stale: weir (process {pid}) was last at work {}",
                Ago(age)
            ))),
            Some(_) => Ok(()),
        }
    }

    /// What the region says about its writer.
    pub fn origin(&self) -> Origin {
        self.reader.origin()
    }

    /// How long ago the writer was at work.
    pub fn heartbeat_age(&self) -> Duration {
        Duration::from_nanos(monotonic().saturating_sub(self.origin().heartbeat))
    }

    /// Where the region is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What VIPs and servers are called.
    pub fn names(&self) -> Names {
        Names::read(&self.path, self.origin().epoch)
    }

    /// Whether another region is at the path by now.
    pub fn is_replaced(&self) -> bool {
        self.region.is_replaced()
    }
}

/// A time that has passed, for people.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s ago", self.0.as_secs_f64())
    }
}

fn not_running(cause: String) -> Failure {
    let remedy = "start weir with this path in [region], or name the right one with --region or --config";
    Failure { cause, remedy: remedy.into(), code: EXIT_NOT_RUNNING }
}
