//! WIT authorities, which there are only where the operator wants them.

use steeple_spiffe::{SignatureAlgorithm, WitSvid};

use super::*;
use crate::ca::sign::WorkloadWit;

async fn with_wit() -> Place {
    Place { wit_key_type: Some(KeyType::EcP384), ..Place::new().await }
}

/// A token for a new key, or why there is none.
async fn token(place: &Place, signing: &Signing, ttl: Option<Duration>) -> Result<WitSvid, CaError> {
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    let ca = Ca::new(signing.clone(), lifetimes, None, place.manual.clock()).with_wit_issuer(Some("us".to_owned()));
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let (public_key, algorithm) = (key.public_key(), SignatureAlgorithm::EcdsaSha256);
    let signed = ca.sign_wit(WorkloadWit { id: &id, public_key, algorithm, ttl }, Ground::Own).await?;
    let svid = WitSvid::parse_unverified(&signed.token).unwrap();
    assert_eq!((&svid.id, &svid.public_key, &svid.claims["iss"]), (&id, public_key, &"us".into()));
    Ok(svid)
}

async fn published(place: &Place) -> Vec<String> {
    let bundle = place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    bundle.wit_signing_keys.into_iter().map(|key| key.kid).collect()
}

#[tokio::test]
async fn a_wit_authority_is_in_the_bundle_before_it_can_sign() {
    let place = with_wit().await;
    let (mut authorities, signing) = place.load().await;
    authorities.prepare_wit(KeyType::EcP256).await.unwrap();
    assert_eq!(published(&place).await.len(), 1);
    assert!(matches!(token(&place, &signing, None).await, Err(CaError::NoWitAuthority)));
}

#[tokio::test]
async fn wit_authorities_are_followed_and_taken_up_after_a_restart() {
    let place = with_wit().await;
    let (mut authorities, signing) = place.start().await;
    let first = token(&place, &signing, None).await.unwrap();
    assert_eq!(published(&place).await, std::slice::from_ref(&first.key_id));
    assert_eq!(first.expires_at, place.manual.now() + HOUR);
    // No token outlives its authority.
    assert_eq!(token(&place, &signing, Some(TTL * 2)).await.unwrap().expires_at, place.manual.now() + TTL);

    place.manual.set(place.manual.now() + TTL / 2 + HOUR);
    authorities.rotate().await.unwrap();
    assert_eq!(published(&place).await.len(), 2);
    assert_eq!(token(&place, &signing, None).await.unwrap().key_id, first.key_id);
    place.manual.set(place.manual.now() + TTL / 2 - HOUR * 4);
    authorities.rotate().await.unwrap();
    let second = token(&place, &signing, None).await.unwrap();
    assert_eq!(published(&place).await, [first.key_id, second.key_id.clone()]);

    let made = place.keys.made();
    assert_eq!(
        made.iter().filter(|id| id.starts_with("WIT-Signer-")).collect::<Vec<_>>(),
        ["WIT-Signer-A", "WIT-Signer-B"]
    );
    let (_, signing) = place.start().await;
    assert_eq!(token(&place, &signing, None).await.unwrap().key_id, second.key_id);
    assert_eq!(place.keys.made(), made);
}

#[tokio::test]
async fn a_wit_authority_that_is_not_wanted_does_not_sign_and_is_not_forgotten() {
    let mut place = with_wit().await;
    let (_, signing) = place.start().await;
    let before = token(&place, &signing, None).await.unwrap();

    place.wit_key_type = None;
    let (_, signing) = place.start().await;
    assert!(matches!(token(&place, &signing, None).await, Err(CaError::NoWitAuthority)));

    place.wit_key_type = Some(KeyType::EcP384);
    let (_, signing) = place.start().await;
    assert_eq!(token(&place, &signing, None).await.unwrap().key_id, before.key_id);
}

#[tokio::test]
async fn a_wit_authority_that_somebody_took_out_of_the_bundle_is_replaced() {
    let place = with_wit().await;
    let (_, signing) = place.start().await;
    let before = token(&place, &signing, None).await.unwrap();
    let bundle = place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    place.store.write(SetBundle(common::Bundle { wit_signing_keys: Vec::new(), ..bundle })).await.unwrap();
    let (_, signing) = place.start().await;
    assert_ne!(token(&place, &signing, None).await.unwrap().key_id, before.key_id);
}
