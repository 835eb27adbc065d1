//! TLS between sources: who is accepted, and that configurations follow rotation.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use steeple_proto::workload::X509svidResponse;
use steeple_spiffe::tls::{self, Authorize, Authorized, Config, KeyExchange, TlsError};
use steeple_spiffe::workload_api::{SourceError, SystemClock, X509Source, X509Updates};
use steeple_spiffe::{Clock, SpiffeId};
use steeple_testkit::workload::Held;
use steeple_testkit::{Ca, ManualClock};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::Status;

use crate::{HOUR, World, soon, x509_svid};

/// Both ends' sources, each fed by a stream of the endpoint.
struct Case {
    world: World,
    server: Fed,
    client: Fed,
}

struct Fed {
    source: X509Source,
    stream: Held<X509svidResponse>,
    updates: X509Updates,
}

impl Fed {
    async fn new(world: &World, first: X509svidResponse) -> Self {
        let source = world.source();
        let stream = soon(world.endpoint.x509_svids.next()).await.answer(first);
        let mut updates = source.updates();
        soon(updates.next()).await.unwrap();
        Self { source, stream, updates }
    }

    async fn rotate(&mut self, next: X509svidResponse) {
        self.stream.send(next);
        soon(self.updates.next()).await.unwrap();
    }
}

/// The clock as rustls takes it.
struct Manual(ManualClock);

impl std::fmt::Debug for Manual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Manual")
    }
}

impl TimeProvider for Manual {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        Some(UnixTime::since_unix_epoch(since))
    }
}

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Case {
    async fn new() -> Self {
        Self::of(World::new()).await
    }

    async fn of(world: World) -> Self {
        let server = Fed::new(&world, world.x509(&[&world.svid("/server")])).await;
        let client = Fed::new(&world, world.x509(&[&world.svid("/client")])).await;
        Self { world, server, client }
    }

    fn config(&self, source: &X509Source, authorize: Authorize) -> Config {
        let time = Arc::new(Manual(self.world.clock.clone()));
        Config::new(Authorized::new(source.clone(), authorize)).with_identity(source.clone()).with_time(time)
    }

    fn server_config(&self, authorize: Authorize) -> ServerConfig {
        self.config(&self.server.source, authorize).server().unwrap()
    }

    fn client_config(&self, authorize: Authorize) -> ClientConfig {
        self.config(&self.client.source, authorize).client().unwrap()
    }

    /// Whether a handshake succeeds between a server that lets `clients` in and a client that takes `servers`.
    async fn agrees(&self, clients: Authorize, servers: Authorize) -> (bool, bool) {
        let (server, client) = handshake(&self.server_config(clients), &self.client_config(servers)).await;
        (server.is_ok(), client.is_ok())
    }
}

struct Saw {
    peer: Option<SpiffeId>,
    version: Option<ProtocolVersion>,
    kind: Option<HandshakeKind>,
    group: Option<NamedGroup>,
}

fn saw(connection: &rustls::CommonState) -> Saw {
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.map(|der| steeple_spiffe::Certificate::from_der(der).unwrap().spiffe_id().unwrap());
    Saw {
        peer: leaf,
        version: connection.protocol_version(),
        kind: connection.handshake_kind(),
        group: connection.negotiated_key_exchange_group().map(|group| group.name()),
    }
}

/// Both ends' outcomes. A client that is refused learns it when it first reads, so both read and write a byte.
async fn handshake(server: &ServerConfig, client: &ClientConfig) -> (io::Result<Saw>, io::Result<Saw>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (far, near) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server.clone()));
    let connector = TlsConnector::from(Arc::new(client.clone()));
    soon(async {
        tokio::join!(
            async {
                let mut stream = acceptor.accept(far).await?;
                stream.write_all(b"x").await?;
                stream.flush().await?;
                Ok(saw(stream.get_ref().1))
            },
            async {
                let mut stream = connector.connect(ServerName::try_from("anything").unwrap(), near).await?;
                stream.read_exact(&mut [0]).await?;
                Ok(saw(stream.get_ref().1))
            }
        )
    })
    .await
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://example.org{path}").parse().unwrap()
}

