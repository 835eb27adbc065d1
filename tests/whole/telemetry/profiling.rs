//! Profiles of a running daemon: what `go tool pprof` makes of them.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use steeple_proto::spire::api::server::svid::v1::MintJwtsvidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::types::Spiffeid;
use steeple_tests::{Domain, cannot_run_here, case, free_port, http_bytes, until};
use steeple_transport::dial;
use tokio::process::Command;

/// What pprof prints of a file; None where there is no Go, which is then said.
async fn raw(file: &Path) -> Result<Option<String>> {
    let mut pprof = Command::new("go");
    pprof.args(["tool", "pprof", "-raw"]).arg(file).kill_on_drop(true);
    let ended = match pprof.output().await {
        Ok(ended) => ended,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return cannot_run_here("what pprof reads", "there is no `go` for pprof").map(|()| None);
        }
        Err(error) => bail!(error),
    };
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(Some(String::from_utf8_lossy(&ended.stdout).into_owned()))
}

#[test]
fn profiles_of_a_server_are_read_by_gos_pprof() -> Result<()> {
    case(async |scratch| {
        let port = free_port()?;
        let keys = format!(
            "profiling_enabled = true\n    profiling_port = {port}\n    profiling_freq = 1\n    \
             profiling_names = [\"heap\"]"
        );
        let domain = Domain::builder().server_text(&keys).start(scratch).await?;
        let signing = async {
            let mut client = SvidClient::new(dial::local(&domain.server.socket));
            loop {
                let id = Spiffeid { trust_domain: domain.name.clone(), path: "/web".to_owned() };
                client
                    .mint_jwtsvid(MintJwtsvidRequest { id: Some(id), audience: vec!["a".to_owned()], ttl: 60 })
                    .await?;
            }
        };
        let (status, profile) = tokio::select! {
            failed = signing => return failed,
            profile = http_bytes(port, "GET /debug/pprof/profile?seconds=2", "") => profile?,
        };
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&profile));
        let file = scratch.path().join("cpu.pb.gz");
        std::fs::write(&file, profile)?;
        let Some(cpu) = raw(&file).await? else { return Ok(()) };
        // In the sections that it prints: samples, then the places that they name, then the files that those are in.
        ensure!(cpu.contains("\nPeriod: 10000000\n") && cpu.contains("\nDuration: 2"), "{cpu}");
        let samples =
            cpu.split("samples/count cpu/nanoseconds\n").nth(1).and_then(|rest| rest.split("Locations").next());
        ensure!(samples.is_some_and(|samples| samples.lines().count() > 3), "{cpu}");
        let program = domain.server.program.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ensure!(cpu.split("\nMappings\n").nth(1).is_some_and(|mapped| mapped.contains(program)), "{cpu}");

        let directory = domain.server.conf.with_file_name(".profiles");
        let written = async || {
            let name = std::fs::read_dir(&directory).ok()?.flatten().next()?.file_name().into_string().ok()?;
            name.ends_with("_server_heap.pb.gz").then(|| directory.join(name))
        };
        let first = until("a profile that was written", written).await?;
        // The next one is begun when this one is whole.
        until("another one", async || (std::fs::read_dir(&directory).ok()?.count() > 1).then_some(())).await?;
        let heap = raw(&first).await?.unwrap_or_default();
        ensure!(heap.contains("inuse_space/bytes"), "{heap}");
        Ok(())
    })
}
