//! Tests of the configuration.

mod accepts;
