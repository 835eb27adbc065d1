//! Those of the agent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use steeple_pki::KeyType;
use steeple_proto::spire::agent::debug::v1::GetInfoRequest;
use steeple_proto::spire::agent::debug::v1::debug_client::DebugClient;
use steeple_spiffe::x509::X509Svid;
use steeple_tests::{
    Agent, Bootstrap, Domain, Installation, Scratch, Workload, case, free_port, http_bytes, own_selector, until,
};
use steeple_transport::dial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tonic::{Code, Status};

use super::{is_logged_with_places, log_with_places, tell_health_elsewhere, tells_health_elsewhere};

/// Puts keys into the block `agent`.
fn with(agent: &Installation, keys: &str) -> Result<()> {
    agent.reconfigure(|conf| conf.replacen("agent {\n", &format!("agent {{\n    {keys}\n"), 1)).map(drop)
}

/// The administrative socket, which must not be beside the public one, nor below its directory.
fn administered(agent: &mut Agent, scratch: &Scratch) -> Result<PathBuf> {
    let (before, admin) = (agent.socket.display().to_string(), scratch.path().join("admin/admin.sock"));
    agent.socket = scratch.path().join("public/api.sock");
    let socket = agent.socket.display().to_string();
    agent.reconfigure(|conf| conf.replace(&before, &socket))?;
    with(agent, &format!("admin_socket_path = \"{}\"", admin.display()))?;
    Ok(admin)
}

#[test]
fn an_agent_takes_its_token_from_either_key_and_logs_and_tells_its_health_where_its_keys_say() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for key in ["join_token", "join_token_file"] {
            let token = domain.server.token(&[]).await?;
            let mut agent = domain.new_agent(key).await?;
            let file = scratch.path().join("token");
            fs::write(&file, &token)?;
            let value = if key == "join_token" { token.clone() } else { file.display().to_string() };
            with(&agent, &format!("{key} = \"{value}\""))?;
            log_with_places(&agent)?;
            let health = tell_health_elsewhere(&agent)?;
            agent.start().await.context(key)?;
            is_logged_with_places(&agent).await?;
            ensure!(!agent.written()?.contains("level"), "the log is where it should not be");
            tells_health_elsewhere(health).await?;
            let agents = serde_json::to_string(&domain.server.agents().await?)?;
            ensure!(agents.contains(&token), "{key}: {agents}");
            agent.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_keeps_as_many_svids_as_its_keys_say_with_keys_of_the_type_that_they_name() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let admin = administered(&mut agent, scratch)?;
        let keys = "x509_svid_cache_max_size = 1\n    jwt_svid_cache_max_size = 1\n    \
                    workload_x509_svid_key_type = \"ec-p384\"";
        with(&agent, keys)?;
        domain.attest(&mut agent).await?;
        // For processes that there are not.
        for number in 0..5 {
            let (id, selector) = (domain.id(&format!("/idle{number}")), format!("unix:uid:{}", 4_000_000 + number));
            domain.server.create_entry(&["-parentID", &agent.id, "-spiffeID", &id, "-selector", &selector]).await?;
        }
        domain.entry(&agent.id, "/first", &[]).await?;
        let update = agent.workload().follow().until_id(&domain.id("/first")).await?;
        let svid = X509Svid::parse(&update.svids[0].x509_svid, &update.svids[0].x509_svid_key)?;
        ensure!(KeyType::of(svid.chain[0].public_key()?.kind()) == Some(KeyType::EcP384));

        let token = async |audience| anyhow::Ok(agent.workload().jwt_svids(audience).await?[0].svid.clone());
        let first = token("a").await?;
        ensure!(token("a").await? == first, "it is not kept at all");
        token("b").await?;
        ensure!(token("a").await? != first, "there was room for more than one");

        // What was made ahead was made before this one.
        domain.entry(&agent.id, "/second", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/second")).await?;
        let info = DebugClient::new(dial::local(&admin)).get_info(GetInfoRequest {}).await?.into_inner();
        ensure!(info.cached_x509_svids_count <= 2, "{info:?}");
        Ok(())
    })
}

#[test]
fn an_agent_tells_of_strangers_what_log_selectors_name_and_nothing_else() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        with(&agent, "log_selectors = [\"unix:uid\"]")?;
        domain.attest(&mut agent).await?;
        let refused = opened(&agent.workload()).await;
        ensure!(refused.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied), "{refused:?}");
        let line = agent.process()?.line("No identity issued").await?;
        ensure!(line.contains(&own_selector()) && !line.contains("unix:gid"), "{line}");
        Ok(())
    })
}

