//! What an agent makes of the bundles that its server tells.

use super::*;

#[tokio::test]
async fn a_malformed_bundle_leaves_the_one_before() {
    holds_its_bundle_against(|bundle| bundle.x509_authorities[0].asn1 = b"garbage".to_vec()).await;
}

#[tokio::test]
async fn a_bundle_of_its_own_that_trusts_nobody_leaves_the_one_before() {
    holds_its_bundle_against(|bundle| bundle.x509_authorities.clear()).await;
}

async fn holds_its_bundle_against(spoil: fn(&mut types::Bundle)) {
    for way in WAYS {
        let case = Case::synced(way).await;
        let mut spoilt = case.host.ca.api_bundle();
        spoil(&mut spoilt);
        case.host.server.change(|script| script.bundle = spoilt.clone());
        if way == Way::Pushed {
            case.host.server.push(Change::Bundle(spoilt));
        }
        // A change that comes after it tells that it has been seen.
        case.change(vec![of(&case.host, "a", "unix:uid:1"), of(&case.host, "b", "unix:uid:1")]);
        case.poll().await;
        let update = case.until("unix:uid:1", has(2)).await;
        assert_eq!(update.own.as_ref().unwrap().authorities(), [case.host.ca.root().clone()], "{way:?}");
        assert_eq!(case.storage.lock().await.bundle().unwrap(), [case.host.ca.root().clone()]);
    }
}

#[tokio::test]
async fn a_new_bundle_is_believed_and_kept() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let now = case.host.manual.now();
        let next = Ca::new("example.org", now);
        let mut both = case.host.ca.api_bundle();
        both.x509_authorities.extend(next.api_bundle().x509_authorities);
        case.host.server.change(|script| script.bundle = both.clone());
        if way == Way::Pushed {
            case.host.server.push(Change::Bundle(both));
            case.host.server.push(Change::Status(Synced { complete: true }));
        }
        case.poll().await;
        case.until("unix:uid:1", |update| update.own.as_ref().unwrap().authorities().len() == 2).await;
        // The server has moved to the new authority.
        case.host.server.show(&next.svid("/spire/server", now..now + HOUR));
        case.upstream.reconnect();
        let mut client = AgentClient::new(case.upstream.channel().unwrap());
        client.post_status(PostStatusRequest::default()).await.unwrap();
        let stored = case.host.storage().bundle().unwrap();
        assert_eq!(stored, [case.host.ca.root().clone(), next.root().clone()], "{way:?}");
    }
}

#[tokio::test]
async fn tokens_of_an_authority_go_when_the_server_tells_of_its_taint() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let entry = Entry::from_api(of(&case.host, "a", "unix:uid:1")).unwrap();
        case.tokens.fetch(&entry, &["db".to_owned()]).await.unwrap();
        assert_eq!(case.tokens.kept(), 1);
        let mut tainted = case.host.ca.api_bundle();
        tainted.x509_authorities[0].tainted = true;
        tainted.jwt_authorities[0].tainted = true;
        case.host.server.change(|script| script.bundle = tainted.clone());
        // The rotation of the agent's SVID is told in the same moment.
        let mut told = case.upstream.tainted();
        if way == Way::Pushed {
            case.host.server.push(Change::Bundle(tainted));
            case.host.server.push(Change::Status(Synced { complete: true }));
        }
        case.poll().await;
        told.wait_for(|authorities| authorities.len() == 1).await.unwrap();
        assert_eq!(case.tokens.kept(), 0, "{way:?}");
    }
}

#[tokio::test]
async fn bundles_of_federated_trust_domains_come_and_go() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let partner = Ca::new("partner.org", case.host.manual.now());
        let federated = types::Entry {
            federates_with: vec!["partner.org".into(), "nobody.org".into()],
            revision_number: 1,
            ..of(&case.host, "a", "unix:uid:1")
        };
        case.host.server.change(|script| drop(script.federated.insert("partner.org".into(), partner.api_bundle())));
        if way == Way::Pushed {
            case.host.server.push(Change::Bundle(partner.api_bundle()));
        }
        case.change(vec![federated]);
        case.poll().await;
        let update = case.until("unix:uid:1", |update| !update.federated.is_empty()).await;
        assert_eq!(update.federated[0].1.authorities(), [partner.root().clone()], "{way:?}");

        case.host.server.change(|script| script.federated.clear());
        if way == Way::Pushed {
            case.host.server.push(Change::RemovedBundle("partner.org".into()));
        }
        case.poll().await;
        case.until("unix:uid:1", |update| update.federated.is_empty()).await;
    }
}
