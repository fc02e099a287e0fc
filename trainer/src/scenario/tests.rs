//! What scenarios say, and how wrong ones are refused.

use super::*;
use crate::sim::{
    noise::Noise,
    setup::{Change, End, Timed},
};

/// The example of the design, every key once.
const WHOLE: &str = r#"
balancers = 2
load      = 0.7
flows     = 1_000_000
arrivals  = { kind = "mmpp", burst = 4.0, busy = "2s", calm = "8s" }
service   = { kind = "pareto", mean = "100ms", shape = 1.5, spread = 1000.0 }
io        = "20ms"
rounds    = 2
delay     = { kind = "uniform", min = "100us", max = "1ms" }
warmup    = 0.2
detection = "2s"
period    = "250ms"
[[server]]
count = 2; cores = 2; speed = 2.0; weight = 3.0; discipline = "fifo"; backlog = 64
[[server]]
in_service = 32; present = false
[[event]]
at = "60s"; server = 0; speed = 0.5
[[event]]
at = "10s"; server = [0, 1]; noise = 0.3; on = "1s"; off = "2s"; for = "30s"
[[event]]
at = "20s"; server = 2; add = true
[[event]]
at = "70s"; server = 1; fail = true; for = "20s"
[[event]]
at = "80s"; traffic = 1.5
"#;

/// Semicolons for line ends keep the tables above short.
fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(&text.replace("; ", "\n"))
}

#[test]
fn every_key_means_what_it_says() {
    let scenario = parse(WHOLE).unwrap();
    let setup = scenario.setup();
    assert_eq!((setup.balancers, setup.end, setup.warmup), (2, End::Flows(1_000_000), 0.2));
    assert_eq!((setup.detection, scenario.period()), (2_000_000_000, 250_000_000));
    assert!((scenario.rate() - 0.7 * 8.0 / 0.1).abs() < 1e-9, "of what is there at the beginning");
    let [first, _, third] = &setup.servers[..] else { panic!("three servers") };
    assert_eq!((first.capacity(), first.weight, first.in_service, first.backlog), (4.0, 3.0, 2, 64));
    assert_eq!((third.weight, third.in_service, third.present), (1.0, 32, false));
    let noise = |share, bursts| Noise { share, bursts };
    let second = 1_000_000_000;
    let expected = [
        (60, Change::Speed { server: 0, speed: 0.5 }),
        (10, Change::Noise { server: 0, noise: noise(0.3, Some((1e9, 2e9))) }),
        (40, Change::Noise { server: 0, noise: noise(0.0, None) }),
        (10, Change::Noise { server: 1, noise: noise(0.3, Some((1e9, 2e9))) }),
        (40, Change::Noise { server: 1, noise: noise(0.0, None) }),
        (20, Change::Add { server: 2 }),
        (70, Change::Fail { server: 1 }),
        (90, Change::Recover { server: 1 }),
        (80, Change::Traffic { factor: 1.5 }),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(at, change)| Timed { at: at * second, change }).collect();
    assert_eq!(setup.changes, expected);
}

#[test]
fn example_of_the_design_is_a_scenario() {
    let scenario = parse(
        r#"balancers = 2
        load = 0.7; flows = 1_000_000; arrivals = "poisson"
        service = { kind = "exponential", mean = "100ms" }
        delay = "0s"
        [[server]]
        count = 1; cores = 1; speed = 2.0; weight = 2.0; discipline = "ps"; backlog = 64
        [[event]]
        at = "60s"; server = 0; speed = 0.5"#,
    );
    assert_eq!(scenario.unwrap().rate(), 14.0);
}

