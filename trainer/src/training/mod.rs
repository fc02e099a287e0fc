//! Training: worlds drawn at random, agents on their balancers, and a learner.
//!
//! ```text
//! config -> run -> worlds -> lesson { drive { seat } } -> replay -> student { learner }
//!                                                             |
//!                  judge <- model <----------------------------+        journal, checkpoint: what is written down
//! ```
//!
//! `docs/design/training.md` says what holds, and what every key of a configuration means.

pub mod checkpoint;
pub mod config;
pub mod journal;
pub mod judge;
pub mod lesson;
pub mod run;
pub mod seat;
pub mod student;
pub mod tensorboard;
pub mod worlds;
