//! A scrape under construction, and how values get into it.

use std::collections::HashMap;

use prometheus::{
    GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto,
};

/// A scrape under construction.
pub struct Page(pub Registry);

impl Page {
    /// Counters with these labels; `None` only for a name that is taken, as for the others.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Whole numbers with these labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Option<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// Numbers with these labels.
    pub fn ratios(&self, name: &str, help: &str, labels: &[&str]) -> Option<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A family of histograms that were counted elsewhere.
    pub fn histograms(&self, name: &str, help: &str, series: Vec<proto::Metric>) {
        let Ok(desc) = Desc::new(name.into(), help.into(), Vec::new(), HashMap::new()) else { return };
        let mut family = proto::MetricFamily::default();
        family.set_name(name.into());
        family.set_help(help.into());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(series);
        // It can only fail for a name that is taken, which the tests would show.
        let _ = self.0.register(Box::new(Counted { desc, family }));
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> Option<C> {
        let collector = collector.ok()?;
        self.0.register(Box::new(collector.clone())).ok()?;
        Some(collector)
    }
}

/// A family that is complete when it is registered.
struct Counted {
    desc: Desc,
    family: proto::MetricFamily,
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        vec![self.family.clone()]
    }
}

/// A histogram of these cumulative buckets.
pub fn series_of(
    labels: &[(&str, &str)],
    cumulative: impl IntoIterator<Item = (f64, u64)>,
    count: u64,
    sum: f64,
) -> proto::Metric {
    let buckets = cumulative.into_iter().map(|(bound, below)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    let labels = labels.iter().map(|&(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name(name.into());
        label.set_value(value.into());
        label
    });
    let mut metric = proto::Metric::default();
    metric.set_label(labels.collect());
    metric.set_histogram(histogram);
    metric
}

/// Adds to the counter with these labels.
pub fn count(family: Option<&IntCounterVec>, labels: &[&str], value: u64) {
    if let Some(family) = family {
        family.with_label_values(labels).inc_by(value);
    }
}

/// Sets the whole number with these labels.
pub fn set(family: Option<&IntGaugeVec>, labels: &[&str], value: u64) {
    if let Some(family) = family {
        family.with_label_values(labels).set(value.try_into().unwrap_or(i64::MAX));
    }
}

/// Sets the number with these labels.
pub fn ratio(family: Option<&GaugeVec>, labels: &[&str], value: f64) {
    if let Some(family) = family {
        family.with_label_values(labels).set(value);
    }
}
