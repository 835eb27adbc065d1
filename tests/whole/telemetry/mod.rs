//! What the daemons measure, and where it goes: names, kinds and labels against what Prometheus scraped of SPIRE 1.15.3,
//! and each sink with a receiver.

mod dashboard;
mod expected;
mod otlp;
mod profiling;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::bundle::v1::PublishJwtAuthorityRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::types::JwtKey;
use steeple_tests::{Domain, Port, Prometheus, case, http, say, skipped_on_the_reference, until};
use steeple_transport::dial;

use crate::hostile::call;
use crate::hostile::callers::workload_svid;
use crate::logs::scenario;
use expected::{NOT_BUILT_YET, ON_PURPOSE};

/// A family a line: kind, name, and the names of labels.
const RECORDED: [(&str, &str); 2] = [
    ("server", include_str!("../data/spire-1.15.3-telemetry/server.txt")),
    ("agent", include_str!("../data/spire-1.15.3-telemetry/agent.txt")),
];

#[test]
fn each_family_has_the_name_the_kind_and_the_labels_of_spires() -> Result<()> {
    case(async |scratch| {
        let scenario::Told { scraped, is_reference, .. } = scenario::run(scratch, further).await?;
        let mut failing = Vec::new();
        for (program, recorded) in RECORDED {
            let (_, text) = scraped.iter().find(|(by, _)| *by == program).context("no scrape")?;
            let (ours, recorded) = (families(text), of_record(recorded));
            let lists = [("on purpose", ON_PURPOSE), ("not built yet", NOT_BUILT_YET)];
            let listed = |name: &str| {
                let is_in = |list: &[(&str, &str)]| list.iter().any(|(begin, _)| name.starts_with(begin));
                lists.iter().find(|(_, list)| is_in(list)).map(|(why, _)| *why)
            };
            let (mut equal, mut others) = (0, BTreeMap::<&str, BTreeSet<&str>>::new());
            for (name, family) in &recorded {
                match (ours.get(name), listed(name)) {
                    (Some(found), None) if found == family => equal += 1,
                    (Some(_), Some(why)) => {
                        failing.push(format!("{program}: {name} is there now: strike it out ({why})"));
                    }
                    (Some(found), None) => failing.push(format!("{program}: {name} is {found:?} and no {family:?}")),
                    (None, Some(why)) => drop(others.entry(why).or_default().insert(name)),
                    (None, None) => failing.push(format!("{program}: {name} is not there")),
                }
            }
            let more: Vec<_> = ours.keys().filter(|name| !recorded.contains_key(*name)).collect();
            say(&format!(
                "telemetry: {program}: of {} families {equal} are equal; {}; {} that SPIRE's scrape did not have: {more:?}",
                recorded.len(),
                others.iter().map(|(why, names)| format!("{} {why}", names.len())).collect::<Vec<_>>().join(", "),
                more.len(),
            ));
        }
        let is_there = |name: &&str| scraped.iter().any(|(_, text)| text.lines().any(|line| is_of(line, name)));
        let lacking: Vec<_> = dashboard::ASKED_FOR.iter().filter(|name| !is_there(name)).collect();
        ensure!(lacking.is_empty(), "SPIRE's dashboard asks in vain for {lacking:?}");
        if is_reference {
            skipped_on_the_reference("which families are there", "the lists are those of what ours lacks");
            return Ok(());
        }
        let new: Vec<_> = dashboard::NOT_BUILT_YET.iter().filter(|name| is_there(name)).collect();
        ensure!(new.is_empty(), "strike them out of what SPIRE's dashboard asks for in vain: {new:?}");
        ensure!(failing.is_empty(), "{}", failing.join("\n"));
        Ok(())
    })
}

