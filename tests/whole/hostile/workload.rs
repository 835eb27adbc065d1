//! Processes on an agent's socket that want what is not theirs, or more than their share.
//!
//! | Bound | Where it is kept |
//! |---|---|
//! | connections of a user | `crates/transport/src/listen/unix.rs` |
//! | calls at a time, bytes of messages | `crates/transport/src/rpc/bounds.rs` |
//! | streams and headers of a connection | `crates/agent/src/api/endpoint.rs` |
//! | tokens that are kept, and how long each may be | `crates/agent/src/jwt.rs` |

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use nix::unistd::{Pid, Uid};
use serde_json::{Value, json};
use steeple_proto::descriptors;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{JwtsvidRequest, X509svidResponse};
use steeple_runtime::os::raise_open_files;
use steeple_tests::{Agent, Binaries, Domain, Output, Scratch, cannot_run_here, case, say, until, verified};
use steeple_transport::{dial, security_header};
use tokio::net::UnixStream;
use tonic::{Code, Status};

use super::wire::{Ending, Wire, grpc, prefix};
use super::{MIB, call, memory, methods};

const HEADER: (&str, &str) = ("workload.spiffe.io", "true");
const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
const VALIDATE: &str = "/SpiffeWorkloadAPI/ValidateJWTSVID";
/// A user of this host that is none, as far as entries know.
pub(super) const STRANGER: u32 = 54_321;

#[test]
fn the_public_socket_has_the_workload_api_and_nothing_that_is_for_operators() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let channel = dial::local(&agent.socket);
        let mut paths = methods(descriptors::PACKAGED, |_| true);
        paths.extend(["/grpc.health.v1.Health/Nothing", "/a.B/C", "/SpiffeWorkloadAPI/Nothing"].map(str::to_owned));
        for path in &paths {
            let refusal =
                call(&channel, path, &[HEADER]).await?.err().with_context(|| format!("{path} is answered"))?;
            let unknown = refusal.message().starts_with("unknown service ") || path.ends_with("/Nothing");
            ensure!(refusal.code() == Code::Unimplemented && unknown, "{path}: {refusal:?}");
        }
        // And nobody without an entry gets anything of what it has.
        let workload = methods(descriptors::WORKLOAD, |_| true);
        ensure!(workload.len() == 7, "{workload:?}");
        for path in &workload {
            let bare = call(&channel, path, &[]).await?.err().context("it is answered")?;
            ensure!(bare.message() == "security header missing from request", "{path}: {bare:?}");
            let refusal =
                call(&channel, path, &[HEADER]).await?.err().with_context(|| format!("{path} is answered"))?;
            let codes = [Code::PermissionDenied, Code::InvalidArgument, Code::Unimplemented];
            ensure!(codes.contains(&refusal.code()), "{path}: {refusal:?}");
        }
        say(&format!("hostile: {} methods are not on the agent's socket", paths.len()));
        Ok(())
    })
}

/// Who calls over TCP nobody could tell.
#[test]
fn an_agent_listens_on_its_own_socket_and_on_nothing_else() -> Result<()> {
    case(async |scratch| {
        let (_domain, mut agent) = with_workload(scratch).await?;
        let pid = agent.process()?.pid();
        assert_eq!(listening(pid)?, [agent.socket.display().to_string()]);
        Ok(())
    })
}

/// Where a process listens: paths of Unix sockets, and TCP addresses as the kernel writes them.
fn listening(pid: Pid) -> Result<Vec<String>> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let open: Vec<String> = open.map(|target| target.to_string_lossy().into_owned()).collect();
    // Columns: which holds what marks a listener, and that mark; the socket's number; its address.
    const TABLES: [(&str, usize, &str, usize, usize); 3] =
        [("unix", 3, "00010000", 6, 7), ("tcp", 3, "0A", 9, 1), ("tcp6", 3, "0A", 9, 1)];
    let mut found = Vec::new();
    for (table, state, listens, number, address) in TABLES {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines().skip(1) {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let is_own = columns.get(number).is_some_and(|number| open.contains(&format!("socket:[{number}]")));
            if is_own && columns.get(state) == Some(&listens) {
                found.push((*columns.get(address).context("a listener without an address")?).to_owned());
            }
        }
    }
    Ok(found)
}

