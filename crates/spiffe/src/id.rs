//! SPIFFE IDs and trust domain names (SPIFFE-ID, sections 2 and 4).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";

/// A trust domain name: 1 to 255 bytes of lower-case letters, digits, dots, dashes and underscores (SPIFFE-ID 2.1).
///
/// Cheap to clone. The order is that of the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The longest name that the standard allows (SPIFFE-ID 2.3), in bytes.
    pub const MAX_LEN: usize = 255;

    /// Takes a bare name, or an ID that is reduced to its trust domain: whatever contains `:/` is read as an ID.
    ///
    /// # Errors
    /// [`IdError`] says which rule is broken.
    pub fn parse(id_or_name: &str) -> Result<Self, IdError> {
        if id_or_name.contains(":/") {
            return SpiffeId::parse(id_or_name).map(|id| id.trust_domain());
        }
        Self::from_name(id_or_name)
    }

    /// Takes a bare name and nothing else.
    ///
    /// # Errors
    /// As [`TrustDomain::parse`].
    pub fn from_name(name: &str) -> Result<Self, IdError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The name, as in `example.org`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The ID of the trust domain itself, as in `spiffe://example.org`.
    pub fn id(&self) -> SpiffeId {
        SpiffeId::assemble(&self.0, "")
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(id_or_name: &str) -> Result<Self, IdError> {
        Self::parse(id_or_name)
    }
}

impl AsRef<str> for TrustDomain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a map from trust domains be asked with a plain name.
impl std::borrow::Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A SPIFFE ID, as in `spiffe://example.org/billing/api`, of at most 2048 bytes (SPIFFE-ID 2).
///
/// Cheap to clone. The order is that of the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins in `text`; its length when there is no path.
    path_start: usize,
}

impl SpiffeId {
    /// The longest ID that the standard allows (SPIFFE-ID 2.3), in bytes.
    pub const MAX_LEN: usize = 2048;

    /// Reads an ID. The scheme must be `spiffe` in lower case, the path is empty or `/`-separated segments without a
    /// trailing slash; queries, fragments, ports and percent-encoding are not part of an ID.
    ///
    /// # Errors
    /// [`IdError`] says which rule is broken, the first one from the left.
    pub fn parse(id: &str) -> Result<Self, IdError> {
        if id.is_empty() {
            return Err(IdError::Empty);
        }
        let rest = id.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_name(name)?;
        check_path(path)?;
        if id.len() > Self::MAX_LEN {
            return Err(IdError::TooLong);
        }
        Ok(Self { text: id.into(), path_start: SCHEME.len() + name.len() })
    }

    /// The ID below a trust domain with the given path, which is empty or begins with a slash.
    ///
    /// # Errors
    /// As [`SpiffeId::parse`].
    pub fn new(trust_domain: &TrustDomain, path: &str) -> Result<Self, IdError> {
        check_path(path)?;
        if SCHEME.len() + trust_domain.0.len() + path.len() > Self::MAX_LEN {
            return Err(IdError::TooLong);
        }
        Ok(Self::assemble(&trust_domain.0, path))
    }

    /// The trust domain that the ID belongs to. Allocates; to compare, use [`SpiffeId::trust_domain_name`] or
    /// [`SpiffeId::is_member_of`].
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_name().into())
    }

    /// The name of the trust domain that the ID belongs to.
    pub fn trust_domain_name(&self) -> &str {
        &self.text[SCHEME.len()..self.path_start]
    }

    /// The path with its leading slash, or nothing for the ID of a trust domain.
    pub fn path(&self) -> &str {
        &self.text[self.path_start..]
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the ID lies in this trust domain.
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.name()
    }

    /// Whether it lies where agents' IDs are, below `/spire/agent/`.
    pub fn is_agent(&self) -> bool {
        self.path().starts_with("/spire/agent/")
    }

    /// Both parts have been checked.
    fn assemble(name: &str, path: &str) -> Self {
        Self { text: [SCHEME, name, path].concat().into(), path_start: SCHEME.len() + name.len() }
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        Self::parse(id)
    }
}

impl AsRef<str> for SpiffeId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// Why a text is no SPIFFE ID or trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing was given where an ID is needed.
    #[error("cannot be empty")]
    Empty,
    /// It does not begin with `spiffe://`.
    #[error("scheme is missing or invalid")]
    Scheme,
    /// There is no trust domain name.
    #[error("trust domain is missing")]
    MissingTrustDomain,
    /// The trust domain name holds another character.
    #[error("trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores")]
    TrustDomainCharacter,
    /// The trust domain name exceeds [`TrustDomain::MAX_LEN`].
    #[error("trust domain cannot be longer than 255 bytes")]
    TrustDomainTooLong,
    /// The path does not begin with a slash.
    #[error("path must have a leading slash")]
    LeadingSlash,
    /// The path ends with a slash.
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// Two slashes stand side by side.
    #[error("path cannot contain empty segments")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("path cannot contain dot segments")]
    DotSegment,
    /// A segment holds another character.
    #[error("path segment characters are limited to letters, numbers, dots, dashes, and underscores")]
    SegmentCharacter,
    /// The ID exceeds [`SpiffeId::MAX_LEN`].
    #[error("cannot be longer than 2048 bytes")]
    TooLong,
}

fn check_name(name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::MissingTrustDomain);
    }
    if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(IdError::TrustDomainCharacter);
    }
    if name.len() > TrustDomain::MAX_LEN {
        return Err(IdError::TrustDomainTooLong);
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), IdError> {
    if path.is_empty() {
        return Ok(());
    }
    let mut segments = path.strip_prefix('/').ok_or(IdError::LeadingSlash)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "" if is_last => return Err(IdError::TrailingSlash),
            "" => return Err(IdError::EmptySegment),
            "." | ".." => return Err(IdError::DotSegment),
            _ if !segment.bytes().all(is_segment_byte) => return Err(IdError::SegmentCharacter),
            _ => {}
        }
    }
    Ok(())
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests;
