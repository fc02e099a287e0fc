//! Records as words, and back.

use std::io::{self, Read};

use ipc::region::{Fault, Shape, StatisticsFrame, WeightsFrame};
use serde::{Deserialize, Serialize};

use crate::{
    controller::{Controller, Moment},
    plan::Plan,
    state,
};

/// The first word of a record that starts: "WEIRLOG" and the version.
const START: u64 = u64::from_le_bytes(*b"WEIRLOG\x01");
/// The first word of a record of a step.
const STEP: u64 = u64::from_le_bytes(*b"WEIRSTP\x01");
/// Words in front of the payload: kind, length, check.
const HEAD: usize = 3;
/// No record is longer: a gigabyte.
const MOST_WORDS: u64 = 1 << 27;

/// Bit of a step: the statistics were too old.
const STALE: u64 = 1;
/// Bit of a step: the step before had taken too long.
const LATE: u64 = 2;

/// Frames may have as many VIPs and servers as they like: they are bounded by the record.
const ANY: Shape =
    Shape { slots: 2, vips: u32::MAX, servers: u32::MAX, vip_ids: u32::MAX, server_ids: u32::MAX };

/// Where a log, or what follows in it, begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The VIPs that are steered, by identifier.
    pub vips: Vec<VipStart>,
}

/// How a VIP is steered, and what its steps so far have left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VipStart {
    /// Its identifier.
    pub vip: u32,
    /// How it is steered.
    pub plan: Plan,
    /// Whether that could not be carried out, so that the fallback rule steers it.
    pub failed: bool,
    /// Its state, as [`Controller::save`] writes it.
    pub state: Vec<u64>,
}

impl Start {
    /// Where `controller` stands.
    pub fn of(controller: &Controller) -> Self {
        let vips = controller.vips().map(|(vip, steered)| {
            let mut state = state::Writer::default();
            controller.save(vip, &mut state);
            VipStart {
                vip,
                plan: steered.plan().clone(),
                failed: steered.has_failed(),
                state: state.into_words(),
            }
        });
        Self { vips: vips.collect() }
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Whether the statistics were too old.
    pub stale: bool,
    /// Whether the step before had taken longer than a period.
    pub late: bool,
    /// What it went by: the steered VIPs only.
    pub statistics: StatisticsFrame,
    /// What another process proposed.
    pub heard: Option<WeightsFrame>,
    /// What came of it.
    pub weights: WeightsFrame,
}

/// A record.
#[derive(Clone, Debug)]
pub enum Record {
    /// Plans and state.
    Start(Start),
    /// A step from there on.
    Step(Box<Step>),
}

/// Appends a record that says where `controller` stands.
pub(super) fn start(controller: &Controller, words: &mut Vec<u64>) {
    let at = begin(START, words);
    let text = serde_json::to_vec(&Start::of(controller)).unwrap_or_default();
    words.push(text.len() as u64);
    for piece in text.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        words.push(u64::from_le_bytes(word));
    }
    finish(at, words);
}

/// Appends a record of a step: of `statistics` only the VIPs that `controller` steers.
pub(super) fn step(
    controller: &Controller,
    statistics: &StatisticsFrame,
    moment: &Moment<'_>,
    weights: &WeightsFrame,
    words: &mut Vec<u64>,
) {
    let at = begin(STEP, words);
    let bit = |condition: bool, bit: u64| if condition { bit } else { 0 };
    words.push(bit(moment.stale, STALE) | bit(moment.late, LATE));
    let header = statistics.header();
    let mut steered = StatisticsFrame::default();
    steered.begin(header.t, header.generation);
    let (vips, servers) = (steered.header().vips, steered.header().servers);
    *steered.header_mut() = ipc::region::FrameHeader { vips, servers, ..*header };
    for (vip, servers) in statistics.vips().filter(|(vip, _)| controller.vip(vip.vip).is_some()) {
        let mut entry = steered.vip(*vip);
        for server in servers {
            entry.server(*server);
        }
    }
    for frame in [steered.words(), moment.heard.map_or(&[][..], |heard| heard.words()), weights.words()] {
        words.push(frame.len() as u64);
        words.extend_from_slice(frame);
    }
    finish(at, words);
}

fn begin(kind: u64, words: &mut Vec<u64>) -> usize {
    let at = words.len();
    words.extend([kind, 0, 0]);
    at
}

