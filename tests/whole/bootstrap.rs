//! How an agent comes to know its server: by a file, by a URL, by another agent, or not at all.

use std::fs;

use anyhow::{Context, Result, ensure};
use steeple_runtime::Clock;
use steeple_testkit::web::Page;
use steeple_testkit::{Ca, WebServer};
use steeple_tests::{Agent, Binaries, Bootstrap, Domain, Scratch, case, say, skipped_on_the_reference};

/// A web server of an authority that only those know who are told of it.
struct Web {
    server: WebServer,
    authority: String,
}

impl Web {
    async fn start(scratch: &Scratch, pages: impl IntoIterator<Item = (&'static str, Page)>) -> Result<Self> {
        let now = Clock::system().now();
        let ca = Ca::new("web.test", now);
        let authority = scratch.path().join("web.pem");
        fs::write(&authority, ca.root().to_pem())?;
        let authority = authority.to_string_lossy().into_owned();
        Ok(Self { server: WebServer::start(&ca, now, pages).await, authority })
    }

    /// An agent that begins with what is at `path`, and believes the web server's authority.
    fn agent(&self, domain: &Domain, name: &str, path: &str, format: &str) -> Result<Agent> {
        let mut agent = domain.agent_that_begins(name, Bootstrap::Url(&self.server.url(path), format))?;
        agent.starter = vec!["env".to_owned(), format!("SSL_CERT_FILE={}", self.authority)];
        Ok(agent)
    }
}

/// Attests, and shows that it can be used.
async fn attests(domain: &Domain, agent: &mut Agent) -> Result<()> {
    domain.attest(agent).await.with_context(|| agent.name.clone())?;
    domain.entry(&agent.id, "/web", &[]).await?;
    agent.workload().follow().until_id(&domain.id("/web")).await?;
    Ok(())
}

#[test]
fn an_agent_begins_with_a_bundle_from_the_web_in_either_format() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let pem = domain.server.bundle_pem().await?.into_bytes();
        let document = domain.server.command(&["bundle", "show", "-format", "spiffe"]).await?.ok()?.into_bytes();
        let web = Web::start(scratch, [("/pem", Page::Document(pem)), ("/spiffe", Page::Document(document))]).await?;
        for format in ["pem", "spiffe"] {
            let mut agent = web.agent(&domain, format, &format!("/{format}"), format)?;
            attests(&domain, &mut agent).await?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_begins_with_what_another_agent_knows() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let upper = domain.agent("upper").await?;
        let mut agent = domain.agent_that_begins("node1", Bootstrap::WorkloadApi(&upper))?;
        // Until this process has an identity there, it is given nothing.
        let token = domain.server.token(&[]).await?;
        agent.launch(&["-joinToken", &token])?;
        let line = agent.process()?.line("Failed to retrieve attestation result").await?;
        let text = format!("unable to fetch trust bundle from SPIFFE Workload API unix://{}", upper.socket.display());
        ensure!(line.contains(&text) && line.contains("no identity issued"), "{line}");
        agent.stop().await?;

        domain.entry(&upper.id, "/lower", &[]).await?;
        upper.workload().follow().until_id(&domain.id("/lower")).await?;
        attests(&domain, &mut agent).await
    })
}

#[test]
fn an_agent_that_has_attested_does_not_need_the_web_any_more() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let pem = domain.server.bundle_pem().await?.into_bytes();
        let web = Web::start(scratch, [("/pem", Page::Document(pem))]).await?;
        let mut agent = web.agent(&domain, "node1", "/pem", "pem")?;
        attests(&domain, &mut agent).await?;
        agent.stop().await?;
        drop(web);
        agent.start().await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        Ok(())
    })
}

