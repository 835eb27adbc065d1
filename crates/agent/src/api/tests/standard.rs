//! Sentences of SPIFFE_Workload_API and SPIFFE_Workload_Endpoint that the other tests do not hold.

use super::*;

#[tokio::test]
async fn every_message_holds_everything_and_nothing_that_is_gone() {
    let case = Case::new().await;
    let partner = Ca::new("partner.org", case.host.manual.now());
    case.put_bundle(&partner);
    let federated = |id: &str| types::Entry {
        federates_with: vec!["partner.org".to_owned()],
        hint: format!("hint of {id}"),
        ..case.of(id, "unix:uid:1")
    };
    case.put([case.of("a", "unix:uid:1")]);
    let mut stream = case.follow().await;
    stream.message().await.unwrap().unwrap();
    case.put([federated("b")]);
    let mut both = stream.message().await.unwrap().unwrap();
    while both.svids.len() < 2 {
        both = stream.message().await.unwrap().unwrap();
    }
    assert_eq!(ids(&both), ["spiffe://example.org/a", "spiffe://example.org/b"]);
    for svid in &both.svids {
        assert!(X509Svid::parse(&svid.x509_svid, &svid.x509_svid_key).is_ok());
        assert_eq!(*svid.bundle, *case.host.ca.root().der());
    }
    assert_eq!(both.federated_bundles.keys().collect::<Vec<_>>(), ["spiffe://partner.org"]);
    case.remove("b");
    let one = stream.message().await.unwrap().unwrap();
    assert_eq!((ids(&one), one.federated_bundles.len()), (vec!["spiffe://example.org/a"], 0));
    assert_eq!(one.svids[0].x509_svid, both.svids[0].x509_svid);
}

#[tokio::test]
async fn the_first_message_of_each_stream_waits_for_no_change() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let mut client = case.client();
    for _ in 0..2 {
        assert!(case.follow().await.message().await.unwrap().is_some());
        let mut x509 = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
        assert!(x509.message().await.unwrap().is_some());
        let mut jwt = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner();
        assert!(jwt.message().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn no_hint_comes_twice_in_an_answer() {
    let case = Case::new().await;
    let hinted =
        |id: &str, created_at| types::Entry { hint: "internal".to_owned(), created_at, ..case.of(id, "unix:uid:1") };
    case.put([hinted("a", 2), hinted("b", 1), case.of("c", "unix:uid:1"), case.of("d", "unix:uid:1")]);
    let response = case.follow().await.message().await.unwrap().unwrap();
    let hints: Vec<_> = response.svids.iter().map(|svid| (&*svid.spiffe_id, &*svid.hint)).collect();
    let expected =
        [("spiffe://example.org/b", "internal"), ("spiffe://example.org/c", ""), ("spiffe://example.org/d", "")];
    assert_eq!(hints, expected);
    let request = JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: String::new() };
    let tokens = case.client().fetch_jwtsvid(request).await.unwrap().into_inner().svids;
    let hints: Vec<_> = tokens.iter().map(|svid| (&*svid.spiffe_id, &*svid.hint)).collect();
    assert_eq!(hints, expected);
}

#[tokio::test]
async fn the_bundle_of_a_trust_domain_is_told_under_its_spiffe_id() {
    let case = Case::new().await;
    let partner = Ca::new("partner.org", case.host.manual.now());
    case.put_bundle(&partner);
    let federated = types::Entry { federates_with: vec!["partner.org".to_owned()], ..case.of("a", "unix:uid:1") };
    case.put([federated]);
    let expected = ["spiffe://example.org", "spiffe://partner.org"];
    let mut client = case.client();
    let mut x509 = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
    let mut keys: Vec<String> = x509.message().await.unwrap().unwrap().bundles.into_keys().collect();
    keys.sort();
    assert_eq!(keys, expected);
    let mut jwt = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner();
    let mut keys: Vec<String> = jwt.message().await.unwrap().unwrap().bundles.into_keys().collect();
    keys.sort();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_token_is_validated_with_the_bundle_of_its_subjects_trust_domain_alone() {
    let case = Case::new().await;
    let now = case.host.manual.now();
    let partner = Ca::new("partner.org", now);
    case.put_bundle(&partner);
    case.put([types::Entry { federates_with: vec!["partner.org".to_owned()], ..case.of("a", "unix:uid:1") }]);
    // The partner's key for a subject of ours, and ours for one of theirs.
    for (ca, subject) in [(&partner, case.host.ca.id("/web")), (&case.host.ca, partner.id("/web"))] {
        let token = ca.jwt_svid(&subject, &["db"], now..now + HOUR);
        assert_eq!(refusal(case.validate("db", &token).await).0, Code::InvalidArgument, "{subject}");
    }
    let stranger = Ca::new("stranger.org", now);
    let token = stranger.jwt_svid(&stranger.id("/web"), &["db"], now..now + HOUR);
    let (code, message) = refusal(case.validate("db", &token).await);
    assert_eq!((code, &*message), (Code::InvalidArgument, "no keys found for trust domain \"stranger.org\""));
}

/// SPIFFE_Workload_API, section 2: what is not in the standard has no place in its service.
#[test]
fn the_workload_api_has_the_calls_of_the_standard_and_no_others() {
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(steeple_proto::descriptors::WORKLOAD).unwrap();
    let [service] = &set.file.iter().flat_map(|file| &file.service).collect::<Vec<_>>()[..] else {
        panic!("one service");
    };
    assert_eq!(service.name(), "SpiffeWorkloadAPI");
    let mut calls: Vec<&str> = service.method.iter().map(|method| method.name()).collect();
    calls.sort_unstable();
    let expected = [
        "FetchJWTBundles",
        "FetchJWTSVID",
        "FetchWITBundles",
        "FetchWITSVID",
        "FetchX509Bundles",
        "FetchX509SVID",
        "ValidateJWTSVID",
    ];
    assert_eq!(calls, expected);
}
