//! The key tables of `docs/configuration.md`, from the schema.

use super::schema::{Default, Key, Kind, TABLES};

/// Every table and key of the file as Markdown.
pub fn key_tables() -> String {
    let mut out = String::new();
    for table in TABLES.iter().filter(|t| !t.path.is_empty()) {
        out.push_str(&format!("### `{}`\n\n{}\n\n", table.header(), table.help));
        out.push_str("| key | value | if left out | what it does |\n| --- | --- | --- | --- |\n");
        for key in table.keys.iter().filter(|k| !is_table(k)) {
            let (value, default) = (value_of(key), default_of(key));
            out.push_str(&format!("| `{}` | {value} | {default} | {} |\n", key.name, key.help));
        }
        out.push('\n');
    }
    out
}

fn is_table(key: &Key) -> bool {
    matches!(key.kind, Kind::Table { .. })
}

fn value_of(key: &Key) -> String {
    let range = key.kind.range().unwrap_or_default().replace('"', "");
    match key.kind {
        Kind::Text(of) => format!("string: {of}, like `{}`", key.example),
        Kind::Texts(of) => format!("array of {of}, like `{}`", key.example),
        Kind::Integer { .. } => format!("whole number, {range}"),
        Kind::IntegerOrTrue { .. } => format!("`true`, `false`, or a whole number, {range}"),
        Kind::IntegerOrOff { .. } => format!("whole number, {range}, or `\"off\"`"),
        Kind::Ports => format!("port, {range}; a range like `\"8000-8010\"`; or an array of both"),
        Kind::Float { .. } => format!("number, {range}"),
        Kind::Boolean => "`true` or `false`".into(),
        Kind::Duration { .. } => format!("time, {range}"),
        Kind::Word(words) => words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(", "),
        Kind::Table { .. } => "table".into(),
    }
}

fn default_of(key: &Key) -> String {
    match key.default {
        Default::Required => "*needed*".into(),
        Default::Value(text) => format!("`{text}`"),
        Default::Derived(text) => text.into(),
    }
}