/// Whether a stream of X.509-SVIDs begins.
async fn opened(workload: &Workload) -> Result<(), Status> {
    workload.x509_svids().await?.message().await.map(drop)
}

#[test]
fn an_agent_refuses_more_calls_of_a_method_than_its_keys_allow() -> Result<()> {
    const LIMITS: [&str; 4] = ["fetch_x509_svid", "fetch_jwt_svid", "fetch_x509_bundles", "fetch_jwt_bundles"];
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for limit in LIMITS {
            let mut agent = domain.new_agent(limit).await?;
            with(&agent, &format!("experimental {{ ratelimit {{ {limit} = 1 }} }}"))?;
            domain.attest(&mut agent).await?;
            domain.entry(&agent.id, "/web", &[]).await?;
            let workload = agent.workload();
            workload.follow().until_id(&domain.id("/web")).await?;
            for (method, is_limited) in LIMITS.map(|other| (other, other == limit)) {
                let refused = async || called(&workload, method).await.err();
                if is_limited {
                    let status = until("a refusal", refused).await?;
                    let expected = "rate limit exceeded for /SpiffeWorkloadAPI/Fetch";
                    ensure!(status.message().starts_with(expected), "{method}: {status:?}");
                } else {
                    for _ in 0..3 {
                        ensure!(refused().await.is_none(), "{limit} has limited {method}");
                    }
                }
            }
            agent.stop().await?;
        }
        Ok(())
    })
}

async fn called(workload: &Workload, method: &str) -> Result<(), Status> {
    match method {
        "fetch_x509_svid" => opened(workload).await,
        "fetch_jwt_svid" => workload.jwt_svids("db").await.map(drop),
        "fetch_x509_bundles" => workload.x509_bundles().await?.message().await.map(drop),
        _ => workload.jwt_bundles().await?.message().await.map(drop),
    }
}

#[test]
fn an_agent_without_the_workload_api_serves_nobody() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        with(&agent, "disable_workload_api = true")?;
        let token = domain.server.token(&[]).await?;
        agent.launch(&["-joinToken", &token])?;
        let workload = agent.workload();
        let told = agent.process()?.until("an answer", async || {
            opened(&workload).await.err().filter(|status| status.code() != Code::Unavailable)
        });
        let told = told.await?;
        ensure!(told.code() == Code::Unimplemented, "{told:?}");
        Ok(())
    })
}

#[test]
fn an_agent_tells_and_writes_profiles_where_its_keys_say() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let port = free_port()?;
        let keys = format!(
            "profiling_enabled = true\n    profiling_port = {port}\n    profiling_freq = 1\n    \
             profiling_names = [\"heap\"]"
        );
        with(&agent, &keys)?;
        domain.attest(&mut agent).await?;
        let (status, _) = http_bytes(port, "GET /debug/pprof/heap", "").await?;
        ensure!(status == 200, "{status}");
        let directory = agent.conf.with_file_name(".profiles");
        let written = || {
            let files = fs::read_dir(&directory).ok()?.flatten();
            Some(files.filter_map(|file| file.file_name().into_string().ok()).collect::<Vec<_>>())
        };
        let is_asked_for = |name: &String| name.ends_with("_agent_heap.pb.gz");
        until("a profile", async || written()?.iter().any(is_asked_for).then_some(())).await?;
        let others: Vec<_> = written().unwrap_or_default().into_iter().filter(|name| !name.contains("heap")).collect();
        ensure!(others.is_empty(), "{others:?}");
        Ok(())
    })
}

#[test]
fn an_agent_begins_with_the_bundle_that_a_socket_of_its_host_gives_it() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let socket = scratch.path().join("bundle.sock");
        serve(&socket, domain.server.bundle_pem().await?)?;
        let mut agent = domain.agent_that_begins("node1", Bootstrap::Url("http://localhost/bundle", "pem"))?;
        with(&agent, &format!("trust_bundle_unix_socket = \"{}\"", socket.display()))?;
        domain.attest(&mut agent).await
    })
}

/// Gives whoever connects this document, whatever the question.
fn serve(socket: &Path, document: String) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}", document.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(())
}
