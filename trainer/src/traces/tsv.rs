//! `time<TAB>query`: a header line, then a line for each flow: seconds from 0 on, a tab, a URL path.
//!
//! This is the format of the published traces (MARLLB, Apache-2.0).

use std::{
    fmt,
    io::{BufRead, Read as _, Write},
};

use super::{Ask, Entry, Source, TraceError};

/// The first line.
pub const HEADER: &str = "time\tquery";
/// No line is longer, in bytes.
pub const LONGEST: usize = 1 << 16;

/// Reads rows one by one.
pub struct Reader<R> {
    input: R,
    /// The line that was read last.
    line: Vec<u8>,
    number: u64,
    before: f64,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, TraceError> {
        let mut reader = Self { input, line: Vec::new(), number: 0, before: 0.0 };
        if !reader.read_line()? || reader.text()? != HEADER {
            return Err(TraceError::Header { found: shortened(&String::from_utf8_lossy(&reader.line)) });
        }
        Ok(reader)
    }

    /// The next row: seconds, and the query; `None` at the end.
    pub fn row(&mut self) -> Result<Option<(f64, &str)>, TraceError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let (line, before) = (self.number, self.before);
        let text = self.text()?;
        let Some((time, _)) = text.split_once('\t') else {
            return Err(TraceError::NoTab { line, column: text.len() + 1 });
        };
        let seconds = match time.trim().parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => seconds,
            _ => return Err(TraceError::Time { line, found: shortened(time) }),
        };
        if seconds < before {
            return Err(TraceError::Back { line, found: seconds, before });
        }
        let query = time.len() + 1..text.len();
        self.before = seconds;
        // The borrow of `text` ended with the assignment; it is the same text.
        Ok(Some((seconds, str::from_utf8(&self.line[query]).unwrap_or_default())))
    }

    /// Reads a line without its end into `line`. Returns whether there was one.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        self.line.clear();
        let limit = LONGEST as u64 + 2;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.line.len() > LONGEST {
            return Err(TraceError::TooLong { line: self.number, limit: LONGEST });
        }
        Ok(true)
    }

    fn text(&self) -> Result<&str, TraceError> {
        str::from_utf8(&self.line)
            .map_err(|error| TraceError::Text { line: self.number, column: error.valid_up_to() + 1 })
    }
}

impl<R: BufRead + Send> Source for Reader<R> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        let Some((seconds, query)) = self.row()? else { return Ok(None) };
        match Ask::of_query(query) {
            Ok(ask) => Ok(Some(Entry { t: seconds * 1e9, ask })),
            Err((at, remedy)) => {
                let found = shortened(query);
                // The query ends where the line does.
                let column = self.line.len() - query_len(&self.line) + at + 1;
                Err(TraceError::Query { line: self.number, column, found, remedy })
            }
        }
    }
}

/// How long the query of a line is that has a tab.
fn query_len(line: &[u8]) -> usize {
    line.iter().position(|&byte| byte == b'\t').map_or(0, |tab| line.len() - tab - 1)
}

/// What fits into a message.
fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST { text.into() } else { text.chars().take(MOST).chain(['…']).collect() }
}

/// Writes rows.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(mut output: W) -> std::io::Result<Self> {
        writeln!(output, "{HEADER}")?;
        Ok(Self { output })
    }

    /// Writes a row; `seconds` with as many digits as it takes to read the same number.
    pub fn row(&mut self, seconds: f64, query: &str) -> std::io::Result<()> {
        writeln!(self.output, "{seconds}\t{query}")
    }

    /// Hands everything on.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.output.flush()
    }

    /// Where it wrote to.
    pub fn into_inner(self) -> W {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(text: &[u8]) -> Result<Vec<Entry>, TraceError> {
        let mut reader = Reader::new(text)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn rows_of_the_published_form_are_read() {
        let text =
            "time\tquery\n0.11540736657511366\t/dummy.php/?n=5478122\r\n7\t/wiki/index.php/A\n7.5\t/a.css";
        let found = entries(text.as_bytes()).unwrap();
        assert_eq!(
            found,
            [
                Entry { t: 0.115_407_366_575_113_66 * 1e9, ask: Ask::Loop(5_478_122) },
                Entry { t: 7e9, ask: Ask::Page },
                Entry { t: 7.5e9, ask: Ask::File },
            ]
        );
        assert_eq!(entries(b"time\tquery").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_what_to_do() {
        for (text, expected) in [
            (&b""[..], "line 1, column 1: \"\" is not the header: make the first line `time<TAB>query`"),
            (
                b"time,query\n",
                "line 1, column 1: \"time,query\" is not the header: make the first line `time<TAB>query`",
            ),
            (b"time\tquery\n1 /a\n", "line 2, column 5: no tab: write seconds, a tab, and a URL path"),
            (
                b"time\tquery\n1\t/a\n\n2\t/b\n",
                "line 3, column 1: no tab: write seconds, a tab, and a URL path",
            ),
            (
                b"time\tquery\n1\t/a\nx\t/b\n",
                "line 3, column 1: \"x\" is not a time: write seconds from 0 on as a decimal number, like 0.25",
            ),
            (
                b"time\tquery\n-1\t/a\n",
                "line 2, column 1: \"-1\" is not a time: write seconds from 0 on as a decimal number, like 0.25",
            ),
            (
                b"time\tquery\ninf\t/a\n",
                "line 2, column 1: \"inf\" is not a time: write seconds from 0 on as a decimal number, like 0.25",
            ),
            (
                b"time\tquery\n0.5\t/dummy.php/?n=3x\n",
                "line 2, column 19: \"/dummy.php/?n=3x\" is not a query: n is a whole number of turns",
            ),
            (
                b"time\tquery\n0.5\tdummy\n",
                "line 2, column 5: \"dummy\" is not a query: write a URL path that begins with /",
            ),
            (
                b"time\tquery\n0.5\t/\xff\n",
                "line 2, column 6: not UTF-8: is this a trace? A capture begins with the magic of pcap",
            ),
        ] {
            assert_eq!(entries(text).unwrap_err().to_string(), expected);
        }
        let back = entries(b"time\tquery\n2\t/a\n1.5\t/a\n").unwrap_err();
        assert!(matches!(back, TraceError::Back { line: 3, found: 1.5, before: 2.0 }), "{back}");
        let mut long = b"time\tquery\n0\t/".to_vec();
        long.resize(2 * LONGEST, b'a');
        assert!(matches!(entries(&long), Err(TraceError::TooLong { line: 2, .. })));
    }

    proptest! {
        #[test]
        fn rows_that_are_written_are_read_again(
            gaps in prop::collection::vec((0.0..1e3_f64, "/[a-z0-9/?=&.]{0,20}"), 0..30),
        ) {
            let mut t = 0.0;
            let mut writer = Writer::new(Vec::new()).unwrap();
            let mut rows = Vec::new();
            for (gap, query) in gaps {
                t += gap;
                writer.row(t, &query).unwrap();
                rows.push((t, query));
            }
            let text = writer.into_inner();
            let mut reader = Reader::new(&text[..]).unwrap();
            for (t, query) in rows {
                prop_assert_eq!(reader.row().unwrap(), Some((t, query.as_str())));
            }
            prop_assert_eq!(reader.row().unwrap(), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), header: bool) {
            if header {
                bytes.splice(0..0, b"time\tquery\n1\t/a\n".iter().copied());
            }
            if let Ok(entries) = entries(&bytes) {
                prop_assert!(entries.windows(2).all(|pair| pair[0].t <= pair[1].t));
            }
        }
    }
}
