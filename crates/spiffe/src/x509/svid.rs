use std::fmt;

use zeroize::Zeroizing;

use super::{Certificate, KeyUsage, X509Error, parse_chain_der};
use crate::{PublicKey, SpiffeId};

/// An own X.509-SVID: the identity with its chain and private key. It is well formed; whether anybody trusts it is for
/// [`verify_x509_svid`](super::verify_x509_svid) to say.
#[derive(Clone)]
pub struct X509Svid {
    /// The SPIFFE ID of the leaf.
    pub id: SpiffeId,
    /// The chain, leaf first, without the root. Not empty.
    pub chain: Vec<Certificate>,
    /// The private key of the leaf, PKCS #8 DER.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// What the operator set to tell several SVIDs of one workload apart; empty for nothing.
    pub hint: String,
}

impl X509Svid {
    /// Reads the form of the Workload API: concatenated DER, leaf first, and a PKCS #8 key.
    ///
    /// # Errors
    /// The standard's rules for leaves and for signing certificates (X509-SVID, section 4) are broken, or the key is
    /// not the leaf's.
    pub fn parse(chain_der: &[u8], key_pkcs8: &[u8]) -> Result<Self, X509Error> {
        Self::new(parse_chain_der(chain_der)?, Zeroizing::new(key_pkcs8.to_vec()))
    }

    /// Puts a chain, leaf first, and a PKCS #8 key together.
    ///
    /// # Errors
    /// As [`X509Svid::parse`].
    pub fn new(chain: Vec<Certificate>, key_pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, X509Error> {
        let (leaf, signers) = chain.split_first().ok_or(X509Error::EmptyChain)?;
        let id = checked_leaf_id(leaf)?;
        if !leaf.key_usage().is_some_and(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE)) {
            return Err(X509Error::LeafNotSigning);
        }
        for signer in signers {
            if !signer.is_ca() {
                return Err(X509Error::NotSigning("CA flag set to true"));
            }
            if !signer.key_usage().is_some_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN)) {
                return Err(X509Error::NotSigning("'keyCertSign' set as key usage"));
            }
        }
        if PublicKey::of_pkcs8(&key_pkcs8)?.spki_der() != leaf.spki_der() {
            return Err(X509Error::KeyMismatch);
        }
        Ok(Self { id, chain, key_pkcs8, hint: String::new() })
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, chain, key_pkcs8: _, hint } = self;
        f.debug_struct("X509Svid").field("id", id).field("chain", chain).field("hint", hint).finish_non_exhaustive()
    }
}

/// The rules for a leaf that a verifier holds too (X509-SVID, section 5.2).
pub(super) fn checked_leaf_id(leaf: &Certificate) -> Result<SpiffeId, X509Error> {
    let id = leaf.spiffe_id()?;
    if leaf.is_ca() {
        return Err(X509Error::LeafIsCa);
    }
    for (usage, name) in [(KeyUsage::KEY_CERT_SIGN, "KeyCertSign"), (KeyUsage::CRL_SIGN, "KeyCrlSign")] {
        if leaf.key_usage().is_some_and(|usages| usages.contains(usage)) {
            return Err(X509Error::LeafKeyUsage(name));
        }
    }
    // Last, so that an authority in the place of a leaf is told as one.
    if id.path().is_empty() {
        return Err(X509Error::LeafWithoutPath(id));
    }
    Ok(id)
}
