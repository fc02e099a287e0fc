//! Every table and key of the configuration file, in one place.
//!
//! From here come the keys that are accepted, the suggestions for misspelt ones, the ranges and defaults that
//! the readers use, and the tables in `docs/configuration.md`.

mod tables;

use std::time::Duration;

use super::values::show_duration;

pub use tables::TABLES;

/// What a key's value has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A string; the text says of what.
    Text(&'static str),
    /// An array of strings; the text says of what.
    Texts(&'static str),
    /// A whole number.
    Integer {
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// A port, a string with a range of them, or an array of both.
    Ports,
    /// A whole number, `true` for one that is worked out, or `false` for none.
    IntegerOrTrue {
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// A whole number, or `"off"` for none.
    IntegerOrOff {
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// A number, with or without decimals.
    Float {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
    },
    /// `true` or `false`.
    Boolean,
    /// A string such as `"300s"`.
    Duration {
        /// Shortest allowed time.
        min: Duration,
        /// Longest allowed time.
        max: Duration,
    },
    /// One of several words.
    Word(&'static [&'static str]),
    /// A table of its own, or several (`[[…]]`); its path is a [`Table`].
    Table {
        /// Whether it is an array of tables.
        array: bool,
    },
}

/// What holds when a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It may not be left out.
    Required,
    /// This value, as TOML text.
    Value(&'static str),
    /// Something that depends on the rest of the file.
    Derived(&'static str),
}

/// One key of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value has to be.
    pub kind: Kind,
    /// What holds when it is left out.
    pub default: Default,
    /// A right value, as TOML text, for remedies.
    pub example: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
}

/// One table of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Table {
    /// Its place: `""` for the top, else like `vip.server`.
    pub path: &'static str,
    /// What it is for, in one sentence.
    pub help: &'static str,
    /// Its keys, in the order in which they are documented.
    pub keys: &'static [Key],
}

impl Kind {
    /// The allowed values in words, if there are bounds.
    pub fn range(&self) -> Option<String> {
        match self {
            Kind::Integer { min, max }
            | Kind::IntegerOrTrue { min, max }
            | Kind::IntegerOrOff { min, max } => Some(format!("{min} to {max}")),
            Kind::Ports => Some(format!("1 to {}", u16::MAX)),
            Kind::Float { min, max } => Some(format!("{min} to {max}")),
            Kind::Duration { min, max } => {
                Some(format!("\"{}\" to \"{}\"", show_duration(*min), show_duration(*max)))
            }
            Kind::Text(_) | Kind::Texts(_) | Kind::Boolean | Kind::Word(_) | Kind::Table { .. } => None,
        }
    }
}

impl Table {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }

    /// The table of that path.
    pub fn at(path: &str) -> Option<&'static Table> {
        TABLES.iter().find(|t| t.path == path)
    }

    /// How the table is opened in a file: `[eal]`, `[[port]]`.
    pub fn header(&self) -> String {
        let (parent, name) = self.path.rsplit_once('.').unwrap_or(("", self.path));
        let kind = Table::at(parent).and_then(|t| t.key(name)).map(|k| k.kind);
        match kind {
            Some(Kind::Table { array: true }) => format!("[[{}]]", self.path),
            Some(_) => format!("[{}]", self.path),
            None => "the top of the file".into(),
        }
    }
}
