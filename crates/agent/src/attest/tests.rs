use steeple_proto::spire::api::server::agent::v1::PostStatusRequest;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_testkit::Ca;
use steeple_testkit::server::Misbehaviour;
use steeple_transport::status::permission_denied;

use super::*;
use crate::config::BundleFormat;
use crate::tests::{By, HOUR, Host, SECOND};

const TOKEN: By = By::Token("t-1");

async fn host() -> Host {
    let host = Host::new().await;
    host.server.admit("t-1");
    host
}

/// A start of the agent, with whatever is stored.
async fn start(host: &Host, bootstrap: Bootstrap, by: By) -> Result<Upstream, AttestError> {
    let upstream = host.upstream();
    host.attestation(&upstream, bootstrap, by).identity(&mut host.storage()).await?;
    Ok(upstream)
}

/// A file with the CA's certificate.
fn bundle_of(host: &Host, ca: &Ca) -> Bootstrap {
    let path = host.dir.path().join("bundle.pem");
    std::fs::write(&path, ca.root().to_pem()).unwrap();
    Bootstrap::Path(path, BundleFormat::Pem)
}

/// Whether the server lets the agent in as what it has become.
async fn calls(upstream: &Upstream) -> bool {
    AgentClient::new(upstream.channel().unwrap()).post_status(PostStatusRequest::default()).await.is_ok()
}

#[tokio::test]
async fn a_join_token_gives_an_identity_and_both_are_kept() {
    let host = host().await;
    let upstream = start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap();
    let identity = upstream.identity().unwrap();
    assert_eq!(identity.id, host.ca.id("/spire/agent/join_token/t-1"));
    assert_eq!((identity.key_id.as_str(), identity.reattestable), ("agent-svid-A", false));
    let stored = host.storage();
    assert_eq!(stored.svid().unwrap().chain, identity.chain);
    assert_eq!(stored.bundle().unwrap(), [host.ca.root().clone()]);
    assert!(calls(&upstream).await);
    let serial = identity.chain[0].serial_decimal();
    assert_eq!(host.server.seen().of("PostStatus").next().unwrap().serial, Some(serial));
}

#[tokio::test]
async fn a_stored_identity_is_taken_up_without_asking() {
    let host = host().await;
    let first = start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap().identity().unwrap();
    host.manual.advance(HOUR / 2);
    // The bundle that is stored counts, whatever the operator's file says now.
    let again = start(&host, bundle_of(&host, &Ca::new("example.org", host.manual.now())), TOKEN).await.unwrap();
    assert_eq!(again.identity().unwrap().chain, first.chain);
    assert_eq!(host.server.seen().count("AttestAgent"), 1);
    assert_eq!(host.keys.made(), ["agent-svid-A"]);
    assert!(calls(&again).await);
}

#[tokio::test]
async fn a_stored_identity_that_has_ended_is_replaced() {
    let host = host().await;
    let first = start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap().identity().unwrap();
    host.manual.advance(HOUR - SECOND);
    host.server.admit("t-2");
    let again = start(&host, Bootstrap::Insecure, By::Token("t-2")).await.unwrap().identity().unwrap();
    assert_ne!(again.chain, first.chain);
    // The key goes beside the one that was in use.
    assert_eq!(host.keys.made(), ["agent-svid-A", "agent-svid-B"]);
    assert_eq!(host.storage().svid().unwrap().chain, again.chain);
}

#[tokio::test]
async fn a_stored_identity_without_its_key_is_replaced() {
    let host = host().await;
    start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap();
    host.keys.lose();
    host.server.admit("t-2");
    let again = start(&host, Bootstrap::Insecure, By::Token("t-2")).await.unwrap().identity().unwrap();
    assert_eq!(again.id, host.ca.id("/spire/agent/join_token/t-2"));
}

