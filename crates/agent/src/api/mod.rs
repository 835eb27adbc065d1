//! The agent's gRPC services and the sockets that they are on.

mod admin;
mod admission;
mod debug;
mod endpoint;
mod health;
mod limits;
mod logger;
mod workload;

pub(crate) use admin::Admin;
pub(crate) use debug::Agent as Debugged;
pub(crate) use endpoint::{Endpoint, EndpointError, Options, Parts};

#[cfg(test)]
mod tests;
