//! X.509 answers: what is read of them, and what is dropped whole.

use steeple_proto::workload::{X509svid, X509svidResponse};
use steeple_spiffe::workload_api::{AnswerError, ClientError, X509Context};
use steeple_spiffe::{BundleError, BundleSource, IdError, X509Error};

use crate::{World, named, soon, trouble, x509_svid};

#[tokio::test]
async fn the_first_svid_is_the_default_and_others_are_found_by_their_hint() {
    let world = World::new();
    let (web, db) = (world.svid("/web"), world.svid("/db"));
    let mut answer = world.x509(&[&web, &db]);
    answer.svids[1].hint = "internal".into();
    let context = X509Context::from_message(answer).unwrap();
    assert_eq!(context.default_svid().unwrap().id, web.id);
    assert_eq!(context.svid_with_hint("internal").unwrap().id, db.id);
    assert!(context.svid_with_hint("external").is_none());
    let ids: Vec<_> = context.svids.iter().map(|svid| svid.id.path()).collect();
    assert_eq!(ids, ["/web", "/db"]);
}

#[tokio::test]
async fn of_svids_with_the_same_hint_the_first_is_taken() {
    let world = World::new();
    let svids = ["/a", "/b", "/c", "/d"].map(|path| world.svid(path));
    let mut answer = world.x509(&svids.each_ref());
    for (svid, hint) in answer.svids.iter_mut().zip(["", "internal", "internal", ""]) {
        svid.hint = hint.into();
    }
    let context = X509Context::from_message(answer).unwrap();
    let ids: Vec<_> = context.svids.iter().map(|svid| svid.id.path()).collect();
    assert_eq!(ids, ["/a", "/b", "/d"]);
}