/// The server has used the token up, and nobody knows the SVID.
async fn lose_an_answer(host: &Host) {
    host.server.misbehave("AttestAgent", Some(Misbehaviour::LoseAnswer));
    start(host, bundle_of(host, &host.ca), TOKEN).await.err().unwrap();
    host.server.misbehave("AttestAgent", None);
    assert!(host.storage().svid().is_none());
    assert_eq!(host.keys.made(), ["agent-svid-A"]);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_with_the_same_key() {
    let host = host().await;
    lose_an_answer(&host).await;
    lose_an_answer(&host).await;
    let upstream = start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap();
    assert_eq!(host.keys.made(), ["agent-svid-A"]);
    assert_eq!(upstream.identity().unwrap().key_id, "agent-svid-A");
    assert!(calls(&upstream).await);
}

#[tokio::test]
async fn the_key_of_an_answer_that_was_lost_is_good_for_another_token_too() {
    let host = host().await;
    lose_an_answer(&host).await;
    host.server.admit("t-2");
    let upstream = start(&host, bundle_of(&host, &host.ca), By::Token("t-2")).await.unwrap();
    assert_eq!(upstream.identity().unwrap().id, host.ca.id("/spire/agent/join_token/t-2"));
    assert_eq!(host.keys.made(), ["agent-svid-A"]);
}

/// As with a key manager that holds keys in memory, after a restart.
#[tokio::test]
async fn a_key_that_is_gone_as_well_as_the_answer_is_replaced() {
    let host = host().await;
    lose_an_answer(&host).await;
    host.keys.lose();
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert!(error.to_string().ends_with("join token does not exist or has already been used"), "{error}");
    host.server.admit("t-2");
    start(&host, bundle_of(&host, &host.ca), By::Token("t-2")).await.unwrap();
    // The second one was refused, so that the third attempt asks with it again.
    assert_eq!(host.keys.made(), ["agent-svid-A", "agent-svid-A"]);
}

#[tokio::test]
async fn an_agent_that_the_server_wants_no_more_attests_with_a_new_key() {
    let host = host().await;
    start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap();
    host.storage().delete_svid().unwrap();
    host.server.admit("t-2");
    start(&host, bundle_of(&host, &host.ca), By::Token("t-2")).await.unwrap();
    assert_eq!(host.keys.made(), ["agent-svid-A", "agent-svid-A"]);
}

#[tokio::test]
async fn an_expired_svid_keeps_its_key_beside_that_of_a_lost_answer() {
    let host = host().await;
    let first = start(&host, bundle_of(&host, &host.ca), TOKEN).await.unwrap().identity().unwrap();
    host.manual.advance(HOUR);
    host.server.admit("t-2");
    host.server.misbehave("AttestAgent", Some(Misbehaviour::LoseAnswer));
    start(&host, Bootstrap::Insecure, By::Token("t-2")).await.err().unwrap();
    host.server.misbehave("AttestAgent", None);
    assert_eq!(host.storage().svid().unwrap().chain, first.chain);
    let again = start(&host, Bootstrap::Insecure, By::Token("t-2")).await.unwrap().identity().unwrap();
    assert_eq!(host.keys.made(), ["agent-svid-A", "agent-svid-B"]);
    assert_eq!(again.key_id, "agent-svid-B");
}

#[tokio::test]
async fn a_key_that_cannot_be_noted_is_not_shown() {
    let host = host().await;
    let (upstream, mut storage) = (host.upstream(), host.storage());
    // With a bundle, nothing else is written before.
    storage.store_bundle(&[host.ca.root().clone()]).unwrap();
    std::fs::remove_dir_all(host.dir.path()).unwrap();
    let error = host.attestation(&upstream, Bootstrap::Insecure, TOKEN).identity(&mut storage).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to write data file: "), "{error}");
    assert_eq!(host.server.seen().count("AttestAgent"), 0);
}

#[tokio::test]
async fn a_token_that_the_server_does_not_know_is_told_in_its_words() {
    let host = host().await;
    let error = start(&host, bundle_of(&host, &host.ca), By::Token("t-9")).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "failed to receive attestation response: rpc error: code = InvalidArgument desc = failed to attest: join token \
         does not exist or has already been used"
    );
    assert!(!error.is_final() && !error.is_rejection());
    assert!(host.storage().svid().is_none());
}

#[tokio::test]
async fn a_challenge_that_a_join_token_cannot_answer_ends_the_attestation() {
    let host = host().await;
    host.server.change(|script| script.challenges = vec![b"who are you".to_vec()]);
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "rpc error: code = Internal desc = nodeattestor(join_token): server issued unexpected challenge"
    );
    assert!(host.storage().svid().is_none());
}

