//! The agent's gRPC services and the socket that they are on.

mod admission;
mod endpoint;
mod health;
mod limits;
mod workload;

pub(crate) use endpoint::{Endpoint, EndpointError, Options, Parts};

#[cfg(test)]
mod tests;
