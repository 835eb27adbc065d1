use std::ops::RangeInclusive;
use std::sync::Arc;

use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_testkit::Ca;
use steeple_testkit::server::Misbehaviour;
use steeple_transport::status::{permission_denied, unavailable};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Bootstrap;
use crate::tests::{By, HOUR, Host, SECOND};

/// An agent that attested with an SVID of one hour, and whose rotation runs.
struct Case {
    host: Host,
    upstream: Upstream,
    storage: Arc<Mutex<Storage>>,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), AttestError>>,
}

/// A pause, give or take a tenth.
fn about(pause: Duration) -> RangeInclusive<Duration> {
    pause.mul_f64(0.9)..=pause.mul_f64(1.1)
}

impl Case {
    async fn new(reattestable: bool) -> Self {
        let host = Host::new().await;
        host.server.change(|script| script.reattestable = reattestable);
        let upstream = host.upstream();
        host.attestation(&upstream, Bootstrap::Insecure, By::Answering("node"))
            .identity(&mut host.storage())
            .await
            .unwrap();
        Self::started(host, upstream)
    }

    /// With the SVID that is stored.
    fn started(host: Host, upstream: Upstream) -> Self {
        let storage = Arc::new(Mutex::new(host.storage()));
        let rotation = Rotation {
            upstream: upstream.clone(),
            keys: host.keys.of_agent(),
            attestation: host.attestation(&upstream, Bootstrap::Insecure, By::Answering("node")),
            storage: Arc::clone(&storage),
            clock: host.manual.clock(),
            renewal: Renewal::default(),
        };
        let shutdown = Shutdown::new();
        let running = tokio::spawn(rotation.run(shutdown.clone()));
        Self { host, upstream, storage, shutdown, running }
    }

    fn identity(&self) -> Identity {
        self.upstream.identity().unwrap()
    }

    /// Lets so much time pass, beginning while nothing is going on.
    async fn pass(&self, length: Duration) {
        self.host.manual.until_somebody_sleeps(about(LOOK_EVERY)).await;
        self.host.manual.advance(length);
    }

    /// Lets the next look come.
    async fn look(&self) {
        self.host.manual.wake(about(LOOK_EVERY)).await;
    }

    async fn renewed(&self) -> Identity {
        let before = self.identity().chain;
        let mut identities = self.upstream.identities();
        let is_new = |identity: &Option<Identity>| identity.as_ref().is_some_and(|identity| identity.chain != before);
        identities.wait_for(is_new).await.unwrap().clone().unwrap()
    }

    fn refuse(&self, status: Status) {
        self.host.server.misbehave("RenewAgent", Some(Misbehaviour::Refuse(status)));
    }
}

#[tokio::test]
async fn an_svid_is_renewed_at_about_half_of_its_life_and_kept() {
    let case = Case::new(false).await;
    let first = case.identity();
    case.pass(HOUR * 44 / 100).await;
    case.look().await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY)).await;
    assert_eq!(case.host.server.seen().count("RenewAgent"), 0);

    case.pass(HOUR * 12 / 100).await;
    let second = case.renewed().await;
    assert_eq!((second.id, second.key_id.as_str()), (first.id, "agent-svid-B"));
    assert_eq!(case.storage.lock().await.svid().unwrap().chain, second.chain);
    assert_eq!(case.host.storage().svid().unwrap().chain, second.chain);

    // The next one takes the place of the first, and is asked for with the second.
    case.pass(HOUR * 60 / 100).await;
    let third = case.renewed().await;
    assert_eq!(third.key_id, "agent-svid-A");
    let seen = case.host.server.seen();
    let serials: Vec<_> = seen.of("RenewAgent").map(|call| call.serial.clone().unwrap()).collect();
    assert_eq!(serials, [first.chain[0].serial_decimal(), second.chain[0].serial_decimal()]);
}

#[tokio::test]
async fn an_svid_of_a_tainted_authority_is_renewed_at_once() {
    let case = Case::new(false).await;
    let first = case.identity();
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY)).await;
    // Of another authority first, which is none of this agent's business.
    case.upstream.set_tainted(vec![Ca::new("example.org", case.host.manual.now()).root().clone()]);
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY)).await;
    assert_eq!(case.identity().chain, first.chain);
    case.upstream.set_tainted(vec![case.host.ca.root().clone()]);
    assert_ne!(case.renewed().await.chain, first.chain);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_after_ever_longer_pauses() {
    let case = Case::new(false).await;
    let first = case.identity();
    case.refuse(Status::unavailable("going down"));
    case.pass(HOUR * 60 / 100).await;
    case.host.server.until_called("RenewAgent", 1).await;
    let mut pause = LOOK_EVERY;
    for tries in 2..5 {
        pause = pause * 3 / 2;
        case.host.manual.wake(about(pause)).await;
        case.host.server.until_called("RenewAgent", tries).await;
    }
    assert_eq!(case.identity().chain, first.chain);
    case.host.server.misbehave("RenewAgent", None);
    case.host.manual.wake(about(pause * 3 / 2)).await;
    case.renewed().await;
    // And from then on as before.
    case.look().await;
}

