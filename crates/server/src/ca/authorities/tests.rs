mod below;
mod by_hand;
mod composed;
mod moved_back;
mod recorded;
mod ten_days;
mod wit;

use std::time::Duration;

use steeple_datastore::bundles::SetBundle;
use steeple_datastore::journals::{CaJournal, SetCaJournal};
use steeple_pki::PrivateKey;
use steeple_spiffe::{JwtSvid, SpiffeId};
use steeple_testkit::{Ca as Root, ManualClock, MemoryKeys, Upstream};
use tempfile::TempDir;

use super::*;
use crate::ca::sign::{Lifetimes, WorkloadJwt};
use crate::ca::{Ca, Rotation};
use crate::inventory::Ground;
use crate::tests::{DAY, HOUR, manual, store};

const TTL: Duration = DAY;

/// What a server keeps over a restart: clock, keys and store.
struct Place {
    manual: ManualClock,
    keys: MemoryKeys,
    store: DataStore,
    wit_key_type: Option<KeyType>,
    upstream: Option<Upstream>,
    composers: Composers,
    _dir: TempDir,
}

impl Place {
    async fn new() -> Self {
        let manual = manual();
        let (store, dir) = store(&manual).await;
        Self {
            manual,
            keys: MemoryKeys::new(),
            store,
            wit_key_type: None,
            upstream: None,
            composers: Composers::default(),
            _dir: dir,
        }
    }

    /// A start of the server: takes up what there is, and what is due.
    async fn start(&self) -> (Authorities, Signing) {
        let (mut authorities, signing) = self.load().await;
        authorities.rotate().await.unwrap();
        (authorities, signing)
    }

    async fn load(&self) -> (Authorities, Signing) {
        self.try_load().await.unwrap()
    }

    async fn try_load(&self) -> Result<(Authorities, Signing), CaError> {
        let config = CaConfig {
            ttl: TTL,
            x509_key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            wit_key_type: self.wit_key_type,
            disable_jwt: false,
            subject: CaSubject::default(),
        };
        let signing = Signing::default();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let signs = Plugins {
            keys: self.keys.of_server(),
            upstream: self.upstream.as_ref().map(Upstream::plugin),
            composers: self.composers.clone(),
        };
        let (store, clock) = (self.store.clone(), self.manual.clock());
        let authorities = Authorities::load(trust_domain, config, signs, store, clock, signing.clone());
        Ok((authorities.await?, signing))
    }

    /// X.509 authorities (DER) and key ids of the bundle.
    async fn bundle(&self) -> (Vec<Vec<u8>>, Vec<String>) {
        let bundle = self.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap_or_default();
        let roots = bundle.root_cas.into_iter().map(|root| root.der_bytes).collect();
        (roots, bundle.jwt_signing_keys.into_iter().map(|key| key.kid).collect())
    }
}

/// Key ids of the authorities that sign now, as what they sign tells; None where nothing is signed.
async fn signers(place: &Place, signing: &Signing) -> (Option<Vec<u8>>, Option<String>) {
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    let ca = Ca::new(signing.clone(), lifetimes, Some(String::new()), place.manual.clock());
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let chain = ca.sign_agent(&id, key.public_key(), Ground::Own).await;
    let jwt = WorkloadJwt { id: &id, audience: &["db".to_owned()], ttl: None, include_jti: false };
    let token = ca.sign_jwt(jwt, Ground::Own).await;
    (
        chain.ok().map(|chain| chain[0].authority_key_id().unwrap().to_vec()),
        token.ok().map(|signed| JwtSvid::parse_unverified(&signed.token).unwrap().key_id),
    )
}

/// Certificate (DER) and key id of what is active.
fn active(authorities: &Authorities) -> (Option<Vec<u8>>, Option<String>) {
    let x509 = authorities.x509.active().map(|active| active.certificate.der().to_vec());
    (x509, authorities.jwt.active().map(|active| active.key_id.clone()))
}