/// What the scenario of the logs does not ask for, and SPIRE's scenario did.
async fn further(domain: &Domain) -> Result<()> {
    let server = &domain.server;
    let (id, url) = ("spiffe://other.test", "https://127.0.0.1:1");
    let profile = ["-bundleEndpointProfile", "https_web"];
    for args in [
        &["federation", "create", "-trustDomain", id, "-bundleEndpointURL", url, profile[0], profile[1]][..],
        &["federation", "update", "-trustDomain", id, "-bundleEndpointURL", url, profile[0], profile[1]],
        &["federation", "list"],
        &["federation", "show", "-trustDomain", id],
        &["federation", "delete", "-id", id],
        &["debug", "getinfo"],
    ] {
        server.command(args).await?.ok()?;
    }
    server.command(&["federation", "refresh", "-id", id]).await?.refused()?;
    // Nobody on this socket is an agent.
    let local = dial::local(&server.socket);
    for method in ["GetAuthorizedEntries", "SyncAuthorizedEntries"] {
        let path = format!("/spire.api.server.entry.v1.Entry/{method}");
        ensure!(call(&local, &path, &[]).await?.is_err(), "{method} by nobody");
    }
    let below = Port::of(domain).await?.channel(Some(workload_svid(domain, "/down").await?))?;
    let jwt_authority = JwtKey {
        public_key: PrivateKey::generate(KeyType::EcP256)?.public_key().spki_der().to_vec(),
        key_id: "below".to_owned(),
        ..JwtKey::default()
    };
    let request = PublishJwtAuthorityRequest { jwt_authority: Some(jwt_authority) };
    BundleClient::new(below).publish_jwt_authority(request).await?;
    Ok(())
}

/// Whether a line of a scrape is a value of this series.
fn is_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
}

/// Kind, and the names of labels of all series together.
type Family = (String, BTreeSet<String>);

fn of_record(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let family = families.entry(name.to_owned()).or_default();
        kind.clone_into(&mut family.0);
        family.1.extend(words.next().into_iter().flat_map(|labels| labels.split(',')).map(str::to_owned));
    }
    families
}

/// The families of a scrape.
fn families(text: &str) -> BTreeMap<String, Family> {
    let (mut families, mut last) = (BTreeMap::<String, Family>::new(), String::new());
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            name.clone_into(&mut last);
        } else if let (Some((_, labels)), Some(family)) = (line.split_once('{'), families.get_mut(&last)) {
            let labels = labels.split_once('}').map_or(labels, |(labels, _)| labels);
            let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            family.1.extend(names.filter(|name| name != "quantile"));
        }
    }
    families
}

#[test]
fn each_sink_gets_each_value_in_its_own_form() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let (statsd, dogstatsd, m3) = (Receiver::new()?, Receiver::new()?, Receiver::new()?);
        let keys = format!(
            "M3 = [{{ address = \"{}\", env = \"prod\" }}]\n    Statsd = [{{ address = \"{}\" }}]\n    DogStatsd = [{{ address = \"{}\" }}]\n    InMem {{}}\n    \
             EnableTrustDomainLabel = true\n    EnableHostnameLabel = false\n    BlockedPrefixes = [\"own.runtime\"]\n    \
             MetricPrefix = \"own\"",
            m3.address()?,
            statsd.address()?,
            dogstatsd.address()?,
        );
        let port = domain.server.tell_measurements(&keys)?;
        domain.server.start().await?;
        domain.server.command(&["bundle", "count"]).await?.ok()?;

        for (receiver, line) in [
            (&statsd, "own.started.1_15_3.example_org.example_org:1.000000|g"),
            (&statsd, "own.rpc.bundle.v1.bundle.count_bundles.OK.example_org:1.000000|c"),
            (&m3, "emitMetricBatchV2"),
            (&m3, "rpc_bundle_v1_bundle_count_bundles"),
            (&dogstatsd, "own.started:1|g|#version:1_15_3,trust_domain_id:example_org,trust_domain:example_org"),
            (&dogstatsd, "own.rpc.bundle.v1.bundle.count_bundles:1|c|#status:OK,trust_domain:example_org"),
        ] {
            until(line, async || receiver.lines().contains(line).then_some(())).await?;
        }
        let series = "own_rpc_bundle_v1_bundle_count_bundles{status=\"OK\",trust_domain=\"example_org\"} 1\n";
        let (status, text) = http(port, "GET /any/path", "").await?;
        ensure!(status == 200 && text.contains(series), "{status}: {text}");
        for text in [&text, &statsd.lines(), &dogstatsd.lines()] {
            ensure!(!text.contains("own_runtime") && !text.contains("own.runtime"), "what is blocked is told: {text}");
        }
        let dumped = "'own.rpc.bundle.v1.bundle.count_bundles.OK.example_org': Count: 1 Sum: 1.000";
        // A second is written when it is over.
        until("the call in a dump", async || {
            let process = domain.server.process().ok()?;
            process.signal(Signal::SIGUSR1).ok()?;
            process.log().ok()?.contains(dumped).then_some(())
        })
        .await
    })
}