#[tokio::test]
async fn a_renewal_is_not_asked_for_again_before_the_server_wants_it() {
    let case = Case::new(false).await;
    case.refuse(unavailable("away", SECOND * 40));
    case.pass(HOUR * 60 / 100).await;
    case.host.server.until_called("RenewAgent", 1).await;
    // Of 40 seconds 30 are believed, and a quarter added.
    let pause = about(SECOND * 75 / 2);
    case.host.manual.until_somebody_sleeps(pause.clone()).await;
    case.host.server.misbehave("RenewAgent", None);
    case.host.manual.wake(pause).await;
    case.renewed().await;
}

/// The server keeps the SVID in use beside the one that it gave out, until it has seen that.
#[tokio::test]
async fn a_renewal_whose_answer_is_lost_is_asked_for_again_with_the_svid_in_use() {
    let case = Case::new(false).await;
    let first = case.identity();
    case.host.server.misbehave("RenewAgent", Some(Misbehaviour::LoseAnswer));
    case.pass(HOUR * 60 / 100).await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY * 3 / 2)).await;
    assert_eq!(case.identity().chain, first.chain);
    case.host.server.misbehave("RenewAgent", None);
    case.host.manual.wake(about(LOOK_EVERY * 3 / 2)).await;
    let second = case.renewed().await;
    assert_eq!(second.key_id, "agent-svid-B");
    let seen = case.host.server.seen();
    let serials: Vec<_> = seen.of("RenewAgent").map(|call| call.serial.clone().unwrap()).collect();
    assert_eq!(serials, [first.chain[0].serial_decimal(), first.chain[0].serial_decimal()]);
}

#[tokio::test]
async fn a_rejection_ends_the_agent() {
    for reason in [Reason::AgentBanned, Reason::AgentNotActive, Reason::AgentMustReattest] {
        let case = Case::new(false).await;
        case.refuse(permission_denied("no", reason));
        case.pass(HOUR * 60 / 100).await;
        let error = case.running.await.unwrap().unwrap_err();
        assert!(error.is_rejection(), "{error}");
        assert_eq!(error.to_string(), "failed to renew agent: rpc error: code = PermissionDenied desc = no");
    }
}

#[tokio::test]
async fn a_denial_without_a_reason_is_no_rejection() {
    let case = Case::new(false).await;
    case.refuse(Status::permission_denied("no"));
    case.pass(HOUR * 60 / 100).await;
    case.host.server.until_called("RenewAgent", 1).await;
    case.host.manual.wake(about(LOOK_EVERY * 3 / 2)).await;
    case.host.server.until_called("RenewAgent", 2).await;
}

#[tokio::test]
async fn an_svid_that_ended_before_it_could_be_renewed_ends_the_agent() {
    let case = Case::new(false).await;
    // The server refuses it in the handshake. What of that arrives before the connection breaks is not certain.
    case.pass(HOUR + SECOND).await;
    let error = case.running.await.unwrap().unwrap_err();
    let text = "current SVID has already expired and rotate agent SVID failed: failed to renew agent: rpc error: ";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(!error.is_rejection(), "{error}");
}

#[tokio::test]
async fn an_svid_that_ends_while_the_server_cannot_be_reached_ends_nothing() {
    let host = Host::new().await;
    let upstream = host.upstream();
    let mut storage = host.storage();
    host.attestation(&upstream, Bootstrap::Insecure, By::Answering("node")).identity(&mut storage).await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = host.upstream_at(nobody.port());
    away.set_identity(upstream.identity().unwrap()).unwrap();
    host.manual.advance(HOUR + SECOND);
    let case = Case::started(host, away);
    let mut pause = LOOK_EVERY;
    for _ in 0..4 {
        pause = pause * 3 / 2;
        case.host.manual.wake_the_only(about(pause)).await;
    }
    assert!(!case.running.is_finished());
}

