//! The agent's gRPC services and the socket that they are on.

mod admission;
mod endpoint;
mod health;
mod workload;

pub use endpoint::{Endpoint, EndpointError, Parts};
