//! `steeple.agent.sync.v1.Sync`: pushes to an agent what changes for it.
//!
//! A stream knows what the agent holds, compares it with what the agent may have whenever the index says that
//! something changed, and sends the difference: bundles first, then entries.

mod following;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use steeple_proto::steeple::agent::sync::v1::sync_server::{Sync, SyncServer};
use steeple_proto::steeple::agent::sync::v1::{FollowRequest, FollowResponse, follow_request};
use steeple_runtime::{Shutdown, jitter};
use steeple_transport::rpc::Call;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

use super::Parts;
use super::streams::Streams;
use crate::authpolicy::Agents;
use following::{Ended, Following};

/// An agent that opens a stream says at once what it holds.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// Messages on their way to an agent that does not read.
const AHEAD: usize = 4;

struct Service {
    parts: Parts,
    agents: Arc<Agents>,
    /// How long a stream lives, give or take a tenth: as long as its connection.
    age: Duration,
    shutdown: Shutdown,
    streams: Streams,
}

/// The service.
pub(crate) fn service(parts: Parts, agents: Arc<Agents>, age: Duration, shutdown: Shutdown) -> SyncServer<impl Sync> {
    SyncServer::new(Service { parts, agents, age, shutdown, streams: Streams::default() })
}

#[tonic::async_trait]
impl Sync for Service {
    async fn follow(
        &self,
        request: Request<Streaming<FollowRequest>>,
    ) -> Result<Response<BoxStream<FollowResponse>>, Status> {
        let call = Call::of(&request)?;
        let mut newer = self.streams.open(call.agent()?.as_str());
        let (answers, stream) = mpsc::channel(AHEAD);
        let following = Following::new(self.parts.clone(), Arc::clone(&self.agents), call, answers.clone());
        let (clock, age, shutdown) = (self.parts.clock.clone(), self.age, self.shutdown.clone());
        let mut requests = request.into_inner();
        let follow = async move {
            let work = async {
                let first = clock.within(FIRST_MESSAGE, requests.next()).await;
                let Some(Some(first)) = first else {
                    return Err(Ended::Refused(Status::invalid_argument("the first message must be open")));
                };
                let Some(follow_request::Request::Open(open)) = first?.request else {
                    return Err(Ended::Refused(Status::invalid_argument("the first message must be open")));
                };
                following.run(open, requests).await
            };
            // OK at the connection's age and at shutdown: the agent opens another stream, here or elsewhere. An agent
            // has one, so that what it costs is bounded; the newest is the one that it reads.
            let ended = tokio::select! {
                ended = work => ended,
                () = clock.sleep(jitter(age)) => Ok(()),
                () = shutdown.stopped() => Ok(()),
                () = newer.opened() => Ok(()),
            };
            if let Err(Ended::Refused(status)) = ended {
                let _ = answers.send(Err(status)).await;
            }
        };
        tokio::spawn(follow.instrument(Span::current()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
