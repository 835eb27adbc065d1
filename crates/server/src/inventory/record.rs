//! What a record says. Its form is that of `docs/inventory.md`: one line of JSON, whose bytes the chain goes over.

use serde::{Deserialize, Serialize};
use steeple_pki::sha256;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::{Certificate, hex};
use steeple_spiffe::{PublicKey, SpiffeId};

/// One record of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// SHA-256 of the record before it, in hexadecimal; zeros before the first one.
    pub prev: String,
    /// The chain that it belongs to.
    pub chain: String,
    /// When it was written down, Unix seconds; RFC 3339 in the record.
    #[serde(with = "moment")]
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Event {
    /// An X.509-SVID was signed.
    X509Svid(Issued),
    /// The authority of a server below this one was signed.
    X509Ca(Issued),
    /// A JWT-SVID was signed.
    JwtSvid(Issued),
    /// A WIT-SVID was signed.
    WitSvid(Issued),
    /// Records are missing here, or may be.
    Gap(Gap),
    /// The server began.
    Start,
    /// The server ended, and everything before was written.
    Stop,
}

impl Event {
    /// What was signed, if it tells of that.
    pub fn issued(&self) -> Option<&Issued> {
        match self {
            Self::X509Svid(issued) | Self::X509Ca(issued) | Self::JwtSvid(issued) | Self::WitSvid(issued) => {
                Some(issued)
            }
            Self::Gap(_) | Self::Start | Self::Stop => None,
        }
    }

    /// The value of `what`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::X509Svid(_) => "x509-svid",
            Self::X509Ca(_) => "x509-ca",
            Self::JwtSvid(_) => "jwt-svid",
            Self::WitSvid(_) => "wit-svid",
            Self::Gap(_) => "gap",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// Something that was signed. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// On what ground.
    pub why: Why,
    /// To whom: a SPIFFE ID, of a trust domain for an authority.
    pub id: String,
    /// Who has asked: the agent's or administrator's SPIFFE ID, `uid:` and a number, or `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The ID of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Of a certificate: its serial number, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Of a token that has one: its `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Of a token: SHA-256 of all of it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// SHA-256 of the holder's public key (its SubjectPublicKeyInfo), in hexadecimal; a JWT-SVID has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The authority that has signed, as `localauthority show` names it.
    pub authority: String,
    /// When it ends, Unix seconds; RFC 3339 in the record.
    #[serde(with = "moment")]
    pub expires: i64,
}

/// On what ground something is signed, in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// An agent asked for a workload of an entry.
    Entry,
    /// An administrator asked, and no entry had to be there.
    Mint,
    /// An agent has attested.
    Attestation,
    /// An agent has renewed its own SVID.
    Renewal,
    /// A server below this one asked.
    Downstream,
    /// The server's own.
    Own,
}

/// Records that are missing, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How it came about.
    pub cause: Cause,
    /// How many are missing; None where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The sink was too slow: SVIDs went out without a record. They have no places in the chain.
    Dropped,
    /// The server ended without having written what it had.
    Crash,
    /// Records that had been written were not there when the server began: their places in the chain are empty.
    Lost,
}

/// Who has asked for what is to be signed, and on what ground.
#[derive(Clone, Copy, Debug)]
pub enum Ground<'a> {
    /// An agent, for a workload of an entry.
    Entry {
        /// The agent.
        agent: &'a SpiffeId,
        /// The entry.
        entry_id: &'a str,
    },
    /// An administrator, as a record names it.
    Mint(&'a str),
    /// An agent that has attested.
    Attestation,
    /// An agent that renews its SVID.
    Renewal,
    /// A server below this one, as a record names it.
    Downstream(&'a str),
    /// The server itself.
    Own,
    /// A look at whether the server signs. Nobody gets what is signed, and nothing is written down.
    Health,
}

impl Ground<'_> {
    /// None where nothing is to be written down.
    fn told(self) -> Option<(Why, Option<String>, Option<String>)> {
        Some(match self {
            Self::Entry { agent, entry_id } => (Why::Entry, Some(agent.as_str().to_owned()), Some(entry_id.to_owned())),
            Self::Mint(caller) => (Why::Mint, Some(caller.to_owned()), None),
            Self::Attestation => (Why::Attestation, None, None),
            Self::Renewal => (Why::Renewal, None, None),
            Self::Downstream(caller) => (Why::Downstream, Some(caller.to_owned()), None),
            Self::Own => (Why::Own, None, None),
            Self::Health => return None,
        })
    }
}

/// Of a certificate. None where nothing is to be written down.
pub(crate) fn certificate(
    ground: Ground<'_>,
    id: &SpiffeId,
    made: &Certificate,
    authority: &Certificate,
) -> Option<Event> {
    let (why, through, entry) = ground.told()?;
    let issued = Issued {
        why,
        id: id.as_str().to_owned(),
        through,
        entry,
        serial: Some(made.serial_hex()),
        jti: None,
        token: None,
        key: Some(hex(&sha256(made.spki_der()))),
        authority: authority.subject_key_id().map(hex).unwrap_or_default(),
        expires: unix_seconds(made.not_after()),
    };
    Some(if made.is_ca() { Event::X509Ca(issued) } else { Event::X509Svid(issued) })
}

/// What a record tells of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) id: &'a SpiffeId,
    pub(crate) token: &'a str,
    pub(crate) jti: Option<String>,
    /// The holder's, of a WIT-SVID.
    pub(crate) key: Option<&'a PublicKey>,
    /// The `kid` that it is signed with.
    pub(crate) authority: &'a str,
    pub(crate) expires: i64,
}

/// Of a token: a WIT-SVID if it names a key. None where nothing is to be written down.
pub(crate) fn token(ground: Ground<'_>, token: Token<'_>) -> Option<Event> {
    let (why, through, entry) = ground.told()?;
    let Token { id, token, jti, key, authority, expires } = token;
    let issued = Issued {
        why,
        id: id.as_str().to_owned(),
        through,
        entry,
        serial: None,
        jti,
        token: Some(hex(&sha256(token.as_bytes()))),
        key: key.map(|key| hex(&sha256(key.spki_der()))),
        authority: authority.to_owned(),
        expires,
    };
    Some(if key.is_some() { Event::WitSvid(issued) } else { Event::JwtSvid(issued) })
}

/// Unix seconds, as RFC 3339.
mod moment {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(seconds: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Timestamp::from_second(*seconds).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse::<Timestamp>().map(Timestamp::as_second).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_is_read_back() {
        let issued = Issued {
            why: Why::Entry,
            id: "spiffe://example.org/web".to_owned(),
            through: Some("spiffe://example.org/spire/agent/x".to_owned()),
            entry: Some("e\n\"1".to_owned()),
            serial: Some("0a".to_owned()),
            jti: None,
            token: None,
            key: Some("ff".to_owned()),
            authority: "aa".to_owned(),
            expires: 1_796_000_000,
        };
        let gap = Gap { cause: Cause::Dropped, count: Some(3) };
        for event in [Event::X509Svid(issued), Event::Gap(gap), Event::Stop] {
            let record = Record { seq: 7, prev: "00".to_owned(), chain: "c".to_owned(), at: 1_795_990_000, event };
            let text = serde_json::to_string(&record).unwrap();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            assert!(text.contains(&format!(r#""what":"{}""#, record.event.what())), "{text}");
        }
    }
}
