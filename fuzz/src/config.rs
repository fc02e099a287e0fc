//! Any text as a configuration.

use dataplane::{time::Nanos, wire::Mac};
use weir::{config::Config, control::Control};

/// It is answered: refused with words, or accepted, and then the tables can be built from it.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Config::parse(&text, "fuzz.toml") {
        Err(errors) => assert!(errors.to_string().contains("error: ")),
        Ok(loaded) => {
            let macs = loaded.config.ports.iter().map(|_| Mac([2; 6])).collect();
            assert!(Control::new(loaded.config, macs, 1, Nanos(0)).is_ok(), "accepted, and cannot be built");
        }
    }
}
