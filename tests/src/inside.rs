//! Daemons in this process, on a clock that the case advances: for what takes hours.

use std::error::Error;
use std::fs;
use std::thread::JoinHandle;

use anyhow::Result;
use nix::sched::{CloneFlags, unshare};
use steeple_runtime::Shutdown;
use steeple_runtime::logging::Log;
use steeple_server::Process;
use steeple_server::config::{Config, Flags};
use steeple_testkit::ManualClock;

use crate::Server;

/// A daemon on a thread and a runtime of its own, as a process has them.
pub struct Inside {
    thread: JoinHandle<Result<()>>,
    shutdown: Shutdown,
}

impl Inside {
    /// What `run` makes, which is to end when it is told so.
    pub fn start<E: Error + Send + Sync + 'static, F: Future<Output = Result<(), E>>>(
        run: impl FnOnce(Shutdown) -> F + Send + 'static,
    ) -> Self {
        let shutdown = Shutdown::new();
        let told = shutdown.clone();
        let thread = std::thread::spawn(|| {
            // A daemon restricts its umask, which is to be that of this thread alone: others start processes meanwhile.
            unshare(CloneFlags::CLONE_FS)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(run(told))?)
        });
        Self { thread, shutdown }
    }

    /// A server as its configuration file has it. It may not be ready yet.
    ///
    /// # Errors
    /// The file cannot be read, or its log cannot be opened.
    pub fn server(server: &Server, clock: &ManualClock) -> Result<Self> {
        let config = Config::parse(&fs::read_to_string(&server.conf)?, "server.conf", Flags::default())?;
        let (log, clock) = (Log::open(config.log.clone(), clock.clock())?, clock.clock());
        Ok(Self::start(move |shutdown| {
            let process = Process::without_file(log, clock, shutdown);
            steeple_server::run(config, &steeple_plugins::SERVER, process)
        }))
    }

    /// Whether it has ended, for whatever reason.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    /// It did not end well, or has before.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.stop();
        let ended = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        ended.map_err(|_| anyhow::anyhow!("a daemon has panicked"))?
    }
}
