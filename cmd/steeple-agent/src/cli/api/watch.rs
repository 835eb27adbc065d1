use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use steeple_config::flags::FlagSet;
use steeple_console::program::Program;
use steeple_spiffe::workload_api::{ClientError, X509Context};
use tonic::{Code, Status};

use super::json;
use super::update::{Style, Update};
use crate::cli::client::{Agent, AgentFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Prints the X509-SVIDs that the agent has for this process whenever they change, until it is interrupted, which counts
/// as a failure. As JSON, it is a line each time.
pub(crate) async fn watch(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output) = (AgentFlags::default(), Output::default());
    usage::parse(output.add_to(program, agent.add_to(FlagSet::new("watch"))), args)?;

    let (agent, format) = (agent.agent()?, output.format());
    let mut watch = Watch { agent, format, since: Instant::now(), failures: 0, open: false };
    tokio::select! {
        refused = watch.run() => return Err(refused),
        signal = tokio::signal::ctrl_c() => signal?,
    }
    if watch.open {
        return Err(told_first(anyhow!("rpc error: code = Canceled desc = context canceled")));
    }
    bail!("context canceled")
}

struct Watch {
    agent: Agent,
    format: Format,
    /// The start, or the latest update.
    since: Instant,
    /// Since the latest update.
    failures: u32,
    /// Whether there is a stream now.
    open: bool,
}

impl Watch {
    /// Opens the stream anew whenever it ends, later and later. Ends with what will not become better.
    async fn run(&mut self) -> anyhow::Error {
        loop {
            self.open = true;
            let ended = self.follow().await;
            self.open = false;
            let Err(error) = ended;
            match error {
                Ended::Refused(status) => return told_first(self.agent.failed(&status)),
                Ended::Broken(status) => console::err(&format!("{}\n", self.agent.failed(&status))),
                Ended::Unusable(error) => console::err(&format!("{error:#}\n")),
            }
            self.failures += 1;
            tokio::time::sleep(pause(self.failures)).await;
        }
    }

    /// Prints what comes on one stream.
    async fn follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut answers = self.agent.workload().stream::<X509Context>().await?;
        loop {
            let update = Update::from(answers.next().await?);
            match self.format {
                Format::Json => print_json(&json::update(&update)),
                Format::Pretty => console::out(&update.pretty(self.since.elapsed(), Style::Watch)),
            }
            (self.since, self.failures) = (Instant::now(), 0);
        }
    }
}

/// Why a stream ended.
enum Ended {
    /// The agent will never answer otherwise.
    Refused(Status),
    /// The agent is away, or has nothing for us.
    Broken(Status),
    /// The agent sent nothing, or what is no SVID.
    Unusable(anyhow::Error),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Status(status) if status.code() == Code::InvalidArgument => Self::Refused(*status),
            ClientError::Status(status) => Self::Broken(*status),
            ClientError::Ended => Self::Unusable(anyhow!("EOF")),
            ClientError::Answer(error) => Self::Unusable(error.into()),
            other => Self::Unusable(other.into()),
        }
    }
}

/// The reference tells how a stream ended, and then that it gives up for that reason.
fn told_first(error: anyhow::Error) -> anyhow::Error {
    console::err(&format!("{error:#}\n"));
    error
}

/// A second more after each failure, up to half a minute.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(failures.min(30).into())
}
