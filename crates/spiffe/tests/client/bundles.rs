//! Sources of bundles alone.

use steeple_proto::workload::X509BundlesResponse;
use steeple_spiffe::workload_api::{
    AnswerError, ClientError, JwtBundleSource, SourceError, WitBundleSource, X509BundleSource,
};
use steeple_spiffe::{BundleSource, X509Error, jwt, verify_x509_svid_in};
use tonic::{Code, Status};

use crate::{World, jwt_bundles, named, soon, trouble, x509_bundles};

#[tokio::test]
async fn bundles_that_leave_the_answer_are_unloaded() {
    let world = World::new();
    let other = world.stranger("other.org");
    let source = X509BundleSource::start(world.client(), world.options()).unwrap();
    let stream = soon(world.endpoint.x509_bundles.next()).await.answer(x509_bundles(&[&world.ca, &other]));
    let mut updates = source.updates();
    assert_eq!(soon(updates.next()).await.unwrap().bundles.len(), 2);
    assert!(source.bundle(other.trust_domain()).is_some());
    stream.send(x509_bundles(&[&world.ca]));
    assert_eq!(soon(updates.next()).await.unwrap().bundles.len(), 1);
    assert!(source.bundle(other.trust_domain()).is_none());
    stream.fail(Status::permission_denied("no identity issued"));
    assert!(matches!(soon(updates.next()).await, Err(SourceError::Denied(_))));
    assert!(source.bundle(world.ca.trust_domain()).is_none());
}

#[tokio::test]
async fn a_bundle_answer_with_a_defect_is_dropped_whole() {
    let world = World::new();
    let other = world.stranger("other.org");
    let source = X509BundleSource::start(world.client(), world.options()).unwrap();
    let stream = soon(world.endpoint.x509_bundles.next()).await.answer(x509_bundles(&[&world.ca]));
    let mut updates = source.updates();
    soon(updates.next()).await.unwrap();
    let root: Vec<u8> = other.root().der().to_vec();
    for (name, bundle) in [
        ("spiffe://broken.org", b"bundle".to_vec()),
        ("", root.clone()),
        ("spiffe://", root.clone()),
        ("https://third.org", root.clone()),
        ("spiffe://third.org/web", root.clone()),
    ] {
        // The other bundle of the answer is good.
        let mut answer = x509_bundles(&[&other]);
        answer.bundles.extend(named([(name, bundle.into())]));
        stream.send(answer);
        let error = trouble(|| source.trouble()).await;
        assert!(matches!(&*error, ClientError::Answer(_)), "{name}: {error:?}");
        assert!(source.bundle(other.trust_domain()).is_none(), "{name}");
        assert!(source.bundle(world.ca.trust_domain()).is_some(), "{name}");
        stream.send(x509_bundles(&[&world.ca]));
        soon(updates.next()).await.unwrap();
    }
    stream.send(X509BundlesResponse::default());
    let error = trouble(|| source.trouble()).await;
    assert!(matches!(&*error, ClientError::Answer(AnswerError::NoBundles)));
    assert!(source.bundle(world.ca.trust_domain()).is_some());
}

#[tokio::test]
async fn an_svid_is_verified_by_the_bundle_of_its_own_trust_domain_alone() {
    let world = World::new();
    let (now, other) = (world.clock.now(), world.stranger("other.org"));
    let source = X509BundleSource::start(world.client(), world.options()).unwrap();
    let _stream = soon(world.endpoint.x509_bundles.next()).await.answer(x509_bundles(&[&world.ca, &other]));
    soon(source.ready()).await.unwrap();
    let verify = |svid: &steeple_testkit::ca::Svid| verify_x509_svid_in(&svid.chain, &source, now);
    assert_eq!(verify(&other.svid("/web", world.hour())).unwrap().trust_domain_name(), "other.org");
    // Signed by the authority of another trust domain, for which there is a bundle as well.
    assert_eq!(verify(&other.svid_of(&world.ca.id("/web"), world.hour())), Err(X509Error::UnknownAuthority));
    let third = world.stranger("third.org");
    assert!(matches!(verify(&third.svid("/web", world.hour())), Err(X509Error::UnknownTrustDomain(_))));
}

#[tokio::test]
async fn a_token_is_validated_by_the_bundle_of_its_own_trust_domain_alone() {
    let world = World::new();
    let (now, other) = (world.clock.now(), world.stranger("other.org"));
    let source = JwtBundleSource::start(world.client(), world.options()).unwrap();
    let _stream = soon(world.endpoint.jwt_bundles.next()).await.answer(jwt_bundles(&[&world.ca, &other]));
    soon(source.ready()).await.unwrap();
    let validate = |token: &str| jwt::validate(token, &source, "db", now);
    assert!(validate(&other.jwt_svid(&other.id("/web"), &["db"], world.hour())).is_ok());
    // The key is that of another trust domain, for which there is a bundle as well.
    let forged = other.jwt_svid(&world.ca.id("/web"), &["db"], world.hour());
    assert!(matches!(validate(&forged), Err(jwt::JwtError::UnknownKey { .. })));
    let third = world.stranger("third.org");
    let unknown = third.jwt_svid(&third.id("/web"), &["db"], world.hour());
    assert!(matches!(validate(&unknown), Err(jwt::JwtError::UnknownTrustDomain(_))));
}

#[tokio::test]
async fn without_the_wit_profile_its_stream_is_not_opened_again() {
    let world = World::new();
    let source = WitBundleSource::start(world.client(), world.options()).unwrap();
    let (ready, ()) = soon(async {
        tokio::join!(source.ready(), async {
            world.endpoint.wit_bundles.next().await.refuse(Status::unimplemented("not implemented"));
        })
    })
    .await;
    assert!(matches!(ready, Err(SourceError::Ended(error)) if error.code() == Some(Code::Unimplemented)));
    assert_eq!(world.clock.sleepers(), 0);
    assert!(!world.endpoint.wit_bundles.is_waiting().await);
}