#[test]
fn a_process_of_another_user_gets_what_is_its_own_and_nothing_else() -> Result<()> {
    case(async |scratch| {
        let Some(stranger) = Stranger::of(scratch)? else { return Ok(()) };
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        for command in [&["fetch", "x509"][..], &["fetch", "jwt", "-audience", "a", "-spiffeID", &domain.id("/web")]] {
            let denied = stranger.run(&agent, command).await?.refused()?;
            ensure!(denied.contains("no identity issued") && !denied.contains("/web"), "{denied}");
        }
        let (uid, id) = (format!("unix:uid:{STRANGER}"), domain.id("/other"));
        domain.server.create_entry(&["-parentID", &agent.id, "-spiffeID", &id, "-selector", &uid]).await?;
        let fetched = async || stranger.run(&agent, &["fetch", "x509"]).await.ok()?.ok().ok();
        let fetched = until("its SVID", fetched).await?;
        ensure!(fetched.contains(&id) && !fetched.contains("/web"), "{fetched}");
        Ok(())
    })
}

#[test]
fn an_identity_that_is_not_the_callers_cannot_be_asked_for() -> Result<()> {
    case(async |scratch| {
        let (domain, agent) = with_workload(scratch).await?;
        let elsewhere = ["-parentID", &*agent.id, "-spiffeID", &domain.id("/payroll"), "-selector", "unix:uid:999999"];
        domain.server.create_entry(&elsewhere).await?;
        let mut client = SpiffeWorkloadApiClient::new(dial::local(&agent.socket));
        let mut told = Vec::new();
        // Another process's on this host, the agent's, the server's, one of nobody, of another trust domain, and no ID.
        let (payroll, server) = (domain.id("/payroll"), domain.id("/spire/server"));
        for id in [&*payroll, &agent.id, &server, "spiffe://example.org/no", "spiffe://evil.org/web", "root"] {
            let request = JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: id.to_owned() };
            let refusal = client.fetch_jwtsvid(security_header::with(request)).await.unwrap_err();
            told.push((refusal.code(), refusal.message().to_owned()));
        }
        let malformed = told.pop().context("no refusal")?;
        ensure!(malformed.0 == Code::InvalidArgument, "{malformed:?}");
        assert_eq!(told, vec![(Code::PermissionDenied, "no identity issued".to_owned()); 5]);
        Ok(())
    })
}

#[test]
fn tokens_that_are_forged_or_monstrous_are_refused() -> Result<()> {
    case(async |scratch| {
        let (domain, agent) = with_workload(scratch).await?;
        let token = agent.workload().jwt_svids("db").await?.pop().context("no token")?.svid;
        agent.workload().validate_jwt("db", &token).await?;
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { bail!("no token: {token}") };
        let kid = serde_json::from_slice::<Value>(&BASE64.decode(header)?)?["kid"].take();
        let head = |value: Value| BASE64.encode(value.to_string());
        // The authority's public key, which everybody has, as the secret of an HMAC: what a careless verifier takes.
        let jwks = domain.server.authorities().await?["jwt"][0]["public_key"].take();
        let secret = jwks.as_str().context("no key")?.to_owned();
        let mut forged: Vec<String> = Vec::new();
        for alg in ["none", "None", "HS256", "HS512", "EdDSA", "RS256", ""] {
            let head = head(json!({ "alg": alg, "kid": kid, "typ": "JWT" }));
            forged.extend([format!("{head}.{claims}."), format!("{head}.{claims}.{signature}")]);
            forged.push(format!("{head}.{claims}.{}", BASE64.encode(&secret)));
        }
        let sound = json!({ "alg": "ES256", "kid": kid, "typ": "JWT" });
        let mut claim: Value = serde_json::from_slice(&BASE64.decode(claims)?)?;
        claim["sub"] = json!(domain.id("/payroll"));
        forged.push(format!("{header}.{}.{signature}", head(claim)));
        for extra in
            [json!({ "jwk": { "kty": "EC" } }), json!({ "jku": "http://127.0.0.1/keys" }), json!({ "crit": ["b64"] })]
        {
            let mut value = sound.clone();
            value.as_object_mut().context("no object")?.extend(extra.as_object().context("no object")?.clone());
            forged.push(format!("{}.{claims}.{signature}", head(value)));
        }
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        for text in [&*deep, "{\"a\":".repeat(100_000).as_str(), "\u{0}", "{}", "null", "1e999999"] {
            forged.push(format!("{}.{claims}.{signature}", BASE64.encode(text)));
            forged.push(format!("{header}.{}.{signature}", BASE64.encode(text)));
        }
        forged.extend([format!("{header}.{claims}"), format!("{token}.{token}"), "....".to_owned()]);
        forged.extend([
            ".".repeat(3_000_000),
            "a".repeat(3_000_000),
            format!("{header}.{}.{signature}", "A".repeat(3_000_000)),
        ]);
        for forged in &forged {
            let refusal = agent.workload().validate_jwt("db", forged).await.err();
            let refusal = refusal.with_context(|| format!("taken: {}", &forged[..forged.len().min(300)]))?;
            ensure!(refusal.code() == Code::InvalidArgument, "{refusal:?}");
            ensure!(refusal.message().len() < 1000, "an answer of {} bytes", refusal.message().len());
        }
        ensure!(agent.workload().validate_jwt("other", &token).await.is_err(), "taken by another audience");
        agent.workload().validate_jwt("db", &token).await?;
        say(&format!("hostile: {} tokens refused", forged.len()));
        Ok(())
    })
}

