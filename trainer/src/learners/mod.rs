//! What trains agents. It runs the networks of [`policy::agents::net`], the very code that acts.

pub mod adam;
pub mod critic;
pub mod draws;
pub mod entropy;
pub mod export;
pub mod hindsight;
pub mod imitation;
pub mod mixer;
pub mod params;
pub mod qmix;
pub mod replay;
pub mod sac;
pub mod sac_discrete;
pub mod saved;
pub mod soft;
pub mod squashed;
pub mod unroll;
mod view;
