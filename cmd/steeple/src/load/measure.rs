//! One run, from its beginning to its report.

use std::cell::RefCell;

use anyhow::{Result, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use steeple_runtime::{Clock, Shutdown};
use tokio::time::Instant;

use super::advice::{Daemon, failed};
use super::arrival::Arrival;
use super::attest::{Attest, Renew};
use super::attested::Site;
use super::change::Change;
use super::comeback::{self, Comeback};
use super::entries::Entries;
use super::fetch::{Fetch, FetchHeld, FetchJwt};
use super::hold::{Agents, Held};
use super::list::List;
use super::mint::{Mint, MintJwt};
use super::options::{Operation, Options};
use super::pace::{self, Pace, Run, Work};
use super::process::{Process, Processes, Usages};
use super::report::Report;
use super::server::{AT_ONCE, Server};
use super::sign::{Authorized, Batch, InTurns, Jwt};

/// What came of a run. There may be both: what was measured before it failed is told.
pub(super) struct Outcome {
    pub(super) report: Option<Report>,
    pub(super) error: Option<anyhow::Error>,
}

/// Does what the options ask for, and takes away what it has made at the server.
pub(super) async fn run(options: &Options, clock: &Clock, stop: &Shutdown) -> Outcome {
    let measuring = Measuring { options, clock, stop, report: RefCell::default() };
    let mut error = measuring.run().await.err();
    let mut report = measuring.report.into_inner();
    if let Some(report) = &mut report {
        if report.run.interrupted {
            report.notes.push("interrupted: this is what was measured so far".into());
        }
        if let Some(status) = report.run.first_failure.take().filter(|_| error.is_none()) {
            error = Some(failed("operations failed, the first one", &status));
        }
    }
    Outcome { report, error }
}

struct Measuring<'a> {
    options: &'a Options,
    clock: &'a Clock,
    stop: &'a Shutdown,
    report: RefCell<Option<Report>>,
}

