use steeple_testkit::server::Misbehaviour;
use tonic::Status;

use super::*;
use crate::config::Bootstrap;
use crate::rebootstrap::PATIENCE;
use crate::tests::{By, Host, SECOND};

/// The pauses between attempts, in seconds, each drawn from a tenth below to a tenth above. Handshakes wait for other
/// lengths.
const PAUSES: [f64; 4] = [5.0, 7.5, 11.25, 16.875];

/// What an agent ends with that cannot attest by this token, and how often it asked the server, which misbehaves the first
/// time at most.
async fn end_of(host: &Host, token: &'static str) -> (RunError, usize) {
    let upstream = host.upstream();
    let attestation = host.attestation(&upstream, Bootstrap::Insecure, By::Token(token));
    let (mut storage, clock) = (host.storage(), host.manual.clock());
    let ended = async { attest(&attestation, &mut storage, Rebootstrap::default(), &clock).await.unwrap_err() };
    let time = async {
        for pause in PAUSES {
            let pause = SECOND.mul_f64(pause * 0.9)..=SECOND.mul_f64(pause * 1.1);
            host.manual.until_somebody_sleeps(pause.clone()).await;
            host.server.misbehave("AttestAgent", None);
            host.manual.wake(pause).await;
        }
        std::future::pending().await
    };
    let error = tokio::select! {
        error = ended => error,
        () = time => unreachable!("it is pending"),
    };
    (error, host.server.seen().count("AttestAgent"))
}

#[tokio::test]
async fn an_agent_gives_up_after_its_patience_with_the_servers_words() {
    let host = Host::new().await;
    let start = host.manual.now();
    let (error, asked) = end_of(&host, "t-9").await;
    assert_eq!(
        error.to_string(),
        "failed to receive attestation response: rpc error: code = InvalidArgument desc = failed to attest: join token \
         does not exist or has already been used"
    );
    assert_eq!(asked, 1 + PAUSES.len());
    assert!(host.manual.now() <= start + PATIENCE);
}

#[tokio::test]
async fn what_went_wrong_first_is_told_at_last() {
    let host = Host::new().await;
    let expired = Misbehaviour::Refuse(Status::invalid_argument("join token expired"));
    host.server.misbehave("AttestAgent", Some(expired));
    let (error, _) = end_of(&host, "t-9").await;
    let message = "failed to receive attestation response: rpc error: code = InvalidArgument desc =";
    assert_eq!(
        error.to_string(),
        format!(
            "{message} failed to attest: join token does not exist or has already been used; at first: {message} join \
             token expired"
        )
    );
}

#[tokio::test]
async fn a_final_refusal_ends_it_at_once() {
    let host = Host::new().await;
    let banned = Misbehaviour::Refuse(Status::permission_denied("failed to attest: agent is banned"));
    host.server.misbehave("AttestAgent", Some(banned));
    let (error, asked) = end_of(&host, "t-9").await;
    assert!(error.to_string().ends_with("desc = failed to attest: agent is banned"), "{error}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_not_asked_for_an_identity_before_it_wants() {
    let host = Host::new().await;
    let away = steeple_transport::status::unavailable("away", SECOND * 20);
    host.server.misbehave("AttestAgent", Some(Misbehaviour::Refuse(away)));
    host.server.admit("t-1");
    let upstream = host.upstream();
    let attestation = host.attestation(&upstream, Bootstrap::Insecure, By::Token("t-1"));
    let (mut storage, clock) = (host.storage(), host.manual.clock());
    let attesting = attest(&attestation, &mut storage, Rebootstrap::default(), &clock);
    let time = async {
        let pause = SECOND * 22..=SECOND * 28;
        host.manual.until_somebody_sleeps(pause.clone()).await;
        host.server.misbehave("AttestAgent", None);
        host.manual.wake(pause).await;
        std::future::pending().await
    };
    let attested = tokio::select! {
        attested = attesting => attested,
        () = time => unreachable!("it is pending"),
    };
    attested.unwrap();
    assert_eq!(host.server.seen().count("AttestAgent"), 2);
}