#[test]
fn tokens_for_long_lists_of_audiences_are_given_and_not_kept() -> Result<()> {
    case(async |scratch| {
        let (_domain, mut agent) = with_workload(scratch).await?;
        let mut client = SpiffeWorkloadApiClient::new(dial::local(&agent.socket)).max_decoding_message_size(64 << 20);
        let mut fetch = async |round: usize| {
            let audience = (0..5000).map(|i| format!("https://{round}.{i}.example.org/{}", "a".repeat(40))).collect();
            let request = JwtsvidRequest { audience, spiffe_id: String::new() };
            let answer = client.fetch_jwtsvid(security_header::with(request)).await?;
            Ok::<_, Status>(answer.into_inner().svids.iter().map(|svid| svid.svid.len()).sum::<usize>())
        };
        // What the allocator keeps for the next one is no growth.
        for round in 0..20 {
            fetch(round).await?;
        }
        let pid = agent.process()?.pid();
        let (before, mut given) = (memory(pid)?, 0);
        for round in 100..300 {
            given += fetch(round).await?;
        }
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(grown < 24 * MIB && given as u64 > 64 * MIB, "{given} bytes given, {} MiB more", grown / MIB);
        say(&format!("hostile: {} MiB of tokens given, {} MiB more", given as u64 / MIB, grown / MIB));
        Ok(())
    })
}

#[test]
fn one_user_cannot_take_all_connections_of_an_agent() -> Result<()> {
    case(async |scratch| {
        let Some(stranger) = Stranger::of(scratch)? else { return Ok(()) };
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        agent.starter = ["prlimit", "--nofile=256:256"].map(str::to_owned).into();
        let token = domain.server.token(&[]).await?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await?;
        // Of 112 connections, at two files each, one user may have three quarters.
        let (mut open, mut refused) = (Vec::new(), 0);
        for _ in 0..110 {
            match Wire::open(UnixStream::connect(&agent.socket).await?, 65_535).await {
                Ok(wire) => open.push(wire),
                Err(_) => refused += 1,
            }
        }
        ensure!(refused > 0 && (60..=84).contains(&open.len()), "{} open, {refused} refused", open.len());
        let denied = stranger.run(&agent, &["fetch", "x509"]).await?.refused()?;
        ensure!(denied.contains("no identity issued"), "another user is not served: {denied}");
        drop(open);
        agent.healthy().await?;
        say(&format!("hostile: {refused} of 110 connections of one user refused"));
        Ok(())
    })
}

