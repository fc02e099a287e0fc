//! Who weighs the servers: hosts `policy::controller` on the policy thread, or in a process of its own.
//!
//! ```text
//!   configuration ──wishes──▶ Pilot ──weights──▶ mailbox ──▶ control thread ──▶ a new generation
//!   frames of statistics ────▶  │ └──decisions──▶ Board ──▶ metrics, `weir explain`
//!   weights of another process ─┘ └──▶ region, decision log
//! ```

mod board;
mod pilot;
mod process;
mod wishes;

pub use self::{
    board::{Board, Entry, Fairness, ServerEntry, VipBoard},
    pilot::Pilot,
    process::{PolicyArgs, run},
    wishes::{Wishes, plan},
};
