//! Each call once: what is sent, and what is made of what comes back.

use std::time::Duration;

use prost_types::value::Kind;
use steeple_proto::workload::{
    JwtBundlesResponse, ValidateJwtsvidResponse, WitBundlesResponse, Witsvid, WitsvidResponse, X509BundlesResponse,
};
use steeple_spiffe::workload_api::{AnswerError, ClientError, Endpoint, WorkloadApiClient, X509Context, X509Source};
use steeple_spiffe::{BundleSource, WitSvid};
use steeple_testkit::FakeEndpoint;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::{World, client_of, jwt_bundles, jwt_svids, named, soon, x509_bundles};

fn assert_header(metadata: &MetadataMap) {
    let values: Vec<_> = metadata.get_all("workload.spiffe.io").iter().collect();
    assert_eq!(values, ["true"]);
}

#[tokio::test]
async fn every_call_carries_the_security_header_once() {
    let world = World::new();
    let (client, endpoint) = (world.client(), &world.endpoint);
    let refusal = || Status::unavailable("not now");
    macro_rules! check {
        ($($calls:ident: $call:expr),+) => {$(
            let (outcome, ()) = soon(async {
                tokio::join!($call, async {
                    let call = endpoint.$calls.next().await;
                    assert_header(&call.metadata);
                    call.refuse(refusal());
                })
            }).await;
            let error = outcome.err().unwrap();
            assert_eq!((error.code(), error.status().unwrap().message()), (Some(Code::Unavailable), "not now"));
        )+};
    }
    check!(
        x509_svids: client.fetch_x509_context(),
        x509_svids: client.stream::<X509Context>(),
        x509_bundles: client.fetch_x509_bundles(),
        jwt_svids: client.fetch_jwt_svids(&["db"], None),
        jwt_bundles: client.fetch_jwt_bundles(),
        validations: client.validate_jwt_svid("db", "token"),
        wit_svids: client.fetch_wit_svids(None),
        wit_bundles: client.fetch_wit_bundles()
    );
    // A source says no more and no less.
    let source = world.source();
    let call = soon(endpoint.x509_svids.next()).await;
    assert_header(&call.metadata);
    source.close();
}

#[tokio::test]
async fn speaks_grpc_over_unix_sockets_and_over_tcp() {
    let world = World::new();
    let tcp = FakeEndpoint::start_on_tcp().await;
    for endpoint in [&world.endpoint, &tcp] {
        let client = client_of(endpoint);
        let (context, _held) = soon(async {
            tokio::join!(client.fetch_x509_context(), async {
                endpoint.x509_svids.next().await.answer(world.x509(&[&world.svid("/web")]))
            })
        })
        .await;
        assert_eq!(context.unwrap().default_svid().unwrap().id.path(), "/web");
    }
}

#[tokio::test]
async fn one_answer_is_taken_and_the_stream_left() {
    let world = World::new();
    let client = world.client();
    let (context, held) = soon(async {
        tokio::join!(client.fetch_x509_context(), async {
            world.endpoint.x509_svids.next().await.answer(world.x509(&[&world.svid("/web")]))
        })
    })
    .await;
    context.unwrap();
    soon(held.gone()).await;
}

