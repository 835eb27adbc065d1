use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::constraints::UriConstraints;
use super::svid::checked_leaf_id;
use super::{Certificate, X509Error};
use crate::{BundleSource, SpiffeId};

/// Verifies a peer's X.509-SVID (X509-SVID, section 5): the leaf's own rules, then a path from it to one of the
/// authorities at `now`. The chain stands leaf first. Returns the SPIFFE ID; whether it is the one that the caller
/// wants to talk to is the caller's question, and so is whether the authorities are those of its trust domain: where
/// several trust domains are known, use [`verify_x509_svid_in`].
///
/// # Errors
/// [`X509Error::UnknownAuthority`] when no authority has signed the chain; all other errors are about the chain itself.
pub fn verify_x509_svid(
    chain: &[Certificate],
    authorities: &[Certificate],
    now: SystemTime,
) -> Result<SpiffeId, X509Error> {
    let id = checked_leaf_id(chain.first().ok_or(X509Error::EmptyChain)?)?;
    verify_chain(chain, authorities, now)?;
    Ok(id)
}

/// As [`verify_x509_svid`], with the authorities of the leaf's own trust domain: those of another never vouch for it.
///
/// # Errors
/// As there, and [`X509Error::UnknownTrustDomain`] when there is no bundle for the trust domain.
pub fn verify_x509_svid_in(
    chain: &[Certificate],
    bundles: &(impl BundleSource + ?Sized),
    now: SystemTime,
) -> Result<SpiffeId, X509Error> {
    let id = checked_leaf_id(chain.first().ok_or(X509Error::EmptyChain)?)?;
    let trust_domain = id.trust_domain();
    let bundle = bundles.bundle(&trust_domain).ok_or(X509Error::UnknownTrustDomain(trust_domain))?;
    let authorities: Vec<Certificate> = bundle.x509_certificates().cloned().collect();
    verify_chain(chain, &authorities, now)?;
    Ok(id)
}

/// Verifies that a path leads from the first certificate to one of the authorities at `now` (RFC 5280, section 6), with
/// any extended key usage and without a look at SPIFFE IDs: for certificates that are no SVIDs.
///
/// Any authority may end a path, self-signed or not, but it must be valid at `now` itself.
///
/// # Errors
/// As [`verify_x509_svid`].
pub fn verify_chain(chain: &[Certificate], authorities: &[Certificate], now: SystemTime) -> Result<(), X509Error> {
    let (current, outdated): (Vec<_>, Vec<_>) = authorities.iter().partition(|a| a.is_valid_at(now));
    let result = build_path(chain, &current, now, None);
    if result == Err(X509Error::UnknownAuthority) {
        // An authority that did sign, but whose time is over, is not unknown: a new bundle would not help the caller.
        let signed_by = |authority: &&Certificate| build_path(chain, &[*authority], now, None).is_ok();
        if let Some(authority) = outdated.into_iter().find(signed_by) {
            return Err(outside_validity(authority, now));
        }
    }
    result
}

/// As [`verify_chain`], and gives all paths that lead from the first certificate to an authority, each leaf first and
/// authority last: for those to whom it matters which authorities have signed. As in Go, a leaf that is an authority
/// itself is a path of its own, and the only one.
///
/// # Errors
/// As [`verify_chain`]; [`X509Error::Path`] when there are more paths than anybody would look at.
pub fn verified_paths(
    chain: &[Certificate],
    authorities: &[Certificate],
    now: SystemTime,
) -> Result<Vec<Vec<Certificate>>, X509Error> {
    if let Some(leaf) = chain.first().filter(|leaf| authorities.contains(leaf)) {
        return if leaf.is_valid_at(now) { Ok(vec![vec![leaf.clone()]]) } else { Err(outside_validity(leaf, now)) };
    }
    verify_chain(chain, authorities, now)?;
    let current: Vec<_> = authorities.iter().filter(|authority| authority.is_valid_at(now)).collect();
    let paths = RefCell::new(Vec::new());
    let collect = |path: &VerifiedPath<'_>, authority: &Certificate| {
        let of = |der: &[u8]| chain.iter().find(|certificate| certificate.der() == der);
        let between: Vec<_> = path.intermediate_certificates().filter_map(|cert| of(&cert.der())).cloned().collect();
        // An authority that was sent along, or another certificate of its key, says nothing new.
        let is_authoritys = |other: &Certificate| {
            (other.subject_der(), other.spki_der()) == (authority.subject_der(), authority.spki_der())
        };
        if !between.iter().any(is_authoritys) {
            let path = chain[..1].iter().cloned().chain(between).chain([authority.clone()]);
            paths.borrow_mut().push(path.collect());
        }
        // Not content with this one: the search goes on.
        Err(webpki::Error::UnknownIssuer)
    };
    // What is wrong with other certificates that were sent along is no matter, as long as the search went to its end.
    if let Err(X509Error::Path(error)) = build_path(chain, &current, now, Some(&collect))
        && is_given_up(&error)
    {
        return Err(X509Error::Path(error));
    }
    Ok(paths.into_inner())
}

