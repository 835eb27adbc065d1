use std::sync::Arc;

use prost::Message;
use steeple_proto::spire::api::server::svid::v1::NewJwtsvidResponse;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::JwtSvid;
use steeple_testkit::server::{Misbehaviour, entry};
use tonic::Code;

use super::*;
use crate::cache::{CachedBundle, Store};
use crate::tests::Host;

/// Five minutes, as the reference's tokens.
const TTL: Duration = Duration::from_secs(300);

const HIT_TIMEOUT: Duration = Duration::from_secs(5);

struct Case {
    host: Host,
    store: Store,
    svids: JwtSvids,
}

impl Case {
    async fn new(size: usize) -> Self {
        let host = Host::new().await;
        let entries = ["a", "b", "c"].map(|id| entry(id, &host.ca.id(&format!("/{id}")), &["unix:uid:1"]));
        // Another entry with the same identity.
        let twin = entry("twin", &host.ca.id("/a"), &["unix:uid:2"]);
        host.server.change(|script| {
            script.entries = entries.into_iter().chain([twin]).collect();
            script.jwt_ttl = TTL;
        });
        let (known, store) = Cache::new(host.ca.trust_domain().clone(), 100);
        let options = Options { size, hit_timeout: HIT_TIMEOUT };
        let svids = JwtSvids::new(host.attested(), known, host.manual.clock(), options);
        Self { host, store, svids }
    }

    async fn fetch(&self, id: &str, audience: &[&str]) -> Result<String, Status> {
        let path = if id == "twin" { "/a" } else { &format!("/{id}") };
        let entry = crate::cache::Entry::from_api(entry(id, &self.host.ca.id(path), &["unix:uid:1"])).unwrap();
        let audience: Vec<_> = audience.iter().map(|audience| (*audience).to_owned()).collect();
        self.svids.fetch(&entry, &audience).await
    }

    /// How often the server was asked.
    fn asked(&self) -> usize {
        self.host.server.seen().count("NewJWTSVID")
    }

    fn server_is_away(&self) {
        let away = Misbehaviour::Refuse(Status::unavailable("going down"));
        self.host.server.misbehave("NewJWTSVID", Some(away));
    }
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_then_kept() {
    let case = Case::new(10).await;
    let token = case.fetch("a", &["db", "web"]).await.unwrap();
    let parsed = JwtSvid::parse_unverified(&token).unwrap();
    assert_eq!((parsed.id, parsed.audience), (case.host.ca.id("/a"), vec!["db".to_owned(), "web".to_owned()]));
    assert_eq!(case.fetch("a", &["db", "web"]).await.unwrap(), token);
    assert_eq!(case.asked(), 1);
}

#[tokio::test]
async fn the_order_of_audiences_does_not_matter_and_entries_of_one_identity_share() {
    let case = Case::new(10).await;
    let token = case.fetch("a", &["db", "web"]).await.unwrap();
    assert_eq!(case.fetch("a", &["web", "db"]).await.unwrap(), token);
    assert_eq!(case.fetch("twin", &["db", "web"]).await.unwrap(), token);
    assert_eq!(case.asked(), 1);
    // But another identity or audience is another token.
    assert_ne!(case.fetch("b", &["db", "web"]).await.unwrap(), token);
    assert_ne!(case.fetch("a", &["db"]).await.unwrap(), token);
    assert_eq!(case.asked(), 3);
}

#[tokio::test]
async fn a_token_that_is_long_is_given_and_not_kept() {
    let case = Case::new(10).await;
    let (short, long) = ("a".repeat(KEPT / 2), "a".repeat(KEPT));
    for _ in 0..2 {
        assert!(case.fetch("a", &[&short]).await.unwrap().len() <= KEPT);
    }
    assert_eq!(case.asked(), 1);
    for _ in 0..2 {
        assert!(case.fetch("a", &[&long]).await.unwrap().len() > KEPT);
    }
    assert_eq!(case.asked(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_at_about_half_of_its_life() {
    let case = Case::new(10).await;
    let token = case.fetch("a", &["db"]).await.unwrap();
    case.host.manual.advance(TTL * 44 / 100);
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), token);
    case.host.manual.advance(TTL * 12 / 100);
    let renewed = case.fetch("a", &["db"]).await.unwrap();
    assert_ne!(renewed, token);
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), renewed);
    assert_eq!(case.asked(), 2);
}