/// The test calls itself with another environment.
#[tokio::test]
async fn without_an_endpoint_the_one_of_the_environment_is_taken() {
    const INSIDE: &str = "STEEPLE_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let source = X509Source::new().await.unwrap();
        println!("inside: {}", source.svid().unwrap().id);
        return;
    }
    let world = World::new();
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "calls::without_an_endpoint_the_one_of_the_environment_is_taken", "--nocapture"]);
    command.env(INSIDE, "1").env("SPIFFE_ENDPOINT_SOCKET", world.endpoint.uri()).kill_on_drop(true);
    let (output, _held) = soon(async {
        tokio::join!(command.output(), async {
            world.endpoint.x509_svids.next().await.answer(world.x509(&[&world.svid("/web")]))
        })
    })
    .await;
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(output.contains("inside: spiffe://example.org/web"), "{output}");
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let endpoint = Endpoint::parse("unix:///nowhere").unwrap();
    assert!(matches!(WorkloadApiClient::new(&endpoint), Err(ClientError::NoRuntime)));
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("unix://{}", directory.path().join("api.sock").display());
    let client = WorkloadApiClient::new(&uri.parse().unwrap()).unwrap();
    let error = soon(client.fetch_x509_context()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_before_it_is_read() {
    let world = World::new();
    let client = world.client().with_max_message_len(16 << 10);
    for (len, fits) in [(10 << 10, true), (17 << 10, false)] {
        let mut answer = world.x509(&[&world.svid("/web")]);
        answer.crl = vec![vec![0; len].into()];
        let (outcome, _held) = soon(async {
            tokio::join!(client.fetch_x509_context(), async { world.endpoint.x509_svids.next().await.answer(answer) })
        })
        .await;
        assert_eq!(outcome.is_ok(), fits);
        assert_eq!(outcome.err().and_then(|error| error.code()), (!fits).then_some(Code::OutOfRange));
    }
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_with_its_limit() {
    let world = World::new();
    let limit = Duration::from_millis(1);
    let client = world.client().with_limit(Some(limit));
    let error = soon(client.fetch_jwt_svids(&["db"], None)).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(it) if it == limit), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_ends_is_told() {
    let world = World::new();
    let client = world.client();
    let (outcome, ()) = soon(async {
        tokio::join!(client.fetch_x509_context(), async { drop(world.endpoint.x509_svids.next().await.accept()) })
    })
    .await;
    assert!(matches!(outcome.unwrap_err(), ClientError::Ended));
}

#[tokio::test]
async fn a_stream_goes_on_after_an_answer_that_is_dropped() {
    let world = World::new();
    let client = world.client();
    let (stream, held) = soon(async {
        tokio::join!(client.stream::<X509Context>(), async { world.endpoint.x509_svids.next().await.accept() })
    })
    .await;
    let mut stream = stream.unwrap();
    held.send(Default::default());
    held.send(world.x509(&[&world.svid("/web")]));
    assert!(matches!(soon(stream.next()).await, Err(ClientError::Answer(AnswerError::NoSvids))));
    assert_eq!(soon(stream.next()).await.unwrap().svids.len(), 1);
    held.fail(Status::permission_denied("no identity issued"));
    assert_eq!(soon(stream.next()).await.unwrap_err().code(), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn answers_about_bundles_have_one_at_least() {
    let world = World::new();
    let client = world.client();
    macro_rules! empty {
        ($($calls:ident: $call:ident, $answer:expr);+) => {$(
            let (outcome, _held) = soon(async {
                tokio::join!(client.$call(), async { world.endpoint.$calls.next().await.answer($answer) })
            }).await;
            assert!(matches!(outcome.unwrap_err(), ClientError::Answer(AnswerError::NoBundles)));
        )+};
    }
    empty!(
        x509_bundles: fetch_x509_bundles, X509BundlesResponse::default();
        jwt_bundles: fetch_jwt_bundles, JwtBundlesResponse::default();
        wit_bundles: fetch_wit_bundles, WitBundlesResponse::default()
    );
}

#[tokio::test]
async fn bundles_of_each_kind_are_read_by_trust_domain() {
    let world = World::new();
    let other = world.stranger("other.org");
    let (client, endpoint, cas) = (world.client(), &world.endpoint, [&world.ca, &other]);
    let (x509, _held) = soon(async {
        tokio::join!(client.fetch_x509_bundles(), async {
            endpoint.x509_bundles.next().await.answer(x509_bundles(&cas))
        })
    })
    .await;
    let (jwt, _held) = soon(async {
        tokio::join!(client.fetch_jwt_bundles(), async { endpoint.jwt_bundles.next().await.answer(jwt_bundles(&cas)) })
    })
    .await;
    let documents = jwt_bundles(&cas).bundles.into_iter();
    let documents = documents.map(|(name, keys)| (name, String::from_utf8(keys.to_vec()).unwrap())).collect();
    let (wit, _held) = soon(async {
        tokio::join!(client.fetch_wit_bundles(), async {
            endpoint.wit_bundles.next().await.answer(WitBundlesResponse { bundles: documents })
        })
    })
    .await;
    let (x509, jwt, wit) = (x509.unwrap().bundles, jwt.unwrap().bundles, wit.unwrap().bundles);
    for ca in cas {
        let (name, keys) = (ca.trust_domain(), ca.bundle().jwt_authorities);
        let read = x509.bundle(name).unwrap();
        assert_eq!(read.x509_certificates().collect::<Vec<_>>(), [ca.root()]);
        assert!(read.jwt_authorities.is_empty() && read.wit_authorities.is_empty());
        let read = jwt.bundle(name).unwrap();
        assert_eq!((&read.jwt_authorities[0].key_id, read.jwt_authorities.len()), (&keys[0].key_id, 1));
        // Keys of one kind verify nothing of another.
        assert!(read.x509_authorities.is_empty() && read.wit_authorities.is_empty());
        let read = wit.bundle(name).unwrap();
        assert_eq!((&read.wit_authorities[0].public_key, read.wit_authorities.len()), (&keys[0].public_key, 1));
        assert!(read.x509_authorities.is_empty() && read.jwt_authorities.is_empty());
    }
}

#[tokio::test]
async fn the_answer_to_a_validation_has_an_id_and_claims() {
    let world = World::new();
    let client = world.client();
    let claims = |names: &[&str]| prost_types::Struct {
        fields: names
            .iter()
            .map(|name| ((*name).to_owned(), prost_types::Value { kind: Some(Kind::NumberValue(1_795_537_789.0)) }))
            .collect(),
    };
    let cases = [
        ("spiffe://example.org/web", Some(claims(&["exp"])), None),
        ("", Some(claims(&["exp"])), Some(AnswerError::Unvalidated("spiffe_id"))),
        ("spiffe://example.org/web", None, Some(AnswerError::Unvalidated("claims"))),
        ("spiffe://example.org/web", Some(claims(&[])), Some(AnswerError::Unvalidated("claims"))),
    ];
    for (id, claims, expected) in cases {
        let answer = ValidateJwtsvidResponse { spiffe_id: id.into(), claims };
        let (outcome, _held) = soon(async {
            tokio::join!(client.validate_jwt_svid("db", "a.b.c"), async {
                let call = world.endpoint.validations.next().await;
                assert_eq!((&*call.request.audience, &*call.request.svid), ("db", "a.b.c"));
                call.answer(answer)
            })
        })
        .await;
        match (outcome, expected) {
            (Ok(validated), None) => {
                assert_eq!(validated.id.as_str(), id);
                assert_eq!(serde_json::Value::Object(validated.claims).to_string(), r#"{"exp":1795537789}"#);
            }
            (Err(ClientError::Answer(error)), Some(expected)) => assert_eq!(error, expected),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
}

fn wit_svid(world: &World, path: &str) -> Witsvid {
    let id = world.ca.id(path);
    let (wit_svid, wit_svid_key) = world.ca.wit_svid(&id, world.hour());
    Witsvid { spiffe_id: id.to_string(), wit_svid, wit_svid_key, hint: "internal".into() }
}

#[tokio::test]
async fn defects_of_a_wit_answer_have_their_errors_and_hints_count_once() {
    let world = World::new();
    let client = world.client();
    let (web, db) = (wit_svid(&world, "/web"), wit_svid(&world, "/db"));
    let missing = |field| Some(AnswerError::Missing { index: 0, field });
    let other = Some(AnswerError::OtherId { index: 0, expected: world.ca.id("/db"), found: world.ca.id("/web") });
    let not_the_key = || Some(AnswerError::WitKey { index: 0 });
    let malformed = WitSvid::parse_unverified("token").unwrap_err();
    let with = |change: &dyn Fn(&mut Witsvid)| {
        let mut svid = web.clone();
        change(&mut svid);
        vec![svid]
    };
    let cases = [
        (vec![], Some(AnswerError::NoSvids)),
        (with(&|svid| svid.spiffe_id.clear()), missing("spiffe_id")),
        (with(&|svid| svid.wit_svid.clear()), missing("wit_svid")),
        (with(&|svid| svid.wit_svid_key.clear()), missing("wit_svid_key")),
        (with(&|svid| svid.spiffe_id.clone_from(&db.spiffe_id)), other),
        (with(&|svid| svid.wit_svid = "token".into()), Some(AnswerError::Wit { index: 0, reason: malformed })),
        (with(&|svid| svid.wit_svid_key.clone_from(&db.wit_svid_key)), not_the_key()),
        (with(&|svid| svid.wit_svid_key = "key".into()), not_the_key()),
        (vec![web.clone(), db.clone()], None),
    ];
    for (svids, expected) in cases {
        let (outcome, _held) = soon(async {
            tokio::join!(client.fetch_wit_svids(None), async {
                world.endpoint.wit_svids.next().await.answer(WitsvidResponse { svids })
            })
        })
        .await;
        match (outcome, expected) {
            (Ok(answer), None) => {
                let paths: Vec<_> = answer.svids.iter().map(|fetched| fetched.svid.id.path()).collect();
                assert_eq!(paths, ["/web"]);
                assert!(answer.svids[0].key_jwk.contains("private"));
                assert!(!format!("{answer:?}").contains("private"), "a private key is shown");
            }
            (Err(ClientError::Answer(error)), Some(expected)) => assert_eq!(error, expected),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
}

#[tokio::test]
async fn an_endpoint_without_the_wit_profile_says_so() {
    let world = World::new();
    let client = world.client();
    let (outcome, ()) = soon(async {
        tokio::join!(client.fetch_wit_svids(None), async {
            world.endpoint.wit_svids.next().await.refuse(Status::unimplemented("not implemented"));
        })
    })
    .await;
    assert_eq!(outcome.unwrap_err().code(), Some(Code::Unimplemented));
}

#[tokio::test]
async fn defects_of_a_jwt_answer_have_their_errors() {
    let world = World::new();
    let client = world.client();
    let (web, db) = (world.ca.id("/web"), world.ca.id("/db"));
    let token = world.ca.jwt_svid(&web, &["a", "b"], world.hour());
    let (id, other) = (web.as_str(), db.as_str());
    type Expected = fn(&AnswerError) -> bool;
    let cases: [(_, _, Expected); 7] = [
        (jwt_svids(&[]), None, |error| *error == AnswerError::NoSvids),
        (jwt_svids(&[("", &token)]), None, |error| matches!(error, AnswerError::Missing { field: "spiffe_id", .. })),
        (jwt_svids(&[(id, "")]), None, |error| matches!(error, AnswerError::Missing { field: "svid", .. })),
        (jwt_svids(&[(id, "a.b.c")]), None, |error| matches!(error, AnswerError::Jwt { .. })),
        (jwt_svids(&[(other, &token)]), None, |error| matches!(error, AnswerError::OtherId { .. })),
        (jwt_svids(&[(id, &token)]), Some(&db), |error| matches!(error, AnswerError::OtherId { .. })),
        (
            jwt_svids(&[(id, &world.ca.jwt_svid(&web, &["a"], world.hour()))]),
            None,
            |error| matches!(error, AnswerError::Audience { missing, .. } if missing == "b"),
        ),
    ];
    for (answer, subject, expected) in cases {
        let (outcome, _held) = soon(async {
            tokio::join!(client.fetch_jwt_svids(&["a", "b"], subject), async {
                let call = world.endpoint.jwt_svids.next().await;
                assert_eq!(call.request.audience, ["a", "b"]);
                assert_eq!(call.request.spiffe_id, subject.map_or("", |subject| subject.as_str()));
                call.answer(answer)
            })
        })
        .await;
        match outcome {
            Err(ClientError::Answer(error)) => assert!(expected(&error), "{error:?}"),
            outcome => panic!("{outcome:?}"),
        }
    }
}

#[tokio::test]
async fn of_jwt_svids_with_the_same_hint_the_first_is_taken() {
    let world = World::new();
    let client = world.client();
    let tokens = ["/a", "/b", "/c"].map(|path| world.ca.jwt_svid(&world.ca.id(path), &["db"], world.hour()));
    let mut answer = jwt_svids(&[
        ("spiffe://example.org/a", &tokens[0]),
        ("spiffe://example.org/b", &tokens[1]),
        ("spiffe://example.org/c", &tokens[2]),
    ]);
    answer.svids[0].hint = "internal".into();
    answer.svids[1].hint = "internal".into();
    let (outcome, _held) = soon(async {
        tokio::join!(client.fetch_jwt_svids(&["db"], None), async {
            world.endpoint.jwt_svids.next().await.answer(answer)
        })
    })
    .await;
    let paths: Vec<_> = outcome.unwrap().iter().map(|fetched| fetched.svid.id.path().to_owned()).collect();
    assert_eq!(paths, ["/a", "/c"]);
}

/// An answer of JWT bundles with one document of the trust domain.
fn keys(document: &str) -> JwtBundlesResponse {
    JwtBundlesResponse { bundles: named([("spiffe://example.org", document.as_bytes().to_vec().into())]) }
}

#[tokio::test]
async fn unknown_keys_of_a_jwks_are_ignored_and_malformed_ones_refuse_the_answer() {
    let world = World::new();
    let client = world.client();
    let document = String::from_utf8(jwt_bundles(&[&world.ca]).bundles["spiffe://example.org"].to_vec()).unwrap();
    let with = |key: &str| keys(&document.replacen("\"keys\": [", &format!("\"keys\": [{key},"), 1));
    // One of the own keys, under other names and for other uses.
    let own: serde_json::Value = serde_json::from_str(&document).unwrap();
    let used = |key_use: &str| {
        let mut key = own["keys"][0].clone();
        (key["use"], key["kid"]) = (key_use.into(), "other".into());
        key.to_string()
    };
    let [enc, x509, wit] = ["enc", "x509-svid", "wit-svid"].map(used);
    let ignored = [
        &*enc,
        &x509,
        &wit,
        r#"{"kty":"AKP","kid":"a","alg":"ML-DSA-65","x":5}"#,
        r#"{"kty":"EC","kid":"a","crv":"secp256k1","x":"AA","y":"AA"}"#,
        r#"{"kty":"OKP","kid":"a","crv":"X25519","x":"AA"}"#,
        r#"{"kty":"EC","use":"x509-svid","x5c":["AAAA"]}"#,
    ];
    let refused = [r#"{"kty":"EC","kid":"a","crv":"P-256","x":"AA","y":"AA"}"#, r#"{"kty":"EC","crv":"P-256"}"#, "5"];
    let cases = ignored.iter().map(|key| (with(key), true)).chain(refused.iter().map(|key| (with(key), false)));
    let broken = ["", "{}", "[]", "{\"keys\":5}"].map(|document| (keys(document), false));
    for (answer, good) in cases.chain(broken) {
        let text = format!("{answer:?}");
        let (outcome, _held) = soon(async {
            tokio::join!(client.fetch_jwt_bundles(), async { world.endpoint.jwt_bundles.next().await.answer(answer) })
        })
        .await;
        match outcome {
            Ok(answer) if good => {
                let bundle = answer.bundles.bundle(world.ca.trust_domain()).unwrap();
                assert_eq!(bundle.jwt_authorities.len(), 1, "{text}");
            }
            Err(ClientError::Answer(AnswerError::Bundle { .. })) if !good => {}
            outcome => panic!("{text}: {outcome:?}"),
        }
    }
}
