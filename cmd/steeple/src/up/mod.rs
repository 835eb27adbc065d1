//! `steeple up`: a whole trust domain in a temporary directory, for as long as the command runs.
//!
//! | Here | What it is |
//! |---|---|
//! | [`options`], [`config`] | what the caller asks for, and the daemons' configuration files |
//! | [`place`] | the directory |
//! | [`daemons`] | the server and the agent as processes |
//! | [`steps`] | what is done with them, one after the other |
//! | [`workload`] | the Workload API, from the workload's side |
//! | [`describe`], [`follow`] | what is told about identities, at first and at each change |
//! | [`screen`] | how it is told |

mod config;
mod daemons;
mod describe;
mod follow;
mod options;
mod place;
mod screen;
mod steps;
#[cfg(test)]
mod testdata;
mod workload;

pub(crate) use daemons::{BOUND_TO, run_bound_to};

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use steeple_runtime::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use config::Domain;
use daemons::{Daemons, Programs};
use options::Wish;
use place::Place;
use screen::{Colour, Screen};
use steps::Steps;

/// Runs the command with the arguments behind `up`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let domain = match options::parse(args) {
        Ok(Wish::Run(domain)) => domain,
        Ok(Wish::Help(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = write!(io::stderr(), "steeple up: {error}");
            return ExitCode::FAILURE;
        }
    };
    // One thread, the main one: see `daemons`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("cannot start").and_then(|runtime| runtime.block_on(up(&domain, &Clock::system()))) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "steeple up: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// From the first line to the last. Returns an error only when there is nothing to stop, before or after.
async fn up(domain: &Domain, clock: &Clock) -> Result<ExitCode> {
    let mut screen = Screen::new();
    // Before anything exists that a signal must not leave behind.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let programs = Programs::find()?;
    screen.line(screen.paint(Colour::Bold, "A throw-away trust domain. Ctrl-C stops it and removes everything."));
    screen.line("");
    let swept = place::sweep();
    let place = Place::create()?;
    screen.step("directory", place.path().display());
    if swept > 0 {
        screen.step("swept", format!("{swept} that killed commands had left behind"));
    }

    let mut daemons = Daemons::default();
    let steps = Steps { programs: &programs, place: &place, domain, clock };
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        result = steps.run(&mut daemons, &mut screen) => result.map(|never| match never {}),
    };
    let mut code = ExitCode::SUCCESS;
    if let Err(error) = result {
        screen.failure(format!("{error:#}\n\n{ADVICE}"));
        code = ExitCode::FAILURE;
    }

    screen.line("");
    let stopped = tokio::select! {
        () = stop(&mut daemons, clock, &mut screen) => true,
        () = signals.next() => false,
    };
    if !stopped {
        daemons.kill().await;
        screen.step("killed", "what had not stopped yet");
        code = ExitCode::from(INTERRUPTED);
    }
    let path = place.path().to_owned();
    place.remove().with_context(|| format!("cannot remove {}; remove it by hand", path.display()))?;
    screen.step("removed", format!("{}; nothing is left behind", path.display()));
    Ok(code)
}

/// The agent first: without a server it would only complain.
async fn stop(daemons: &mut Daemons, clock: &Clock, screen: &mut Screen) {
    let Daemons { server, agent } = daemons;
    for (name, daemon) in [("agent", agent), ("server", server)] {
        if let Some(daemon) = daemon.as_mut().filter(|daemon| daemon.pid().is_some()) {
            screen.begin(name, "stopping");
            daemon.stop(clock).await;
            screen.end(", stopped");
        }
    }
}

/// What asks the command to stop: Ctrl-C, SIGTERM, and the end of its terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let [interrupt, terminate, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([signal(interrupt)?, signal(terminate)?, signal(hangup)?]))
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Nothing here depends on the machine's own configuration: what fails twice is worth a report.
const ADVICE: &str =
    "Start `steeple up` again. If it fails again, these lines say why; send them along when you report it.";
/// What shells answer for a command that Ctrl-C has killed.
const INTERRUPTED: u8 = 130;
