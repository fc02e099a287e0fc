//! Starting over with one thread, on the test program itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Stdio};

/// Set for the child only: in the other processes `child` has nothing to do.
const MARK: &str = "WEIR_TEST_STARTS_OVER";

#[test]
fn child() {
    if std::env::var_os(MARK).is_some() {
        policy::threads::use_one().unwrap();
        println!("threads {} process {}", std::env::var("RAYON_NUM_THREADS").unwrap(), std::process::id());
    }
}

fn output(threads: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(MARK, "1");
    command.env_remove("RAYON_NUM_THREADS").stdout(Stdio::piped());
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads);
    }
    let child = command.spawn().unwrap();
    let expected = format!("process {}", child.id());
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(output.contains(&expected), "the process number has changed: {output}");
    output
}

#[test]
fn process_goes_on_as_itself_with_one_thread() {
    for threads in [None, Some("4"), Some("1")] {
        let output = output(threads);
        assert!(output.contains("threads 1 process"), "{output}");
    }
}