#[tokio::test]
async fn a_token_that_a_workload_waits_for_comes_before_one_that_is_renewed() {
    let case = Case::new(10).await;
    case.fetch("a", &["db"]).await.unwrap();
    case.host.manual.advance(TTL * 6 / 10);
    case.fetch("a", &["db"]).await.unwrap();
    // The one that is held has ended meanwhile: nothing else would do.
    case.host.manual.advance(TTL);
    case.fetch("a", &["db"]).await.unwrap();
    let seen = case.host.server.seen();
    let urgencies: Vec<_> = seen.of("NewJWTSVID").map(|call| call.urgency.as_deref()).collect();
    assert_eq!(urgencies, [Some("new"), None, Some("new")]);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_given_until_it_ends() {
    let case = Case::new(10).await;
    let token = case.fetch("a", &["db"]).await.unwrap();
    case.server_is_away();
    case.host.manual.advance(TTL - Duration::from_secs(1));
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), token);
    case.host.manual.advance(Duration::from_secs(1));
    let status = case.fetch("a", &["db"]).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "failed to fetch JWT SVID: rpc error: code = Unavailable desc = going down")
    );
    // And again as soon as the server is back.
    case.host.server.misbehave("NewJWTSVID", None);
    assert_ne!(case.fetch("a", &["db"]).await.unwrap(), token);
}

#[tokio::test]
async fn a_first_token_needs_the_server() {
    let case = Case::new(10).await;
    case.server_is_away();
    assert_eq!(case.fetch("a", &["db"]).await.unwrap_err().code(), Code::Unavailable);
    case.host.server.misbehave("NewJWTSVID", None);
    assert_eq!(case.fetch("unknown", &["db"]).await.unwrap_err().code(), Code::NotFound);
}

/// What a server that answers with this, in place of a token of this minute, leads to: an error where there is no token yet,
/// the old one where there is one, and nothing that is kept.
async fn is_refused(answer: impl Fn(types::Jwtsvid) -> Option<types::Jwtsvid>, error: &str) {
    let case = Case::new(10).await;
    let old = case.fetch("a", &["db"]).await.unwrap();
    case.host.manual.advance(TTL * 60 / 100);
    let now = unix_seconds(case.host.manual.now());
    let token = "another".to_owned();
    let sound = types::Jwtsvid { token, issued_at: now, expires_at: now + 300, ..types::Jwtsvid::default() };
    let answer = NewJwtsvidResponse { svid: answer(sound) }.encode_to_vec();
    case.host.server.misbehave("NewJWTSVID", Some(Misbehaviour::Answer(answer)));

    let status = case.fetch("b", &["db"]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, error));
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), old);
    assert_eq!(case.svids.kept(), 1);
    // Nor did the answer count as a renewal: the next fetch asks again.
    case.host.server.misbehave("NewJWTSVID", None);
    assert_ne!(case.fetch("a", &["db"]).await.unwrap(), old);
    assert_eq!(case.asked(), 4);
}

const NO_SOUND_TIME: &str = "JWTSVID issued or expired at no sound time";

#[tokio::test]
async fn an_answer_without_a_token_is_refused() {
    is_refused(|_| None, "JWTSVID response missing SVID").await;
}

#[tokio::test]
async fn a_token_that_was_issued_at_no_time_is_refused() {
    is_refused(|svid| Some(types::Jwtsvid { issued_at: 0, ..svid }), NO_SOUND_TIME).await;
}

#[tokio::test]
async fn a_token_that_ends_at_no_time_is_refused() {
    is_refused(|svid| Some(types::Jwtsvid { issued_at: -1, expires_at: 0, ..svid }), NO_SOUND_TIME).await;
}

#[tokio::test]
async fn a_token_that_ends_before_it_was_issued_is_refused() {
    is_refused(|svid| Some(types::Jwtsvid { expires_at: svid.issued_at - 1, ..svid }), NO_SOUND_TIME).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let case = Arc::new(Case::new(10).await);
    let token = case.fetch("a", &["db"]).await.unwrap();
    case.host.manual.advance(TTL * 60 / 100);
    case.host.server.misbehave("NewJWTSVID", Some(Misbehaviour::Hang));
    let asking = Arc::clone(&case);
    let fetched = tokio::spawn(async move { asking.fetch("a", &["db"]).await });
    case.host.server.until_called("NewJWTSVID", 2).await;
    // Not the limit of one operation: the old one will do.
    case.host.manual.wake(HIT_TIMEOUT..=HIT_TIMEOUT).await;
    assert_eq!(fetched.await.unwrap().unwrap(), token);
}

