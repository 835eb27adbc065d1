mod bundles;
mod minting;

use std::ops::RangeInclusive;
use std::sync::Arc;

use prost::Message;
use steeple_pki::KeyType;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_proto::steeple::agent::sync::v1::{Entries, Removed, Status as Synced};
use steeple_testkit::Ca;
use steeple_testkit::server::{Misbehaviour, entry};
use steeple_transport::status::{permission_denied, unavailable};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::cache::{Cache, Selector, Selectors, Subscription, Update};
use crate::config::Bootstrap;
use crate::renewal::Renewal;
use crate::tests::{By, HOUR, Host, SECOND};

const INTERVAL: Duration = SECOND.saturating_mul(5);

/// How the server tells what is new.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Pushed,
    /// GetAuthorizedEntries.
    Asked,
    /// SyncAuthorizedEntries.
    AskedByStream,
}

struct Case {
    host: Host,
    upstream: Upstream,
    cache: Cache,
    tokens: Arc<JwtSvids>,
    storage: Arc<Mutex<Storage>>,
    ready: oneshot::Receiver<()>,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), SyncError>>,
}

/// A pause, give or take a tenth.
fn about(pause: Duration) -> RangeInclusive<Duration> {
    pause.mul_f64(0.9)..=pause.mul_f64(1.1)
}

/// Waits for something while one pause after the other passes.
async fn meanwhile<T>(host: &Host, work: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            host.manual.wake(SECOND / 10..=SECOND * 8).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = passing => unreachable!("time passes on and on"),
    }
}

impl Case {
    /// An agent that has attested and begins to sync; the cache holds so many SVIDs.
    fn start(host: Host, way: Way, size: usize) -> Self {
        Self::start_with(host, way, size, Rebootstrap::default())
    }

    fn start_with(host: Host, way: Way, size: usize, rebootstrap: Rebootstrap) -> Self {
        host.server.change(|script| script.pushes = way == Way::Pushed);
        let upstream = host.attested();
        let (cache, store) = Cache::new(host.ca.trust_domain().clone(), size);
        let storage = Arc::new(Mutex::new(host.storage()));
        let (told, ready) = oneshot::channel();
        let mint = mint::Options { key_type: KeyType::EcP256, renewal: Renewal::default() };
        let clock = host.manual.clock();
        let of_tokens = crate::jwt::Options { size: 10, hit_timeout: SECOND };
        let jwt_svids = Arc::new(JwtSvids::new(upstream.clone(), cache.clone(), clock.clone(), of_tokens));
        let tokens = Arc::clone(&jwt_svids);
        let by_stream = way == Way::AskedByStream;
        let options = Options { mint, interval: INTERVAL, by_stream, rebootstrap, jwt_svids, tracer: None };
        let attestation = host.attestation(&upstream, Bootstrap::Insecure, By::Answering("a"));
        let sync = Sync::new(upstream.clone(), store, Arc::clone(&storage), clock, options, attestation, told);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(sync.run(shutdown.clone()));
        Self { host, upstream, cache, tokens, storage, ready, shutdown, running }
    }

    /// With one entry, `a` for uid 1, and everything that a first sync brings.
    async fn synced(way: Way) -> Self {
        Self::synced_with(way, Rebootstrap::default()).await
    }

    async fn synced_with(way: Way, rebootstrap: Rebootstrap) -> Self {
        let host = Host::new().await;
        let one = of(&host, "a", "unix:uid:1");
        host.server.change(|script| script.entries = vec![one]);
        let mut case = Self::start_with(host, way, 100, rebootstrap);
        (&mut case.ready).await.unwrap();
        case.until("unix:uid:1", Update::is_complete).await;
        case
    }

    /// From now on the server shows a certificate of an authority that the agent does not know.
    async fn show_another_authority(&self) {
        let now = self.host.manual.now();
        self.host.server.show(&Ca::new("example.org", now).svid("/spire/server", now..now + HOUR));
        self.upstream.reconnect();
        self.host.server.end_streams(None);
        self.host.manual.wake(STREAM_PAUSE..=STREAM_PAUSE).await;
        self.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
    }