#[tokio::test]
async fn challenges_are_answered_one_after_the_other() {
    let host = host().await;
    host.server.change(|script| script.challenges = vec![b"abc".to_vec(), b"de".to_vec()]);
    let upstream = start(&host, bundle_of(&host, &host.ca), By::Answering("node")).await.unwrap();
    assert_eq!(upstream.identity().unwrap().id, host.ca.id("/spire/agent/test/node"));
    assert_eq!(host.server.seen().responses, [b"cba".to_vec(), b"ed".to_vec()]);
}

#[tokio::test]
async fn a_plugin_that_fails_is_named_and_the_server_is_not_asked() {
    let host = host().await;
    let error = start(&host, bundle_of(&host, &host.ca), By::Answering("")).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "rpc error: code = InvalidArgument desc = nodeattestor(test): the plugin's payload is empty"
    );
    assert!(host.server.seen().calls.is_empty());
}

#[tokio::test]
async fn a_server_below_another_authority_is_not_believed() {
    let host = host().await;
    let stranger = Ca::new("example.org", host.manual.now());
    let error = start(&host, bundle_of(&host, &stranger), TOKEN).await.err().unwrap();
    assert!(error.is_unknown_authority(), "{error}");
    assert!(host.server.seen().calls.is_empty());
}

#[tokio::test]
async fn an_insecure_start_believes_whoever_answers_and_later_starts_do_not() {
    let host = host().await;
    start(&host, Bootstrap::Insecure, TOKEN).await.unwrap();
    assert_eq!(host.storage().bundle().unwrap(), [host.ca.root().clone()]);
    // Somebody else at the same address, with the right name.
    let now = host.manual.now();
    host.server.show(&Ca::new("example.org", now).svid("/spire/server", now..now + HOUR));
    let again = start(&host, Bootstrap::Insecure, TOKEN).await.unwrap();
    assert!(!calls(&again).await);
}

#[tokio::test]
async fn an_insecure_start_wants_the_servers_name_all_the_same() {
    let host = host().await;
    let now = host.manual.now();
    host.server.show(&host.ca.svid("/web", now..now + HOUR));
    start(&host, Bootstrap::Insecure, TOKEN).await.err().unwrap();
    assert!(host.server.seen().calls.is_empty());
}

