//! The documentation and the schema say what the code does.

use super::super::*;
use super::{assert_up_to_date, repository};

const PAGE: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- generated from the schema: begin -->\n";
const END: &str = "<!-- generated from the schema: end -->\n";

#[test]
fn the_page_has_the_tables_of_the_schema_and_the_answers_of_this_version() {
    let found = std::fs::read_to_string(repository(PAGE)).unwrap();
    let (before, rest) = found.split_once(BEGIN).expect("the page has a place for the tables");
    let (_, after) = rest.split_once(END).expect("the place for the tables ends");
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", key_tables());

    let (before, rest) = expected.split_once("```toml wrong\n").expect("the page shows mistakes");
    let (wrong, rest) = rest.split_once("```\n").unwrap();
    let (between, rest) = rest.split_once("```text\n").expect("the page shows their answer");
    let (_, after) = rest.split_once("```\n").unwrap();
    let answer = Config::parse(wrong, "weir.toml").unwrap_err();
    let expected = format!("{before}```toml wrong\n{wrong}```\n{between}```text\n{answer}\n```\n{after}");
    assert_up_to_date(PAGE, &expected, &found);
}

/// The fenced blocks of the page that are opened with this word.
fn blocks(word: &str) -> Vec<String> {
    let page = std::fs::read_to_string(repository(PAGE)).unwrap();
    let mut blocks = Vec::new();
    for part in page.split(&format!("\n```{word}\n")).skip(1) {
        blocks.push(format!("{}\n", part.split("\n```\n").next().unwrap()));
    }
    blocks
}

#[test]
fn every_example_of_the_page_is_accepted_without_warnings() {
    let examples = blocks("toml");
    assert!(examples.len() >= 4, "{}", examples.len());
    for example in examples {
        let loaded = Config::parse(&example, "example.toml").unwrap_or_else(|e| panic!("{example}\n{e}"));
        assert_eq!(loaded.warnings, [], "{example}");
    }
}

/// A file in which the key has this value and everything else is right.
fn file_with(table: &schema::Table, key: &schema::Key, value: &str) -> String {
    let port = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\", \"2001:db8::2/64\"]\ngateway = [\"192.0.2.1\"]\n";
    let (neighbor, vip) =
        ("address = \"192.0.2.77\"\nmac = \"02:00:00:00:00:77\"\n", "address = \"203.0.113.77\"\n");
    let own = format!("{} = {value}\n", key.name);
    // Without the line that the key replaces.
    let rest = |lines: &str| -> String {
        lines.split_inclusive('\n').filter(|l| !l.starts_with(&format!("{} =", key.name))).collect()
    };
    let servers = "servers = [\"192.0.2.88\"]\n";
    let way = match key.name {
        "dscp" => "encap = \"l3dsr\"\n",
        "variant" => "encap = \"gue\"\n",
        "model" => "policy = \"sac-gru\"\n",
        "policy" if value.contains("sac") => "model = \"m\"\n",
        _ if value == "\"l3dsr\"" => "dscp = 7\n",
        _ => "",
    };
    let nat = if value.contains("8080") { "encap = \"nat\"\nport = 80\n" } else { "" };
    match table.path {
        "port" => format!("{}{own}[[vip]]\n{vip}{servers}", rest(port)),
        "neighbor" => format!("{port}[[neighbor]]\n{}{own}[[vip]]\n{vip}{servers}", rest(neighbor)),
        "vip" => format!("{port}[[vip]]\n{}{nat}{own}", rest(&format!("{vip}{way}{servers}"))),
        "vip.server" => {
            format!("{port}[[vip]]\n{vip}{nat}[[vip.server]]\n{}{own}", rest("address = \"192.0.2.88\"\n"))
        }
        // A check needs a port.
        "vip.health" => format!("{port}[[vip]]\n{vip}port = 80\n{servers}[{}]\n{own}", table.path),
        "policy" => {
            format!("{port}[[vip]]\n{vip}{servers}[region]\npath = \"/run/weir/region\"\n[policy]\n{own}")
        }
        path => format!("{port}[[vip]]\n{vip}{servers}[{path}]\n{own}"),
    }
}

/// Remedies quote the examples of the schema, so each has to be right.
#[test]
fn every_example_of_the_schema_is_accepted() {
    for table in schema::TABLES.iter().filter(|t| !t.path.is_empty()) {
        for key in table.keys.iter().filter(|k| !matches!(k.kind, schema::Kind::Table { .. })) {
            let text = file_with(table, key, key.example);
            let result = Config::parse(&text, "example.toml");
            assert!(result.is_ok(), "{text}\n{}", result.unwrap_err());
        }
    }
}

#[test]
fn a_default_written_out_is_the_same_as_the_key_left_out() {
    for table in schema::TABLES.iter().filter(|t| !t.path.is_empty()) {
        for key in table.keys.iter() {
            let schema::Default::Value(default) = key.default else { continue };
            let with = file_with(table, key, default);
            let without = with.replace(&format!("{} = {default}\n", key.name), "");
            if key.name == "gateway" {
                continue; // the file around it has one
            }
            let parse = |text: &str| {
                Config::parse(text, "weir.toml").unwrap_or_else(|e| panic!("{text}\n{e}")).config
            };
            assert_eq!(parse(&with), parse(&without), "{} in {}", key.name, table.header());
        }
    }
}

#[test]
fn every_table_of_the_schema_has_its_place_in_another() {
    for table in schema::TABLES.iter().filter(|t| !t.path.is_empty()) {
        assert!(table.header().starts_with('['), "{}", table.path);
        assert!(
            table.help.ends_with('.') && table.keys.iter().all(|k| k.help.ends_with('.')),
            "{}",
            table.path
        );
    }
}

#[test]
fn no_key_is_there_twice() {
    for table in schema::TABLES {
        let names: std::collections::HashSet<_> = table.keys.iter().map(|k| k.name).collect();
        assert_eq!(names.len(), table.keys.len(), "{}", table.path);
    }
}
