//! A source of JWT-SVIDs.

use std::time::Duration;

use steeple_spiffe::JwtError;
use steeple_spiffe::workload_api::{JwtSource, SourceError};
use steeple_testkit::workload::Held;
use tonic::{Code, Status};

use crate::{HOUR, World, jwt_bundles, jwt_svids, soon};

const AUDIENCE: [&str; 1] = ["db"];

struct Case {
    world: World,
    source: JwtSource,
    bundles: Held<steeple_proto::workload::JwtBundlesResponse>,
}

impl Case {
    async fn new() -> Self {
        let world = World::new();
        let source = JwtSource::start(world.client(), world.options()).unwrap();
        let bundles = soon(world.endpoint.jwt_bundles.next()).await.answer(jwt_bundles(&[&world.ca]));
        soon(source.ready()).await.unwrap();
        Self { world, source, bundles }
    }

    fn token(&self) -> String {
        self.world.ca.jwt_svid(&self.world.ca.id("/web"), &AUDIENCE, self.world.hour())
    }

    /// Fetches; the endpoint is asked, and answers this.
    async fn fetch(&self, answer: Result<&str, Status>) -> Result<String, SourceError> {
        let (svid, ()) = soon(async {
            tokio::join!(self.source.fetch(&AUDIENCE, None), async {
                let call = self.world.endpoint.jwt_svids.next().await;
                match answer {
                    Ok(token) => drop(call.answer(jwt_svids(&[("spiffe://example.org/web", token)]))),
                    Err(status) => call.refuse(status),
                }
            })
        })
        .await;
        svid.map(|svid| svid.token)
    }

    /// Fetches; the endpoint is not asked.
    async fn kept(&self) -> Result<String, SourceError> {
        let svid = soon(self.source.fetch(&AUDIENCE, None)).await;
        svid.map(|svid| svid.token)
    }
}

#[tokio::test]
async fn a_token_is_given_again_until_half_of_its_life_is_over() {
    let case = Case::new().await;
    let first = case.token();
    assert_eq!(case.fetch(Ok(&first)).await.unwrap(), first);
    case.world.clock.advance(HOUR / 2 - Duration::from_secs(1));
    assert_eq!(case.kept().await.unwrap(), first);
    case.world.clock.advance(Duration::from_secs(1));
    let second = case.token();
    assert_eq!(case.fetch(Ok(&second)).await.unwrap(), second);
    assert_eq!(case.kept().await.unwrap(), second);
}

#[tokio::test]
async fn the_order_of_the_audience_makes_no_other_token_and_another_subject_does() {
    let case = Case::new().await;
    let ca = &case.world.ca;
    let token = ca.jwt_svid(&ca.id("/web"), &["a", "b"], case.world.hour());
    let answer = || jwt_svids(&[("spiffe://example.org/web", &*token)]);
    let (svid, _held) = soon(async {
        tokio::join!(case.source.fetch(&["a", "b"], None), async {
            case.world.endpoint.jwt_svids.next().await.answer(answer())
        })
    })
    .await;
    svid.unwrap();
    soon(case.source.fetch(&["b", "a", "a"], None)).await.unwrap();
    let web = ca.id("/web");
    let (svid, _held) = soon(async {
        tokio::join!(case.source.fetch(&["a", "b"], Some(&web)), async {
            let call = case.world.endpoint.jwt_svids.next().await;
            assert_eq!(call.request.spiffe_id, "spiffe://example.org/web");
            call.answer(answer())
        })
    })
    .await;
    svid.unwrap();
}

