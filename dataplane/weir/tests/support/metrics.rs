//! Reads a Prometheus page.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::netns::Namespace;

/// One page of metrics.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Parses the text format.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self(lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a metric: {line}"))).collect())
    }

    /// The sum over all label sets; a metric that does not exist fails the test.
    pub fn sum(&self, name: &str) -> f64 {
        assert!(self.0.iter().any(|sample| sample.name == name), "there is no metric {name}");
        self.sum_of(name)
    }

    /// The sum over all label sets; 0 for a metric without any.
    pub fn sum_of(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }

    /// The values of a metric by one of its labels, in the order of the page.
    pub fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        samples
            .filter_map(|sample| {
                let (_, value) = sample.labels.iter().find(|(key, _)| key == label)?;
                Some((value.clone(), sample.value))
            })
            .collect()
    }

    /// The value of the one sample with all of these labels.
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, (key, value): (&str, &str)| {
            sample.labels.iter().any(|(k, v)| k == key && v == value)
        };
        let samples = self.0.iter().filter(|sample| sample.name == name);
        let found: Vec<f64> = samples
            .filter(|sample| labels.iter().all(|&label| has(sample, label)))
            .map(|sample| sample.value)
            .collect();
        assert_eq!(found.len(), 1, "samples of {name} with {labels:?}");
        found[0]
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.rfind('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_at(line.find(' ')?),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut pairs = Vec::new();
    let mut rest = labels.strip_suffix('}')?.trim_end_matches(',');
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        // Label values here are addresses and names: no escaped quotes.
        let (text, after) = after.split_once('"')?;
        pairs.push((key.to_owned(), text.to_owned()));
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Sample { name: name.to_owned(), labels: pairs, value })
}

/// Asks for a page inside a namespace: status and body, or `None` if nobody answers.
pub fn get(namespace: &Namespace, port: u16, path: &str) -> Option<(u16, String)> {
    namespace.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (header, body) = answer.split_once("\r\n\r\n")?;
        let status = header.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    })
}

/// The metrics page must be parsed right before anything can be concluded from it.
#[test]
fn a_page_of_metrics_is_read() {
    let page =
        "# HELP a b\n# TYPE a counter\na 1\nb{x=\"1\",y=\"[fd77::1]:80\"} 2.5\nb{x=\"2\"} 4e0 1700000000\n";
    let metrics = Metrics::parse(page);
    assert_eq!(metrics.sum("a"), 1.0);
    assert_eq!(metrics.sum("b"), 6.5);
    assert_eq!(metrics.by_label("b", "y"), [("[fd77::1]:80".to_owned(), 2.5)]);
    assert_eq!(metrics.sum_of("c"), 0.0);
}
