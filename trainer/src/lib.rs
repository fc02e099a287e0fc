//! Where policies are tried and trained: [`sim`] is a world of clients, balancers and servers in which time is an
//! argument, and everything is a function of a seed.
#![forbid(unsafe_code)]

pub mod evaluate;
pub mod learners;
pub mod sanity;
pub mod scenario;
pub mod sim;
pub mod traces;
pub mod training;