    fn subscribe(&self, selector: &str) -> Subscription {
        let (kind, value) = selector.split_once(':').unwrap();
        self.cache.subscribe(Selectors::new(vec![Selector { kind: kind.into(), value: value.into() }]))
    }

    /// Waits until a process with this one selector is told what `holds`.
    async fn until(&self, selector: &str, holds: impl Fn(&Update) -> bool) -> Arc<Update> {
        let mut subscription = self.subscribe(selector);
        loop {
            let update = subscription.latest();
            if holds(&update) {
                return update;
            }
            subscription.changed().await;
        }
    }

    /// Lets the next poll come, or whatever the server is asked after an interval.
    async fn poll(&self) {
        if !self.is_pushed() {
            self.host.manual.wake(about(INTERVAL)).await;
        }
    }

    fn is_pushed(&self) -> bool {
        self.host.server.streams() > 0
    }

    /// The server now says this; a stream is told so as well.
    fn change(&self, entries: Vec<types::Entry>) {
        let before: Vec<_> = {
            let mut before = Vec::new();
            self.host.server.change(|script| before = std::mem::replace(&mut script.entries, entries.clone()));
            before.into_iter().map(|entry| entry.id).collect()
        };
        if !self.is_pushed() {
            return;
        }
        let lost = before.into_iter().filter(|id| entries.iter().all(|entry| entry.id != *id)).collect();
        self.host.server.push(Change::Removed(Removed { entry_ids: lost }));
        self.host.server.push(pushed(&entries));
        self.host.server.push(Change::Status(Synced { complete: true }));
    }
}

fn pushed(entries: &[types::Entry]) -> Change {
    Change::Entries(Entries { entries: entries.iter().map(|entry| entry.encode_to_vec().into()).collect() })
}

/// An entry `id` for `/id`.
fn of(host: &Host, id: &str, selector: &str) -> types::Entry {
    entry(id, &host.ca.id(&format!("/{id}")), &[selector])
}

fn has(count: usize) -> impl Fn(&Update) -> bool {
    move |update| update.identities.len() == count && update.is_complete()
}

const WAYS: [Way; 3] = [Way::Pushed, Way::Asked, Way::AskedByStream];

#[tokio::test]
async fn a_first_sync_brings_entries_svids_and_the_bundle() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let update = case.until("unix:uid:1", has(1)).await;
        let svid = update.identities[0].svid.as_ref().unwrap();
        assert_eq!(svid.chain[0].spiffe_id().unwrap(), case.host.ca.id("/a"), "{way:?}");
        assert_eq!(update.own.as_ref().unwrap().authorities(), [case.host.ca.root().clone()]);
        // Believed after a restart as well.
        assert_eq!(case.host.storage().bundle().unwrap(), [case.host.ca.root().clone()]);
        assert_eq!(case.host.server.seen().versions, [steeple_runtime::COMPATIBLE]);
        case.shutdown.stop();
        case.running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn entries_that_come_change_and_go_reach_the_cache() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let (a, b) = (of(&case.host, "a", "unix:uid:1"), of(&case.host, "b", "unix:uid:1"));
        case.change(vec![a.clone(), b.clone()]);
        case.poll().await;
        case.until("unix:uid:1", has(2)).await;

        let moved = types::Entry { revision_number: 1, ..of(&case.host, "b", "unix:uid:2") };
        case.change(vec![a, moved]);
        case.poll().await;
        case.until("unix:uid:1", has(1)).await;
        case.until("unix:uid:2", has(1)).await;

        case.change(Vec::new());
        case.poll().await;
        case.until("unix:uid:1", has(0)).await;
        case.until("unix:uid:2", has(0)).await;
    }
}

#[tokio::test]
async fn more_entries_than_one_message_holds_are_all_taken() {
    for way in WAYS {
        let host = Host::new().await;
        let many: Vec<_> = (0..1201).map(|i| of(&host, &i.to_string(), "unix:uid:1")).collect();
        host.server.change(|script| script.entries = many.clone());
        let mut case = Case::start(host, way, 0);
        (&mut case.ready).await.unwrap();
        let matching = |case: &Case| {
            let selectors = Selectors::new(vec![Selector { kind: "unix".into(), value: "uid:1".into() }]);
            case.cache.snapshot().matching(&selectors).len()
        };
        assert_eq!(matching(&case), 1201, "{way:?}");
        let wanted: Vec<usize> = case.host.server.seen().wanted.iter().map(Vec::len).collect();
        if way == Way::Asked {
            assert!(wanted.is_empty());
        } else {
            assert_eq!(wanted, [500, 500, 201], "{way:?}");
        }
    }
}

