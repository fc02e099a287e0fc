//! Reads values of each kind, and says what is wrong with them.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::schema::{Default, Key, Kind};
use super::super::suggest::nearest;
use super::super::values;
use super::{At, TableReader, type_of};

/// What a key says that takes a number or a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum IntegerOr<T> {
    /// The number.
    Integer(T),
    /// `true`, or `false`.
    Word(bool),
}

impl TableReader<'_> {
    /// A string as it is.
    pub(in super::super) fn text(&self, name: &'static str) -> Option<At<String>> {
        self.value(name, |key, value| self.string_of(key, value))
    }

    /// A string that is turned into something else; an error of `parse` is (what is wrong, what to write).
    pub(in super::super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Option<At<T>> {
        let text = self.text(name)?;
        self.convert(&text, &parse)
    }

    /// An array of strings, each turned into something else.
    pub(in super::super) fn parsed_all<T>(
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
            Some(array.iter().filter_map(|v| self.element_of(key, v)).collect::<Vec<_>>())
        });
        texts.into_iter().flatten().filter_map(|t| self.convert(&t, &parse)).collect()
    }

    /// A whole number within the schema's range.
    pub(in super::super) fn integer<T: TryFrom<u64>>(&self, name: &'static str) -> Option<At<T>> {
        self.value(name, |key, value| {
            let Kind::Integer { min, max } = key.kind else { return None };
            self.whole(key, value, min..=max)
        })
    }

    /// A whole number within the schema's range, `true`, or `false`.
    pub(in super::super) fn integer_or_true<T: TryFrom<u64>>(
        &self,
        name: &'static str,
    ) -> Option<At<IntegerOr<T>>> {
        self.value(name, |key, value| {
            let Kind::IntegerOrTrue { min, max } = key.kind else { return None };
            match value.get_ref() {
                DeValue::Boolean(word) => Some(At::new(IntegerOr::Word(*word), value.span())),
                _ => self.whole(key, value, min..=max).map(|n| At::new(IntegerOr::Integer(n.value), n.span)),
            }
        })
    }

    /// A whole number within the schema's range, or `"off"` for zero.
    pub(in super::super) fn integer_or_off<T: TryFrom<u64>>(&self, name: &'static str) -> Option<At<T>> {
        self.value(name, |key, value| {
            let Kind::IntegerOrOff { min, max } = key.kind else { return None };
            match value.get_ref() {
                DeValue::String(word) if word == "off" => {
                    T::try_from(0).ok().map(|zero| At::new(zero, value.span()))
                }
                _ => self.whole(key, value, min..=max),
            }
        })
    }

    fn whole<T: TryFrom<u64>>(
        &self,
        key: &Key,
        value: &Spanned<DeValue<'_>>,
        range: RangeInclusive<u64>,
    ) -> Option<At<T>> {
        let DeValue::Integer(written) = value.get_ref() else {
            return self.wrong_type(key, value, &unquoted(key, value));
        };
        let number = i128::from_str_radix(written.as_str(), written.radix());
        let number = number.ok().and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        match number.and_then(|n| T::try_from(n).ok()) {
            Some(n) => Some(At::new(n, value.span())),
            None => self.out_of_range(key, value, written.as_str()),
        }
    }

    /// A number within the schema's range; whole ones are welcome too.
    pub(in super::super) fn float(&self, name: &'static str) -> Option<At<f64>> {
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

    /// `true` or `false`.
    pub(in super::super) fn boolean(&self, name: &'static str) -> Option<At<bool>> {
        self.value(name, |key, value| match value.get_ref() {
            DeValue::Boolean(b) => Some(At::new(*b, value.span())),
            _ => self.wrong_type(key, value, &unquoted(key, value)),
        })
    }

    /// A time within the schema's range.
    pub(in super::super) fn duration(&self, name: &'static str) -> Option<At<Duration>> {
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
    pub(in super::super) fn word<T>(
        &self,
        name: &'static str,
        from: impl Fn(&str) -> Option<T>,
    ) -> Option<At<T>> {
        self.value(name, |key, value| {
            let Kind::Word(words) = key.kind else { return None };
            let word = self.string_of(key, value)?;
            match from(&word.value).filter(|_| words.contains(&word.value.as_str())) {
                Some(meant) => Some(At::new(meant, word.span)),
                None => self.unknown_word(key, words, &word),
            }
        })
    }

    fn string_of(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        match value.get_ref() {
            DeValue::String(s) => Some(At::new(s.to_string(), value.span())),
            _ => self.wrong_type(key, value, key.example),
        }
    }

    fn element_of(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        if let DeValue::String(s) = value.get_ref() {
            return Some(At::new(s.to_string(), value.span()));
        }
        let message = format!("{:?} must hold nothing but strings, and this is {}", key.name, type_of(value));
        self.report.error(&value.span(), message, format!("write them like {}", key.example));
        None
    }

    pub(super) fn convert<T>(
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

    pub(super) fn wrong_type<T>(&self, key: &Key, value: &Spanned<DeValue<'_>>, instead: &str) -> Option<T> {
        let what = match key.kind {
            Kind::Text(of) => format!("a string ({of})"),
            Kind::Texts(of) => format!("an array of strings ({of})"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::IntegerOrTrue { min, max } => format!("true, false, or a whole number from {min} to {max}"),
            Kind::IntegerOrOff { min, max } => format!("a whole number from {min} to {max}, or \"off\""),
            Kind::Float { min, max } => format!("a number from {min} to {max}"),
            Kind::Ports => "a port, a range like \"8000-8010\", or an array of both".into(),
            Kind::Boolean => "true or false".into(),
            Kind::Duration { .. } => "a string with a time and its unit".into(),
            Kind::Word(_) => "a string".into(),
            Kind::Table { .. } => "a table".into(),
        };
        let message = format!("{:?} must be {what}, not {}", key.name, type_of(value));
        self.report.error(&value.span(), message, format!("write {} = {instead}", key.name));
        None
    }

    pub(super) fn out_of_range<T>(
        &self,
        key: &Key,
        value: &Spanned<DeValue<'_>>,
        written: &str,
    ) -> Option<T> {
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

    fn unknown_word<T>(&self, key: &Key, words: &[&'static str], word: &At<String>) -> Option<T> {
        let known: Vec<_> = words.to_vec();
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
}

/// What to write instead of a quoted number or boolean: the same without quotes, if that makes one.
fn unquoted(key: &Key, value: &Spanned<DeValue<'_>>) -> String {
    let fits = |text: &str| match key.kind {
        Kind::Integer { min, max } => text.parse().is_ok_and(|n: u64| (min..=max).contains(&n)),
        Kind::IntegerOrTrue { min, max } => {
            text == "true" || text == "false" || text.parse().is_ok_and(|n: u64| (min..=max).contains(&n))
        }
        Kind::Float { min, max } => text.parse().is_ok_and(|n: f64| (min..=max).contains(&n)),
        Kind::Boolean => text == "true" || text == "false",
        _ => false,
    };
    match value.get_ref() {
        DeValue::String(text) if fits(text) => text.to_string(),
        _ => key.example.into(),
    }
}
