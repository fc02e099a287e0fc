//! What is wrong with a file, where, and what to write instead.
//!
//! Readers note findings by byte span on a [`Report`]; at the end each becomes a [`Diagnostic`] with its line
//! and column, printed the way compilers do.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Bytes of the file.
pub(super) type Span = Range<usize>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but something in it does not do what it seems to.
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name, as it was given.
    pub file: String,
    /// Line and column, both from 1, the column in characters; `None` if it concerns the file as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line in question and how many characters the caret underlines.
    pub(super) excerpt: Option<(String, usize)>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:", self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {severity}: {}\n  help: {}", self.message, self.help)?;
        if let (Some((line, column)), Some((text, width))) = (self.position, &self.excerpt) {
            // A tab stays a tab, so that the caret stands under its character whatever the tab width.
            let indent: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            let gutter = " ".repeat(line.to_string().len());
            write!(f, "\n  {line} | {text}\n  {gutter} | {indent}{}", "^".repeat(*width))?;
        }
        Ok(())
    }
}

/// Why a file was refused: every error in it, and its warnings, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one of them is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(&self.diagnostics))
    }
}

impl std::error::Error for ConfigErrors {}

/// Prints diagnostics one after the other, with an empty line between them.
pub(super) fn print(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}

/// Something noted while reading.
struct Finding {
    severity: Severity,
    span: Span,
    message: String,
    help: String,
    basis: Basis,
}

/// What a finding rests on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// It is an error of the TOML syntax.
    Syntax,
    /// The text at its span alone.
    Here,
    /// Other lines too: something is missing, or does not fit elsewhere.
    Elsewhere,
}

/// Collects what is wrong with one file.
pub(super) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte offset of each line's first character.
    lines: Vec<usize>,
    findings: RefCell<Vec<Finding>>,
    /// Statements that could not be read at all; what is found inside them is noise.
    unreadable: RefCell<Vec<Span>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, findings: RefCell::default(), unreadable: RefCell::default() }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Byte offsets at which lines start.
    pub(super) fn line_starts(&self) -> &[usize] {
        &self.lines
    }

    /// Notes an error in the text at `span`.
    pub(super) fn error(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, Basis::Here, span, message.into(), help.into());
    }

    /// Notes an error that depends on other lines too (something is missing, or does not fit elsewhere).
    pub(super) fn error_across(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, Basis::Elsewhere, span, message.into(), help.into());
    }

    /// Notes a warning.
    pub(super) fn warning(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, Basis::Elsewhere, span, message.into(), help.into());
    }

    fn note(&self, severity: Severity, basis: Basis, span: &Span, message: String, help: String) {
        self.findings.borrow_mut().push(Finding { severity, basis, span: span.clone(), message, help });
    }

    /// Notes an error of the TOML syntax, and that nothing in `statement` is worth a look.
    pub(super) fn syntax_error(&self, span: &Span, statement: Span, message: String, help: String) {
        self.note(Severity::Error, Basis::Syntax, span, message, help);
        self.unreadable.borrow_mut().push(statement);
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.findings.borrow().iter().filter(|f| f.severity == Severity::Error).count()
    }

    /// The line of a span, from 1.
    pub(super) fn line(&self, span: &Span) -> usize {
        self.lines.partition_point(|start| *start <= span.start)
    }

    /// Everything that was found, in the order of the file.
    ///
    /// Beside syntax errors only what does not rest on other lines is kept: a key that "is missing" may
    /// stand in a line that could not be read.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let unreadable = self.unreadable.take();
        let inside = |span: &Span| unreadable.iter().any(|u| span.start < u.end && u.start < span.end);
        let mut all = self.findings.take();
        all.retain(|f| match f.basis {
            Basis::Syntax => true,
            Basis::Here => !inside(&f.span),
            Basis::Elsewhere => unreadable.is_empty(),
        });
        all.sort_by_key(|f| f.span.start);
        all.into_iter().map(|f| self.diagnostic(f)).collect()
    }

    fn diagnostic(&self, finding: Finding) -> Diagnostic {
        let Finding { severity, span, message, help, .. } = finding;
        let line = self.line(&span);
        let start = self.lines[line - 1];
        let text = self.text[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let chars_before =
            |offset: usize| text.char_indices().take_while(|(at, _)| start + at < offset).count();
        let column = chars_before(span.start) + 1;
        let width = chars_before(span.end).saturating_sub(column - 1).max(1);
        // Nothing in a file may move the terminal's cursor.
        let shown = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
        };
        let (text, message, help) = (shown(text), shown(&message), shown(&help));
        let of_the_file = span == (0..0);
        let excerpt = (!of_the_file && !text.trim().is_empty()).then_some((text, width));
        Diagnostic {
            severity,
            file: self.file.into(),
            position: Some((line, column)),
            message,
            help,
            excerpt,
        }
    }
}
