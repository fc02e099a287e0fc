//! One reader for each part of the file: from TOML tables to the types of [`super::types`].
//!
//! A reader checks what its table says by itself, and against the parts that were read before it.

pub(super) mod health;
pub(super) mod measure;
mod mss;
pub(super) mod neighbor;
mod overlap;
pub(super) mod policy;
pub(super) mod port;
pub(super) mod process;
pub(super) mod server;
pub(super) mod tunnel;
pub(super) mod vip;