/// What it has against the names is SPIRE's.
#[test]
fn prometheus_own_check_reads_a_scrape_and_finds_nothing_but_spires_names() -> Result<()> {
    const NAMES: [&str; 5] = [
        "counter metrics should have \"_total\" suffix",
        "metric names should be written in 'snake_case' not 'camelCase'",
        "metric names should not contain abbreviated units",
        "non-counter metrics should not have \"_total\" suffix",
        "non-histogram and non-summary metrics should not have \"_count\" suffix",
    ];
    case(async |scratch| {
        let Some(prometheus) = Prometheus::find("telemetry")? else { return Ok(()) };
        let mut domain = Domain::builder().write(scratch)?;
        let port = domain.server.tell_measurements("")?;
        domain.server.start().await?;
        let mut agent = domain.new_agent("node1").await?;
        let agent_port = agent.tell_measurements("")?;
        domain.attest(&mut agent).await?;
        for port in [port, agent_port] {
            let (_, text) = http(port, "GET /metrics", "").await?;
            let problems = prometheus.problems(&text).await?;
            let others: Vec<_> =
                problems.iter().filter(|told| !NAMES.iter().any(|known| told.ends_with(known))).collect();
            ensure!(others.is_empty(), "{others:?}");
        }
        ensure!(prometheus.problems("a{ 1").await.is_err(), "what is no scrape is read");
        Ok(())
    })
}

#[test]
fn prometheus_receiver_of_statsd_takes_both_forms() -> Result<()> {
    case(async |scratch| {
        let Some(prometheus) = Prometheus::find("telemetry")? else { return Ok(()) };
        let exporter = prometheus.statsd_exporter(scratch).await?;
        let mut domain = Domain::builder().write(scratch)?;
        let to = format!("[{{ address = \"{}\" }}]", exporter.address);
        domain
            .server
            .tell_measurements(&format!("Statsd = {to}\n    DogStatsd = {to}\n    EnableHostnameLabel = false"))?;
        domain.server.start().await?;
        for series in [
            "spire_server_started_1_15_3_example_org 1\n",
            "spire_server_started{trust_domain_id=\"example_org\",version=\"1_15_3\"} 1\n",
            "spire_server_svid_rotate_OK 1\n",
            "spire_server_svid_rotate{status=\"OK\"} 1\n",
        ] {
            until(series, async || exporter.scrape().await.ok()?.contains(series).then_some(())).await?;
        }
        Ok(())
    })
}

#[test]
fn a_port_that_is_taken_and_receivers_that_are_not_there_stop_no_daemon() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        // Its socket is closed at once.
        let nobody = Receiver::new()?.address()?;
        let port = domain.server.tell_measurements(&format!("Statsd = [{{ address = \"{nobody}\" }}]"))?;
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port))?;
        domain.server.start().await?;
        domain.server.process()?.line("Prometheus listener stopped unexpectedly").await?;
        ensure!(domain.server.process()?.exited()?.is_none(), "it has ended");
        domain.agent("node1").await.map(drop)
    })
}

#[test]
fn a_file_that_asks_for_what_cannot_be_ends_a_start_in_spires_words() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for (keys, told) in [
            ("M3 = [{ address = \"127.0.0.1:1\" }]", "env common tag is required"),
            ("DogStatsd = [{ address = \"nowhere\" }]", "nowhere: missing port in address"),
        ] {
            let mut agent = domain.new_agent("node1").await?;
            agent.tell_measurements(keys)?;
            agent.launch(&["-joinToken", "none"])?;
            let line = agent.process()?.line("Agent crashed").await?;
            ensure!(line.contains(told), "{line}");
            ensure!(!agent.process()?.exit().await?.success(), "it ended well");
        }
        Ok(())
    })
}

/// Takes packets and never answers.
struct Receiver {
    socket: UdpSocket,
    received: std::cell::RefCell<String>,
}

impl Receiver {
    fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, received: std::cell::RefCell::default() })
    }

    fn address(&self) -> Result<String> {
        Ok(self.socket.local_addr()?.to_string())
    }

    /// All lines up to now.
    fn lines(&self) -> String {
        let mut packet = [0; 64 << 10];
        while let Ok(length) = self.socket.recv(&mut packet) {
            self.received.borrow_mut().push_str(&String::from_utf8_lossy(&packet[..length]));
        }
        self.received.borrow().clone()
    }
}
