//! `steeple load`: a server or an agent under load, and what an operation costs it.
//!
//! | Here | What it is |
//! |---|---|
//! | [`options`] | what the caller asks for |
//! | [`process`], [`samples`], [`report`] | what is measured, and how it is told |
//! | [`pace`] | how operations follow each other |
//! | [`server`], [`attested`], [`follow`] | what a run needs at the server: entries, agents, their streams |
//! | [`mint`], [`sign`], [`fetch`], [`entries`], [`list`], [`change`], [`attest`] | operations, made at some pace |
//! | [`hold`], [`comeback`], [`arrival`] | those that are different |
//! | [`measure`] | a run from its beginning to its report |
//! | [`advice`] | what went wrong, and what to do |
//!
//! All of it runs on one thread, so that it takes one processor from the daemon at most.

mod advice;
mod arrival;
mod attest;
mod attested;
mod change;
mod comeback;
mod entries;
mod fetch;
mod follow;
mod hold;
mod list;
mod measure;
mod mint;
mod options;
mod pace;
mod process;
mod report;
mod samples;
mod server;
mod sign;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use steeple_runtime::{Clock, Shutdown};
use tokio::signal::unix::{SignalKind, signal};

use measure::Outcome;
use options::{Options, Wish};

/// Runs the command with the arguments behind `load`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let options = match options::parse(args) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Help(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = write!(io::stderr(), "steeple load: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("cannot start").and_then(|runtime| runtime.block_on(load(&options))) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "steeple load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was measured, however the run ended.
async fn load(options: &Options) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = Shutdown::new();
    let clock = Clock::system();
    let mut run = std::pin::pin!(measure::run(options, &clock, &stop));
    let mut signals = 0;
    let Outcome { report, error } = loop {
        tokio::select! {
            biased;
            outcome = &mut run => break outcome,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.stop();
        signals += 1;
        if signals > 1 {
            // What the run has made stays at the server.
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let mut failed = error.is_some();
    if let Some(mut report) = report {
        failed |= !report.run.failed.is_empty();
        let text = if options.json { format!("{:#}\n", report.json()) } else { report.text() };
        // A closed pipe is no failure of the run.
        let _ = io::stdout().write_all(text.as_bytes());
    }
    if let Some(error) = error {
        return Err(error);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What shells answer for a command that Ctrl-C has killed.
const INTERRUPTED: u8 = 130;
