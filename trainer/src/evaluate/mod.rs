//! What can be said of runs: [`run`](mod@run) makes them, [`outcome`] says what became of them, with intervals.

pub mod contender;
pub mod interval;
pub mod outcome;
pub mod run;
