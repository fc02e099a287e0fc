//! Keeps the documents honest: what they list is there, and what is there they list.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use dataplane::{
    pipeline::DropReason,
    ports::{dpdk::PortStats, memory::MemoryQueue},
    tables::hash::HashKey,
    time::Clock,
    wire::Mac,
    worker::{Parts, Worker},
};
use ipc::{
    id::{LcoreId, ServerId, VipId},
    sample::{Kind, Sample},
};
use weir::{
    config::Config,
    control::Control,
    error::{EXIT_CONFIG, EXIT_ENVIRONMENT, EXIT_INTERNAL, EXIT_NOT_RUNNING},
    measure::{self, Findings},
    metrics::{self, Source, Status},
    steer::Wishes,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every file with this extension, build output and hidden folders left out.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A scrape of one worker with one port, one VIP and one server: every family there is.
fn scrape() -> String {
    let text = "[[port]]\nname = \"lan\"\ndevice = \"net_ring0\"\naddress = [\"192.0.2.2/24\"]\n\
                [[vip]]\naddress = \"203.0.113.10\"\nport = 80\npolicy = \"hlb\"\n\
                servers = [\"192.0.2.11\"]\n[vip.health]\n";
    let config = Config::parse(text, "test").unwrap().config;
    let (measure, region, policy) = (config.measure, config.region.clone(), config.policy.clone());
    let clock = Clock::start();
    let (control, mut readers) = Control::new(config, vec![Mac::default()], 1, clock.now()).unwrap();
    let (_worker, handle) = Worker::new(Parts {
        lcore: LcoreId(0),
        queues: vec![MemoryQueue::default()],
        tables: readers.pop().unwrap(),
        flow_capacity: 1024,
        hash_key: HashKey::default(),
        measure: dataplane::pipeline::measure::Settings::OFF,
        clock,
    })
    .unwrap();
    let findings = Arc::new(Findings::default());
    let sample = |kind| Sample { t: 1, value: 1000, vip: VipId(0), server: ServerId(0), kind };
    findings.follow(control.directory());
    findings.wish(Wishes::new(control.config(), control.directory()));
    let workers = vec![handle.clone()];
    let parts = measure::Parts { workers, measure, region, policy, findings: Arc::clone(&findings), clock };
    let (mut producer, ring) = ipc::ring::channel(64);
    for kind in [Kind::FlowCompletion, Kind::Handshake, Kind::FlowDuration] {
        producer.push(sample(kind));
    }
    producer.flush();
    measure::Observer::new(&parts, clock.now()).unwrap().round(&mut [ring], clock.now());
    let source = Source::new(vec![handle], findings);
    source.set_status(Status {
        load: Vec::new(),
        directory: Arc::clone(control.directory()),
        generation: 1,
        ports: vec![("lan".into(), true, PortStats::default())],
        unreachable_vips: Vec::new(),
        unresolved: Vec::new(),
        health: control.health(),
    });
    metrics::render(&source)
}

#[test]
fn operations_page_has_every_metric_and_no_other() {
    let page = scrape();
    let exported: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let operations = read("docs/operations.md");
    let documented: BTreeSet<&str> = quoted(&operations)
        .filter_map(|text| text.split('{').next())
        .filter(|text| text.starts_with("weir_") && !text.contains(['\n', ' ']))
        .collect();
    assert!(exported.len() > 20, "{page}");
    assert_eq!(exported, documented);
}

#[test]
fn operations_page_has_every_drop_reason_with_its_remedy() {
    let operations = read("docs/operations.md");
    for reason in DropReason::ALL {
        let row = format!("\n| `{}` |", reason.name());
        assert_eq!(operations.matches(&row).count(), 1, "a row for {}", reason.name());
    }
}

#[test]
fn operations_page_has_every_exit_code() {
    let operations = read("docs/operations.md");
    for code in [0, EXIT_CONFIG, 2, EXIT_ENVIRONMENT, EXIT_INTERNAL, EXIT_NOT_RUNNING] {
        assert_eq!(operations.matches(&format!("\n| {code} |")).count(), 1, "a row for {code}");
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let (mut sources, mut pages) = (Vec::new(), Vec::new());
    files(&root(), "rs", &mut sources);
    files(&root().join("docs/design"), "md", &mut pages);
    let code: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let spec = read("docs/spec.md");
    // In the spec the last column of each table names tests; in a design page the section "Tests" does.
    let cells = spec.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next());
    let mut named: Vec<String> = cells.flat_map(quoted).map(str::to_owned).collect();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let tests = text.split("\n## Tests\n").nth(1).unwrap_or_else(|| panic!("{page:?}: no section Tests"));
        let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        named.extend(quoted(tests).filter(is_name).map(str::to_owned));
    }
    assert!(named.len() > 50, "{named:?}");
    for test in named {
        assert!(code.contains(&format!("fn {test}(")), "there is no test {test}");
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut pages = Vec::new();
    files(&root(), "md", &mut pages);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || file.is_empty();
            assert!(elsewhere || page.parent().unwrap().join(file).exists(), "{page:?} links to {target}");
        }
    }
}
