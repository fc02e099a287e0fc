//! Fuzz targets: each takes any bytes, and panics when a promise is broken.
//!
//! They are plain functions, so that the seeds run as ordinary tests; `scripts/fuzz` puts libFuzzer in front of them
//! (`docs/architecture.md`).

pub mod config;
pub mod decap;
pub mod flow_table;
pub mod frames;
mod input;

/// Turns huge pages off for this process: an input uses little of tables that are made anew for each, and clearing
/// two megabytes for each of them is most of the work.
pub(crate) fn without_huge_pages() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Where it is not possible everything works as well, only slower.
    ONCE.call_once(|| _ = nix::sys::prctl::set_thp_disable(true));
}

#[allow(missing_docs, reason = "the frames and workers of the packet path's own tests")]
#[path = "../../dataplane/tests/support/mod.rs"]
pub mod support;