#[tokio::test]
async fn only_entries_that_differ_are_asked_for() {
    let host = Host::new().await;
    let mut many: Vec<_> = (0..3).map(|i| of(&host, &i.to_string(), "unix:uid:1")).collect();
    host.server.change(|script| {
        script.entries = many.clone();
        script.page = 2;
    });
    let mut case = Case::start(host, Way::AskedByStream, 100);
    (&mut case.ready).await.unwrap();
    case.until("unix:uid:1", has(3)).await;
    many[1].revision_number = 1;
    many[1].selectors[0].value = "uid:2".to_owned();
    many.remove(2);
    many.push(of(&case.host, "3", "unix:uid:1"));
    case.change(many);
    case.poll().await;
    case.until("unix:uid:2", has(1)).await;
    case.until("unix:uid:1", has(2)).await;
    let wanted = case.host.server.seen().wanted;
    assert_eq!(wanted, [vec!["0".to_owned(), "1".into()], vec!["2".into()], vec!["1".into(), "3".into()]]);
}

#[tokio::test]
async fn a_stream_that_ends_well_is_opened_again_and_nothing_is_sent_twice() {
    let case = Case::synced(Way::Pushed).await;
    let wanted = case.host.server.seen().wanted;
    assert_eq!(wanted, [vec!["a".to_owned()]]);
    case.host.server.end_streams(None);
    case.host.manual.wake(STREAM_PAUSE..=STREAM_PAUSE).await;
    case.host.server.until_called("Follow", 2).await;
    // What it holds is what there is, so that a change is the next that it hears.
    case.host.server.change(|script| script.entries.push(of(&case.host, "b", "unix:uid:1")));
    case.host.server.push(pushed(&[of(&case.host, "b", "unix:uid:1")]));
    case.until("unix:uid:1", has(2)).await;
    assert_eq!(case.host.server.seen().wanted, wanted);
}

#[tokio::test]
async fn what_changed_while_there_was_no_stream_is_made_up_for() {
    let case = Case::synced(Way::Pushed).await;
    case.host.server.misbehave("Follow", Some(Misbehaviour::Refuse(Status::unavailable("going down"))));
    case.host.server.end_streams(None);
    case.host.manual.wake(STREAM_PAUSE..=STREAM_PAUSE).await;
    case.host.server.until_called("Follow", 2).await;
    let (b, c) = (of(&case.host, "b", "unix:uid:1"), of(&case.host, "c", "unix:uid:1"));
    case.host.server.change(|script| script.entries = vec![b, c]);
    // Meanwhile the workload has what it had.
    case.until("unix:uid:1", has(1)).await;
    case.host.server.misbehave("Follow", None);
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    let update = case.until("unix:uid:1", has(2)).await;
    let ids: Vec<_> = update.identities.iter().map(|identity| &*identity.entry.id).collect();
    assert_eq!(ids, ["b", "c"]);
}

