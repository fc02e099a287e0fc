//! What can be said of runs.
//!
//! ```text
//! scenario, contender, seed --> run --> outcome --> compare (in pairs, with intervals) --> report, plot
//! ```

pub mod compare;
pub mod contender;
pub mod interval;
pub mod outcome;
pub mod plot;
pub mod report;
pub mod run;
