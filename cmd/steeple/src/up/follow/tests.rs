use steeple_spiffe::workload_api::ClientError;

use super::*;
use crate::up::testdata::{certificate, svid, token};

const ID: &str = "spiffe://example.org/user/me";
const OTHER: &str = "spiffe://example.org/hello";

/// 2026-11-24 16:48:46 UTC.
fn moment() -> Moment {
    Moment { now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_538_926), zone: TimeZone::UTC }
}

fn update(svids: &[(&str, &str)], authorities: &[&str]) -> X509Update {
    X509Update {
        svids: svids.iter().map(|(id, file)| svid(id, certificate(file)).into()).collect(),
        authorities: authorities.iter().map(|file| certificate(file)).collect(),
    }
}

fn lines(events: Vec<Event>) -> Vec<String> {
    events.into_iter().map(|Event { subject, verb, text }| format!("{subject} {verb:?}: {text}")).collect()
}

#[test]
fn a_rotation_tells_both_serials_and_the_new_end() {
    let first = update(&[(ID, "workload-plain.pem")], &["ca.pem"]);
    let mut seen = Seen::new(&first, &[]);
    assert_eq!(lines(seen.x509(Ok(first), &moment()).unwrap()), [""; 0]);
    let next = update(&[(ID, "minted-dns.pem")], &["ca.pem"]);
    assert_eq!(
        lines(seen.x509(Ok(next), &moment()).unwrap()),
        [
            "X.509-SVID Renewed: spiffe://example.org/user/me  serial 61B77028 -> A4B095F8, until 16:58:17 (9 min 31 s left)"
        ]
    );
}

#[test]
fn a_new_authority_is_told_when_it_comes_and_when_it_signs() {
    let mut seen = Seen::new(&update(&[(ID, "workload-plain.pem")], &["ca.pem"]), &[]);
    let prepared = update(&[(ID, "workload-plain.pem")], &["ca.pem", "another-ca.pem"]);
    assert_eq!(
        lines(seen.x509(Ok(prepared), &moment()).unwrap()),
        ["authority New: in the bundle: serial 5E89313A, until 16:48:51 (24 h 0 min left)"]
    );
    let active = update(&[(ID, "workload-of-another-ca.pem")], &["another-ca.pem"]);
    assert_eq!(
        lines(seen.x509(Ok(active), &moment()).unwrap()),
        [
            "authority Gone: no longer in the bundle: serial 1646482A",
            "X.509-SVID Renewed: spiffe://example.org/user/me  serial 61B77028 -> AE2DE038, until 17:48:56 \
             (60 min 10 s left), by another authority",
        ]
    );
}

#[test]
fn identities_that_come_and_go_are_told_and_several_of_one_id_are_kept_apart() {
    let mut seen = Seen::new(&update(&[(ID, "workload-plain.pem")], &["ca.pem"]), &[]);
    let both = [(OTHER, "minted-dns.pem"), (ID, "workload-plain.pem"), (ID, "minted-dns.pem")];
    assert_eq!(
        lines(seen.x509(Ok(update(&both, &["ca.pem"])), &moment()).unwrap()),
        [
            "X.509-SVID New: spiffe://example.org/hello  serial A4B095F8, until 16:58:17 (9 min 31 s left)",
            "X.509-SVID New: spiffe://example.org/user/me  serial A4B095F8, until 16:58:17 (9 min 31 s left)",
        ]
    );
    let gone = lines(seen.x509(Err(WorkloadError::NoIdentity), &moment()).unwrap());
    assert_eq!(gone.len(), 3, "the authority stays: {gone:?}");
    assert_eq!(gone[0], "X.509-SVID Gone: spiffe://example.org/hello  no entry gives it to this process any more");
}

#[test]
fn an_agent_that_is_away_changes_nothing() {
    let first = update(&[(ID, "workload-plain.pem")], &["ca.pem"]);
    let mut seen = Seen::new(&first, &[token("workload.jwt")]);
    assert!(seen.x509(Err(WorkloadError::Client(ClientError::Ended)), &moment()).is_err());
    assert!(seen.jwt(Err(WorkloadError::Client(ClientError::Ended)), &moment()).is_err());
    assert_eq!(lines(seen.x509(Ok(first), &moment()).unwrap()), [""; 0]);
    assert_eq!(lines(seen.jwt(Ok(vec![token("workload.jwt")]), &moment()).unwrap()), [""; 0]);
}

#[test]
fn a_new_token_tells_both_ends_and_a_new_key() {
    let mut seen = Seen::new(&update(&[], &[]), &[token("workload.jwt")]);
    let next = JwtSvid { id: token("workload.jwt").id, ..token("workload-jti.jwt") };
    assert_eq!(
        lines(seen.jwt(Ok(vec![next]), &moment()).unwrap()),
        [
            "JWT-SVID Renewed: spiffe://example.org/plain  until 16:53:23 -> until 17:11:42 (22 min 56 s left), by another key"
        ]
    );
    let none = lines(seen.jwt(Err(WorkloadError::NoIdentity), &moment()).unwrap());
    assert_eq!(none, ["JWT-SVID Gone: spiffe://example.org/plain  no entry gives it to this process any more"]);
}