#[tokio::test]
async fn a_first_start_makes_one_authority_of_each_kind_and_publishes_them() {
    let place = Place::new().await;
    let (authorities, _) = place.start().await;
    assert_eq!(place.keys.made(), ["x509-CA-A", "JWT-Signer-A"]);
    let (x509, jwt) = active(&authorities);
    assert_eq!(place.bundle().await, (vec![x509.unwrap()], vec![jwt.unwrap()]));
    let root = &authorities.x509.active().unwrap().certificate;
    assert!(root.is_ca());
    assert_eq!(root.issuer_der(), root.subject_der(), "not self-signed");
    assert_eq!(root.spiffe_id().unwrap().as_str(), "spiffe://example.org");
    assert_eq!(root.not_after(), place.manual.now() + TTL);
}

#[tokio::test]
async fn an_authority_is_in_the_bundle_before_it_can_sign() {
    let place = Place::new().await;
    let (mut authorities, signing) = place.load().await;
    authorities.prepare_x509().await.unwrap();
    authorities.prepare_jwt().await.unwrap();
    let (roots, kids) = place.bundle().await;
    assert_eq!((roots.len(), kids.len()), (1, 1));
    assert_eq!(signers(&place, &signing).await, (None, None));
    authorities.rotate().await.unwrap();
    let x509 = Certificate::from_der(&roots[0]).unwrap().subject_key_id().unwrap().to_vec();
    assert_eq!(signers(&place, &signing).await, (Some(x509), Some(kids[0].clone())));
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_authorities() {
    let place = Place::new().await;
    let before = active(&place.start().await.0);
    place.manual.advance(TTL / 3);
    let (again, _) = place.start().await;
    assert_eq!(active(&again), before);
    assert_eq!(place.keys.made().len(), 2);
    assert_eq!(place.bundle().await.0.len(), 1);
}

#[tokio::test]
async fn a_restart_finds_what_was_prepared() {
    let place = Place::new().await;
    let first = active(&place.start().await.0);
    place.manual.advance(TTL / 2 + HOUR);
    let (mut prepared, _) = place.start().await;
    assert_eq!(active(&prepared), first);
    assert_eq!(place.keys.made().len(), 4);
    prepared.rotate().await.unwrap();
    let (mut again, _) = place.start().await;
    assert_eq!(place.keys.made().len(), 4, "what was prepared is prepared again");
    place.manual.advance(TTL / 3);
    again.rotate().await.unwrap();
    assert_ne!(active(&again), first);
    assert_eq!(place.keys.made().len(), 4);
    // The one that was replaced is remembered as such.
    let (last, _) = place.start().await;
    assert_eq!(active(&last), active(&again));
}

#[tokio::test]
async fn keys_that_are_lost_are_replaced_and_the_old_bundle_stays() {
    let place = Place::new().await;
    let before = active(&place.start().await.0);
    place.keys.lose();
    let (after, _) = place.start().await;
    let after = active(&after);
    assert!(after.0.is_some() && after.1.is_some());
    assert!(after.0 != before.0 && after.1 != before.1);
    // SVIDs of before still verify.
    assert_eq!(place.bundle().await.0, [before.0.unwrap(), after.0.unwrap()]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_ends_the_start_and_is_left_with_the_keys_that_it_tells_of() {
    let place = Place::new().await;
    let (authorities, _) = place.start().await;
    let id = authorities.x509.active().unwrap().authority_id();
    let good = place.store.fetch_ca_journal(&id).await.unwrap().unwrap();
    let made = place.keys.made();
    for data in [b"\xff\xff garbage".to_vec(), good.data[..good.data.len() / 2].to_vec()] {
        place.store.write(SetCaJournal(CaJournal { data: data.clone(), ..good.clone() })).await.unwrap();
        let error = place.try_load().await.err().unwrap().to_string();
        let text = "failed to load journal from datastore: unable to unmarshal entries from CA journal record: ";
        assert!(error.starts_with(text), "{error}");
        assert_eq!(place.store.fetch_ca_journal(&id).await.unwrap().unwrap().data, data);
    }
    assert_eq!(place.keys.made(), made);
    // Put back, it is as before.
    let before = active(&authorities);
    place.store.write(SetCaJournal(good)).await.unwrap();
    assert_eq!(active(&place.start().await.0), before);
}

#[tokio::test]
async fn keys_of_another_server_bring_their_own_journal() {
    let place = Place::new().await;
    let first = active(&place.start().await.0);
    let other = Place { keys: MemoryKeys::new(), store: place.store.clone(), ..Place::new().await };
    let second = active(&other.start().await.0);
    assert_ne!(first, second);
    assert_eq!(active(&place.start().await.0), first);
    assert_eq!(active(&other.start().await.0), second);
    assert_eq!(place.bundle().await.0.len(), 2);
}

#[tokio::test]
async fn a_successor_is_prepared_after_half_and_takes_over_after_five_sixths() {
    let place = Place::new().await;
    let (mut authorities, signing) = place.start().await;
    let first = active(&authorities);

    place.manual.advance(TTL / 2);
    authorities.rotate().await.unwrap();
    assert_eq!(place.keys.made().len(), 2);
    place.manual.advance(Duration::from_secs(1));
    authorities.rotate().await.unwrap();
    assert_eq!(place.keys.made()[2..], ["x509-CA-B", "JWT-Signer-B"]);
    let (roots, kids) = place.bundle().await;
    assert_eq!((roots.len(), kids.len()), (2, 2));
    assert_eq!(active(&authorities), first);

    place.manual.advance(TTL / 3 - Duration::from_secs(1));
    authorities.rotate().await.unwrap();
    assert_eq!(active(&authorities), first);
    place.manual.advance(Duration::from_secs(1));
    authorities.rotate().await.unwrap();
    let second = (Some(roots[1].clone()), Some(kids[1].clone()));
    assert_eq!(active(&authorities), second);
    let x509 = Certificate::from_der(&roots[1]).unwrap().subject_key_id().unwrap().to_vec();
    assert_eq!(signers(&place, &signing).await, (Some(x509), Some(kids[1].clone())));

    // The next round goes to the slot of the first.
    place.manual.advance(TTL / 2);
    authorities.rotate().await.unwrap();
    assert_eq!(place.keys.made()[4..], ["x509-CA-A", "JWT-Signer-A"]);
    assert_eq!(active(&authorities), second);
}

#[tokio::test]
async fn authorities_that_ended_while_the_server_was_off_are_replaced() {
    let place = Place::new().await;
    let first = active(&place.start().await.0);
    place.manual.advance(TTL + HOUR);
    let (after, _) = place.start().await;
    assert_ne!(active(&after), first);
    assert!(after.x509.active().unwrap().certificate.not_after() > place.manual.now());
}

#[tokio::test]
async fn a_server_that_slept_past_a_rotation_makes_up_for_it_at_once() {
    let place = Place::new().await;
    let (authorities, signing) = place.start().await;
    let before = signers(&place, &signing).await;
    let health = crate::health::unknown(place.manual.clock());
    let rotation = Rotation::start(authorities, place.manual.clock(), health).await.unwrap();
    let shutdown = steeple_runtime::Shutdown::new();
    let running = tokio::spawn(rotation.run(shutdown.clone()));
    place.manual.until_somebody_sleeps(..).await;
    place.manual.set(place.manual.now() + TTL * 11 / 12);
    let after = loop {
        let now = signers(&place, &signing).await;
        if now.0 != before.0 && now.1 != before.1 {
            break now;
        }
        tokio::task::yield_now().await;
    };
    assert!(after.0.is_some() && after.1.is_some());
    assert_eq!(place.bundle().await.0.len(), 2);
    shutdown.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_published_is_not_activated() {
    let place = Place::new().await;
    let (mut authorities, signing) = place.start().await;
    let first = active(&authorities);
    place.manual.advance(TTL - HOUR);
    place.store.close().await;
    assert!(matches!(authorities.rotate().await, Err(CaError::DataStore(_))));
    assert_eq!(active(&authorities), first);
    let (x509, jwt) = signers(&place, &signing).await;
    assert!(x509.is_some() && jwt == first.1);
}

#[tokio::test]
async fn a_first_start_without_a_store_gives_nothing_to_sign_with() {
    let place = Place::new().await;
    let (mut authorities, signing) = place.load().await;
    place.store.close().await;
    authorities.rotate().await.unwrap_err();
    assert_eq!(signers(&place, &signing).await, (None, None));
}

#[tokio::test]
async fn a_key_manager_that_fails_costs_the_rotation_and_not_the_authority() {
    use steeple_catalog::PluginError;
    let place = Place::new().await;
    let (mut authorities, _) = place.start().await;
    let first = active(&authorities);
    place.manual.advance(TTL - HOUR);
    place.keys.fail_with(Some(PluginError::internal("out of order")));
    let error = authorities.rotate().await.unwrap_err();
    assert_eq!(error.to_string(), "keymanager(memory): out of order");
    assert_eq!(active(&authorities), first);
    assert_eq!(place.bundle().await.0.len(), 1);
    place.keys.fail_with(None);
    authorities.rotate().await.unwrap();
    assert_ne!(active(&authorities), first);
}

#[tokio::test]
async fn an_authority_that_somebody_took_out_of_the_bundle_is_not_taken_up() {
    let place = Place::new().await;
    let first = active(&place.start().await.0);
    let mut bundle = place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    bundle.root_cas.clear();
    place.store.write(SetBundle(bundle)).await.unwrap();
    let (after, _) = place.start().await;
    assert_ne!(active(&after).0, first.0);
    assert_eq!(active(&after).1, first.1);
    assert_eq!(place.bundle().await.0, [active(&after).0.unwrap()]);
}

#[tokio::test]
async fn without_jwt_svids_there_is_no_jwt_authority() {
    let place = Place::new().await;
    let (mut authorities, signing) = place.load().await;
    authorities.config.disable_jwt = true;
    authorities.rotate().await.unwrap();
    assert_eq!(place.keys.made(), ["x509-CA-A"]);
    let (x509, jwt) = signers(&place, &signing).await;
    assert!(x509.is_some() && jwt.is_none());
}

// What SPIRE 1.15.3 left behind: its database, its key file, and what it said about its authorities before it was
// stopped. `self-signed` has tainted its first authorities; those of `upstream` are below an upstream authority.

/// As long after the reference's last write as a restart takes.
const AFTER_THE_REFERENCE: u64 = 1_795_540_000;

async fn left_by_the_reference(name: &str) -> Place {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ca/authorities/testdata");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datastore.sqlite3");
    std::fs::write(&path, std::fs::read(data.join(format!("{name}.sqlite3"))).unwrap()).unwrap();
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join(format!("{name}.keys.json"))).unwrap()).unwrap();
    let keys = MemoryKeys::new();
    for (id, key) in file["keys"].as_object().unwrap() {
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key.as_str().unwrap()).unwrap();
        keys.put(id, PrivateKey::from_pkcs8_der(&der).unwrap());
    }
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(AFTER_THE_REFERENCE));
    let store = DataStore::open(steeple_datastore::Options::sqlite(path), manual.clock()).await.unwrap();
    let upstream = (name == "upstream").then(|| Upstream::new(Root::new("above.test", manual.now()), manual.clock()));
    Place { manual, keys, store, wit_key_type: None, upstream, composers: Composers::default(), _dir: dir }
}