/// Whether path building stopped before it had seen everything.
fn is_given_up(error: &webpki::Error) -> bool {
    use webpki::Error as E;
    matches!(
        error,
        E::MaximumSignatureChecksExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumNameConstraintComparisonsExceeded
    )
}

/// What looks at each path that is found; an error makes the search go on.
type OnPath<'a> = &'a dyn Fn(&VerifiedPath<'_>, &Certificate) -> Result<(), webpki::Error>;

fn build_path(
    chain: &[Certificate],
    authorities: &[&Certificate],
    now: SystemTime,
    on_path: Option<OnPath<'_>>,
) -> Result<(), X509Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(X509Error::EmptyChain)?;
    let leaf = CertificateDer::from(leaf.der());
    let leaf = EndEntityCert::try_from(&leaf).map_err(X509Error::Path)?;
    let intermediates: Vec<CertificateDer<'_>> = intermediates.iter().map(|c| c.der().into()).collect();
    let ders: Vec<CertificateDer<'_>> = authorities.iter().map(|c| c.der().into()).collect();
    // One authority that webpki cannot read must not disable the others.
    let (owners, anchors): (Vec<Owner<'_>>, Vec<TrustAnchor<'_>>) =
        authorities.iter().zip(&ders).filter_map(|(authority, der)| anchor(authority, der)).unzip();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(since_epoch);
    let look = |path: &VerifiedPath<'_>| {
        let at = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let owner = at.and_then(|at| owners.get(at)).ok_or(webpki::Error::UnknownIssuer)?;
        check_length(path, owner.authority)?;
        check_uris(path, &owner.uris)?;
        on_path.map_or(Ok(()), |on_path| on_path(path, owner.authority))
    };
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, time, AnyUsage, None, Some(&look))
        .map(drop)
        .map_err(|error| match error {
            webpki::Error::NameConstraintViolation if chain.iter().any(Certificate::limits_uris) => {
                X509Error::UriConstraints
            }
            error => path_error(error, now),
        })
}

/// An authority, and what it says of URIs.
struct Owner<'a> {
    authority: &'a Certificate,
    uris: UriConstraints,
}

/// None when webpki cannot read the authority, or nobody its name constraints.
fn anchor<'a>(authority: &'a Certificate, der: &'a CertificateDer<'_>) -> Option<(Owner<'a>, TrustAnchor<'a>)> {
    let TrustAnchor { subject, subject_public_key_info, name_constraints } =
        webpki::anchor_from_trusted_cert(der).ok()?;
    let contents = name_constraints.as_deref().unwrap_or_default();
    let (uris, name_constraints) = UriConstraints::split(contents).ok()?;
    let name_constraints = name_constraints.map(Into::into);
    Some((Owner { authority, uris }, TrustAnchor { subject, subject_public_key_info, name_constraints }))
}

/// The constraints of an authority hold for all that is below it. All URIs of a path are text: it was read before.
fn check_uris(path: &VerifiedPath<'_>, uris: &UriConstraints) -> Result<(), webpki::Error> {
    let between = path.intermediate_certificates().flat_map(|certificate| certificate.valid_uri_names());
    let mut found = path.end_entity().valid_uri_names().chain(between);
    if found.all(|uri| uris.allow(uri)) { Ok(()) } else { Err(webpki::Error::NameConstraintViolation) }
}

/// RFC 5280 lets a verifier overlook the path length of a trust anchor, and webpki does. Go does not, and an authority
/// that was given a length by its owner should keep it.
fn check_length(path: &VerifiedPath<'_>, authority: &Certificate) -> Result<(), webpki::Error> {
    // Self-issued ones do not count (RFC 5280, section 6.1.4, l).
    let between = path.intermediate_certificates().filter(|cert| cert.issuer() != cert.subject()).count();
    if authority.path_len().is_none_or(|most| between <= usize::from(most)) {
        Ok(())
    } else {
        Err(webpki::Error::PathLenConstraintViolated)
    }
}

fn path_error(error: webpki::Error, now: SystemTime) -> X509Error {
    match error {
        // A signature that does not fit the key means that the name of an issuer fits alone: an authority that was
        // replaced under the same name.
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => X509Error::UnknownAuthority,
        webpki::Error::CertExpired { time: _, not_after } => X509Error::Expired { now, not_after: moment(not_after) },
        webpki::Error::CertNotValidYet { time: _, not_before } => {
            X509Error::NotYetValid { now, not_before: moment(not_before) }
        }
        other => X509Error::Path(other),
    }
}

fn outside_validity(authority: &Certificate, now: SystemTime) -> X509Error {
    if now > authority.not_after() {
        X509Error::Expired { now, not_after: authority.not_after() }
    } else {
        X509Error::NotYetValid { now, not_before: authority.not_before() }
    }
}

fn moment(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
