//! Agents through their public face.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod golden;
mod networks;
mod proposals;
mod random;
