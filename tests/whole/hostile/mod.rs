//! Peers that mean harm: an agent with an SVID of its own and what it could learn of others' nodes, workloads on an agent's
//! socket, and all who could use up a daemon.
//!
//! What a connection to the agent's socket is (one that was handed to another process, a program that executes another
//! one, a user that changes) is held by the tests of `crates/transport` and `crates/runtime`: here stands what only whole
//! daemons can show.

mod agent;
pub(crate) mod callers;
mod go_between;
mod network;
mod sync;
mod wire;
mod workload;

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use steeple_testkit::wire::Schema;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Calls any method by its path with an empty message. Returns what it is refused with; Ok when there was an answer.
pub(crate) async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Result<(), Status>> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let mut request = Request::new(tokio_stream::once(()));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse()?);
    }
    let codec = ProstCodec::<(), ()>::default();
    let answered = client.streaming(request, PathAndQuery::try_from(path)?, codec).await;
    Ok(match answered {
        Ok(answer) => answer.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    })
}

/// The paths of all methods in compiled sources, those of services whose full name `wanted` accepts.
fn methods(descriptors: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    Schema::new(&[descriptors]).methods(wanted).into_iter().map(str::to_owned).collect()
}

/// Bytes of memory that a process has now.
fn memory(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

const MIB: u64 = 1 << 20;
