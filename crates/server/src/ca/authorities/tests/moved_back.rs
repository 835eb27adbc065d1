//! A database that moved back has lost authorities that were published since.

use steeple_datastore::Bundle;
use steeple_datastore::journals::PruneCaJournals;
use steeple_testkit::record::Logged;

use super::*;

/// The bundle and the journal are those of an earlier moment again.
async fn move_back(place: &Place, bundle: Bundle) {
    place.store.write(PruneCaJournals { expired_by: i64::MAX }).await.unwrap();
    place.store.write(SetBundle(bundle)).await.unwrap();
}

async fn stored(place: &Place) -> Bundle {
    place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap()
}

#[tokio::test]
async fn what_signs_and_will_sign_is_published_again_and_a_restart_takes_it_up() {
    let place = Place::new().await;
    let (mut authorities, _) = place.start().await;
    let (early, first) = (stored(&place).await, active(&authorities));
    authorities.prepare_x509().await.unwrap();
    authorities.activate_x509().await;
    authorities.prepare_jwt().await.unwrap();
    authorities.activate_jwt().await;
    authorities.prepare_jwt().await.unwrap();
    let second = active(&authorities);
    let prepared = authorities.jwt.prepared().unwrap().key_id.clone();
    move_back(&place, early).await;

    let logged = Logged::new();
    authorities.rotate().await.unwrap();
    assert_eq!(logged.with("The bundle has lost authorities of this server; they are published again").len(), 1);
    let (roots, keys) = place.bundle().await;
    assert_eq!(roots, [first.0.unwrap(), second.0.clone().unwrap()]);
    assert_eq!(keys, [first.1.unwrap(), second.1.clone().unwrap(), prepared]);
    let before = stored(&place).await;
    authorities.rotate().await.unwrap();
    assert_eq!(stored(&place).await, before, "once is enough");

    let (authorities, _) = place.start().await;
    assert_eq!(active(&authorities), second);
}

#[tokio::test]
async fn the_old_authority_is_published_again_too_unless_it_was_given_up() {
    let place = Place::new().await;
    let (mut authorities, _) = place.start().await;
    let first = authorities.x509.active().unwrap().clone();
    authorities.prepare_x509().await.unwrap();
    authorities.activate_x509().await;
    let second = active(&authorities).0.unwrap();
    let own = Bundle { trust_domain_id: "spiffe://example.org".to_owned(), ..Bundle::default() };
    move_back(&place, own.clone()).await;
    authorities.rotate().await.unwrap();
    assert_eq!(place.bundle().await.0, [second.clone(), first.certificate.der().to_vec()]);

    authorities.given_up.insert(first.authority_id());
    move_back(&place, own.clone()).await;
    authorities.rotate().await.unwrap();
    assert_eq!(place.bundle().await.0, *std::slice::from_ref(&second));
    // Nor when it has ended.
    authorities.given_up.clear();
    move_back(&place, own).await;
    place.manual.set(first.not_after() + HOUR);
    authorities.publish_again().await.unwrap();
    assert_eq!(place.bundle().await.0, [second]);
}

#[tokio::test]
async fn below_an_authority_whose_root_is_lost_another_one_is_prepared() {
    let mut place = Place::new().await;
    place.upstream = Some(Upstream::new(Root::new("above.test", place.manual.now()), place.manual.clock()));
    let (mut authorities, _) = place.start().await;
    let (bundle, first) = (stored(&place).await, active(&authorities).0);
    move_back(&place, Bundle { root_cas: Vec::new(), ..bundle.clone() }).await;
    authorities.rotate().await.unwrap();
    assert_eq!(place.bundle().await.0, [bundle.root_cas[0].der_bytes.clone()]);
    assert_ne!(active(&authorities).0, first);
}
