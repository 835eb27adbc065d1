//! The life of an X.509 source.

use std::time::Duration;

use steeple_spiffe::BundleSource;
use steeple_spiffe::workload_api::{AnswerError, ClientError, SourceError, SourceOptions, X509Source};
use steeple_testkit::FakeEndpoint;
use tonic::{Code, Status};

use crate::{World, client_of, named, soon, trouble};

/// Every pause after a failure; no timer of a good stream is that long.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_source_waits_for_its_first_answer_and_follows() {
    let world = World::new();
    let source = world.source();
    assert!(matches!(source.svid(), Err(SourceError::NotReady)));
    let (ready, stream) = soon(async {
        tokio::join!(source.ready(), async {
            world.endpoint.x509_svids.next().await.answer(world.x509(&[&world.svid("/web")]))
        })
    })
    .await;
    ready.unwrap();
    let mut updates = source.updates();
    assert_eq!(soon(updates.next()).await.unwrap().svids[0].id.path(), "/web");
    for path in ["/a", "/b", "/c"] {
        stream.send(world.x509(&[&world.svid(path)]));
        assert_eq!(soon(updates.next()).await.unwrap().svids[0].id.path(), path);
        assert_eq!(source.svid().unwrap().id.path(), path);
    }
}

#[tokio::test]
async fn each_answer_replaces_the_one_before_it_with_all_its_fields() {
    let world = World::new();
    let other = world.stranger("other.org");
    let (a, b) = (world.svid("/a"), world.svid("/b"));
    let mut full = world.x509(&[&a, &b]);
    full.svids[0].hint = "internal".into();
    full.crl = vec![vec![1].into()];
    full.federated_bundles = named([("spiffe://other.org", other.root().der().to_vec().into())]);
    let source = world.source();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(full);
    let mut updates = source.updates();
    let context = soon(updates.next()).await.unwrap();
    assert_eq!((context.svids.len(), context.bundles.len(), context.crls.len()), (2, 2, 1));
    assert!(source.bundle(other.trust_domain()).is_some());

    stream.send(world.x509(&[&a]));
    let context = soon(updates.next()).await.unwrap();
    assert_eq!((context.svids.len(), context.bundles.len(), context.crls.len()), (1, 1, 0));
    assert_eq!(context.svids[0].hint, "");
    assert!(source.bundle(other.trust_domain()).is_none());
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_at_once() {
    let world = World::new();
    let web = world.svid("/web");
    for end in [None, Some(Status::unavailable("going away")), Some(Status::internal("broken"))] {
        let source = world.source();
        let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
        soon(source.ready()).await.unwrap();
        match end {
            None => drop(stream),
            Some(status) => stream.fail(status),
        }
        // The clock stands still: nobody waits for it.
        let _second = soon(world.endpoint.x509_svids.next()).await;
        assert_eq!(source.svid().unwrap().id, web.id);
        source.close();
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_at_once() {
    let world = World::new();
    let (web, source) = (world.svid("/web"), world.source());
    let _stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    world.endpoint.cut();
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    let _second = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&world.svid("/later")]));
    assert_eq!(soon(updates.next()).await.unwrap().svids[0].id.path(), "/later");
}

