//! What a daemon does when it is sent a signal, other than stop.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::error;

use crate::Shutdown;
use crate::logging::Log;

/// Signals for the parts of a daemon, from the start of the process on: none is lost that comes before somebody waits for
/// it, and several of a kind are one. Clones hear the same ones.
#[derive(Clone, Debug)]
pub struct Signals {
    reconfigure: watch::Receiver<()>,
    reload: watch::Receiver<()>,
}

/// What sends them.
#[derive(Debug)]
pub struct Sender {
    reconfigure: watch::Sender<()>,
    reload: watch::Sender<()>,
}

impl Signals {
    /// With their sender. Without it there will be none any more.
    pub fn new() -> (Sender, Self) {
        let ((reconfigure, reconfigured), (reload, reloaded)) = (watch::channel(()), watch::channel(()));
        (Sender { reconfigure, reload }, Self { reconfigure: reconfigured, reload: reloaded })
    }

    /// Nobody sends any: for a daemon that is not a process.
    pub fn none() -> Self {
        Self::new().1
    }

    /// The next one.
    pub async fn next(&mut self) -> Sent {
        tokio::select! {
            () = next(&mut self.reconfigure) => Sent::Reconfigure,
            () = next(&mut self.reload) => Sent::Reload,
        }
    }
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// SIGUSR1: plugins are to read their own files again, and what is measured in memory is to be told.
    Reconfigure,
    /// SIGHUP, where it does not end the process: the configuration is to be read again.
    Reload,
}

impl Sender {
    /// As SIGUSR1.
    pub fn reconfigure(&self) {
        self.reconfigure.send_replace(());
    }

    /// As SIGHUP.
    pub fn reload(&self) {
        self.reload.send_replace(());
    }
}

async fn next(signal: &mut watch::Receiver<()>) {
    if signal.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What SIGHUP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// It ends the process, as the reference's: a terminal was closed.
    Ends,
    /// It has the configuration read again.
    Reloads,
}

impl Hangup {
    /// Supervisors send it to have the configuration read again. systemd tells the process that it has started it, and what
    /// that has started in turn, a shell for example, has another number.
    pub fn under_a_supervisor() -> Self {
        let is_it = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if is_it || std::env::var_os("NOTIFY_SOCKET").is_some() { Self::Reloads } else { Self::Ends }
    }
}

/// From now on SIGUSR1 and SIGUSR2 wait until [`follow`], where they would end the process by default. To be called before
/// there is another thread, since threads take over what waits.
///
/// # Errors
/// The system refuses.
pub fn hold() -> io::Result<()> {
    Ok(held().thread_block()?)
}

/// From now on SIGUSR2 opens the log file anew, and the others are told to the daemon; none ends the process. Those that
/// came since [`hold`] are delivered. Must be called on a tokio runtime, by the thread that has held them.
///
/// # Errors
/// The system refuses to deliver them.
pub fn follow(log: &Log, hangup: Hangup, shutdown: &Shutdown) -> io::Result<Signals> {
    let (mut reconfigure, mut reopen) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let mut hung_up = match hangup {
        Hangup::Ends => None,
        Hangup::Reloads => Some(signal(SignalKind::hangup())?),
    };
    held().thread_unblock()?;
    let (log, shutdown) = (log.clone(), shutdown.clone());
    let (sender, signals) = Signals::new();
    tokio::spawn(async move {
        loop {
            let hung_up = async {
                match &mut hung_up {
                    Some(hung_up) => hung_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.stopped() => return,
                _ = reconfigure.recv() => sender.reconfigure(),
                _ = hung_up => sender.reload(),
                _ = reopen.recv() => if let Err(error) = log.reopen() {
                    error!(error = %error, "failed to rotate log after signal");
                },
            }
        }
    });
    Ok(signals)
}

fn held() -> SigSet {
    [Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_comes_before_somebody_waits_is_not_lost_and_comes_once() {
        let (sender, mut signals) = Signals::new();
        let mut other = signals.clone();
        sender.reconfigure();
        sender.reconfigure();
        assert_eq!(signals.next().now_or_never(), Some(Sent::Reconfigure));
        assert_eq!(signals.next().now_or_never(), None);
        assert_eq!(other.next().now_or_never(), Some(Sent::Reconfigure));
        sender.reload();
        drop(sender);
        assert_eq!(signals.next().now_or_never(), Some(Sent::Reload));
        assert_eq!(signals.next().now_or_never(), None);
    }
}