fn told_by_the_reference(name: &str) -> serde_json::Value {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ca/authorities/testdata");
    serde_json::from_slice(&std::fs::read(data.join(format!("{name}.json"))).unwrap()).unwrap()
}

fn described(authority: &impl Authority) -> (String, String) {
    (authority.authority_id(), unix_seconds(authority.not_after()).to_string())
}

fn told(authority: &serde_json::Value) -> Option<(String, String)> {
    let field = |name: &str| Some(authority.get(name)?.as_str()?.to_owned());
    Some((field("authority_id")?, field("expires_at")?))
}

#[tokio::test]
async fn authorities_of_the_reference_are_taken_up_and_none_is_made() {
    for name in ["self-signed", "upstream"] {
        let place = left_by_the_reference(name).await;
        let (before, told_all) = (place.bundle().await, told_by_the_reference(name));
        let (mut authorities, signing) = place.start().await;
        assert_eq!(place.keys.made(), Vec::<String>::new(), "{name}");
        assert_eq!(place.bundle().await, before, "{name}");
        assert_eq!(authorities.x509.active().map(described), told(&told_all["x509"]["active"]), "{name}");
        assert_eq!(authorities.jwt.active().map(described), told(&told_all["jwt"]["active"]), "{name}");
        let (x509, jwt) = signers(&place, &signing).await;
        assert_eq!(x509.map(|id| x509::hex(&id)), told(&told_all["x509"]["active"]).map(|(id, _)| id), "{name}");
        assert_eq!(jwt, told(&told_all["jwt"]["active"]).map(|(id, _)| id), "{name}");

        // What was prepared takes over next.
        let next = authorities.x509.activate().map(|(next, _)| described(&next));
        assert_eq!(next, told(&told_all["x509"]["prepared"]), "{name}");
        let next = authorities.jwt.activate().map(|(next, _)| described(&next));
        assert_eq!(next, told(&told_all["jwt"]["prepared"]), "{name}");
    }
}

