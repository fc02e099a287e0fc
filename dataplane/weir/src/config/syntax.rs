//! Finds every error of the TOML syntax, not only the first.
//!
//! The parser recovers from an error, but what it reports after the first one is often a consequence of it. So
//! only the first is believed; the statement it stands in is blanked out (byte for byte, so that positions
//! stay) and the rest is parsed again, until nothing is wrong. What is left is then read as usual.

use toml::de::DeTable;

use super::diagnostic::{Report, Span};
use super::schema::{Key, Kind, TABLES};

/// After this many errors a file is more likely not a configuration at all.
const MOST_ERRORS: usize = 50;

/// Notes every syntax error and returns the text without the statements that hold them.
///
/// Returns `None` if no sense could be made of the rest.
pub(super) fn without_errors(report: &Report<'_>) -> Option<String> {
    let mut text = report.text().to_string();
    for _ in 0..MOST_ERRORS {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let first = errors.iter().min_by_key(|e| e.span().map_or(usize::MAX, |s| s.start));
        let Some(first) = first else { return Some(text) };
        let lines = Lines { text: &text, starts: report.line_starts() };
        let fault = diagnose(&lines, first.message(), first.span().unwrap_or(0..0));
        report.syntax_error(&fault.span, fault.lost.clone(), fault.message, fault.help);
        let patched = patch(&text, &fault.lost, fault.word);
        if patched == text {
            return None;
        }
        text = patched;
    }
    None
}

/// The text with `lost` replaced by spaces, byte for byte and keeping line ends; a word gets quotes around them.
fn patch(text: &str, lost: &Span, word: bool) -> String {
    let (first, last) = (lost.start, lost.end.saturating_sub(1));
    let byte = |(at, b): (usize, u8)| match b {
        _ if !lost.contains(&at) => b,
        b'\n' => b,
        _ if word && (at == first || at == last) => b'"',
        _ => b' ',
    };
    String::from_utf8(text.bytes().enumerate().map(byte).collect()).unwrap_or_default()
}

/// A syntax error in the operator's words.
struct Fault {
    span: Span,
    /// What is unreadable because of it.
    lost: Span,
    /// Whether that is a word that only lacks its quotes, else whole lines.
    word: bool,
    message: String,
    help: String,
}

/// The text by lines, counted from 0.
struct Lines<'t> {
    text: &'t str,
    starts: &'t [usize],
}

impl Lines<'_> {
    fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|s| *s <= offset).saturating_sub(1)
    }

    fn end(&self, line: usize) -> usize {
        self.starts.get(line + 1).copied().unwrap_or(self.text.len())
    }

    fn span(&self, first: usize, last: usize) -> Span {
        self.starts[first]..self.end(last)
    }

    fn text(&self, line: usize) -> &str {
        self.text.get(self.span(line, line)).unwrap_or_default().trim()
    }

    fn last(&self) -> usize {
        self.starts.len() - 1
    }

    fn is_header(&self, line: usize) -> bool {
        self.text(line).starts_with('[')
    }

    /// Whether a statement starts here: a header, or a key and `=`.
    fn opens(&self, line: usize) -> bool {
        self.is_header(line) || key_of(self.text(line)).is_some()
    }

    /// Whether the line can only be the inside or the end of an array.
    fn continues(&self, line: usize) -> bool {
        self.text(line).starts_with(['"', '\'', ']', '}', '{', ','])
    }
}

/// The key of a line of the form `key = …`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

/// The brackets and braces that text opens and does not close, outside strings and comments, with their offsets.
fn left_open(text: &str) -> Vec<(usize, char)> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut comment = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            ('\n', _) => (comment, quote) = (false, None),
            _ if comment || escaped => {}
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('#', None) => comment = true,
            ('[' | '{', None) => open.push((at, c)),
            (']' | '}', None) => _ = open.pop(),
            _ => {}
        }
        escaped = !escaped && c == '\\' && quote == Some('"');
    }
    open
}

fn diagnose(lines: &Lines<'_>, message: &str, span: Span) -> Fault {
    let offset = span.start.min(lines.text.len());
    let line = lines.at(offset);
    if let Some(fault) = never_closed(lines, line, offset) {
        return fault;
    }
    let token = token_at(lines.text, &span);
    let word = token.len() > 1 && NOT_QUOTED.iter().any(|m| message.starts_with(m));
    let (message, help) = in_words(lines, line, message, lines.text.get(token.clone()).unwrap_or_default());
    if word {
        return Fault { span: token.clone(), lost: token, word, message, help };
    }
    let width = span.end.min(lines.end(line)).saturating_sub(offset).max(1);
    Fault { span: offset..offset + width, lost: statement(lines, line), word, message, help }
}

/// What the parser says about a value that it takes for a number, a date or a boolean, or for nothing at all.
const NOT_QUOTED: [&str; 6] = [
    "string values must be quoted",
    "invalid float",
    "invalid integer",
    "invalid date",
    "invalid time",
    "unexpected leading zero",
];

/// An array that runs into the next statement, or into the end of the file, is the mistake of the line that
/// opened it, wherever the parser noticed.
fn never_closed(lines: &Lines<'_>, line: usize, offset: usize) -> Option<Fault> {
    let is_blank = |l: usize| lines.text(l).is_empty() || lines.text(l).starts_with('#');
    let runs_on = |from: usize| {
        let next = (from..=lines.last()).find(|l| !is_blank(*l));
        next.is_none_or(|l| lines.opens(l))
    };
    let at_line_end = lines.text.get(offset..lines.end(line)).is_some_and(|rest| rest.trim().is_empty());
    let last = if runs_on(line) && line > 0 && !at_line_end {
        line - 1
    } else if at_line_end && runs_on(line + 1) {
        line
    } else {
        return None;
    };
    let first = (0..=last).rev().find(|l| lines.opens(*l))?;
    let key = key_of(lines.text(first))?;
    let statement = lines.span(first, last);
    let value = lines.text.get(statement.clone())?;
    let (at, bracket) = *left_open(value).first()?;
    let (what, close) = if bracket == '[' { ("array", ']') } else { ("table", '}') };
    let start = statement.start + at;
    Some(Fault {
        span: start..start + 1,
        lost: statement,
        word: false,
        message: format!("the {what} of {key:?} is not closed"),
        help: format!("write {close} after its last element"),
    })
}

