//! The key tables of `docs/configuration.md`, from the schema.

use super::schema::{Default, Key, Kind, Later, Since, TABLES, Table, Word};

/// Every table and key of the file as Markdown: those of this version, then those that wait for a later one.
pub fn key_tables() -> String {
    let mut out = String::new();
    for table in TABLES.iter().filter(|t| !t.path.is_empty() && is_now(t)) {
        out.push_str(&format!("### `{}`\n\n{}\n\n", table.header(), table.help));
        out.push_str("| key | value | if left out | what it does |\n| --- | --- | --- | --- |\n");
        for key in table.keys.iter().filter(|k| k.since == Since::Now && !is_table(k)) {
            let (value, default) = (value_of(key), default_of(key));
            out.push_str(&format!("| `{}` | {value} | {default} | {} |\n", key.name, key.help));
        }
        out.push('\n');
    }
    out.push_str("### Not in this version\n\n");
    out.push_str("These keys have their place, but nothing acts on them yet. ");
    out.push_str("Where packets would be wrong without them they are errors, else warnings.\n\n");
    out.push_str("| key | what happens now | what it will do |\n| --- | --- | --- |\n");
    for table in TABLES {
        for key in table.keys {
            if let Since::Later(later) = key.since {
                out.push_str(&format!("| {} | {} | {} |\n", place(table, key), fate(later), key.help));
            }
            for (word, later) in later_words(key) {
                let key_place = format!("`{} = {:?}` in `{}`", key.name, word.name, table.header());
                out.push_str(&format!("| {key_place} | {} | {} |\n", fate(later), word.help));
            }
        }
    }
    out
}

fn is_table(key: &Key) -> bool {
    matches!(key.kind, Kind::Table { .. })
}

/// Whether nothing on the way to a table waits for a later version.
fn is_now(table: &Table) -> bool {
    let (parent, name) = table.path.rsplit_once('.').unwrap_or(("", table.path));
    let Some(parent) = Table::at(parent) else { return false };
    let here = parent.key(name).is_some_and(|k| k.since == Since::Now);
    here && (parent.path.is_empty() || is_now(parent))
}

fn place(table: &Table, key: &Key) -> String {
    if !is_table(key) {
        return format!("`{}` in `{}`", key.name, table.header());
    }
    let path = if table.path.is_empty() { key.name.into() } else { format!("{}.{}", table.path, key.name) };
    Table::at(&path).map_or(path, |t| format!("`{}`", t.header()))
}

fn fate(later: Later) -> String {
    match later {
        Later::NoEffect => "warning".into(),
        Later::Refused(instead) => format!("error; {instead}"),
    }
}

fn later_words(key: &Key) -> Vec<(Word, Later)> {
    let Kind::Word(words) = key.kind else { return Vec::new() };
    let later = |w: &Word| match w.since {
        Since::Later(later) => Some((*w, later)),
        Since::Now => None,
    };
    words.iter().filter_map(later).collect()
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
        Kind::Word(words) => {
            let now = words.iter().filter(|w| w.since == Since::Now);
            now.map(|w| format!("`{:?}`", w.name)).collect::<Vec<_>>().join(", ")
        }
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