#[tokio::test]
async fn streams_that_do_not_last_are_not_opened_again_at_once() {
    let world = World::new();
    let (web, source) = (world.svid("/web"), world.source());
    drop(soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web])));
    // At once; but the second one does not live long enough to be a good one, nor does the third.
    for _ in 0..2 {
        drop(soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web])));
        soon(world.clock.wake(SHORTEST..LONGEST)).await;
    }
    // This one lasts, and what was before is forgotten.
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    soon(async {
        while world.clock.sleepers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stream);
    let _last = soon(world.endpoint.x509_svids.next()).await;
    assert_eq!(source.svid().unwrap().id, web.id);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_yet_or_goes_away_is_asked_again_after_a_pause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let world = World::new();
    let client =
        steeple_spiffe::workload_api::WorkloadApiClient::new(&format!("unix://{}", path.display()).parse().unwrap())
            .unwrap();
    let source = X509Source::start(client, world.options()).unwrap();
    // Nobody listens.
    for _ in 0..3 {
        soon(world.clock.wake(SHORTEST..=LONGEST)).await;
    }
    soon(world.clock.until_somebody_sleeps(SHORTEST..=LONGEST)).await;
    assert_eq!(source.trouble().unwrap().code(), Some(Code::Unavailable));
    let endpoint = FakeEndpoint::start_at(&path);
    soon(world.clock.wake(SHORTEST..=LONGEST)).await;
    let web = world.svid("/web");
    let _stream = soon(endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    assert!(source.trouble().is_none());

    // It goes away, and comes back.
    drop(endpoint);
    std::fs::remove_file(&path).unwrap();
    soon(world.clock.wake(SHORTEST..=LONGEST)).await;
    soon(world.clock.until_somebody_sleeps(SHORTEST..=LONGEST)).await;
    assert_eq!(source.svid().unwrap().id, web.id);
    let endpoint = FakeEndpoint::start_at(&path);
    soon(world.clock.wake(SHORTEST..=LONGEST)).await;
    soon(endpoint.x509_svids.next()).await;
}

#[tokio::test]
async fn an_unavailable_endpoint_is_asked_again_after_growing_pauses_and_the_last_answer_kept() {
    let world = World::new();
    let (web, source) = (world.svid("/web"), world.source());
    // Nothing was served yet: not at once.
    soon(world.endpoint.x509_svids.next()).await.refuse(Status::unavailable("starting"));
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    // This stream lasts.
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    soon(async {
        while world.clock.sleepers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stream.fail(Status::unavailable("going away"));
    // The first time at once.
    soon(world.endpoint.x509_svids.next()).await.refuse(Status::unavailable("starting"));
    let mut whole = Duration::from_millis(500);
    for _ in 0..8 {
        soon(world.clock.wake(whole / 2..=whole)).await;
        soon(world.endpoint.x509_svids.next()).await.refuse(Status::unavailable("starting"));
        assert_eq!(source.svid().unwrap().id, web.id);
        whole = (whole * 2).min(LONGEST);
    }
}

#[tokio::test]
async fn a_denial_takes_everything_and_is_asked_again_after_a_pause() {
    let world = World::new();
    let (web, source, domain) = (world.svid("/web"), world.source(), world.ca.trust_domain());
    // Denied at first: there may be an entry later.
    soon(world.endpoint.x509_svids.next()).await.refuse(Status::permission_denied("no identity issued"));
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    assert!(source.bundle(domain).is_some());

    stream.fail(Status::permission_denied("no identity issued"));
    assert!(matches!(soon(updates.next()).await, Err(SourceError::Denied(_))));
    match source.svid() {
        Err(SourceError::Denied(error)) => assert_eq!(error.code(), Some(Code::PermissionDenied)),
        outcome => panic!("{outcome:?}"),
    }
    assert!(source.bundle(domain).is_none());
    assert!(source.context().is_err());

    // Not at once, though this stream had served.
    soon(world.clock.until_somebody_sleeps(SHORTEST..LONGEST)).await;
    assert!(!world.endpoint.x509_svids.is_waiting().await);
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    // An endpoint that is away says nothing about what this process may have.
    soon(world.endpoint.x509_svids.next()).await.refuse(Status::unavailable("starting"));
    soon(world.clock.wake(SHORTEST..LONGEST)).await;
    assert!(matches!(source.svid(), Err(SourceError::Denied(_))));
    let _stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    assert_eq!(soon(updates.next()).await.unwrap().svids[0].id, web.id);
    assert_eq!(source.svid().unwrap().id, web.id);
}

#[tokio::test]
async fn a_source_that_waits_is_told_when_it_is_refused_for_good() {
    for code in [Code::InvalidArgument, Code::Unimplemented] {
        let world = World::new();
        let source = world.source();
        let (ready, ()) = soon(async {
            tokio::join!(source.ready(), async {
                world.endpoint.x509_svids.next().await.refuse(Status::new(code, "no"));
            })
        })
        .await;
        assert!(matches!(ready, Err(SourceError::Ended(error)) if error.code() == Some(code)));
        // The task is over: nobody sleeps, and nobody asks.
        assert_eq!(world.clock.sleepers(), 0);
        assert!(!world.endpoint.x509_svids.is_waiting().await);
        // However often it is asked for.
        let mut updates = source.updates();
        for _ in 0..2 {
            assert!(matches!(soon(updates.next()).await, Err(SourceError::Ended(_))));
        }
    }
}

#[tokio::test]
async fn a_source_that_is_refused_for_good_keeps_its_last_answer() {
    let world = World::new();
    let (web, source) = (world.svid("/web"), world.source());
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    stream.fail(Status::invalid_argument("security header missing from request"));
    assert!(matches!(soon(updates.next()).await, Err(SourceError::Ended(_))));
    assert_eq!(source.svid().unwrap().id, web.id);
    assert!(!world.endpoint.x509_svids.is_waiting().await);
}

#[tokio::test]
async fn a_message_beyond_the_limit_leaves_the_last_answer_and_is_asked_again() {
    let world = World::new();
    let web = world.svid("/web");
    let source = X509Source::start(world.client().with_max_message_len(16 << 10), world.options()).unwrap();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    let mut huge = world.x509(&[&world.svid("/other")]);
    huge.crl = vec![vec![0; 17 << 10].into()];
    stream.send(huge);
    let _second = soon(world.endpoint.x509_svids.next()).await;
    assert_eq!(source.trouble().unwrap().code(), Some(Code::OutOfRange));
    assert_eq!(source.svid().unwrap().id, web.id);
}

#[tokio::test]
async fn a_closed_source_has_nothing_and_leaves_the_endpoint() {
    let world = World::new();
    let source = world.source();
    let clone = source.clone();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&world.svid("/web")]));
    soon(source.ready()).await.unwrap();
    let mut updates = clone.updates();
    soon(updates.next()).await.unwrap();
    source.close();
    soon(stream.gone()).await;
    for _ in 0..2 {
        assert!(matches!(soon(updates.next()).await, Err(SourceError::Closed)));
    }
    assert!(matches!(clone.svid(), Err(SourceError::Closed)));
    assert!(matches!(clone.ready().await, Err(SourceError::Closed)));
    assert!(clone.bundle(world.ca.trust_domain()).is_none());
}