/// The lines that cannot be read because of an error in this one.
fn statement(lines: &Lines<'_>, line: usize) -> Span {
    if lines.is_header(line) {
        let next = (line + 1..=lines.last()).find(|l| lines.is_header(*l));
        return lines.span(line, next.map_or(lines.last(), |n| n - 1));
    }
    // One element of an array can go without the array losing its end.
    if !lines.text(line).contains(['[', ']', '{', '}']) && lines.continues(line) {
        return lines.span(line, line);
    }
    let mut first = line;
    while first > 0 && lines.continues(first) {
        first -= 1;
    }
    let mut last = line;
    while last < lines.last() && lines.continues(last + 1) {
        last += 1;
    }
    lines.span(first, last)
}

/// What is wrong and what to write instead, for the errors that operators make.
fn in_words(lines: &Lines<'_>, line: usize, message: &str, token: &str) -> (String, String) {
    let key = key_of(lines.text(line)).unwrap_or("key");
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| message.starts_with(p));
    if starts(&["duplicate key"]) {
        return twice(lines, line, token);
    }
    if starts(&NOT_QUOTED) && token.is_empty() {
        return (format!("{key:?} has no value"), format!("write {key} = and a value, or delete the line"));
    }
    if starts(&NOT_QUOTED) && token.chars().all(|c| c.is_ascii_digit() || c == '_') {
        return (format!("{token} is not a number"), "write it without leading zeros, like 80".into());
    }
    if starts(&NOT_QUOTED) {
        let help = unquoted_example(key).unwrap_or_else(|| format!("write \"{token}\""));
        return (format!("{token} is neither a number nor in quotes"), help);
    }
    if starts(&["invalid boolean"]) {
        return (format!("{token} is neither true nor false"), "write true or false".into());
    }
    if starts(&["invalid basic string, expected `\"`", "invalid literal string, expected `'`"]) {
        let quote = if message.contains('"') { '"' } else { '\'' };
        return ("the string is not closed".into(), format!("write {quote} at its end, on the same line"));
    }
    if starts(&["missing escaped value"]) {
        return (
            "a backslash starts an escape, and this is none".into(),
            "write \\\\ for a backslash".into(),
        );
    }
    let colon = starts(&["invalid unquoted key"]) && lines.text(line).contains(':');
    if colon || starts(&["key with no value"]) {
        let text = lines.text(line);
        let word = text.split(|c: char| c.is_whitespace() || c == ':').next().unwrap_or(text);
        return (format!("there is no = after {word:?}"), format!("write {word} = and a value"));
    }
    if starts(&["unclosed table", "unclosed array table", "unexpected key or value"]) && lines.is_header(line)
    {
        let name = lines.text(line).trim_matches(['[', ']', ' ']);
        let double = lines.text(line).starts_with("[[");
        let header = if double { format!("[[{name}]]") } else { format!("[{name}]") };
        return (
            "the header of a table is not well formed".into(),
            format!("write {header} on a line of its own"),
        );
    }
    if starts(&["missing comma"]) {
        return ("there is no comma between two elements".into(), "write a comma after each element".into());
    }
    if starts(&["unexpected key or value"]) {
        return (
            "there is more on the line than one value".into(),
            "write each key on a line of its own".into(),
        );
    }
    (format!("not valid TOML: {message}"), "write one key = value on a line, text in double quotes".into())
}

/// What to write for a key whose value stands without quotes.
fn unquoted_example(name: &str) -> Option<String> {
    let keys = TABLES.iter().flat_map(|t| t.keys).filter(|k| k.name == name);
    let quoted = |k: &Key| {
        matches!(
            k.kind,
            Kind::Text(_) | Kind::Texts(_) | Kind::Duration { .. } | Kind::Word(_) | Kind::Table { .. }
        )
    };
    keys.filter(|k| !quoted(k)).map(|k| format!("write {name} = {}", k.example)).next()
}

/// A key or header that is there a second time.
fn twice(lines: &Lines<'_>, line: usize, token: &str) -> (String, String) {
    if lines.is_header(line) {
        let header = lines.text(line);
        let first = (0..line).find(|l| lines.text(*l) == header);
        let place = first.map_or(String::new(), |l| format!("; first on line {}", l + 1));
        return (format!("{header} is there twice{place}"), format!("put all its keys under one {header}"));
    }
    let first =
        (0..line).rev().take_while(|l| !lines.is_header(*l)).find(|l| key_of(lines.text(*l)) == Some(token));
    let place = first.map_or(String::new(), |l| format!("; first on line {}", l + 1));
    (format!("{token:?} is there twice{place}"), "keep one of the two".into())
}

/// The word around a span.
fn token_at(text: &str, span: &Span) -> Span {
    let start = span.start.min(text.len());
    let (Some(before), Some(after)) = (text.get(..start), text.get(start..)) else {
        return start..start;
    };
    let outside = |c: char| c.is_whitespace() || "[]{},=#\"'".contains(c);
    let from =
        before.rfind(outside).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let to = start + after.find(outside).unwrap_or(after.len());
    from..to
}
