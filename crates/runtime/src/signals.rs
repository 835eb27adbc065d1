//! What a daemon does when it is sent a signal, other than stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::Shutdown;
use crate::logging::Log;

/// From now on SIGUSR2 opens the log file anew, and SIGUSR1 does nothing yet; neither may end the process, as they would
/// by default. Must be called on a tokio runtime.
///
/// # Errors
/// The system refuses to deliver them.
pub fn follow(log: &Log, shutdown: &Shutdown) -> io::Result<()> {
    let (mut reconfigure, mut reopen) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
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
