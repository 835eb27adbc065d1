//! What `steeple up` does, step by step, from an empty directory to a rotating identity. Every step is what an operator
//! does by hand, with the daemons' own commands and files.

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};
use steeple_runtime::Clock;
use steeple_spiffe::{JwtSvid, SpiffeId, jwt, verify_x509_svid};
use tokio::sync::mpsc::Receiver;

use super::config::{self, Domain};
use super::daemons::{Daemon, Daemons, Programs, ask, healthy, tail_of};
use super::describe;
use super::follow::{Follow, Seen};
use super::place::{Place, is_plain};
use super::screen::{Colour, Screen};
use super::workload::{Workload, WorkloadError, X509Update};

/// What all steps need.
pub(super) struct Steps<'a> {
    pub(super) programs: &'a Programs,
    pub(super) place: &'a Place,
    pub(super) domain: &'a Domain,
    pub(super) clock: &'a Clock,
}

impl Steps<'_> {
    /// Takes all of them, and then shows what happens for as long as the caller waits.
    ///
    /// # Errors
    /// A step failed or a daemon ended; the text says what to do.
    pub(super) async fn run(&self, daemons: &mut Daemons, screen: &mut Screen) -> Result<Infallible> {
        let port = self.start_server(daemons, screen).await?;
        let token = daemons.during(self.join_token(screen)).await?;
        self.start_agent(port, &token, daemons, screen).await?;
        daemons.during(self.watch(&token, screen)).await
    }

    async fn start_server(&self, daemons: &mut Daemons, screen: &mut Screen) -> Result<u16> {
        let Self { programs, place, domain, clock } = self;
        let mut attempts = 3;
        loop {
            let port = free_port().context("cannot find a free port on 127.0.0.1")?;
            write(&place.server_config(), &config::server(place, domain, port))?;
            screen.begin("server", format!("starting {} on 127.0.0.1:{port}", programs.server.display()));
            let server = Daemon::start("server", &programs.server, &place.server_config(), place.server_log())?;
            let (pid, began) = (server.pid(), clock.now());
            daemons.server = Some(server);
            attempts -= 1;
            match daemons.during(healthy(&programs.server, &place.server_socket(), &place.server_log(), clock)).await {
                Ok(()) => {
                    screen.end(self.is_up(pid, began));
                    return Ok(port);
                }
                Err(error) if attempts > 0 && error.to_string().contains("address already in use") => {
                    screen.end(", but somebody else was faster to take the port");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn join_token(&self, screen: &mut Screen) -> Result<String> {
        let Self { programs, place, domain: _, clock } = self;
        let answer = ask(&programs.server, &["token", "generate"], &place.server_socket(), clock).await?;
        let token = answer.lines().find_map(|line| line.strip_prefix("Token: "));
        let token = token.with_context(|| format!("the server made no join token, it answered: {answer}"))?;
        screen.step("join token", format!("{token}, good for one agent"));
        Ok(token.to_owned())
    }

    async fn start_agent(&self, port: u16, token: &str, daemons: &mut Daemons, screen: &mut Screen) -> Result<()> {
        let Self { programs, place, domain, clock } = self;
        let bundle = daemons.during(ask(&programs.server, &["bundle", "show"], &place.server_socket(), clock)).await?;
        write(&place.bundle(), &bundle)?;
        write(&place.agent_config(), &config::agent(place, domain, port, token))?;
        screen.begin("agent", format!("starting {}", programs.agent.display()));
        let agent = Daemon::start("agent", &programs.agent, &place.agent_config(), place.agent_log())?;
        let (pid, began) = (agent.pid(), clock.now());
        daemons.agent = Some(agent);
        daemons.during(healthy(&programs.agent, &place.agent_socket(), &place.agent_log(), clock)).await?;
        screen.end(self.is_up(pid, began));
        screen.step("", format!("attested as {}", self.agent_id(token)));
        Ok(())
    }

    /// Gets an identity and shows it, and all that happens to it later.
    async fn watch(&self, token: &str, screen: &mut Screen) -> Result<Infallible> {
        let Self { programs: _, place, domain, clock } = self;
        self.create_entry(token, screen).await?;
        let workload = Workload::new(&place.agent_socket())?;
        let mut updates = workload.x509_updates((*clock).clone());
        screen.begin("identity", "waiting for the agent");
        let began = clock.now();
        let update = clock.within(FIRST_LIMIT, first(&mut updates)).await.with_context(|| {
            let (limit, tail) = (FIRST_LIMIT.as_secs(), tail_of(&place.agent_log()));
            format!("the agent gave no identity within {limit} s; the last lines of its log:\n{tail}")
        })??;
        let took = clock.now().duration_since(began).unwrap_or_default();
        screen.end(format!(", got it {} ms after the entry", took.as_millis()));

        self.show_x509(&update, screen)?;
        let svids = self.show_jwt(&workload, screen).await?;
        self.show_what_to_try(token, screen);

        screen.heading("Rotations and other changes, as they happen");
        let pause = (domain.ttl / 30).clamp(Duration::from_secs(1), Duration::from_secs(30));
        Follow { workload: &workload, updates, pause, seen: Seen::new(&update, &svids) }.run(clock, screen).await
    }

    async fn create_entry(&self, token: &str, screen: &mut Screen) -> Result<()> {
        let Self { programs, place, domain, clock } = self;
        let uid = geteuid();
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        let id = SpiffeId::new(&domain.trust_domain, &format!("/user/{}", segment(name, uid.as_raw())))?;
        let (parent, selector) = (self.agent_id(token), format!("unix:uid:{uid}"));
        let command = ["entry", "create", "-parentID", &parent, "-spiffeID", id.as_str(), "-selector", &selector];
        ask(&programs.server, &command, &place.server_socket(), clock).await?;
        screen.step("entry", format!("{id} for all your processes ({selector})"));
        Ok(())
    }

    fn show_x509(&self, update: &X509Update, screen: &mut Screen) -> Result<()> {
        let X509Update { svids, authorities } = update;
        for svid in svids {
            verify_x509_svid(&svid.chain, authorities, self.clock.now())
                .context("the X.509-SVID is not signed by the bundle that came with it")?;
            let rows = describe::x509_svid(svid, authorities, self.clock.now(), screen.zone());
            screen.table("X.509-SVID, verified against the bundle", &rows);
        }
        Ok(())
    }

    async fn show_jwt(&self, workload: &Workload, screen: &mut Screen) -> Result<Vec<JwtSvid>> {
        let svids = workload.jwt_svids().await.context("cannot fetch a JWT-SVID")?;
        let bundles = workload.jwt_bundles().await.context("cannot fetch the JWT bundles")?;
        for svid in &svids {
            let now = self.clock.now();
            jwt::validate(&svid.token, &bundles, Workload::AUDIENCE, now)
                .context("the JWT-SVID is not signed by a key in the bundle")?;
            let mut rows = describe::jwt_svid(svid, now, screen.zone());
            let keys = bundles.get(&svid.id.trust_domain()).map_or(0, |bundle| bundle.jwt_authorities.len());
            rows.push(("authorities", format!("{keys} in the bundle")));
            screen.table("JWT-SVID, verified against the bundle", &rows);
        }
        Ok(svids)
    }

    fn show_what_to_try(&self, token: &str, screen: &mut Screen) {
        let Self { programs, place, domain, clock: _ } = self;
        let (server, agent) = (shell(&programs.server), shell(&programs.agent));
        let (server_socket, agent_socket) = (place.server_socket(), place.agent_socket());
        let (server_socket, agent_socket) = (server_socket.display(), agent_socket.display());
        let svid = place.svid();
        let svid = svid.display();
        let tries = [
            (
                "The Workload API, for any SPIFFE library",
                format!("export SPIFFE_ENDPOINT_SOCKET=unix://{agent_socket}"),
            ),
            ("Your identities", format!("{agent} api fetch x509 -socketPath {agent_socket}")),
            ("A token for somebody", format!("{agent} api fetch jwt -audience somebody -socketPath {agent_socket}")),
            (
                "The certificate as a file, in full (needs openssl)",
                format!(
                    "{agent} api fetch x509 -silent -write {svid} -socketPath {agent_socket} && \
                     openssl x509 -noout -text -in {svid}/svid.0.pem"
                ),
            ),
            ("What the server knows", format!("{server} entry show -socketPath {server_socket}")),
            (
                "Another identity: see it arrive below",
                format!(
                    "{server} entry create -socketPath {server_socket} -parentID {} -spiffeID spiffe://{}/hello \
                     -selector unix:uid:{}",
                    self.agent_id(token),
                    domain.trust_domain,
                    geteuid()
                ),
            ),
            ("The logs", format!("tail -f {} {}", place.server_log().display(), place.agent_log().display())),
        ];
        screen.heading("What to try next, in another terminal");
        for (what, command) in tries {
            screen.line(screen.paint(Colour::Dim, &format!("  # {what}")));
            screen.line(format!("  {command}"));
        }
    }

    fn is_up(&self, pid: Option<u32>, began: SystemTime) -> String {
        let took = self.clock.now().duration_since(began).unwrap_or_default().as_millis();
        format!(", healthy after {took} ms (pid {})", pid.unwrap_or_default())
    }

    /// What join-token attestation calls an agent.
    fn agent_id(&self, token: &str) -> String {
        format!("spiffe://{}/spire/agent/join_token/{token}", self.domain.trust_domain)
    }
}

/// Waits until there is an identity. Before the agent has heard of the entry it says that there is none.
async fn first(updates: &mut Receiver<Result<X509Update, WorkloadError>>) -> Result<X509Update> {
    loop {
        match updates.recv().await.context("the Workload API is no longer watched")? {
            Ok(update) => return Ok(update),
            Err(WorkloadError::NoIdentity) => {}
            Err(error) => return Err(error).context("cannot fetch an X.509-SVID"),
        }
    }
}

/// A port that nobody uses at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The user as a segment of a path: other characters than a path has become dashes.
fn segment(name: Option<String>, uid: u32) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.unwrap_or_default().chars().map(allowed).collect();
    if ["", ".", ".."].contains(&name.as_str()) { format!("uid-{uid}") } else { name }
}

/// The path as a word of a shell command.
fn shell(path: &Path) -> String {
    let path = path.to_string_lossy();
    if is_plain(&path) { path.into_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// How long the agent may take to hand out a new entry's identity.
const FIRST_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_becomes_a_path_segment() {
        for (name, expected) in
            [("root", "root"), ("a b/c", "a-b-c"), ("dom\\ünï", "dom--n-"), ("..", "uid-7"), ("", "uid-7")]
        {
            assert_eq!(segment(Some(name.into()), 7), expected);
        }
        assert_eq!(segment(None, 7), "uid-7");
    }

    #[test]
    fn a_path_is_quoted_when_a_shell_would_read_it_otherwise() {
        assert_eq!(shell(Path::new("/usr/bin/steeple-agent")), "/usr/bin/steeple-agent");
        assert_eq!(shell(Path::new("/my bin/it's")), r"'/my bin/it'\''s'");
    }
}