#[test]
fn mistakes_are_named() {
    let server = "[[server]]\n";
    let world = "flows = 10\nservice = \"1ms\"\n";
    for (text, words) in [
        (format!("load = 0.5\nlaod = 1\n{world}{server}"), "line 2"),
        (format!("load = 0.5\n{world}{server}speed = \"fast\""), "line 5"),
        (format!("load = 0.5\nflows = 10\nservice = \"1 year\"\n{server}"), "no time"),
        (format!("load = 0.5\nflows = 10\nservice = {{ kind = \"weird\" }}\n{server}"), "weird"),
        (
            format!(
                "load = 0.5\nflows = 10\nservice = {{ kind = \"lognormal\", mean = \"1s\", cv2 = -1.0 }}\n{server}"
            ),
            "cv2 is -1",
        ),
        (format!("{world}{server}"), "either `load` or `rate`"),
        (format!("load = 0.5\nservice = \"1ms\"\n{server}"), "either `flows` or `duration`"),
        (format!("load = -0.5\n{world}{server}"), "`load` is -0.5"),
        (format!("load = 0.5\n{world}"), "[[server]]"),
        (format!("load = 0.5\n{world}{server}cores = 0"), "`cores of [[server]] 0` is 0"),
        (format!("load = 0.5\n{world}{server}cores = 1.5\ndiscipline = \"fifo\""), "whole number"),
        (format!("load = 0.5\n{world}{server}[[event]]\nat = \"1s\"\nserver = 3\nadd = true"), "server 3"),
        (format!("load = 0.5\n{world}{server}[[event]]\nat = \"1s\"\nserver = 0"), "one thing"),
        (format!("load = 0.5\n{world}{server}[[event]]\nat = \"1s\"\nadd = true"), "`server`"),
        (
            format!(
                "load = 0.5\n{world}{server}[[event]]\nat = \"1s\"\nserver = 0\nspeed = 1.0\nfor = \"1s\""
            ),
            "`for`",
        ),
        (
            format!("load = 0.5\n{world}{server}[[event]]\nat = \"1s\"\nserver = 0\nnoise = 1.0"),
            "`noise of [[event]] 0` is 1",
        ),
    ] {
        let message = Scenario::parse(&text).unwrap_err().to_string();
        assert!(message.contains(words), "{text}\n{message}");
    }
}

/// The flows that came and their mean work, of so many.
fn come(scenario: &Scenario, seed: u64, flows: usize) -> (Vec<f64>, f64) {
    let mut arrivals = scenario.arrivals(seed);
    let flows: Vec<_> = std::iter::from_fn(|| arrivals.next()).take(flows).collect();
    let work = flows.iter().map(|flow| flow.demand.unwrap().cpu).sum::<f64>() / flows.len() as f64;
    (flows.into_iter().map(|flow| flow.t).collect(), work)
}

#[test]
fn days_and_traces_are_scaled_to_the_load_and_the_work() {
    let folder = std::env::temp_dir().join(format!("weir-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let trace = "time\tquery\n0.5\t/dummy.php/?n=100\n1\t/dummy.php/?n=300\n2.5\t/dummy.php/?n=200\n";
    std::fs::write(folder.join("trace.tsv"), trace).unwrap();
    let text = |arrivals: &str| {
        format!("rate = 10.0\nflows = 9\narrivals = {arrivals}\nservice = \"80ms\"\n[[server]]")
    };
    let path = folder.join("scenario.toml");
    std::fs::write(&path, text(r#"{ kind = "trace", file = "trace.tsv" }"#)).unwrap();
    let (times, work) = come(&Scenario::read(&path).unwrap(), 1, 9);
    assert!((work / 8e7 - 1.0).abs() < 1e-9);
    assert!(times.len() == 3 && ((times[2] - times[0]) / (times[1] - times[0]) - 4.0).abs() < 1e-9);
    std::fs::write(&path, text(r#"{ kind = "trace", file = "none.tsv" }"#)).unwrap();
    assert!(matches!(Scenario::read(&path), Err(ScenarioError::Trace { .. })));
    std::fs::remove_dir_all(&folder).unwrap();

    let day = Scenario::parse(&text(r#"{ kind = "wikipedia", day = "1000s" }"#)).unwrap();
    let (times, work) = come(&day, 1, 40_000);
    assert!((work / 8e7 - 1.0).abs() < 0.03, "{work}");
    assert!((times[39_999] / 4000e9 - 1.0).abs() < 0.03, "{}", times[39_999]);
}
