//! Everything that is signed is in the inventory, but for what nobody gets.

use steeple_spiffe::{JwtSvid, SignatureAlgorithm};

use super::*;
use crate::ca::sign::{WorkloadWit, WorkloadX509};
use crate::inventory::{Files, Inventory, InventoryConfig, Place as Sink, Why, files_of, read_file};

#[tokio::test]
async fn each_signature_has_its_record_with_what_it_was_for() {
    let place = Place { wit_key_type: Some(KeyType::EcP256), ..Place::new().await };
    let (authorities, signing) = place.start().await;
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::Files(Files { directory: dir.path().join("inventory"), max_file_size: 1 << 20 });
    let config = InventoryConfig { place: sink, fail_closed: true, keep: DAY };
    let inventory = Inventory::start(config, dir.path(), place.manual.clock()).await.unwrap();
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    let ca = Ca::new(signing, lifetimes, Some(String::new()), place.manual.clock());
    let ca = ca.with_wit_issuer(Some(String::new())).with_inventory(inventory.clone());

    let (id, agent) =
        ["/web", "/spire/agent/a"].map(|path| SpiffeId::new(&authorities.trust_domain, path).unwrap()).into();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let public_key = key.public_key();
    let entry = Ground::Entry { agent: &agent, entry_id: "e" };
    let workload = || WorkloadX509 { id: &id, public_key, ttl: None, dns_names: &[], subject: None };
    let mut chains = vec![
        (ca.sign_workload(workload(), entry).await.unwrap(), Why::Entry),
        (ca.sign_workload(workload(), Ground::Mint("uid:0")).await.unwrap(), Why::Mint),
        (ca.sign_agent(&agent, public_key, Ground::Attestation).await.unwrap(), Why::Attestation),
        (ca.sign_agent(&agent, public_key, Ground::Renewal).await.unwrap(), Why::Renewal),
        (ca.sign_server(&id, public_key).await.unwrap(), Why::Own),
    ];
    let below = ca.sign_downstream(&authorities.trust_domain, public_key, None, Ground::Downstream(id.as_str()));
    chains.push((below.await.unwrap(), Why::Downstream));
    ca.sign_workload(workload(), Ground::Health).await.unwrap();
    let audience = ["a".to_owned()];
    let token = WorkloadJwt { id: &id, audience: &audience, ttl: None, include_jti: true };
    let token = ca.sign_jwt(token, entry).await.unwrap().token;
    let wit = WorkloadWit { id: &id, public_key, algorithm: SignatureAlgorithm::EcdsaSha256, ttl: None };
    let wit = ca.sign_wit(wit, Ground::Mint("local")).await.unwrap();
    inventory.close().await;

    let mut records = Vec::new();
    for file in files_of(&dir.path().join("inventory")).unwrap() {
        read_file(&file, |link| {
            records.extend(link.record.event.issued().map(|issued| (link.record.event.what(), issued.clone())))
        })
        .unwrap();
    }
    let digest = |bytes: &[u8]| Some(x509::hex(&steeple_pki::sha256(bytes)));
    let x509_authority = authorities.x509.active().unwrap().authority_id();
    let of_key = digest(public_key.spki_der());
    for ((chain, why), (what, issued)) in chains.iter().zip(&records) {
        let leaf = &chain[0];
        assert_eq!((*what, issued.why), (if leaf.is_ca() { "x509-ca" } else { "x509-svid" }, *why));
        assert_eq!((&issued.serial, &issued.key), (&Some(leaf.serial_hex()), &of_key));
        assert_eq!((&issued.authority, &issued.id), (&x509_authority, &leaf.spiffe_id().unwrap().to_string()));
        assert_eq!(issued.expires, unix_seconds(leaf.not_after()));
    }
    let [(jwt, of_jwt), (of, of_wit)] = &records[chains.len()..] else { panic!("{records:?}") };
    let svid = JwtSvid::parse_unverified(&token).unwrap();
    assert_eq!(
        (*jwt, &of_jwt.token, of_jwt.jti.as_deref()),
        ("jwt-svid", &digest(token.as_bytes()), svid.claims["jti"].as_str())
    );
    assert_eq!((of_jwt.through.as_deref(), of_jwt.entry.as_deref()), (Some(agent.as_str()), Some("e")));
    assert_eq!((*of, &of_wit.token, &of_wit.key), ("wit-svid", &digest(wit.token.as_bytes()), &of_key));
    assert_eq!(of_wit.expires, wit.expires_at);
}
