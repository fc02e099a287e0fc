//! What trains agents. It runs the networks of [`policy::agents::net`], the very code that acts.

pub mod adam;
pub mod draws;
pub mod mixer;
pub mod params;
pub mod qmix;
pub mod replay;