fn finish(at: usize, words: &mut [u64]) {
    words[at + 1] = (words.len() - at - HEAD) as u64;
    words[at + 2] = check(words[at], &words[at + HEAD..]);
}

/// The third word of a record: FNV-1a over the first and the payload, word by word, rotated.
pub fn check(kind: u64, payload: &[u64]) -> u64 {
    let step = |hash: u64, &word: &u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    payload.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step)
}

/// Why what follows in a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
    /// Not a log of this version.
    #[error("record {record} is none of this version's")]
    Kind {
        /// Which one, from 1.
        record: u64,
    },
    /// The log ends within a record: its writer was ended there.
    #[error("record {record} is cut off")]
    Cut {
        /// Which one, from 1.
        record: u64,
    },
    /// The bytes are not those that were written.
    #[error("record {record} is damaged")]
    Damaged {
        /// Which one, from 1.
        record: u64,
    },
    /// A frame that cannot be believed.
    #[error("record {record} has a frame that cannot be: {fault}")]
    Frame {
        /// Which one, from 1.
        record: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Plans that cannot be.
    #[error("record {record} has plans that cannot be read: {source}")]
    Plans {
        /// Which one, from 1.
        record: u64,
        /// What is wrong with them.
        source: serde_json::Error,
    },
}

/// Reads records, one after the other; ends after the first that cannot be read.
#[derive(Debug)]
pub struct Records<R> {
    from: R,
    read: u64,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// Reads from the beginning of a log.
    pub const fn new(from: R) -> Self {
        Self { from, read: 0, ended: false }
    }

    fn next_record(&mut self) -> Result<Option<Record>, RecordError> {
        let record = self.read + 1;
        let Some(head) = self.words(HEAD as u64, true)? else { return Ok(None) };
        let &[kind, length, expected] = &head[..] else { return Err(RecordError::Cut { record }) };
        if kind != START && kind != STEP {
            return Err(RecordError::Kind { record });
        }
        if length > MOST_WORDS {
            return Err(RecordError::Damaged { record });
        }
        let payload = self.words(length, false)?.unwrap_or_default();
        if check(kind, &payload) != expected {
            return Err(RecordError::Damaged { record });
        }
        self.read = record;
        let parsed = if kind == START { parse_start(record, &payload) } else { parse_step(record, &payload) };
        parsed.map(Some)
    }

    /// So many words; `None`: the file ends where it `may_end`.
    fn words(&mut self, count: u64, may_end: bool) -> Result<Option<Vec<u64>>, RecordError> {
        let wanted = count * 8;
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(wanted).read_to_end(&mut bytes)?;
        if read == 0 && may_end {
            return Ok(None);
        }
        if (read as u64) < wanted {
            return Err(RecordError::Cut { record: self.read + 1 });
        }
        let (words, _) = bytes.as_chunks::<8>();
        Ok(Some(words.iter().map(|&word| u64::from_le_bytes(word)).collect()))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn parse_start(record: u64, payload: &[u64]) -> Result<Record, RecordError> {
    let damaged = RecordError::Damaged { record };
    let Some((&length, text)) = payload.split_first() else { return Err(damaged) };
    let bytes: Vec<u8> = text.iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = usize::try_from(length).ok().and_then(|length| bytes.get(..length)).ok_or(damaged)?;
    let start = serde_json::from_slice(text).map_err(|source| RecordError::Plans { record, source })?;
    Ok(Record::Start(start))
}

fn parse_step(record: u64, payload: &[u64]) -> Result<Record, RecordError> {
    let damaged = || RecordError::Damaged { record };
    let (&flags, mut rest) = payload.split_first().ok_or_else(damaged)?;
    let mut frame = || {
        let (&length, behind) = rest.split_first().ok_or_else(damaged)?;
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let (words, behind) = behind.split_at_checked(length).ok_or_else(damaged)?;
        rest = behind;
        Ok::<&[u64], RecordError>(words)
    };
    let (statistics, heard, weights) = (frame()?, frame()?, frame()?);
    let fault = |fault| RecordError::Frame { record, fault };
    let heard = (!heard.is_empty()).then(|| WeightsFrame::believe(heard, ANY)).transpose().map_err(fault)?;
    Ok(Record::Step(Box::new(Step {
        stale: flags & STALE != 0,
        late: flags & LATE != 0,
        statistics: StatisticsFrame::believe(statistics, ANY).map_err(fault)?,
        heard,
        weights: WeightsFrame::believe(weights, ANY).map_err(fault)?,
    })))
}
