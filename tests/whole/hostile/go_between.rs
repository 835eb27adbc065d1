//! Workloads whose bytes go through a process that has connected in their place, and then is somebody else, or ends.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use steeple_tests::{Agent, Daemon, Scratch, Workload, cannot_run_here, case, skipped_on_the_reference, until, within};

use super::workload::{STRANGER, with_workload};

/// Hands bytes between a socket of its own and the agent's, to which it is the process that has connected. By one signal it
/// becomes another user; by another one it ends, and leaves both ends of the way to a process that it forks.
const PROGRAM: &str = r#"
import os, signal, socket, sys, threading
agent, own, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
listener = socket.socket(socket.AF_UNIX)
listener.bind(own)
listener.listen(1)
def change(*_):
    os.setuid(uid)
    print("changed", flush=True)
def leave(*_):
    if os.fork():
        os._exit(0)
    print("left", flush=True)
    hand_on()
signal.signal(signal.SIGUSR1, change)
signal.signal(signal.SIGUSR2, leave)
print("ready", flush=True)
near, _ = listener.accept()
far = socket.socket(socket.AF_UNIX)
far.connect(agent)
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    print("cut off", flush=True)
    os._exit(0)
def hand_on():
    threading.Thread(target=pump, args=(near, far), daemon=True).start()
    threading.Thread(target=pump, args=(far, near), daemon=True).start()
hand_on()
while True:
    signal.pause()
"#;

/// Starts it; returns the workload behind it, too.
async fn start(scratch: &Scratch, agent: &Agent) -> Result<(Daemon, Workload)> {
    let (own, log) = (scratch.path().join("between.sock"), scratch.path().join("between.log"));
    let words = [&*agent.socket.to_string_lossy(), &*own.to_string_lossy(), &STRANGER.to_string()];
    let args = [&["-c", PROGRAM][..], &words].concat();
    let mut between = Daemon::start("between", Path::new("python3"), &args, &log)?;
    between.line("ready").await?;
    Ok((between, Workload::at(&own)))
}

#[test]
fn a_workload_that_becomes_another_user_is_refused_every_call() -> Result<()> {
    case(async |scratch| {
        if !Uid::effective().is_root() {
            return cannot_run_here(
                "a_workload_that_becomes_another_user_is_refused_every_call",
                "only root can become another user",
            );
        }
        let (domain, agent) = with_workload(scratch).await?;
        let (mut between, workload) = start(scratch, &agent).await?;
        workload.jwt_svids("billing").await?;
        workload.jwt_bundles().await?;

        between.signal(Signal::SIGUSR1)?;
        between.line("changed").await?;
        let refusals = [
            workload.jwt_svids("billing").await.err(),
            workload.jwt_bundles().await.err(),
            workload.x509_svids().await.err(),
            workload.x509_bundles().await.err(),
        ];
        for refusal in refusals {
            let refusal = refusal.context("another user is answered over the first one's connection")?;
            // SPIRE's agent closes the connection.
            let told = agent.program.is_reference || refusal.message() == "workload attestation failed";
            ensure!(told, "{refusal:?}");
        }
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        Ok(())
    })
}

/// Whoever holds the connection then has not made it.
#[test]
fn what_a_process_has_connected_ends_with_it_though_its_fork_holds_the_connection() -> Result<()> {
    case(async |scratch| {
        let (domain, agent) = with_workload(scratch).await?;
        if agent.program.is_reference {
            skipped_on_the_reference("a fork that holds a connection", "its streams go on");
            return Ok(());
        }
        let (mut between, workload) = start(scratch, &agent).await?;
        let mut follower = workload.follow();
        follower.until_id(&domain.id("/web")).await?;
        let mut stream = follower.into_stream()?;
        workload.jwt_svids("billing").await?;

        between.signal(Signal::SIGUSR2)?;
        let status = between.exit().await?;
        ensure!(status.success(), "{status}");
        within("the end of the stream", async { while let Ok(Some(_)) = stream.message().await {} }).await?;
        // The fork was there, held the connection, and saw it end.
        let cut_off = async || {
            let log = between.log().ok()?;
            (log.contains("left\n") && log.contains("cut off\n")).then_some(())
        };
        until("the end of the fork's connection", cut_off).await?;
        ensure!(workload.jwt_svids("billing").await.is_err(), "the fork is answered");
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        Ok(())
    })
}
