//! How long an entry takes to the open stream of its workload, which is this process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use steeple_proto::workload::X509svidResponse;
use steeple_runtime::{Clock, spread};
use steeple_spiffe::SpiffeId;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::advice::failed;
use super::fetch::{connect, open};
use super::samples::Samples;
use super::server::Server;

/// Tries, one after the other. Each deletes the entry of the one before it, so that the stream stays short.
pub(super) struct Arrival<'a> {
    server: &'a Server,
    parent: SpiffeId,
    selector: (&'static str, String),
    stream: Streaming<X509svidResponse>,
    clock: &'a Clock,
    pub(super) samples: Samples,
}

impl<'a> Arrival<'a> {
    /// Opens the stream of this process, with an entry that stays: a stream without an identity ends.
    ///
    /// # Errors
    /// No identity comes.
    pub(super) async fn open(server: &'a Server, parent: SpiffeId, socket: &Path, clock: &'a Clock) -> Result<Self> {
        let selector = ("unix", format!("uid:{}", nix::unistd::geteuid()));
        let entry = server.entry(0, &parent, (selector.0, &selector.1))?;
        server.create(vec![entry]).await.map_err(|status| failed("cannot create an entry", &status))?;
        let mut client = connect(socket);
        let opened = async {
            loop {
                match open(&mut client).await {
                    Err(status) if status.code() == Code::PermissionDenied => clock.sleep(ASK_AGAIN).await,
                    done => return done,
                }
            }
        };
        let stream = clock.within(LIMIT, opened).await.with_context(|| {
            format!("the agent got no entry below {parent} within {} s: is it that agent?", LIMIT.as_secs())
        })?;
        let stream = stream.map_err(|status| failed("cannot open a stream of X.509-SVIDs", &status))?;
        Ok(Self { server, parent, selector, stream, clock, samples: Samples::default() })
    }

    /// Tries `count` times, each after a random part of `pause`, until `duration` is over.
    ///
    /// # Errors
    /// The server refuses an entry, an entry does not arrive, or the stream ends.
    pub(super) async fn run(&mut self, count: u64, duration: Option<Duration>, pause: Duration) -> Result<()> {
        let begin = Instant::now();
        for number in 1..=count {
            if duration.is_some_and(|duration| begin.elapsed() >= duration) {
                break;
            }
            // Otherwise a daemon that looks every few seconds would be met at the same moment of its round each time.
            self.clock.sleep(part_of(pause)).await;
            let took = self.once(number).await?;
            self.samples.add(took);
        }
        Ok(())
    }

    async fn once(&mut self, number: u64) -> Result<Duration> {
        let Self { server, parent, selector, stream, clock, samples: _ } = self;
        let entry = server.entry(number, parent, (selector.0, &selector.1))?;
        let (id, entry_id) = (server.id(&number.to_string())?, entry.id.clone());
        let begin = Instant::now();
        // At the same time: a push can be there before the call is answered.
        let create = async {
            let created = server.create(vec![entry]).await;
            created.map_err(|status| failed("cannot create an entry", &status))
        };
        let arrive = async {
            let arrived = clock.within(LIMIT, until(stream, &id)).await;
            let arrived = arrived.with_context(|| format!("the entry has not arrived within {} s", LIMIT.as_secs()))?;
            arrived.map_err(|status| failed("the stream of X.509-SVIDs has ended", &status))?;
            anyhow::Ok(begin.elapsed())
        };
        let ((), took) = tokio::try_join!(create, arrive)?;
        let deleted = server.delete(vec![entry_id]).await;
        deleted.map_err(|status| failed("cannot delete an entry", &status))?;
        Ok(took)
    }
}

async fn until(stream: &mut Streaming<X509svidResponse>, id: &SpiffeId) -> Result<(), Status> {
    loop {
        let update = stream.message().await?.ok_or_else(|| Status::cancelled("the agent ended it"))?;
        if update.svids.iter().any(|svid| svid.spiffe_id == id.as_str()) {
            return Ok(());
        }
    }
}

/// From nothing to all of it, evenly.
fn part_of(length: Duration) -> Duration {
    spread(length / 2, length / 2)
}

/// SPIRE's agents ask every five seconds a server that reads its database every five seconds.
const LIMIT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_all_of_their_length() {
        let length = Duration::from_secs(1);
        let parts: Vec<Duration> = (0..1000).map(|_| part_of(length)).collect();
        assert!(parts.iter().all(|part| *part <= length + Duration::from_micros(1)));
        // None of a thousand in one of the outer tenths: once in 10^45 runs.
        assert!(parts.iter().any(|part| *part < length / 10) && parts.iter().any(|part| *part > length * 9 / 10));
        assert_eq!(part_of(Duration::ZERO), Duration::ZERO);
    }
}