#[test]
fn an_agent_names_the_url_and_why_it_has_no_bundle_from_there() -> Result<()> {
    const RETRIES: &str = "Failed to retrieve attestation result";
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let pem = domain.server.bundle_pem().await?.into_bytes();
        let document = domain.server.command(&["bundle", "show", "-format", "spiffe"]).await?.ok()?.into_bytes();
        let plain = WebServer::plain([("/pem", Page::Document(pem.clone()))]).await;
        let web = Web::start(
            scratch,
            [
                ("/pem", Page::Document(pem.clone())),
                ("/spiffe", Page::Document(document)),
                ("/none", Page::Document(br#"{"keys": []}"#.to_vec())),
                ("/accepted", Page::Answer("202 Accepted", pem)),
                ("/plain", Page::Moved(plain.url("/pem"))),
                ("/endless", Page::Endless),
            ],
        )
        .await?;
        // Name, path, format, and what the line says; what only ours says, too.
        let mistakes = [
            ("pem-for-spiffe", "/pem", "spiffe", "unable to parse", ""),
            ("spiffe-for-pem", "/spiffe", "pem", "no PEM blocks", "/spiffe"),
            ("no-keys", "/none", "spiffe", "no certificates found in trust bundle", "/none"),
            ("missing", "/missing", "pem", "error downloading trust bundle: 404 Not Found", "/missing"),
            ("accepted", "/accepted", "pem", "error downloading trust bundle: 202 Accepted", "/accepted"),
            ("plain", "/plain", "pem", "unable to fetch trust bundle URL", "/plain"),
            ("endless", "/endless", "pem", "unable to fetch trust bundle URL", "the document is longer than"),
        ];
        let token = domain.server.token(&[]).await?;
        let is_reference = Binaries::find()?.agent.is_reference;
        for (name, path, format, text, ours) in mistakes {
            if is_reference && ["plain", "endless"].contains(&name) {
                skipped_on_the_reference(name, "it believes a redirect to plain HTTP, and reads without end");
                continue;
            }
            let mut agent = web.agent(&domain, name, path, format)?;
            agent.launch(&["-joinToken", &token])?;
            let line = agent.process()?.line(RETRIES).await?;
            ensure!(line.contains(text) && (is_reference || line.contains(ours)), "{name}: {line}");
            // It tries again, and ends at once when it is told to.
            agent.stop().await?;
        }
        let mut stranger = web.agent(&domain, "stranger", "/pem", "pem")?;
        stranger.starter = vec!["env".to_owned(), "SSL_CERT_FILE=/nonexistent".to_owned(), "SSL_CERT_DIR=/".to_owned()];
        stranger.launch(&["-joinToken", &token])?;
        let line = stranger.process()?.line(RETRIES).await?;
        ensure!(line.contains(&format!("unable to fetch trust bundle URL {}", web.server.url("/pem"))), "{line}");
        // None of them got as far as to show the token.
        let mut agent = web.agent(&domain, "node1", "/pem", "pem")?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await?;
        say(&format!("bootstrap: {0} of {0} bundles from the web refused by name", mistakes.len() + 1));
        Ok(())
    })
}

#[test]
fn an_agent_that_the_web_keeps_waiting_can_be_stopped() -> Result<()> {
    if Binaries::find()?.agent.is_reference {
        skipped_on_the_reference("a web server that says nothing", "it waits without end, and does not heed SIGTERM");
        return Ok(());
    }
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let web = Web::start(scratch, [("/silent", Page::Silence)]).await?;
        let mut agent = web.agent(&domain, "node1", "/silent", "pem")?;
        agent.launch(&["-joinToken", "any"])?;
        web.server.asked("/silent").await;
        agent.stop().await
    })
}

#[test]
fn only_a_url_of_https_is_accepted() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent_that_begins("node1", Bootstrap::Url("http://localhost/pem", "pem"))?;
        let text = "trust bundle URL must start with https://";
        ensure!(agent.validate(&agent.conf).await?.refused()?.contains(text));
        agent.launch(&[])?;
        assert_eq!(agent.process()?.exit().await?.code(), Some(1));
        let log = agent.process()?.log()?;
        ensure!(log.contains(text), "{log}");
        Ok(())
    })
}

#[test]
fn an_agent_on_trust_believes_the_first_server_and_no_other_after_it() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent_that_begins("node1", Bootstrap::Insecure)?;
        attests(&domain, &mut agent).await?;
        let log = agent.process()?.log()?;
        ensure!(log.contains("Insecure bootstrap enabled; skipping server certificate verification"), "{log}");
        agent.stop().await?;

        // Another server of the same name at the same place.
        domain.server.stop().await?;
        fs::remove_dir_all(&domain.server.data_dir)?;
        domain.server.start().await?;
        agent.launch(&[])?;
        agent.process()?.line("Failed to initialize manager").await?;
        ensure!(domain.server.agents().await?.is_empty());
        Ok(())
    })
}
