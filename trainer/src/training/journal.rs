//! What is written down of a run while it goes on: a row for each episode, as CSV and for TensorBoard.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::tensorboard::Events;

/// An episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number, from 0.
    pub episode: u64,
    /// The phase that it belongs to.
    pub phase: &'static str,
    /// Updates so far.
    pub updates: u64,
    /// The mean reward of a step.
    pub reward: f64,
    /// What the updates after it were like, on average, by names of [`FIGURES`].
    pub figures: Vec<(&'static str, f64)>,
    /// What the model was worth then, if it was judged.
    pub score: Option<f64>,
}

/// What may be said of updates. The names of the columns, and after `losses/` of the scalars, are those of CleanRL where it has one.
pub const FIGURES: [&str; 9] = [
    "imitation_loss",
    "regret",
    "qf_loss",
    "actor_loss",
    "alpha",
    "entropy",
    "q_values",
    "td_loss",
    "gradient_norm",
];

/// Writes rows. The CSV holds nothing that another run of the same would not say; times are in the event file only.
#[derive(Debug)]
pub struct Journal {
    csv: File,
    events: Events<File>,
    began: SystemTime,
    best: Option<f64>,
}

impl Journal {
    /// A journal in a folder: `progress.csv`, of which the rows before episode `from` are kept, and an event file of its own.
    pub fn open(folder: &Path, from: u64) -> io::Result<Self> {
        let path = folder.join("progress.csv");
        let before = if from > 0 { std::fs::read_to_string(&path)? } else { header() };
        let is_before = |row: &&str| {
            row.split(',').next().is_none_or(|episode| episode.parse().is_ok_and(|n: u64| n < from))
        };
        let kept: Vec<&str> =
            before.lines().take(1).chain(before.lines().skip(1).filter(is_before)).collect();
        let scores = kept.iter().skip(1).filter_map(|row| row.rsplit(',').next()?.parse().ok());
        let best = scores.min_by(f64::total_cmp);
        std::fs::write(&path, kept.join("\n") + "\n")?;
        let csv = OpenOptions::new().append(true).open(&path)?;
        let began = SystemTime::now();
        let seconds = seconds(began);
        let events = File::create(folder.join(format!("events.out.tfevents.{}.{from}", seconds as u64)))?;
        Ok(Self { csv, events: Events::begin(events, seconds)?, began, best })
    }

    /// The least score of the rows that were kept.
    pub const fn best(&self) -> Option<f64> {
        self.best
    }

    /// Adds a row.
    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        let Row { episode, phase, updates, reward, figures, score } = row;
        let figure = |name: &str| figures.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let columns: Vec<String> = FIGURES.into_iter().map(|name| text(figure(name))).collect();
        writeln!(self.csv, "{episode},{phase},{updates},{reward},{},{}", columns.join(","), text(*score))?;
        let losses: Vec<(String, f64)> =
            figures.iter().map(|(name, value)| (format!("losses/{name}"), *value)).collect();
        let now = SystemTime::now();
        let elapsed = now.duration_since(self.began).map_or(0.0, |elapsed| elapsed.as_secs_f64());
        let mut scalars = vec![("charts/episodic_return", *reward), ("charts/updates", *updates as f64)];
        scalars.push(("charts/seconds", elapsed));
        scalars.extend(losses.iter().map(|(name, value)| (name.as_str(), *value)));
        scalars.extend(score.map(|score| ("charts/score", score)));
        self.events.scalars(seconds(now), *episode, scalars)
    }
}

fn header() -> String {
    format!("episode,phase,updates,reward,{},score", FIGURES.join(","))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_after_a_checkpoint_are_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let row = |episode, reward| Row {
            episode,
            phase: "learn",
            updates: 3,
            reward,
            figures: vec![("qf_loss", 0.5)],
            score: (episode == 1).then_some(-0.25),
        };
        let mut journal = Journal::open(folder.path(), 0).unwrap();
        for episode in 0..4 {
            journal.write(&row(episode, 1.0)).unwrap();
        }
        let mut journal = Journal::open(folder.path(), 2).unwrap();
        assert_eq!(journal.best(), Some(-0.25));
        journal.write(&row(2, 2.0)).unwrap();
        let csv = std::fs::read_to_string(folder.path().join("progress.csv")).unwrap();
        let expected = [
            &header(),
            "0,learn,3,1,,,0.5,,,,,,,",
            "1,learn,3,1,,,0.5,,,,,,,-0.25",
            "2,learn,3,2,,,0.5,,,,,,,",
        ];
        assert_eq!(csv.lines().collect::<Vec<_>>(), expected);
    }
}
