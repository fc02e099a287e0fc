//! Reads a TOML table key by key, against the schema, and notes everything that is wrong on the way.
//!
//! A method returns `None` when there is nothing to use: the key was left out, or it is wrong and that is noted
//! on the [`Report`]. The caller goes on with what it has, so that one run finds every mistake; whether the
//! result may be used is decided at the end, by counting errors.

mod ports;
mod typed;

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Report, Span};
use super::schema::{Default, Key, TABLES, Table};
use super::suggest::nearest;

pub(super) use typed::IntegerOr;

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
                if !self.misspelt(name) {
                    let message = format!("{} needs {:?}", self.header(), name);
                    self.report.error_across(&self.span, message, format!("write {name} = {}", key.example));
                }
                None
            }
        }
    }

    /// Whether an unknown key is there that was meant to be this one; it gets an error of its own.
    fn misspelt(&self, name: &str) -> bool {
        let names = self.entries.iter().flat_map(|e| e.keys()).map(|k| k.get_ref());
        let mut unknown = names.filter(|n| self.schema.key(n).is_none());
        unknown.any(|n| nearest(n, self.schema.keys.iter().map(|k| k.name)) == Some(name))
    }

    /// Notes the keys that are unknown. Called once, when everything else is read.
    pub(super) fn finish(&self) {
        for name in self.entries.iter().flat_map(|e| e.keys()) {
            if self.schema.key(name.get_ref()).is_none() {
                self.unknown_key(name.get_ref(), &name.span());
            }
        }
        let asked = self.asked.borrow();
        debug_assert!(
            self.schema.keys.iter().all(|k| asked.contains(&k.name)),
            "{} has a key that no reader asks for",
            self.header(),
        );
    }

    fn unknown_key(&self, name: &str, span: &Span) {
        let keys = self.schema.keys;
        let elsewhere = || TABLES.iter().find(|t| t.path != self.schema.path && t.key(name).is_some());
        let help = match nearest(name, keys.iter().map(|k| k.name)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => match elsewhere() {
                Some(table) => format!("{name:?} belongs in {}", table.header()),
                None => {
                    let known: Vec<_> = keys.iter().map(|k| k.name).collect();
                    match known.as_slice() {
                        [only] => format!("the only key here is {only}"),
                        _ => format!("the keys here are {}", known.join(", ")),
                    }
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