#[tokio::test]
async fn the_last_clone_that_is_dropped_leaves_the_endpoint() {
    let world = World::new();
    let source = world.source();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&world.svid("/web")]));
    soon(source.ready()).await.unwrap();
    let clone = source.clone();
    let mut updates = source.updates();
    drop(source);
    assert!(clone.svid().is_ok());
    soon(updates.next()).await.unwrap();
    drop(clone);
    soon(stream.gone()).await;
    assert!(matches!(soon(updates.next()).await, Err(SourceError::Closed)));
}

#[tokio::test]
async fn the_caller_may_pick_an_identity_and_it_is_picked_anew_in_each_answer() {
    let world = World::new();
    let pick = |context: &steeple_spiffe::workload_api::X509Context| context.svid_with_hint("internal").cloned();
    let source = X509Source::start_picking(world.client(), world.options(), pick).unwrap();
    let (web, db) = (world.svid("/web"), world.svid("/db"));
    let mut hinted = world.x509(&[&web, &db]);
    hinted.svids[1].hint = "internal".into();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(hinted);
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    assert_eq!(source.svid().unwrap().id, db.id);
    stream.send(world.x509(&[&web]));
    soon(updates.next()).await.unwrap();
    assert!(matches!(source.svid(), Err(SourceError::NonePicked)));
}

#[tokio::test]
async fn a_first_answer_that_is_dropped_is_no_answer_but_told() {
    let world = World::new();
    let source = world.source();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(Default::default());
    let error = trouble(|| source.trouble()).await;
    assert!(matches!(&*error, ClientError::Answer(AnswerError::NoSvids)));
    assert!(matches!(source.svid(), Err(SourceError::NotReady)));
    stream.send(world.x509(&[&world.svid("/web")]));
    soon(source.ready()).await.unwrap();
    assert!(source.trouble().is_none());
}

#[test]
fn outside_of_a_runtime_a_source_is_refused_without_a_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, _endpoint) = runtime.block_on(async {
        let endpoint = FakeEndpoint::start();
        (client_of(&endpoint), endpoint)
    });
    assert!(matches!(X509Source::start(client, SourceOptions::default()), Err(SourceError::NoRuntime)));
}

#[test]
fn sources_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<X509Source>();
    shared::<steeple_spiffe::workload_api::JwtSource>();
    shared::<steeple_spiffe::workload_api::X509BundleSource>();
}