/// A join token attests once: what it gave must not be lost by what comes after.
#[tokio::test]
async fn an_agent_that_stops_between_attestation_and_bundle_goes_on_there() {
    for insecure in [true, false] {
        let host = host().await;
        let bootstrap = || if insecure { Bootstrap::Insecure } else { bundle_of(&host, &host.ca) };
        let away = Misbehaviour::Refuse(Status::unavailable("going down"));
        host.server.misbehave("GetBundle", Some(away));
        let error = start(&host, bootstrap(), TOKEN).await.err().unwrap();
        assert_eq!(error.to_string(), "failed to get updated bundle: rpc error: code = Unavailable desc = going down");
        assert!(host.storage().svid().is_some() && host.storage().bundle().is_none());

        host.server.misbehave("GetBundle", None);
        let upstream = start(&host, bootstrap(), TOKEN).await.unwrap();
        assert_eq!(host.server.seen().count("AttestAgent"), 1, "insecure: {insecure}");
        assert!(calls(&upstream).await);
        if insecure {
            assert_eq!(host.storage().bundle().unwrap(), [host.ca.root().clone()]);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_one_with_a_reason_is_a_rejection() {
    let host = host().await;
    let refuse = |status| host.server.misbehave("AttestAgent", Some(Misbehaviour::Refuse(status)));
    refuse(Status::permission_denied("failed to attest: agent is banned"));
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert!(error.is_final() && !error.is_rejection());
    refuse(permission_denied("no", Reason::AgentBanned));
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert!(error.is_final() && error.is_rejection());
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error_and_keeps_nothing() {
    let host = host().await;
    host.server.misbehave("AttestAgent", Some(Misbehaviour::Garbage));
    start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    host.server.misbehave("AttestAgent", None);
    host.server.change(|script| script.bundle.x509_authorities[0].asn1 = b"garbage".to_vec());
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert!(matches!(error, AttestError::Malformed(_)), "{error}");
    assert!(host.storage().bundle().is_none());
}

#[tokio::test]
async fn a_key_manager_that_fails_is_named() {
    let host = host().await;
    host.keys.fail_with(Some(PluginError::internal("out of order")));
    let error = start(&host, bundle_of(&host, &host.ca), TOKEN).await.err().unwrap();
    assert_eq!(error.to_string(), "rpc error: code = Internal desc = keymanager(memory): out of order");
}

#[tokio::test]
async fn a_first_bundle_that_is_missing_or_empty_is_named() {
    let host = host().await;
    let path = host.dir.path().join("bundle.pem");
    let bootstrap = || Bootstrap::Path(path.clone(), BundleFormat::Pem);
    let error = start(&host, bootstrap(), TOKEN).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("could not parse trust bundle: open {}: ", path.display())), "{error}");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let error = start(&host, bootstrap(), TOKEN).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("unable to parse trust bundle from {}: ", path.display())), "{error}");
    // What comes before a certificate that is cut is not all that there was.
    let whole = host.ca.root().to_pem();
    std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let error = start(&host, bootstrap(), TOKEN).await.err().unwrap().to_string();
    assert!(error.ends_with("PEM block \"CERTIFICATE\" has no end"), "{error}");

    let document = r#"{"keys": []}"#;
    std::fs::write(&path, document).unwrap();
    let spiffe = Bootstrap::Path(path.clone(), BundleFormat::Spiffe);
    let error = start(&host, spiffe, TOKEN).await.err().unwrap().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[tokio::test]
async fn an_agent_that_may_attests_again_with_a_new_key() {
    let host = host().await;
    host.server.change(|script| script.reattestable = true);
    let upstream = host.upstream();
    let attestation = host.attestation(&upstream, bundle_of(&host, &host.ca), By::Answering("node"));
    let mut storage = host.storage();
    attestation.identity(&mut storage).await.unwrap();
    let first = upstream.identity().unwrap();
    assert!(first.reattestable);
    attestation.reattest(&mut storage).await.unwrap();
    let second = upstream.identity().unwrap();
    assert_ne!(first.chain, second.chain);
    assert_eq!((first.id, second.key_id.as_str()), (second.id.clone(), "agent-svid-B"));
    attestation.reattest(&mut storage).await.unwrap();
    assert_eq!(upstream.identity().unwrap().key_id, "agent-svid-A");
    assert!(host.storage().svid().unwrap().reattestable);
}

/// Of such an agent the server knows one SVID alone, and that is the one that was lost.
#[tokio::test]
async fn an_agent_whose_next_svid_was_lost_asks_for_it_again_at_its_next_start() {
    let host = host().await;
    host.server.change(|script| script.reattestable = true);
    let upstream = host.upstream();
    let attestation = host.attestation(&upstream, bundle_of(&host, &host.ca), By::Answering("node"));
    let mut storage = host.storage();
    attestation.identity(&mut storage).await.unwrap();
    let first = upstream.identity().unwrap();
    host.server.misbehave("AttestAgent", Some(Misbehaviour::LoseAnswer));
    attestation.reattest(&mut storage).await.unwrap_err();

    // While it cannot be had, there is the one before: the server may not have heard of the attempt.
    let refusal = Status::unavailable("going down");
    host.server.misbehave("AttestAgent", Some(Misbehaviour::Refuse(refusal)));
    let kept = start(&host, Bootstrap::Insecure, By::Answering("node")).await.unwrap().identity().unwrap();
    assert_eq!(kept.chain, first.chain);

    host.server.misbehave("AttestAgent", None);
    let upstream = start(&host, Bootstrap::Insecure, By::Answering("node")).await.unwrap();
    let second = upstream.identity().unwrap();
    assert_ne!(second.chain, first.chain);
    assert_eq!((second.id.clone(), second.key_id.as_str()), (first.id, "agent-svid-B"));
    assert!(calls(&upstream).await);

    // It has arrived.
    let again = start(&host, Bootstrap::Insecure, By::Answering("node")).await.unwrap().identity().unwrap();
    assert_eq!(again.chain, second.chain);
    assert_eq!(host.keys.made(), ["agent-svid-A", "agent-svid-B"]);
}