#[tokio::test]
async fn bundles_are_kept_apart_by_trust_domain() {
    let world = World::new();
    let other = world.stranger("other.org");
    let mut answer = world.x509(&[&world.svid("/web")]);
    answer.federated_bundles = named([("spiffe://other.org", other.root().der().to_vec().into())]);
    let context = X509Context::from_message(answer).unwrap();
    for ca in [&world.ca, &other] {
        let bundle = context.bundles.bundle(ca.trust_domain()).unwrap();
        assert_eq!(bundle.x509_certificates().collect::<Vec<_>>(), [ca.root()]);
    }
    assert!(context.bundles.bundle(&"third.org".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_trust_domain_without_x509_authorities_vouches_for_nobody() {
    let world = World::new();
    let mut answer = world.x509(&[&world.svid("/web")]);
    answer.federated_bundles = named([("spiffe://other.org", Vec::new().into())]);
    let context = X509Context::from_message(answer).unwrap();
    assert_eq!(context.bundles.bundle(&"other.org".parse().unwrap()).unwrap().x509_certificates().count(), 0);
}

/// A way to spoil an answer, and the error that says so.
type Defect = (&'static str, Box<dyn Fn(&mut X509svidResponse)>, Box<dyn Fn(&AnswerError) -> bool>);

fn defects(world: &World) -> Vec<Defect> {
    fn first(change: impl Fn(&mut X509svid) + 'static) -> Box<dyn Fn(&mut X509svidResponse)> {
        Box::new(move |answer| change(&mut answer.svids[0]))
    }
    fn federated(name: &'static str, bundle: Vec<u8>) -> Box<dyn Fn(&mut X509svidResponse)> {
        Box::new(move |answer| answer.federated_bundles = named([(name, bundle.clone().into())]))
    }
    let x509 = |wanted: fn(&X509Error) -> bool| -> Box<dyn Fn(&AnswerError) -> bool> {
        Box::new(move |error| matches!(error, AnswerError::X509 { index: 0, reason } if wanted(reason)))
    };
    let missing = |wanted: &'static str| -> Box<dyn Fn(&AnswerError) -> bool> {
        Box::new(move |error| matches!(error, AnswerError::Missing { index: 0, field } if *field == wanted))
    };
    let is = |wanted: fn(&AnswerError) -> bool| -> Box<dyn Fn(&AnswerError) -> bool> { Box::new(wanted) };
    let (other, root) = (world.svid("/other"), world.ca.root().der().to_vec());
    let (other_key, other_chain) = (other.key_der().to_vec(), other.chain_der());
    let stranger = world.stranger("example.org").root().der().to_vec();
    let root_first: Vec<u8> = [root.clone(), other_chain.clone()].concat();
    let leaf_as_signer: Vec<u8> = [other_chain.clone(), other_chain.clone()].concat();
    vec![
        ("no svids", Box::new(|answer| answer.svids.clear()), is(|error| *error == AnswerError::NoSvids)),
        ("no spiffe_id", first(|svid| svid.spiffe_id.clear()), missing("spiffe_id")),
        ("no chain", first(|svid| svid.x509_svid.clear()), missing("x509_svid")),
        ("no key", first(|svid| svid.x509_svid_key.clear()), missing("x509_svid_key")),
        ("no bundle", first(|svid| svid.bundle.clear()), missing("bundle")),
        (
            "no SPIFFE ID in spiffe_id",
            first(|svid| svid.spiffe_id = "https://example.org/web".into()),
            is(|error| *error == AnswerError::Id { index: 0, reason: IdError::Scheme }),
        ),
        (
            "an empty trust domain in spiffe_id",
            first(|svid| svid.spiffe_id = "spiffe:///web".into()),
            is(|error| *error == AnswerError::Id { index: 0, reason: IdError::MissingTrustDomain }),
        ),
        (
            "another's SPIFFE ID",
            first(|svid| svid.spiffe_id = "spiffe://example.org/admin".into()),
            is(|error| matches!(error, AnswerError::OtherId { index: 0, expected, .. } if expected.path() == "/admin")),
        ),
        (
            "no certificate",
            first(|svid| svid.x509_svid = b"chain".as_slice().into()),
            x509(|reason| matches!(reason, X509Error::Malformed(_))),
        ),
        (
            "a chain that does not begin with the leaf",
            first(move |svid| svid.x509_svid = root_first.clone().into()),
            x509(|reason| *reason == X509Error::LeafIsCa),
        ),
        (
            "a chain in which a leaf signs",
            {
                let key = other_key.clone();
                first(move |svid| {
                    svid.x509_svid = leaf_as_signer.clone().into();
                    svid.x509_svid_key = key.clone().into();
                })
            },
            x509(|reason| matches!(reason, X509Error::NotSigning(_))),
        ),
        (
            "another's key",
            first(move |svid| svid.x509_svid_key = other_key.clone().into()),
            x509(|reason| *reason == X509Error::KeyMismatch),
        ),
        (
            "no PKCS #8 key",
            first(|svid| svid.x509_svid_key = b"key".as_slice().into()),
            x509(|reason| matches!(reason, X509Error::Key(_))),
        ),
        (
            "a malformed bundle",
            first(|svid| svid.bundle = b"bundle".as_slice().into()),
            is(|error| matches!(error, AnswerError::Bundle { reason: BundleError::X509(_), .. })),
        ),
        (
            "a malformed federated bundle",
            federated("spiffe://other.org", b"bundle".to_vec()),
            is(|error| matches!(error, AnswerError::Bundle { trust_domain, .. } if trust_domain.name() == "other.org")),
        ),
        (
            "a federated bundle of no trust domain",
            federated("", root.clone()),
            is(|error| matches!(error, AnswerError::TrustDomain { reason: IdError::MissingTrustDomain, .. })),
        ),
        (
            "a federated bundle of an empty trust domain",
            federated("spiffe://", root.clone()),
            is(|error| matches!(error, AnswerError::TrustDomain { reason: IdError::MissingTrustDomain, .. })),
        ),
        (
            "a federated bundle of a workload",
            federated("spiffe://other.org/web", root.clone()),
            is(|error| *error == AnswerError::BundleOfWorkload("spiffe://other.org/web".into())),
        ),
        (
            "another bundle of the own trust domain among the federated ones",
            federated("spiffe://example.org", stranger.clone()),
            is(|error| matches!(error, AnswerError::SeveralBundles(it) if it.name() == "example.org")),
        ),
        (
            "a bundle under both names of a trust domain",
            Box::new(move |answer| {
                answer.federated_bundles =
                    named([("other.org", root.clone().into()), ("spiffe://other.org", stranger.clone().into())]);
            }),
            is(|error| matches!(error, AnswerError::SeveralBundles(it) if it.name() == "other.org")),
        ),
    ]
}

#[tokio::test]
async fn each_defect_of_an_x509_answer_has_its_error() {
    let world = World::new();
    let svid = world.svid("/web");
    for (name, spoil, expected) in defects(&world) {
        let mut answer = world.x509(&[&svid]);
        spoil(&mut answer);
        let error = X509Context::from_message(answer).unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn an_x509_answer_with_a_defect_is_dropped_whole_and_the_last_good_one_kept() {
    let world = World::new();
    let (web, db) = (world.svid("/web"), world.svid("/db"));
    let source = world.source();
    let stream = soon(world.endpoint.x509_svids.next()).await.answer(world.x509(&[&web]));
    soon(source.ready()).await.unwrap();
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    for (name, spoil, expected) in defects(&world) {
        // A good SVID beside the bad one is not taken either.
        let mut answer = world.x509(&[&db]);
        spoil(&mut answer);
        if !answer.svids.is_empty() {
            answer.svids.push(x509_svid(&db, &world.ca));
        }
        stream.send(answer);
        match &*trouble(|| source.trouble()).await {
            ClientError::Answer(error) => assert!(expected(error), "{name}: {error:?}"),
            error => panic!("{name}: {error:?}"),
        }
        assert_eq!(source.svid().unwrap().id, web.id, "{name}");
        assert_eq!(source.context().unwrap().svids.len(), 1, "{name}");
        // The error is there as long as no good answer came after it.
        stream.send(world.x509(&[&web]));
        soon(updates.next()).await.unwrap();
        assert!(source.trouble().is_none(), "{name}");
    }
    // All of that on one stream.
    assert!(!world.endpoint.x509_svids.is_waiting().await);
}
