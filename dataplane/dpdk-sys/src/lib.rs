//! Bindings to the installed libdpdk, generated at build time by bindgen.
//!
//! Nothing is added by hand: what DPDK exports is declared here under its own name, and what DPDK
//! documents applies. What it gives only as a static inline function is written in Rust in
//! `dataplane::ports::dpdk`, the only user of this crate.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
