//! The agent's gRPC services and the socket that they are on.

mod admission;
mod endpoint;
mod health;
mod workload;

pub(crate) use endpoint::{Endpoint, EndpointError, Parts};

#[cfg(test)]
mod tests;
