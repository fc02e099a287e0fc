//! Reads ports: one, a range, or an array of both.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::super::schema::{Key, Kind};
use super::super::values;
use super::{At, TableReader, type_of};

impl TableReader<'_> {
    /// The ports under this key in the order of the file, each with its place; empty: none is given.
    pub(in super::super) fn ports(&self, name: &'static str) -> Vec<At<RangeInclusive<u16>>> {
        let ports = self.value(name, |key, value| {
            let DeValue::Array(array) = value.get_ref() else {
                return match value.get_ref() {
                    DeValue::Integer(_) | DeValue::String(_) => {
                        self.port_or_range(key, value).map(|one| vec![one])
                    }
                    _ => self.wrong_type(key, value, key.example),
                };
            };
            if array.is_empty() {
                self.report.error(
                    &value.span(),
                    format!("{name:?} has no ports in it"),
                    format!("leave {name} out for every port, or write {name} = [80, 443]"),
                );
            }
            Some(array.iter().filter_map(|v| self.port_or_range(key, v)).collect())
        });
        ports.unwrap_or_default()
    }

    fn port_or_range(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<At<RangeInclusive<u16>>> {
        let Kind::Ports = key.kind else { return None };
        match value.get_ref() {
            DeValue::Integer(written) => {
                let number = i128::from_str_radix(written.as_str(), written.radix()).ok();
                match number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0) {
                    Some(port) => Some(At::new(port..=port, value.span())),
                    None => self.out_of_range(key, value, written.as_str()),
                }
            }
            DeValue::String(text) => {
                self.convert(&At::new(text.to_string(), value.span()), &values::port_range)
            }
            _ => {
                let message = format!(
                    "{:?} must hold nothing but ports and ranges, and this is {}",
                    key.name,
                    type_of(value)
                );
                self.report.error(&value.span(), message, "write them like [80, 443, \"8000-8010\"]");
                None
            }
        }
    }
}