#[test]
fn pieces_of_messages_and_many_streams_fill_their_users_account_and_not_the_agents_memory() -> Result<()> {
    case(async |scratch| {
        let Some(stranger) = Stranger::of(scratch)? else { return Ok(()) };
        raise_open_files();
        let (_domain, mut agent) = with_workload(scratch).await?;
        let pid: Pid = agent.process()?.pid();
        let serves = async || {
            let denied = stranger.run(&agent, &["fetch", "x509"]).await?.refused()?;
            ensure!(denied.contains("no identity issued"), "another user is not served: {denied}");
            anyhow::Ok(())
        };
        let before = memory(pid)?;
        let mut wire = Wire::open(UnixStream::connect(&agent.socket).await?, 65_535).await?;
        let piece = [&prefix(4 << 20)[..], &vec![0; 3 << 20]].concat();
        for _ in 0..40 {
            let stream = wire.call(&grpc(VALIDATE, &[HEADER])).await?;
            wire.body(stream, &piece).await?;
        }
        let refused = wire.ended.len();
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(refused > 20 && grown < 96 * MIB, "{refused} of 40 refused, {} MiB more", grown / MIB);
        serves().await?;
        drop(wire);

        // Streams that are never read while there is something to say.
        let mut wires = Vec::new();
        for _ in 0..10 {
            let mut wire = Wire::open(UnixStream::connect(&agent.socket).await?, 0).await?;
            for _ in 0..1000 {
                wire.ask(&grpc(FETCH, &[HEADER])).await?;
            }
            let surplus = wire.call(&grpc(FETCH, &[HEADER])).await?;
            ensure!(wire.ending(surplus).await?.0 == Ending::Reset, "more than 1000 streams of a connection");
            wires.push(wire);
        }
        serves().await?;
        let held = memory(pid)?.saturating_sub(before);
        ensure!(held < 400 * MIB, "{} MiB more", held / MIB);
        say(&format!("hostile: {refused} of 40 pieces refused; 10000 unread streams, {} MiB more", held / MIB));
        Ok(())
    })
}

#[test]
fn a_stream_that_is_never_read_costs_one_update_however_many_there_are() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = with_workload(scratch).await?;
        let mut wire = Wire::open(UnixStream::connect(&agent.socket).await?, 0).await?;
        for _ in 0..100 {
            wire.ask(&grpc(FETCH, &[HEADER])).await?;
        }
        let mut reading = agent.workload().follow();
        let pid = agent.process()?.pid();
        let mut before = 0;
        for round in 0..20 {
            let hint = format!("{round}");
            let entry = domain.entry(&agent.id, &format!("/more-{round}"), &["-hint", &hint]).await?;
            let id = domain.id(&format!("/more-{round}"));
            // Who reads is told each time.
            let update = reading.until_id(&id).await?;
            update.svids.iter().try_for_each(|svid| verified(svid).map(drop))?;
            domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
            let gone = |update: &X509svidResponse| update.svids.iter().all(|svid| svid.spiffe_id != id);
            reading.until("the end of it", gone).await?;
            if round == 4 {
                before = memory(pid)?;
            }
        }
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(grown < 8 * MIB, "{} MiB more", grown / MIB);
        Ok(())
    })
}

/// A trust domain with an agent, whose workload this process is, and has its SVID.
pub(super) async fn with_workload(scratch: &Scratch) -> Result<(Domain, Agent)> {
    let domain = Domain::builder().start(scratch).await?;
    let agent = domain.agent("node1").await?;
    domain.entry(&agent.id, "/web", &[]).await?;
    agent.workload().follow().until_id(&domain.id("/web")).await?;
    Ok((domain, agent))
}

/// Another user of this host, who has the agent's program.
struct Stranger(PathBuf);

impl Stranger {
    /// None where this process may not become another user.
    fn of(scratch: &Scratch) -> Result<Option<Self>> {
        if !Uid::effective().is_root() {
            cannot_run_here("hostile", "a process of another user is started by root alone")?;
            return Ok(None);
        }
        // The directory of a case is its user's alone, and so may that of the build be.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o711))?;
        let program = scratch.path().join("stranger");
        fs::copy(&Binaries::find()?.agent.path, &program)?;
        Ok(Some(Self(program)))
    }

    /// Runs a command of `api` as that user.
    async fn run(&self, agent: &Agent, command: &[&str]) -> Result<Output> {
        let (user, program) = (STRANGER.to_string(), self.0.to_string_lossy());
        let socket = agent.socket.to_string_lossy();
        let become_user = ["--reuid", &user, "--regid", &user, "--clear-groups", &program, "api"];
        let words = [&become_user, command, &["-socketPath", &socket]].concat();
        Output::of("setpriv".as_ref(), &words).await
    }
}
