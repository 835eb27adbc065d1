use der::Sequence;
use der::asn1::UintRef;

/// Ecdsa-Sig-Value (RFC 3279, section 2.2.3).
#[derive(Sequence)]
pub(crate) struct EcdsaSignature<'a> {
    pub(crate) r: UintRef<'a>,
    pub(crate) s: UintRef<'a>,
}
