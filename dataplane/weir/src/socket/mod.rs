//! The control socket: HTTP on a Unix socket that only the user of the instance may open.
//!
//! Served by the thread `metrics`. Nothing on it touches a worker.

mod client;
mod server;

pub use self::{
    client::{ask, socket_of},
    server::{Bound, bind},
};
