//! Tests of the configuration.

mod accepted;
mod documented;
mod mistakes;
mod never_panics;
mod reload;

use std::path::{Path, PathBuf};

/// A path from the root of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares generated text with a file of the repository; with `WEIR_REWRITE=1` writes it there instead.
fn assert_up_to_date(path: &str, expected: &str, found: &str) {
    if std::env::var_os("WEIR_REWRITE").is_some() {
        std::fs::write(repository(path), expected).unwrap();
    } else if expected != found {
        let line = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
        let (should, is) = (expected.lines().nth(line), found.lines().nth(line));
        panic!(
            "{path} is out of date from line {} on\n  should be: {should:?}\n  is:        {is:?}\n\
             if that is meant, write it anew: WEIR_REWRITE=1 cargo test -p weir config",
            line + 1
        );
    }
}
