//! `api`: what a workload gets from the Workload API.

mod fetch_jwt;
mod fetch_x509;
mod json;
#[cfg(test)]
mod recorded;
mod update;
mod validate_jwt;
mod watch;

pub(crate) use fetch_jwt::fetch_jwt;
pub(crate) use fetch_x509::fetch_x509;
pub(crate) use validate_jwt::validate_jwt;
pub(crate) use watch::watch;
