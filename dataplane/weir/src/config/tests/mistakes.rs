//! What is said about mistakes, word for word: the catalogue is `mistakes.txt`.

use super::super::*;
use super::{assert_up_to_date, repository};

const CATALOGUE: &str = "dataplane/weir/src/config/tests/mistakes.txt";

/// What Weir says about a file, errors or warnings.
fn answer(text: &str) -> String {
    let diagnostics = match Config::parse(text, "weir.toml") {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.diagnostics,
    };
    diagnostic::print(&diagnostics)
}

#[test]
fn every_mistake_of_the_catalogue_is_reported_word_for_word() {
    let found = std::fs::read_to_string(repository(CATALOGUE)).unwrap();
    let mut parts = found.split("\n=== ");
    let mut expected = parts.next().unwrap().to_string();
    let mut cases = 0;
    for case in parts {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("---\n").unwrap();
        let answer = answer(text);
        assert!(!answer.is_empty(), "{title:?} is no mistake");
        assert!(answer.lines().all(|l| l.trim_end() == l || l.contains(" | ")), "{title:?}: trailing spaces");
        expected.push_str(&format!("\n=== {title}\n{text}---\n{answer}\n"));
        cases += 1;
    }
    assert!(cases > 60, "{cases} cases");
    assert_up_to_date(CATALOGUE, &expected, &found);
}

#[test]
fn diagnostics_come_in_the_order_of_the_file() {
    let catalogue = std::fs::read_to_string(repository(CATALOGUE)).unwrap();
    for case in catalogue.split("\n=== ").skip(1) {
        let text = case.split_once('\n').unwrap().1.split_once("---\n").unwrap().0;
        if let Err(errors) = Config::parse(text, "weir.toml") {
            let places: Vec<_> = errors.diagnostics.iter().map(|d| d.position).collect();
            assert!(places.is_sorted(), "{places:?} in\n{errors}");
        }
    }
}

#[test]
fn every_diagnostic_has_a_place_and_a_remedy() {
    let text = "[eal]\nlcores = \"x\"\n[[port]]\n";
    let errors = Config::parse(text, "weir.toml").unwrap_err();
    for diagnostic in &errors.diagnostics {
        assert!(diagnostic.position.is_some());
        assert!(!diagnostic.help.is_empty());
    }
    assert_eq!(errors.to_string().matches("help: ").count(), errors.diagnostics.len());
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let checked = check(std::path::Path::new("no/such/file.toml"));
    assert!(!checked.usable);
    assert!(
        checked.text.starts_with("no/such/file.toml: error: cannot read it: No such file"),
        "{}",
        checked.text
    );
    assert!(checked.text.ends_with("\nno/such/file.toml: 1 error\n"), "{}", checked.text);
    assert!(Config::load(std::path::Path::new("/")).unwrap_err().to_string().contains("regular file"));
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_at_the_first_bad_byte() {
    let path = std::env::temp_dir().join(format!("weir-not-utf8-{}.toml", std::process::id()));
    std::fs::write(&path, b"[eal]\nargs = [\"\xff\xfe\"]\n").unwrap();
    let errors = Config::load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(errors.diagnostics[0].position, Some((2, 10)));
}

#[test]
fn a_control_character_of_the_file_does_not_reach_the_terminal() {
    let said = answer("[eal]\nlcores = \"\u{1b}[31m\u{7}\"\n");
    assert!(!said.contains(['\u{1b}', '\u{7}']), "{said:?}");
}

#[test]
fn windows_line_ends_do_not_move_the_caret() {
    let unix = "[[port]]\ndevice = \"net_tap0\"\nmtu = 10\n";
    assert_eq!(answer(unix), answer(&unix.replace('\n', "\r\n")));
}
