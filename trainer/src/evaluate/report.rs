//! A comparison as text: Markdown for people, CSV for other programs.

use std::fmt::Write as _;

use super::{compare::Comparison, interval::Interval};

/// Tables in Markdown, one for each case. Times are in milliseconds.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    for (case, cells) in comparison.cases.iter().zip(&comparison.cells) {
        let baseline = comparison.contenders[comparison.baseline].name();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "### {}\n", case.title());
        let _ = writeln!(
            text,
            "| | mean, ms | p50 | p90 | p95 | p99 | Jain | rejects | mean against {baseline} | p99 against {baseline} |"
        );
        let _ = writeln!(text, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for (contender, cell) in comparison.contenders.iter().zip(cells) {
            let pooled = &cell.pooled;
            let [mean, p50, p90, p95, p99] = [pooled.mean, pooled.p50, pooled.p90, pooled.p95, pooled.p99]
                .map(|seconds| ms(seconds * 1e3));
            let half =
                pooled.plus_minus.map_or_else(String::new, |half| format!(" ± {}", ms(half.mean * 1e3)));
            let _ = writeln!(
                text,
                "| {contender} | {mean}{half} | {p50} | {p90} | {p95} | {p99} | {:.3} | {} | {} | {} |",
                pooled.jain,
                percent(pooled.rejects),
                change(&cell.mean_change),
                change(&cell.p99_change),
            );
        }
        text.push('\n');
    }
    text
}

/// Three digits that count, or the whole number.
fn ms(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn percent(share: f64) -> String {
    match share {
        0.0 => "0".into(),
        share => format!("{:.2} %", share * 100.0),
    }
}

/// A change in per cent; bold if it is one beyond chance.
fn change(interval: &Interval) -> String {
    let Interval { mean, half, .. } = *interval;
    if mean == 0.0 && half == 0.0 {
        return "—".into();
    }
    let text = format!("{:+.1} ± {:.1} %", mean * 100.0, half * 100.0);
    if mean.abs() > half { format!("**{text}**") } else { text }
}

/// One line for each run. Times are in seconds.
pub fn csv(comparison: &Comparison) -> String {
    let mut text = String::from("scenario,load,policy,seed,mean,p50,p90,p95,p99,jain,rejects,flows\n");
    for (case, cells) in comparison.cases.iter().zip(&comparison.cells) {
        let load = case.load.map_or_else(String::new, |load| load.to_string());
        for (contender, cell) in comparison.contenders.iter().zip(cells) {
            for run in &cell.pooled.seeds {
                let _ = writeln!(
                    text,
                    "{},{load},{contender},{},{:.6},{:.6},{:.6},{:.6},{:.6},{:.4},{:.6},{}",
                    case.name,
                    run.seed,
                    run.mean,
                    run.p50,
                    run.p90,
                    run.p95,
                    run.p99,
                    run.jain,
                    run.rejects,
                    run.flows
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::compare::Case, scenario::Scenario};

    #[test]
    fn tables_have_a_row_for_each_contender_and_csv_a_line_for_each_run() {
        let scenario =
            Scenario::parse("load = 0.5\nflows = 200\nservice = \"1ms\"\n[[server]]\ncount = 2").unwrap();
        let contenders = ["sed", "ecmp"].map(|name| name.parse().unwrap());
        let cases = Case::each("tiny", &scenario, &[0.5]);
        let comparison = Comparison::make(cases, contenders.into(), 0, 2, 1, &|| {});
        let markdown = markdown(&comparison);
        assert!(markdown.starts_with("### tiny, load 0.5\n"));
        assert!(markdown.contains("| sed | ") && markdown.contains("| — | — |"), "{markdown}");
        let csv = csv(&comparison);
        assert_eq!(csv.lines().count(), 1 + 2 * 2);
        assert!(csv.lines().nth(3).unwrap().starts_with("tiny,0.5,ecmp,1,0.00"), "{csv}");
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        assert_eq!([ms(1.234), ms(12.34), ms(1234.5)], ["1.23", "12.3", "1234"]);
        let interval = |mean, half| Interval { mean, half, error: half };
        assert_eq!(change(&interval(0.051, 0.01)), "**+5.1 ± 1.0 %**");
        assert_eq!(change(&interval(-0.01, 0.02)), "-1.0 ± 2.0 %");
        assert_eq!([percent(0.0), percent(0.0123)], ["0", "1.23 %"]);
    }
}