#[tokio::test]
async fn failures_are_followed_by_ever_longer_pauses() {
    let host = Host::new().await;
    host.server.misbehave("Follow", Some(Misbehaviour::Refuse(Status::internal("broken"))));
    let mut case = Case::start(host, Way::Pushed, 100);
    let mut pause = FIRST_PAUSE;
    for tries in 1..5 {
        case.host.server.until_called("Follow", tries).await;
        case.host.manual.wake(about(pause)).await;
        pause = pause * 3 / 2;
    }
    case.host.server.until_called("Follow", 5).await;
    case.host.server.misbehave("Follow", None);
    case.host.manual.wake(about(pause)).await;
    (&mut case.ready).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_is_not_asked_before() {
    for (told, obeyed) in [(SECOND * 16, SECOND * 20), (HOUR, SECOND * 75 / 2), (SECOND / 10, FIRST_PAUSE)] {
        let case = Case::synced(Way::Pushed).await;
        case.host.server.misbehave("Follow", Some(Misbehaviour::Refuse(unavailable("away", told))));
        case.host.server.end_streams(None);
        case.host.manual.wake(STREAM_PAUSE..=STREAM_PAUSE).await;
        case.host.server.until_called("Follow", 2).await;
        case.host.manual.wake(about(obeyed)).await;
        case.host.server.until_called("Follow", 3).await;
    }
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_does_not_keep_from_another_one() {
    let host = Host::new().await;
    let away = unavailable("away", SECOND * 20);
    assert_eq!(host.upstream().pause_after(&away, SECOND), SECOND * 25);
    let exhausted = Status::with_details(Code::ResourceExhausted, "too many", away.details().to_vec().into());
    assert_eq!(host.upstream().pause_after(&exhausted, SECOND), SECOND * 25);
    let denied = Status::with_details(Code::PermissionDenied, "no", away.details().to_vec().into());
    assert_eq!(host.upstream().pause_after(&denied, SECOND), SECOND);
    let several = host.upstream_at_all(&[host.server.port(), 1]);
    assert_eq!(several.pause_after(&away, SECOND), SECOND);
}

#[tokio::test]
async fn a_failure_after_a_sync_is_followed_by_the_first_pause_however_often() {
    for way in WAYS {
        let method = if way == Way::AskedByStream { "SyncAuthorizedEntries" } else { "GetAuthorizedEntries" };
        let case = Case::synced(way).await;
        for round in 0..4 {
            let broken = Status::unavailable("broken");
            if way == Way::Pushed {
                case.host.server.end_streams(Some(broken));
            } else {
                case.host.server.misbehave(method, Some(Misbehaviour::Refuse(broken)));
                case.poll().await;
            }
            case.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
            case.host.server.misbehave(method, None);
            let name = format!("after-{round}");
            case.host.server.change(|script| script.entries = vec![of(&case.host, &name, "unix:uid:1")]);
            case.host.manual.wake(about(FIRST_PAUSE)).await;
            let is_there = |update: &Update| update.identities.iter().any(|identity| *identity.entry.id == *name);
            case.until("unix:uid:1", is_there).await;
        }
    }
}

#[tokio::test]
async fn a_new_identity_ends_the_pause_after_failures() {
    let host = Host::new().await;
    host.server.misbehave("Follow", Some(Misbehaviour::Refuse(Status::internal("broken"))));
    let mut case = Case::start(host, Way::Pushed, 100);
    case.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
    case.host.server.misbehave("Follow", None);
    // No time passes.
    case.upstream.set_identity(case.host.attested().identity().unwrap()).unwrap();
    (&mut case.ready).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_asked_again() {
    let host = Host::new().await;
    host.server.misbehave("GetAuthorizedEntries", Some(Misbehaviour::Hang));
    let mut case = Case::start(host, Way::Asked, 100);
    case.host.server.until_called("GetAuthorizedEntries", 1).await;
    case.host.manual.wake(SECOND * 30..=SECOND * 30).await;
    case.host.server.misbehave("GetAuthorizedEntries", None);
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    (&mut case.ready).await.unwrap();
}

#[tokio::test]
async fn garbage_is_an_error_like_any_other() {
    for (way, method) in
        [(Way::Pushed, "Follow"), (Way::Asked, "GetBundle"), (Way::AskedByStream, "SyncAuthorizedEntries")]
    {
        let host = Host::new().await;
        host.server.misbehave(method, Some(Misbehaviour::Garbage));
        let mut case = Case::start(host, way, 100);
        case.host.server.until_called(method, 1).await;
        case.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
        case.host.server.misbehave(method, None);
        case.host.manual.wake(about(FIRST_PAUSE)).await;
        (&mut case.ready).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_cannot_push_is_asked_once_a_minute_whether_it_can() {
    let case = Case::synced(Way::Asked).await;
    case.host.server.change(|script| script.pushes = true);
    loop {
        tokio::select! {
            biased;
            () = case.host.server.until_called("Follow", 2) => break,
            () = case.host.manual.wake(about(INTERVAL)) => {}
        }
    }
    case.change(vec![of(&case.host, "a", "unix:uid:1"), of(&case.host, "b", "unix:uid:1")]);
    case.until("unix:uid:1", has(2)).await;
}

#[tokio::test]
async fn malformed_entries_are_left_out_and_the_others_taken() {
    for way in WAYS {
        let host = Host::new().await;
        let sound = of(&host, "sound", "unix:uid:1");
        let nobodys = types::Entry { selectors: Vec::new(), ..of(&host, "nobodys", "unix:uid:1") };
        let mut foreign = of(&host, "foreign", "unix:uid:1");
        foreign.spiffe_id.as_mut().unwrap().trust_domain = "NOT A DOMAIN".to_owned();
        host.server.change(|script| script.entries = vec![nobodys, foreign, sound]);
        let mut case = Case::start(host, way, 100);
        // A listing of a stream that names them is complete all the same, as far as it can be.
        let update = case.until("unix:uid:1", has(1)).await;
        assert_eq!(&*update.identities[0].entry.id, "sound", "{way:?}");
        (&mut case.ready).await.unwrap();
    }
}

#[tokio::test]
async fn a_rejection_ends_the_agent_whenever_it_comes() {
    let rejections = [
        (Reason::AgentBanned, Rejection::Banned),
        (Reason::AgentExpired, Rejection::MustAttest(Reason::AgentExpired)),
        (Reason::AgentNotActive, Rejection::MustAttest(Reason::AgentNotActive)),
        (Reason::AgentNotAttested, Rejection::MustAttest(Reason::AgentNotAttested)),
    ];
    for (reason, expected) in rejections {
        let denial = permission_denied("no", reason);
        // At the first call, at a later one, and in the middle of a stream.
        for way in WAYS {
            let host = Host::new().await;
            let method = if way == Way::Pushed { "Follow" } else { "GetBundle" };
            host.server.misbehave(method, Some(Misbehaviour::Refuse(denial.clone())));
            let case = Case::start(host, way, 100);
            let error = case.running.await.unwrap().unwrap_err();
            assert!(matches!(error, SyncError::Rejected { rejection, .. } if rejection == expected), "{error}");
            assert_eq!(
                error.to_string(),
                "failed to fetch authorized entries: rpc error: code = PermissionDenied desc = no"
            );

            let case = Case::synced(way).await;
            case.host.server.misbehave(method, Some(Misbehaviour::Refuse(denial.clone())));
            case.host.server.end_streams(Some(denial.clone()));
            case.poll().await;
            let error = case.running.await.unwrap().unwrap_err();
            assert!(matches!(error, SyncError::Rejected { rejection, .. } if rejection == expected), "{error}");
        }
    }
}

/// A server that has forgotten the agent; it takes note of nothing but attestation.
async fn forgotten(way: Way, reason: Reason) -> Case {
    let case = Case::synced(way).await;
    let identity = case.upstream.identity().unwrap();
    case.host.server.change(|script| script.reattestable = true);
    case.upstream.set_identity(Identity { reattestable: true, ..identity }).unwrap();
    let denial = permission_denied("no", reason);
    for method in ["Follow", "GetBundle"] {
        case.host.server.misbehave(method, Some(Misbehaviour::Refuse(denial.clone())));
    }
    case.host.server.end_streams(Some(denial));
    case
}

#[tokio::test]
async fn an_agent_that_can_attests_again_when_it_is_refused_and_syncs_on() {
    for reason in [Reason::AgentNotAttested, Reason::AgentExpired, Reason::AgentNotActive, Reason::AgentMustReattest] {
        for way in [Way::Pushed, Way::Asked] {
            let mut case = forgotten(way, reason).await;
            let before = case.upstream.identity().unwrap();
            meanwhile(&case.host, case.host.server.until_called("AttestAgent", 1)).await;
            for method in ["Follow", "GetBundle"] {
                case.host.server.misbehave(method, None);
            }
            let mut identities = case.upstream.identities();
            let is_new = |now: &Option<Identity>| now.as_ref().is_some_and(|now| now.chain != before.chain);
            let after = identities.wait_for(is_new).await.unwrap().clone().unwrap();
            assert_eq!((&after.id, after.key_id.as_str()), (&before.id, "agent-svid-B"));
            assert_eq!(case.storage.lock().await.svid().unwrap().chain, after.chain);

            // What comes now comes to the new one.
            let serial = after.chain[0].serial_decimal();
            let method = if way == Way::Pushed { "Follow" } else { "GetAuthorizedEntries" };
            let arrives = |seen: &steeple_testkit::server::Seen| {
                seen.of(method).any(|call| call.serial.as_ref() == Some(&serial))
            };
            meanwhile(&case.host, case.host.server.until_seen(arrives)).await;
            case.shutdown.stop();
            (&mut case.running).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn an_agent_that_fails_to_attest_again_ends_and_so_does_one_that_is_banned() {
    let mut case = forgotten(Way::Pushed, Reason::AgentNotAttested).await;
    case.host.server.misbehave("AttestAgent", Some(Misbehaviour::Refuse(Status::unavailable("going down"))));
    let error = meanwhile(&case.host, &mut case.running).await.unwrap().unwrap_err();
    assert!(matches!(error, SyncError::Rejected { rejection: Rejection::MustAttest(_), .. }), "{error}");

    let mut case = forgotten(Way::Pushed, Reason::AgentBanned).await;
    let error = meanwhile(&case.host, &mut case.running).await.unwrap().unwrap_err();
    assert!(matches!(error, SyncError::Rejected { rejection: Rejection::Banned, .. }), "{error}");
    assert_eq!(case.host.server.seen().count("AttestAgent"), 0);
}

#[tokio::test]
async fn what_an_identity_is_refused_that_has_been_replaced_ends_nothing() {
    let case = Case::synced(Way::Pushed).await;
    // Somebody renews: the server may end the old identity's stream before the new identity is here.
    let storage = Arc::clone(&case.storage);
    let renewing = storage.lock().await;
    let denial = permission_denied("superseded", Reason::AgentNotActive);
    case.host.server.misbehave("Follow", Some(Misbehaviour::Refuse(denial.clone())));
    let streams = case.host.server.seen().count("Follow");
    case.host.server.end_streams(Some(denial));
    let now = case.host.manual.now();
    let svid = case.host.ca.svid("/spire/agent/test/a", now..now + HOUR);
    let (id, signer) = (svid.id.clone(), svid.signer());
    let renewed = Identity { id, chain: svid.chain, signer, reattestable: false, key_id: "agent-svid-B".to_owned() };
    case.host.server.misbehave("Follow", None);
    case.upstream.set_identity(renewed).unwrap();
    drop(renewing);
    meanwhile(&case.host, case.host.server.until_seen(|seen| seen.count("Follow") > streams)).await;
    assert!(!case.running.is_finished());
}

#[tokio::test]
async fn a_denial_without_a_reason_ends_nothing() {
    let host = Host::new().await;
    let denial = Status::permission_denied("no");
    host.server.misbehave("Follow", Some(Misbehaviour::Refuse(denial)));
    let mut case = Case::start(host, Way::Pushed, 100);
    case.host.server.until_called("Follow", 1).await;
    case.host.server.misbehave("Follow", None);
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    (&mut case.ready).await.unwrap();
}

#[tokio::test]
async fn an_agent_keeps_what_it_has_while_its_server_is_below_an_unknown_authority() {
    let case = Case::synced(Way::Pushed).await;
    case.show_another_authority().await;
    let mut pause = FIRST_PAUSE;
    for _ in 0..5 {
        case.host.manual.wake(about(pause)).await;
        pause = pause * 3 / 2;
    }
    assert!(case.until("unix:uid:1", has(1)).await.is_complete());
    assert!(!case.running.is_finished());
    // And goes on when its server is back.
    let now = case.host.manual.now();
    case.host.server.show(&case.host.ca.svid("/spire/server", now..now + HOUR));
    case.change(vec![of(&case.host, "a", "unix:uid:1"), of(&case.host, "b", "unix:uid:1")]);
    meanwhile(&case.host, case.until("unix:uid:1", has(2))).await;
}

#[tokio::test]
async fn an_agent_that_is_told_to_begins_anew_when_its_server_stays_unknown() {
    const DELAY: Duration = SECOND.saturating_mul(60);
    let rebootstrap = Rebootstrap { mode: RebootstrapMode::Auto, delay: DELAY };
    let mut case = Case::synced_with(Way::Pushed, rebootstrap).await;
    let svid = case.host.ca.svid("/spire/agent/test/a", case.host.manual.now()..case.host.manual.now() + HOUR);
    case.storage.lock().await.store_svid(&svid.chain, true).unwrap();
    case.show_another_authority().await;
    let seen_first = case.storage.lock().await.bootstrapping().since.unwrap();
    // Not before its time.
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    case.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
    assert!(!case.running.is_finished());
    let error = meanwhile(&case.host, &mut case.running).await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("shutting down for rebootstrapping: "), "{error}");
    assert!(case.host.manual.now() >= seen_first + DELAY);
    let storage = case.host.storage();
    assert!(storage.svid().is_none() && storage.bundle().is_none() && storage.bootstrapping().again);
}

#[tokio::test]
async fn a_server_below_an_unknown_authority_is_tried_again_by_an_agent_that_has_not() {
    let host = Host::new().await;
    let now = host.manual.now();
    host.server.show(&Ca::new("example.org", now).svid("/spire/server", now..now + HOUR));
    let mut case = Case::start(host, Way::Pushed, 100);
    case.host.manual.until_somebody_sleeps(about(FIRST_PAUSE)).await;
    case.host.server.show(&case.host.ca.svid("/spire/server", now..now + HOUR));
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    (&mut case.ready).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_cannot_sync_at_its_start_gives_up_after_its_patience() {
    let host = Host::new().await;
    host.server.misbehave("Follow", Some(Misbehaviour::Refuse(Status::unavailable("going down"))));
    let case = Case::start(host, Way::Pushed, 100);
    let mut pause = FIRST_PAUSE;
    while !case.running.is_finished() {
        tokio::select! {
            () = case.host.manual.wake(about(pause)) => pause = pause * 3 / 2,
            () = until_finished(&case.running) => {}
        }
    }
    let error = case.running.await.unwrap().unwrap_err();
    assert!(matches!(error, SyncError::NotInitialized(_)), "{error}");
    assert!(error.to_string().ends_with("rpc error: code = Unavailable desc = going down"), "{error}");
}

async fn until_finished<T>(running: &JoinHandle<T>) {
    while !running.is_finished() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_has_the_agent_ask_anew_and_replace_what_is_due() {
    let case = Case::synced(Way::Pushed).await;
    let first = case.until("unix:uid:1", has(1)).await.identities[0].svid.clone().unwrap();
    let mut subscription = case.subscribe("unix:uid:1");
    subscription.latest();
    case.host.manual.set(case.host.manual.now() + HOUR * 58 / 60);
    case.host.server.until_called("Follow", 2).await;
    subscription.changed().await;
    let second = subscription.latest().identities[0].svid.clone().unwrap();
    assert!(second.chain[0].not_after() > first.chain[0].not_after());
}

#[tokio::test]
async fn a_connection_that_ended_while_the_machine_slept_is_given_up_soon() {
    let case = Case::synced(Way::Pushed).await;
    case.host.server.misbehave("Follow", Some(Misbehaviour::Hang));
    case.host.manual.set(case.host.manual.now() + HOUR / 4);
    case.host.manual.wake(AFTER_JUMP..=AFTER_JUMP).await;
    case.host.server.misbehave("Follow", None);
    case.host.manual.wake(about(FIRST_PAUSE)).await;
    case.host.server.until_called("Follow", 3).await;
}

#[tokio::test]
async fn a_renewed_identity_is_shown_on_a_stream_of_its_own() {
    let case = Case::synced(Way::Pushed).await;
    let now = case.host.manual.now();
    let svid = case.host.ca.svid("/spire/agent/test/a", now..now + HOUR);
    let serial = svid.leaf().serial_decimal();
    let (id, signer, chain) = (svid.id.clone(), svid.signer(), svid.chain);
    let identity = Identity { id, chain, signer, reattestable: false, key_id: "agent-svid-B".to_owned() };
    case.upstream.set_identity(identity).unwrap();
    case.host.manual.wake(STREAM_PAUSE..=STREAM_PAUSE).await;
    case.host.server.until_called("Follow", 2).await;
    assert_eq!(case.host.server.seen().of("Follow").last().unwrap().serial, Some(serial));
}