#[tokio::test]
async fn a_first_token_is_waited_for_longer() {
    let case = Arc::new(Case::new(10).await);
    case.host.server.misbehave("NewJWTSVID", Some(Misbehaviour::Hang));
    let asking = Arc::clone(&case);
    let fetched = tokio::spawn(async move { asking.fetch("a", &["db"]).await });
    case.host.server.until_called("NewJWTSVID", 1).await;
    case.host.manual.wake(LIMIT..=LIMIT).await;
    assert_eq!(fetched.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_token_of_a_tainted_authority_is_not_given_again() {
    let mut case = Case::new(10).await;
    let token = case.fetch("a", &["db"]).await.unwrap();
    let mut bundle = case.host.ca.api_bundle();
    case.store.put_bundle(CachedBundle::from_api(bundle.clone()).unwrap());
    case.store.publish(case.host.manual.now());
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), token);
    bundle.jwt_authorities[0].tainted = true;
    case.store.put_bundle(CachedBundle::from_api(bundle).unwrap());
    case.store.publish(case.host.manual.now());
    case.server_is_away();
    assert_eq!(case.fetch("a", &["db"]).await.unwrap_err().code(), Code::Unavailable);
    case.host.server.misbehave("NewJWTSVID", None);
    assert_ne!(case.fetch("a", &["db"]).await.unwrap(), token);
}

#[tokio::test]
async fn tokens_of_an_authority_leave_when_it_is_tainted_and_those_of_others_stay() {
    let mut case = Case::new(10).await;
    let mut bundle = case.host.ca.api_bundle();
    bundle.jwt_authorities[0].tainted = true;
    let other = types::JwtKey { key_id: "other".to_owned(), ..bundle.jwt_authorities[0].clone() };
    case.store.put_bundle(CachedBundle::from_api(case.host.ca.api_bundle()).unwrap());
    case.store.publish(case.host.manual.now());
    case.fetch("a", &["db"]).await.unwrap();
    case.fetch("b", &["db"]).await.unwrap();
    case.svids.drop_tainted();
    assert_eq!(case.svids.kept(), 2);
    // Another one's taint is none of these tokens' business.
    let mut others = case.host.ca.api_bundle();
    others.jwt_authorities.push(other);
    case.store.put_bundle(CachedBundle::from_api(others).unwrap());
    case.store.publish(case.host.manual.now());
    case.svids.drop_tainted();
    assert_eq!(case.svids.kept(), 2);
    case.store.put_bundle(CachedBundle::from_api(bundle).unwrap());
    case.store.publish(case.host.manual.now());
    case.svids.drop_tainted();
    assert_eq!(case.svids.kept(), 0);
    assert!(case.svids.cache.lock().unwrap().by_use.is_empty());
}

#[tokio::test]
async fn the_token_that_was_used_longest_ago_makes_room() {
    let case = Case::new(2).await;
    let a = case.fetch("a", &["db"]).await.unwrap();
    let b = case.fetch("b", &["db"]).await.unwrap();
    // Used again, so that "b" is the older one now.
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), a);
    case.fetch("c", &["db"]).await.unwrap();
    assert_eq!(case.asked(), 3);
    assert_eq!(case.fetch("a", &["db"]).await.unwrap(), a);
    assert_eq!(case.asked(), 3);
    assert_ne!(case.fetch("b", &["db"]).await.unwrap(), b);
    assert_eq!(case.svids.kept(), 2);
}

#[tokio::test]
async fn a_renewal_takes_no_room_from_others() {
    let case = Case::new(2).await;
    case.fetch("a", &["db"]).await.unwrap();
    let b = case.fetch("b", &["db"]).await.unwrap();
    case.host.manual.advance(TTL * 44 / 100);
    case.fetch("b", &["web"]).await.unwrap();
    case.host.manual.advance(TTL * 12 / 100);
    let renewed = case.fetch("b", &["db"]).await.unwrap();
    assert_ne!(renewed, b);
    assert_eq!(case.svids.kept(), 2);
}