impl Measuring<'_> {
    async fn run(&self) -> Result<()> {
        let Options { operation, server_socket, agent_socket, .. } = self.options;
        steeple_runtime::os::raise_open_files();
        match operation {
            Operation::Fetch | Operation::FetchHeld | Operation::FetchJwt | Operation::Held => {
                let process = Process::find(self.options.pid, agent_socket, Daemon::Agent).await?;
                self.agent(self.beside(process)?).await
            }
            Operation::Idle => {
                let process = match self.options.pid {
                    Some(pid) => Process::of(pid)?,
                    None => Process::find(None, server_socket, Daemon::Server).await?,
                };
                self.idle(self.beside(process)?).await
            }
            _ => {
                let process = Process::find(self.options.pid, server_socket, Daemon::Server).await?;
                let server = self.unless_stopped(Server::connect(server_socket)).await?;
                let done = self.server(&server, self.beside(process)?).await;
                if self.options.keep {
                    server.keep();
                }
                // However it ended. A second signal cuts this short.
                done.and(server.tidy().await)
            }
        }
    }

    /// With the others, this process among them: on few cores, what it needs is what the daemon lacks.
    fn beside(&self, under_load: Process) -> Result<Processes> {
        let own = i32::try_from(std::process::id())?;
        let others = self.options.others.iter().copied().chain([own]).map(Process::of).collect::<Result<_>>()?;
        Ok(Processes { under_load, others })
    }

    async fn agent(&self, processes: Processes) -> Result<()> {
        let socket = &self.options.agent_socket;
        match self.options.operation {
            Operation::Fetch => self.paced(processes, &Fetch(socket.clone()), None).await,
            Operation::FetchHeld => self.paced(processes, &FetchHeld::new(socket), None).await,
            Operation::FetchJwt => {
                self.paced(processes, &FetchJwt::new(socket, steeple_pki::random_key_id()?), None).await
            }
            _ => {
                let held = Held::new(socket);
                // What the agent needs for the first streams, but not for each.
                self.warmed_up(&held, &Pace { count: 5, duration: None, ..self.options.pace }).await?;
                held.close();
                self.held(processes, &held, self.options.pace.concurrency).await
            }
        }
    }

    async fn server(&self, server: &Server, processes: Processes) -> Result<()> {
        let Self { options, clock, stop: _, report: _ } = self;
        let site = Site { server, places: &options.places, clock };
        let attest = || self.unless_stopped(site.attested(0));
        let several = || self.unless_stopped(site.several(options.agents));
        let count = options.pace.count;
        match options.operation {
            Operation::MintJwt => self.paced(processes, &MintJwt::new(server)?, None).await,
            Operation::Batch => {
                let agents = stream::iter(several().await?);
                let batches = agents.map(async |agent| Batch::new(&agent, server, options.size, clock).await);
                let batches = self.unless_stopped(batches.buffered(AT_ONCE).try_collect()).await?;
                self.paced(processes, &InTurns(batches), Some(("SVIDs", options.size))).await?;
                self.note_limits(options.size);
                Ok(())
            }
            Operation::Jwt => {
                let agents = stream::iter(several().await?);
                let tokens = agents.map(async |agent| Jwt::new(&agent, server, clock).await);
                let tokens = self.unless_stopped(tokens.buffered(AT_ONCE).try_collect()).await?;
                self.paced(processes, &InTurns(tokens), None).await?;
                self.note_limits(1);
                Ok(())
            }
            Operation::Authorized => {
                let agent = attest().await?;
                let authorized = self.unless_stopped(Authorized::new(agent, server, options.size, clock)).await?;
                self.paced(processes, &authorized, Some(("entries", options.size))).await
            }
            Operation::Entries => self.entries(server, processes).await,
            Operation::List => {
                let list = self.unless_stopped(List::new(server, options.by, options.size)).await?;
                self.paced(processes, &list, None).await
            }
            Operation::Change => {
                let change = self.unless_stopped(Change::new(site, options.size)).await?;
                self.paced(processes, &change, None).await
            }
            Operation::Attest => {
                few_enough(count)?;
                let attest = self.unless_stopped(Attest::new(site, count + options.warm_up)).await?;
                self.paced(processes, &attest, None).await
            }
            Operation::Renew => {
                let renew = self.unless_stopped(Renew::new(site, options.size)).await?;
                self.paced(processes, &renew, None).await
            }
            Operation::Agents => {
                few_enough(count)?;
                let agents = self.unless_stopped(Agents::new(site, count, options.size)).await?;
                self.held(processes, &agents, options.pace.concurrency).await
            }
            Operation::Return => {
                few_enough(count)?;
                let agents = self.unless_stopped(Comeback::new(site, count, options.size)).await?;
                self.unless_stopped(comeback::entered(count)).await?;
                // The server may be another process by now.
                let process = Process::find(options.pid, &options.server_socket, Daemon::Server).await?;
                self.held(self.beside(process)?, &agents, usize::try_from(count)?).await?;
                self.note(agents.note());
                Ok(())
            }
            Operation::Arrival => self.arrival(server, processes).await,
            _ => self.paced(processes, &Mint::new(server)?, None).await,
        }
    }

    /// Operations at the pace that was asked for, after those that warm up. `items` is what one of them brings.
    async fn paced(&self, processes: Processes, work: &impl Work, items: Option<(&'static str, u64)>) -> Result<()> {
        let pace = self.options.pace;
        let warm_up = Pace { count: self.options.warm_up, duration: None, rate: None, ..pace };
        self.warmed_up(work, &warm_up).await?;
        let before = processes.usages()?;
        let run = pace::run(work, &pace, self.stop).await;
        let items = items.map(|(name, each)| (name, each * run.samples.count()));
        self.tell(Told { processes, pace: Some(pace), run, before, items, held: false })
    }

    async fn entries(&self, server: &Server, processes: Processes) -> Result<()> {
        let Options { pace, size, parents, .. } = self.options;
        let work = Entries::new(server, *size, pace.count, *parents)?;
        let pace = Pace { count: work.calls(), ..*pace };
        let before = processes.usages()?;
        let run = pace::run(&work, &pace, self.stop).await;
        let created = (run.samples.count() * size).min(self.options.pace.count);
        let items = Some(("entries", created));
        self.tell(Told { processes, pace: Some(pace), run, before, items, held: false })
    }

    /// Opens what stays open, and waits before it looks at the process: so long, what is needed to open goes away again.
    async fn held(&self, processes: Processes, work: &impl Work, concurrency: usize) -> Result<()> {
        let pace = self.options.pace;
        let before = processes.usages()?;
        let begin = Instant::now();
        let mut run = pace::run(work, &Pace { concurrency, duration: None, ..pace }, self.stop).await;
        let opened = begin.elapsed();
        if run.failed.is_empty() && !run.interrupted {
            let hold = self.clock.sleep(pace.duration.unwrap_or_default());
            run.interrupted = self.stop.unless_stopped(hold).await.is_none();
        }
        run.elapsed = begin.elapsed();
        let note = format!("all were there after {:.2} s", opened.as_secs_f64());
        self.tell(Told { processes, pace: None, run, before, items: None, held: true })?;
        self.note(note);
        Ok(())
    }

    async fn arrival(&self, server: &Server, processes: Processes) -> Result<()> {
        let Options { agent_socket, parent, pace, pause, .. } = self.options;
        let parent = match parent {
            Some(parent) => parent.clone(),
            None => self.unless_stopped(server.only_agent()).await?,
        };
        let mut arrival = self.unless_stopped(Arrival::open(server, parent, agent_socket, self.clock)).await?;
        let (begin, before) = (Instant::now(), processes.usages()?);
        let done = self.stop.unless_stopped(arrival.run(pace.count, pace.duration, *pause)).await;
        let (samples, elapsed, interrupted) = (arrival.samples, begin.elapsed(), done.is_none());
        let run = Run { samples, elapsed, interrupted, ..Run::default() };
        self.tell(Told { processes, pace: None, run, before, items: None, held: false })?;
        done.unwrap_or(Ok(()))
    }

    async fn idle(&self, processes: Processes) -> Result<()> {
        let (begin, before) = (Instant::now(), processes.usages()?);
        let sleep = self.clock.sleep(self.options.pace.duration.unwrap_or_default());
        let interrupted = self.stop.unless_stopped(sleep).await.is_none();
        let run = Run { elapsed: begin.elapsed(), interrupted, ..Run::default() };
        self.tell(Told { processes, pace: None, run, before, items: None, held: false })
    }

    /// What fails here would fail in the run.
    async fn warmed_up(&self, work: &impl Work, pace: &Pace) -> Result<()> {
        let run = pace::run(work, pace, self.stop).await;
        if let Some(status) = run.first_failure {
            return Err(failed(&format!("cannot {}", self.options.operation.name()), &status));
        }
        if run.interrupted {
            bail!(NOTHING_MEASURED);
        }
        Ok(())
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.stop.unless_stopped(work).await {
            Some(done) => done,
            None => bail!(NOTHING_MEASURED),
        }
    }

    fn tell(&self, told: Told) -> Result<()> {
        let Told { processes, pace, run, before, items, held } = told;
        let after = processes.usages()?;
        let operation = self.options.operation.name();
        let notes = if run.gave_up { vec!["nothing succeeded any more: it ended early".into()] } else { Vec::new() };
        let report = Report { operation, processes, pace, run, before, after, items, held, notes };
        self.report.replace(Some(report));
        Ok(())
    }

    fn note(&self, note: String) {
        if let Some(report) = self.report.borrow_mut().as_mut() {
            report.notes.push(note);
        }
    }

    fn note_limits(&self, svids_a_call: u64) {
        if let Some(report) = self.report.borrow_mut().as_mut() {
            report.note_limits(svids_a_call, self.options.agents);
        }
    }
}

/// What a run hands to its report.
struct Told {
    processes: Processes,
    pace: Option<Pace>,
    run: Run,
    before: Usages,
    items: Option<(&'static str, u64)>,
    held: bool,
}

/// Each is prepared before the run, and is remembered until its end.
fn few_enough(agents: u64) -> Result<()> {
    if agents > MOST_AGENTS {
        bail!("say with -count how many agents: at most {MOST_AGENTS}");
    }
    Ok(())
}

const MOST_AGENTS: u64 = 100_000;
const NOTHING_MEASURED: &str = "interrupted before anything was measured";
