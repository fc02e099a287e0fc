//! Reads a TOML table key by key, against the schema, and notes everything that is wrong on the way.
//!
//! A method returns `None` when there is nothing to use: the key was left out, or it is wrong and that is noted
//! on the [`Report`]. The caller goes on with what it has, so that one run finds every mistake; whether the
//! result may be used is decided at the end, by counting errors.

use std::cell::RefCell;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Report, Span};
use super::schema::{Default, Key, Kind, Later, Since, Table, Word};
use super::suggest::nearest;
use super::values;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// One table of the file.
pub(super) struct TableReader<'a> {
    pub(super) report: &'a Report<'a>,
    schema: &'static Table,
    /// `None`: the file does not have the table.
    entries: Option<&'a DeTable<'a>>,
    /// The table's header, or the whole of an inline table.
    span: Span,
    /// Names of the keys that were asked for.
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> TableReader<'a> {
    /// The whole file.
    pub(super) fn top(report: &'a Report<'a>, entries: &'a DeTable<'a>) -> Self {
        let schema = Table::at("").expect("the schema has a top");
        Self { report, schema, entries: Some(entries), span: 0..0, asked: RefCell::default() }
    }

    /// Where the table was opened.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// How the table is opened in the file: `[[vip]]`.
    pub(super) fn header(&self) -> String {
        self.schema.header()
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.is_some_and(|e| e.contains_key(name))
    }

    /// Where the key's name stands.
    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.entries?.get_key_value(name).map(|(k, _)| k.span())
    }

    pub(super) fn text(&self, name: &'static str) -> Option<At<String>> {
        self.value(name, |key, value| self.string_of(key, value))
    }

    /// A string that is turned into something else; an error of `parse` is (what is wrong, what to write).
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Option<At<T>> {
        let text = self.text(name)?;
        self.convert(&text, &parse)
    }

    /// An array of strings, each turned into something else.
    pub(super) fn parsed_all<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Vec<At<T>> {
        let texts = self.value(name, |key, value| {
            let DeValue::Array(array) = value.get_ref() else {
                let mut instead = key.example.to_string();
                if let DeValue::String(one) = value.get_ref() {
                    instead = format!("[{one:?}]");
                }
                return self.wrong_type(key, value, &instead);
            };
            Some(array.iter().filter_map(|v| self.string_of(key, v)).collect::<Vec<_>>())
        });
        texts.into_iter().flatten().filter_map(|t| self.convert(&t, &parse)).collect()
    }

    pub(super) fn integer<T: TryFrom<u64>>(&self, name: &'static str) -> Option<At<T>> {
        self.value(name, |key, value| {
            let Kind::Integer { min, max } = key.kind else { return None };
            let DeValue::Integer(written) = value.get_ref() else {
                return self.wrong_type(key, value, &unquoted(key, value));
            };
            let number = i128::from_str_radix(written.as_str(), written.radix());
            match number.ok().and_then(|n| u64::try_from(n).ok()).filter(|n| (min..=max).contains(n)) {
                Some(n) => Some(At::new(T::try_from(n).ok()?, value.span())),
                None => self.out_of_range(key, value, written.as_str()),
            }
        })
    }

    pub(super) fn float(&self, name: &'static str) -> Option<At<f64>> {
        self.value(name, |key, value| {
            let Kind::Float { min, max } = key.kind else { return None };
            let (written, number) = match value.get_ref() {
                DeValue::Float(f) => (f.as_str(), f.as_str().parse().ok()),
                DeValue::Integer(i) => {
                    let whole = i64::from_str_radix(i.as_str(), i.radix()).ok();
                    (i.as_str(), whole.and_then(|w| i32::try_from(w).ok()).map(f64::from))
                }
                _ => return self.wrong_type(key, value, &unquoted(key, value)),
            };
            match number.filter(|n| (min..=max).contains(n)) {
                Some(n) => Some(At::new(n, value.span())),
                None => self.out_of_range(key, value, written),
            }
        })
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<At<bool>> {
        self.value(name, |key, value| match value.get_ref() {
            DeValue::Boolean(b) => Some(At::new(*b, value.span())),
            _ => self.wrong_type(key, value, &unquoted(key, value)),
        })
    }

    pub(super) fn duration(&self, name: &'static str) -> Option<At<Duration>> {
        self.value(name, |key, value| {
            let Kind::Duration { min, max } = key.kind else { return None };
            let DeValue::String(written) = value.get_ref() else {
                let instead = match value.get_ref() {
                    DeValue::Integer(seconds) => format!("\"{}s\"", seconds.as_str()),
                    _ => key.example.into(),
                };
                return self.wrong_type(key, value, &instead);
            };
            let duration = self.convert(&At::new(written.to_string(), value.span()), &values::duration)?;
            if (min..=max).contains(&duration.value) {
                return Some(duration);
            }
            self.out_of_range(key, value, written)
        })
    }

    /// One of the schema's words.
    pub(super) fn word<T>(&self, name: &'static str, from: impl Fn(&str) -> Option<T>) -> Option<At<T>> {
        self.value(name, |key, value| {
            let Kind::Word(words) = key.kind else { return None };
            let word = self.string_of(key, value)?;
            match words.iter().find(|w| w.name == word.value).map(|w| w.since) {
                Some(Since::Now) => Some(At::new(from(&word.value)?, word.span)),
                Some(Since::Later(later)) => {
                    let instead = match later {
                        Later::Refused(instead) => instead,
                        Later::NoEffect => "another word",
                    };
                    let message = format!("{} = {:?} is not in this version", key.name, word.value);
                    self.report.error(&word.span, message, format!("write {instead}"));
                    None
                }
                None => self.unknown_word(key, words, &word),
            }
        })
    }

    /// The table under this key; if the file does not have it, one in which every key is left out.
    pub(super) fn table(&self, name: &'static str) -> TableReader<'a> {
        self.asked.borrow_mut().push(name);
        let opened = self.entry(name).and_then(|(key, value)| self.open(name, key.span(), value));
        opened.unwrap_or_else(|| TableReader {
            report: self.report,
            schema: child(self.schema, name),
            entries: None,
            span: 0..0,
            asked: RefCell::default(),
        })
    }

    /// The tables of the array of tables under this key.
    pub(super) fn tables(&self, name: &'static str) -> Vec<TableReader<'a>> {
        self.asked.borrow_mut().push(name);
        let Some((key, value)) = self.entry(name) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(array) => array.iter().filter_map(|v| self.open(name, v.span(), v)).collect(),
            _ => {
                let header = child(self.schema, name).header();
                let message = format!("{name:?} must be an array of tables, not {}", type_of(value));
                self.report.error(&key.span(), message, format!("open each one with {header}"));
                Vec::new()
            }
        }
    }

    fn entry(&self, name: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.entries?.get_key_value(name)
    }

    fn open(
        &self,
        name: &'static str,
        span: Span,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<TableReader<'a>> {
        let schema = child(self.schema, name);
        let DeValue::Table(entries) = value.get_ref() else {
            let message = format!("{name:?} must be a table, not {}", type_of(value));
            self.report.error(&span, message, format!("open it with {}", schema.header()));
            return None;
        };
        Some(TableReader {
            report: self.report,
            schema,
            entries: Some(entries),
            span: value.span(),
            asked: RefCell::default(),
        })
    }

    /// Reads a key with `read`, or its default if it is left out.
    fn value<T>(
        &self,
        name: &'static str,
        read: impl Fn(&'static Key, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Option<T> {
        self.asked.borrow_mut().push(name);
        let key = self.schema.key(name).expect("readers ask only for keys of the schema");
        if let Some((_, value)) = self.entry(name) {
            return read(key, value);
        }
        match key.default {
            Default::Value(text) => {
                let (value, _) = DeValue::parse_recoverable(text);
                read(key, &Spanned::new(self.span(), value.into_inner()))
            }
            Default::Derived(_) => None,
            Default::Required => {
                let message = format!("{} needs {:?}", self.header(), name);
                self.report.error_across(&self.span, message, format!("write {name} = {}", key.example));
                None
            }
        }
    }

    fn string_of(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        match value.get_ref() {
            DeValue::String(s) => Some(At::new(s.to_string(), value.span())),
            _ => self.wrong_type(key, value, key.example),
        }
    }

    fn convert<T>(
        &self,
        text: &At<String>,
        parse: &impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Option<At<T>> {
        match parse(&text.value) {
            Ok(value) => Some(At::new(value, text.span.clone())),
            Err(values::Wrong { what, instead }) => {
                self.report.error(&text.span, what, instead);
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &Key, value: &Spanned<DeValue<'_>>, instead: &str) -> Option<T> {
        let what = match key.kind {
            Kind::Texts(of) if !value.get_ref().is_array() => format!("an array of strings ({of})"),
            Kind::Text(of) | Kind::Texts(of) => format!("a string ({of})"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Float { min, max } => format!("a number from {min} to {max}"),
            Kind::Boolean => "true or false".into(),
            Kind::Duration { .. } => "a string with a time and its unit".into(),
            Kind::Word(_) => "a string".into(),
            Kind::Table { .. } => "a table".into(),
        };
        let verb = if matches!(key.kind, Kind::Texts(_)) && what.starts_with("a string") {
            "must hold only"
        } else {
            "must be"
        };
        let message = format!("{:?} {verb} {what}, not {}", key.name, type_of(value));
        self.report.error(&value.span(), message, format!("write {} = {instead}", key.name));
        None
    }

    fn out_of_range<T>(&self, key: &Key, value: &Spanned<DeValue<'_>>, written: &str) -> Option<T> {
        let range = key.kind.range().unwrap_or_default();
        let mut help = format!("write a value from {range}");
        if let Default::Value(default) = key.default {
            help = format!("{help}; the default is {default}");
        }
        self.report.error(
            &value.span(),
            format!("{:?} is {written}, outside {}", key.name, range.replace('"', "")),
            help,
        );
        None
    }

    fn unknown_word<T>(&self, key: &Key, words: &[Word], word: &At<String>) -> Option<T> {
        let known: Vec<_> = words.iter().filter(|w| w.since == Since::Now).map(|w| w.name).collect();
        let help = match nearest(&word.value, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => match known.as_slice() {
                [only] => format!("write {} = {only:?}", key.name),
                _ => format!(
                    "write one of {}",
                    known.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
                ),
            },
        };
        self.report.error(&word.span, format!("{:?} cannot be {:?}", key.name, word.value), help);
        None
    }

    /// Notes the keys that are unknown or of a later version. Called once, when everything else is read.
    pub(super) fn finish(&self) {
        for (name, value) in self.entries.iter().flat_map(|e| e.iter()) {
            self.finish_key(name.get_ref(), &name.span(), value);
        }
        let asked = self.asked.borrow();
        debug_assert!(
            self.schema.keys.iter().all(|k| k.since != Since::Now || asked.contains(&k.name)),
            "{} has a key of this version that no reader asks for",
            self.header(),
        );
    }

    fn finish_key(&self, name: &str, span: &Span, value: &'a Spanned<DeValue<'a>>) {
        let Some(key) = self.schema.key(name) else {
            return self.unknown_key(name, span);
        };
        let Since::Later(later) = key.since else { return };
        let what = match key.kind {
            Kind::Table { .. } => child(self.schema, key.name).header(),
            _ => format!("{name:?}"),
        };
        match later {
            Later::Refused(instead) => {
                self.report.error(span, format!("{what} is not in this version"), instead);
            }
            Later::NoEffect => {
                let help = "it may stay, for a later version; leave it out to be rid of this warning";
                self.report.warning(span, format!("{what} has no effect in this version"), help);
                self.finish_later_table(key, value);
            }
        }
    }

    /// Notes misspelt keys also in tables that nothing reads yet.
    fn finish_later_table(&self, key: &'static Key, value: &'a Spanned<DeValue<'a>>) {
        if !matches!(key.kind, Kind::Table { .. }) {
            return;
        }
        if let Some(table) = self.open(key.name, value.span(), value) {
            for (name, _) in table.entries.iter().flat_map(|e| e.iter()) {
                if table.schema.key(name.get_ref()).is_none() {
                    table.unknown_key(name.get_ref(), &name.span());
                }
            }
        }
    }

    fn unknown_key(&self, name: &str, span: &Span) {
        let keys = self.schema.keys;
        let elsewhere =
            || super::schema::TABLES.iter().find(|t| t.path != self.schema.path && t.key(name).is_some());
        let help = match nearest(name, keys.iter().map(|k| k.name)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => match elsewhere() {
                Some(table) => format!("{name:?} belongs in {}", table.header()),
                None => {
                    let known: Vec<_> =
                        keys.iter().filter(|k| k.since == Since::Now).map(|k| k.name).collect();
                    format!("the keys here are {}", known.join(", "))
                }
            },
        };
        let at = if self.schema.path.is_empty() {
            "at the top of the file".into()
        } else {
            format!("in {}", self.header())
        };
        self.report.error(span, format!("unknown key {name:?} {at}"), help);
    }
}

fn child(parent: &Table, name: &str) -> &'static Table {
    let path = if parent.path.is_empty() { name.into() } else { format!("{}.{name}", parent.path) };
    Table::at(&path).expect("every table key of the schema has a table")
}

fn type_of(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with decimals",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// What to write instead of a quoted number or boolean: the same without quotes, if that makes one.
fn unquoted(key: &Key, value: &Spanned<DeValue<'_>>) -> String {
    let fits = |text: &str| match key.kind {
        Kind::Integer { min, max } => text.parse().is_ok_and(|n: u64| (min..=max).contains(&n)),
        Kind::Float { min, max } => text.parse().is_ok_and(|n: f64| (min..=max).contains(&n)),
        Kind::Boolean => text == "true" || text == "false",
        _ => false,
    };
    match value.get_ref() {
        DeValue::String(text) if fits(text) => text.to_string(),
        _ => key.example.into(),
    }
}
