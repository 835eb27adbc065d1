//! What a daemon does when it is sent a signal, other than stop.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::Shutdown;
use crate::logging::Log;

/// From now on SIGUSR1 and SIGUSR2 wait until [`follow`], where they would end the process by default. To be called before
/// there is another thread, since threads take over what waits.
///
/// # Errors
/// The system refuses.
pub fn hold() -> io::Result<()> {
    Ok(held().thread_block()?)
}

/// From now on SIGUSR2 opens the log file anew, and SIGUSR1 does nothing yet, but is told; neither ends the process. Those
/// that came since [`hold`] are delivered. Must be called on a tokio runtime, by the thread that has held them.
///
/// # Errors
/// The system refuses to deliver them.
pub fn follow(log: &Log, shutdown: &Shutdown) -> io::Result<()> {
    let (mut reconfigure, mut reopen) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    held().thread_unblock()?;
    let (log, shutdown) = (log.clone(), shutdown.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.stopped() => return,
                _ = reconfigure.recv() => info!(target: "reconfigurer", "Reconfigure signal received"),
                _ = reopen.recv() => if let Err(error) = log.reopen() {
                    error!(error = %error, "Failed to rotate log after signal");
                },
            }
        }
    });
    Ok(())
}

fn held() -> SigSet {
    [Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect()
}