#[tokio::test]
async fn while_the_endpoint_is_away_an_old_token_serves_until_its_end() {
    let case = Case::new().await;
    let token = case.token();
    case.fetch(Ok(&token)).await.unwrap();
    case.world.clock.advance(HOUR - Duration::from_secs(1));
    assert_eq!(case.fetch(Err(Status::unavailable("starting"))).await.unwrap(), token);
    case.world.clock.advance(Duration::from_secs(1));
    match case.fetch(Err(Status::unavailable("starting"))).await {
        Err(SourceError::Client(error)) => assert_eq!(error.code(), Some(Code::Unavailable)),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_malformed_answer_leaves_the_old_token() {
    let case = Case::new().await;
    let token = case.token();
    case.fetch(Ok(&token)).await.unwrap();
    case.world.clock.advance(HOUR / 2);
    assert_eq!(case.fetch(Ok("a.b.c")).await.unwrap(), token);
}

#[tokio::test]
async fn a_denied_fetch_forgets_the_tokens() {
    let case = Case::new().await;
    case.fetch(Ok(&case.token())).await.unwrap();
    case.world.clock.advance(HOUR / 2);
    let denied = || Err(Status::permission_denied("no identity issued"));
    assert!(case.fetch(denied()).await.is_err());
    // The old one would have been good for another half hour.
    assert!(case.fetch(Err(Status::unavailable("starting"))).await.is_err());
}

#[tokio::test]
async fn a_denied_stream_of_bundles_forgets_bundles_and_tokens() {
    let case = Case::new().await;
    let token = case.token();
    case.fetch(Ok(&token)).await.unwrap();
    assert!(case.source.validate(&token, "db").is_ok());
    let mut updates = case.source.updates();
    soon(updates.next()).await.unwrap();
    let Case { world, source, bundles } = case;
    bundles.fail(Status::permission_denied("no identity issued"));
    assert!(matches!(soon(updates.next()).await, Err(SourceError::Denied(_))));
    assert!(matches!(source.validate(&token, "db"), Err(JwtError::UnknownTrustDomain(_))));
    // Also when access is granted again before anybody asks for a token.
    soon(world.clock.wake(..)).await;
    let bundles = soon(world.endpoint.jwt_bundles.next()).await.answer(jwt_bundles(&[&world.ca]));
    soon(updates.next()).await.unwrap();
    let case = Case { world, source, bundles };
    let next = case.token();
    assert_eq!(case.fetch(Ok(&next)).await.unwrap(), next);
}

#[tokio::test]
async fn a_token_whose_key_has_left_the_bundle_is_not_given_again() {
    let case = Case::new().await;
    case.fetch(Ok(&case.token())).await.unwrap();
    let mut updates = case.source.updates();
    soon(updates.next()).await.unwrap();
    let successor = case.world.stranger("example.org");
    case.bundles.send(jwt_bundles(&[&successor]));
    soon(updates.next()).await.unwrap();
    let next = successor.jwt_svid(&case.world.ca.id("/web"), &AUDIENCE, case.world.hour());
    assert_eq!(case.fetch(Ok(&next)).await.unwrap(), next);
    assert_eq!(case.kept().await.unwrap(), next);
}

#[tokio::test]
async fn a_wrong_argument_is_told_though_there_is_an_old_token() {
    let case = Case::new().await;
    case.fetch(Ok(&case.token())).await.unwrap();
    case.world.clock.advance(HOUR / 2);
    match case.fetch(Err(Status::invalid_argument("audience must be specified"))).await {
        Err(SourceError::Client(error)) => assert_eq!(error.code(), Some(Code::InvalidArgument)),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn no_more_tokens_are_kept_than_the_limit() {
    let case = Case::new().await;
    let ca = &case.world.ca;
    let id = ca.id("/web");
    let ask = async |audience: String, minutes: u32| {
        let end = case.world.clock.now() + Duration::from_secs(60) * minutes;
        let token = ca.jwt_svid(&id, &[&audience], case.world.clock.now()..end);
        let audience = [audience];
        let (svid, _held) = soon(async {
            tokio::join!(case.source.fetch(&audience, None), async {
                case.world.endpoint.jwt_svids.next().await.answer(jwt_svids(&[(id.as_str(), &token)]))
            })
        })
        .await;
        svid.unwrap();
    };
    ask("first to end".into(), 10).await;
    for n in 1..JwtSource::MAX_KEPT {
        ask(n.to_string(), 20).await;
    }
    ask("one more".into(), 20).await;
    // All others are kept; the first is asked for again.
    soon(case.source.fetch(&["1"], None)).await.unwrap();
    soon(case.source.fetch(&["one more"], None)).await.unwrap();
    ask("first to end".into(), 10).await;
}

#[tokio::test]
async fn a_closed_source_gives_no_token() {
    let case = Case::new().await;
    case.fetch(Ok(&case.token())).await.unwrap();
    case.source.close();
    assert!(matches!(case.kept().await, Err(SourceError::Closed)));
    soon(case.bundles.gone()).await;
}