#[tokio::test]
async fn both_ends_are_authorized_by_their_spiffe_id() {
    let case = Case::new().await;
    let domain = || case.world.ca.trust_domain().clone();
    let good: [fn(&str) -> Authorize; 4] = [
        |_| Authorize::any(),
        |path| Authorize::one(id(path)),
        |path| Authorize::any_of([id("/other"), id(path)]),
        |path| {
            Authorize::when({
                let path = path.to_owned();
                move |id| id.path() == path
            })
        },
    ];
    for rule in good {
        assert_eq!(case.agrees(rule("/client"), rule("/server")).await, (true, true));
    }
    assert_eq!(case.agrees(Authorize::member_of(domain()), Authorize::member_of(domain())).await, (true, true));

    let bad: [fn() -> Authorize; 4] = [
        || Authorize::one(id("/other")),
        || Authorize::any_of([]),
        || Authorize::member_of("other.org".parse().unwrap()),
        || Authorize::when(|_| false),
    ];
    for rule in bad {
        assert_eq!(case.agrees(rule(), Authorize::any()).await, (false, false), "{:?}", rule());
        assert!(!case.agrees(Authorize::any(), rule()).await.1, "{:?}", rule());
    }
}

#[tokio::test]
async fn a_refusal_says_who_came_and_who_was_wanted() {
    let case = Case::new().await;
    let server = case.server_config(Authorize::member_of("other.org".parse().unwrap()));
    let (refused, _) = handshake(&server, &case.client_config(Authorize::any())).await;
    let error = tls::in_words(refused.err().unwrap());
    assert_eq!(error.to_string(), r#"unexpected ID "spiffe://example.org/client""#);
    let client = case.client_config(Authorize::one(id("/db")));
    let (_, refused) = handshake(&case.server_config(Authorize::any()), &client).await;
    let error = tls::in_words(refused.err().unwrap());
    let expected = r#"unexpected ID "spiffe://example.org/server", expected "spiffe://example.org/db""#;
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_the_newer_one_with_post_quantum_keys_preferred() {
    let case = Case::new().await;
    let servers = [None, Some(TLS12), Some(TLS13)];
    for (versions, expected) in
        servers.into_iter().zip([ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let mut config = case.config(&case.client.source, Authorize::one(id("/server")));
        if let Some(versions) = versions {
            config = config.with_versions(versions);
        }
        let client = config.client().unwrap();
        let (server, client) = handshake(&case.server_config(Authorize::one(id("/client"))), &client).await;
        let (server, client) = (server.unwrap(), client.unwrap());
        assert_eq!((server.version, client.version), (Some(expected), Some(expected)));
        assert_eq!((server.peer, client.peer), (Some(id("/client")), Some(id("/server"))));
        if expected == ProtocolVersion::TLSv1_3 {
            assert_eq!(server.group, Some(NamedGroup::X25519MLKEM768));
        }
    }
}

#[tokio::test]
async fn versions_that_know_no_post_quantum_keys_are_not_spoken_where_these_are_required() {
    let case = Case::new().await;
    let required = KeyExchange::RequirePostQuantum;
    let config = || case.config(&case.client.source, Authorize::one(id("/server")));
    for client in [
        config().with_key_exchange(required).with_versions(&[TLS12, TLS13].concat()),
        config().with_versions(&[TLS12, TLS13].concat()).with_key_exchange(required),
    ] {
        let server = case.config(&case.server.source, Authorize::one(id("/client"))).with_versions(TLS12);
        let (refused, _) = handshake(&server.server().unwrap(), &client.clone().client().unwrap()).await;
        assert!(refused.is_err());
        let (server, _) =
            handshake(&case.server_config(Authorize::one(id("/client"))), &client.client().unwrap()).await;
        assert_eq!(server.unwrap().version, Some(ProtocolVersion::TLSv1_3));
    }
    let neither = config().with_key_exchange(required).with_versions(TLS12);
    assert!(matches!(neither.clone().client(), Err(TlsError::Configuration(_))));
    assert!(matches!(neither.server(), Err(TlsError::Configuration(_))));
}

#[tokio::test]
async fn configurations_follow_svids_and_bundles_through_rotations_of_both_ends() {
    let mut case = Case::new().await;
    for versions in [TLS12, TLS13] {
        let server = case.config(&case.server.source, Authorize::member_of("example.org".parse().unwrap()));
        let client = case.config(&case.client.source, Authorize::member_of("example.org".parse().unwrap()));
        let (server, client) = (server.server().unwrap(), client.with_versions(versions).client().unwrap());
        let mut ca = case.world.ca.clone();
        for round in 0..3 {
            // A new authority signs each time; it is in the bundles of both before anybody shows what it signed.
            let next = case.world.stranger("example.org");
            let answer = |signer: &Ca, path: &str| {
                let mut svid = x509_svid(&signer.svid(path, case.world.hour()), signer);
                svid.bundle = [ca.root().der(), next.root().der()].concat().into();
                X509svidResponse { svids: vec![svid], ..X509svidResponse::default() }
            };
            let steps = [(&ca, &ca), (&next, &ca), (&next, &next)]
                .map(|(s, c)| (answer(s, &format!("/server/{round}")), answer(c, "/client")));
            for (of_server, of_client) in steps {
                case.server.rotate(of_server).await;
                case.client.rotate(of_client).await;
                let (at_server, at_client) = handshake(&server, &client).await;
                let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
                assert_eq!(at_client.peer, Some(id(&format!("/server/{round}"))));
                assert_eq!(at_server.peer, Some(id("/client")));
                // A resumed session would still be the old identity's.
                assert_eq!(at_server.kind.map(|kind| kind == HandshakeKind::Resumed), Some(false));
            }
            ca = next;
        }
        // An authority that left the bundle vouches for nobody any more.
        let old = case.world.svid("/client");
        let mut stale = x509_svid(&old, &case.world.ca);
        stale.bundle = ca.root().der().to_vec().into();
        case.server
            .rotate(X509svidResponse {
                svids: vec![x509_svid(&ca.svid("/server", case.world.hour()), &ca)],
                ..X509svidResponse::default()
            })
            .await;
        case.client.rotate(X509svidResponse { svids: vec![stale], ..X509svidResponse::default() }).await;
        let (server, client) = handshake(&server, &client).await;
        assert!(tls::is_unknown_authority(&server.err().unwrap()) && client.is_err());
        case.server.rotate(case.world.x509(&[&case.world.svid("/server")])).await;
        case.client.rotate(case.world.x509(&[&case.world.svid("/client")])).await;
    }
}

#[tokio::test]
async fn a_peer_of_another_trust_domain_is_verified_by_its_own_bundle_alone() {
    let mut case = Case::new().await;
    let other = case.world.stranger("other.org");
    let federated = |mut answer: X509svidResponse, with: &Ca| {
        let bundle = with.root().der().to_vec().into();
        answer.federated_bundles = [(with.trust_domain().id().to_string(), bundle)].into();
        answer
    };
    let foreign = X509svidResponse {
        svids: vec![x509_svid(&other.svid("/client", case.world.hour()), &other)],
        ..X509svidResponse::default()
    };
    case.client.rotate(federated(foreign, &case.world.ca)).await;
    // Without a bundle of its trust domain it is nobody.
    assert_eq!(case.agrees(Authorize::any(), Authorize::any()).await, (false, false));
    case.server.rotate(federated(case.world.x509(&[&case.world.svid("/server")]), &other)).await;
    assert_eq!(case.agrees(Authorize::any(), Authorize::any()).await, (true, true));

    // The other trust domain's authority signs one of ours, though both bundles are known.
    let mut forged = x509_svid(&other.svid_of(&id("/client"), case.world.hour()), &other);
    forged.bundle = case.world.ca.root().der().to_vec().into();
    case.client.rotate(X509svidResponse { svids: vec![forged], ..X509svidResponse::default() }).await;
    assert!(!case.agrees(Authorize::any(), Authorize::any()).await.0);
}

#[tokio::test]
async fn an_svid_past_its_end_is_refused_by_both_ends() {
    let case = Case::new().await;
    case.world.clock.advance(HOUR * 2);
    assert_eq!(case.agrees(Authorize::any(), Authorize::any()).await, (false, false));
}

#[tokio::test]
async fn what_handshakes_show_is_to_be_had_with_the_reason_where_there_is_nothing() {
    let case = Case::new().await;
    assert!(case.client.source.tls_credential().is_ok());
    let Case { world, server: _server, client: Fed { source, stream, mut updates } } = case;
    stream.fail(Status::permission_denied("no identity issued"));
    assert!(soon(updates.next()).await.is_err());
    assert!(matches!(source.tls_credential(), Err(SourceError::Denied(_))));
    let nobody = X509Source::start_picking(world.client(), world.options(), |_| None).unwrap();
    assert!(matches!(nobody.tls_credential(), Err(SourceError::NotReady)));
}

#[tokio::test]
async fn after_a_denial_there_is_no_handshake() {
    let case = Case::new().await;
    let (server, client) = (case.server_config(Authorize::any()), case.client_config(Authorize::any()));
    assert!(handshake(&server, &client).await.0.is_ok());
    let Case { world: _world, server: Fed { source: _source, stream, mut updates }, client: _client } = case;
    stream.fail(Status::permission_denied("no identity issued"));
    assert!(soon(updates.next()).await.is_err());
    let (at_server, at_client) = handshake(&server, &client).await;
    assert!(at_server.is_err() && at_client.is_err());
}

#[tokio::test]
async fn a_client_without_an_identity_is_let_in_only_where_it_may_be_anonymous() {
    let case = Case::new().await;
    let time = Arc::new(Manual(case.world.clock.clone()));
    let nobody = Config::new(Authorized::new(case.client.source.clone(), Authorize::any())).with_time(time);
    let client = nobody.client().unwrap();
    assert!(handshake(&case.server_config(Authorize::any()), &client).await.0.is_err());
    let open = case.config(&case.server.source, Authorize::any()).with_anonymous_clients().server().unwrap();
    let (server, client) = handshake(&open, &client).await;
    assert_eq!(server.unwrap().peer, None);
    assert_eq!(client.unwrap().peer, Some(id("/server")));
    // One that shows an identity must have a good one there, too.
    let picky = case.config(&case.server.source, Authorize::one(id("/other"))).with_anonymous_clients();
    let (server, _) = handshake(&picky.server().unwrap(), &case.client_config(Authorize::any())).await;
    assert!(server.is_err());
}

#[tokio::test]
async fn the_short_way_verifies_by_the_clock_of_this_machine() {
    let configurations = |case: &Case| {
        let server = tls::server_config(&case.server.source, Authorize::one(id("/client"))).unwrap();
        let client = tls::client_config(&case.client.source, Authorize::one(id("/server"))).unwrap();
        assert!(server.alpn_protocols.is_empty() && !client.enable_sni);
        (server, client)
    };
    let case = Case::of(World::at(SystemClock.now())).await;
    let (server, client) = configurations(&case);
    let (server, client) = handshake(&server, &client).await;
    assert_eq!((server.unwrap().peer, client.unwrap().peer), (Some(id("/client")), Some(id("/server"))));
    // These SVIDs have ended years ago.
    let case = Case::new().await;
    let (server, client) = configurations(&case);
    let (server, client) = handshake(&server, &client).await;
    assert!(server.is_err() && client.is_err());
}