#[tokio::test]
async fn an_authority_below_an_upstream_one_is_delivered_with_its_chain() {
    let place = left_by_the_reference("upstream").await;
    let (authorities, _) = place.start().await;
    let active = authorities.x509.active().unwrap();
    assert_eq!(active.upstream_chain, std::slice::from_ref(&active.certificate));
    assert_eq!(
        active.certificate.authority_key_id().map(x509::hex).as_deref(),
        told_by_the_reference("upstream")["x509"]["active"]["upstream_authority_subject_key_id"].as_str()
    );
}

#[tokio::test]
async fn an_authority_of_a_downstream_server_has_the_name_of_the_one_above_and_how_deep_it_stands() {
    let place = left_by_the_reference("upstream").await;
    let (authorities, signing) = place.start().await;
    let mut above = authorities.x509.active().unwrap().clone();
    // Two certificates below the root.
    above.upstream_chain.push(above.certificate.clone());
    signing.set(Some(above.clone()), None, None);
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: HOUR * 2 };
    let ca = Ca::new(signing, lifetimes, None, place.manual.clock());
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let chain = ca.sign_downstream(&authorities.trust_domain, key.public_key(), None, Ground::Own).await.unwrap();

    assert_eq!(chain[1..], above.upstream_chain);
    assert!(chain[0].is_ca());
    let deeper = Subject {
        organizational_units: vec!["DOWNSTREAM-2".to_owned()],
        ..above.certificate.subject().without_extra()
    };
    assert_eq!(chain[0].subject(), deeper);
    assert_eq!(chain[0].not_after(), place.manual.now() + HOUR * 2);
}

#[tokio::test]
async fn a_journal_of_the_reference_is_gone_on_with() {
    let place = left_by_the_reference("self-signed").await;
    let (mut authorities, _) = place.start().await;
    let first = authorities.x509.active().unwrap().clone();
    let row = place.store.fetch_ca_journal(&first.authority_id()).await.unwrap().unwrap().id;
    // A week before its end the prepared one takes over.
    place.manual.set(first.not_after() - DAY * 7 + HOUR);
    authorities.rotate().await.unwrap();
    let second = authorities.x509.active().unwrap().clone();
    assert_ne!(second.authority_id(), first.authority_id());
    let journal = place.store.fetch_ca_journal(&second.authority_id()).await.unwrap().unwrap();
    assert_eq!(journal.id, row);
    assert_eq!(place.keys.made(), Vec::<String>::new());
}
