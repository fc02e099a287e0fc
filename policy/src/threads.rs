//! Keeps inference and training on one thread.

use std::{convert::Infallible, env, ffi::OsStr, io, os::unix::process::CommandExt, process::Command};

/// What Candle and its matrix product look at for the number of threads, each time anew.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Sees to it that this process was started with `RAYON_NUM_THREADS=1`, if need be by starting it over.
///
/// To be called first thing in `main`, before there are threads or open files: the process image is replaced by a fresh one
/// of the same program, arguments and process number, so that signals, waiting parents and supervisors notice nothing.
/// It returns when the variable is 1.
///
/// Without it, Candle 0.11 reads `/proc/cpuinfo` at every matrix product, which costs ten times the product, and starts
/// as many threads as there are CPUs; a variable that is set later, by a process with threads, is unsound. On an
/// error the process can go on: the numbers are the same, only slower.
pub fn use_one() -> io::Result<()> {
    if env::var_os(VARIABLE).as_deref() == Some(OsStr::new("1")) {
        return Ok(());
    }
    start_over().map(|never: Infallible| match never {})
}

fn start_over() -> io::Result<Infallible> {
    let mut arguments = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Err(command.args(arguments).env(VARIABLE, "1").exec())
}