#[tokio::test]
async fn an_agent_that_starts_late_in_the_life_of_its_svid_renews_at_once() {
    let host = Host::new().await;
    let upstream = host.upstream();
    host.attestation(&upstream, Bootstrap::Insecure, By::Answering("node"))
        .identity(&mut host.storage())
        .await
        .unwrap();
    host.manual.advance(HOUR * 60 / 100);
    // Nobody moves the clock any more.
    let case = Case::started(host, upstream);
    case.renewed().await;
}

#[tokio::test]
async fn a_pause_is_never_so_long_that_the_svid_ends_in_it() {
    let case = Case::new(false).await;
    case.refuse(Status::unavailable("going down"));
    case.pass(HOUR - SECOND * 16).await;
    // 7.5 s of the 16 that are left, and then no more than half of what is left.
    case.host.server.until_called("RenewAgent", 1).await;
    case.host.manual.wake(about(LOOK_EVERY * 3 / 2)).await;
    case.host.server.until_called("RenewAgent", 2).await;
    case.host.manual.wake(about(LOOK_EVERY)).await;
    case.host.server.until_called("RenewAgent", 3).await;
    assert!(case.host.manual.now() < case.identity().chain[0].not_after());
}

#[tokio::test]
async fn an_svid_that_ended_while_another_server_was_in_the_place_of_the_agents_own_ends_nothing() {
    let case = Case::new(true).await;
    let show = |ca: &Ca| {
        let now = case.host.manual.now();
        case.host.server.show(&ca.svid("/spire/server", now..now + HOUR * 2));
    };
    show(&Ca::new("example.org", case.host.manual.now()));
    case.pass(HOUR + SECOND).await;
    let mut pause = LOOK_EVERY;
    for _ in 0..3 {
        pause = pause * 3 / 2;
        case.host.manual.wake_the_only(about(pause)).await;
    }
    assert!(!case.running.is_finished());
    // Its own is back.
    case.host.manual.until_somebody_sleeps(about(pause * 3 / 2)).await;
    show(&case.host.ca);
    case.host.manual.wake_the_only(about(pause * 3 / 2)).await;
    case.renewed().await;
}

#[tokio::test]
async fn an_svid_that_ended_while_the_machine_slept_is_renewed_at_once() {
    let case = Case::new(true).await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY)).await;
    let now = case.host.manual.now() + HOUR * 8;
    case.host.server.show(&case.host.ca.svid("/spire/server", now..now + HOUR));
    case.host.manual.set(now);
    let renewed = case.renewed().await;
    assert!(renewed.chain[0].not_after() > now);
}

#[tokio::test]
async fn a_reattestable_agent_attests_again() {
    let case = Case::new(true).await;
    let first = case.identity();
    case.pass(HOUR * 60 / 100).await;
    let second = case.renewed().await;
    assert_eq!(second.id, first.id);
    let seen = case.host.server.seen();
    assert_eq!((seen.count("AttestAgent"), seen.count("RenewAgent")), (2, 0));
}

/// Unlike one that would have to show it, which nobody believes any more.
#[tokio::test]
async fn a_reattestable_agent_whose_svid_has_ended_goes_on_asking() {
    let case = Case::new(true).await;
    let first = case.identity();
    let away = || Some(Misbehaviour::Refuse(Status::unavailable("going down")));
    case.host.server.misbehave("AttestAgent", away());
    case.pass(HOUR + SECOND).await;
    case.host.server.until_called("AttestAgent", 2).await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY * 3 / 2)).await;
    assert_eq!(case.identity().chain, first.chain);
    case.host.server.misbehave("AttestAgent", None);
    case.host.manual.wake(about(LOOK_EVERY * 3 / 2)).await;
    assert_eq!(case.renewed().await.id, first.id);
}

#[tokio::test]
async fn a_key_manager_that_fails_costs_one_try() {
    let case = Case::new(false).await;
    case.host.keys.fail_with(Some(steeple_catalog::PluginError::internal("out of order")));
    case.pass(HOUR * 60 / 100).await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY * 3 / 2)).await;
    case.host.keys.fail_with(None);
    case.host.manual.wake(about(LOOK_EVERY * 3 / 2)).await;
    case.renewed().await;
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_changes_nothing() {
    let case = Case::new(false).await;
    let first = case.identity();
    case.host.server.misbehave("RenewAgent", Some(Misbehaviour::Garbage));
    case.pass(HOUR * 60 / 100).await;
    case.host.manual.until_somebody_sleeps(about(LOOK_EVERY * 3 / 2)).await;
    assert_eq!(case.identity().chain, first.chain);
    assert_eq!(case.host.storage().svid().unwrap().chain, first.chain);
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let case = Case::new(false).await;
    case.shutdown.stop();
    case.running.await.unwrap().unwrap();
}
