//! What JWT-SVIDs and WIT-SVIDs have in common: a JWS in compact serialization (RFC 7515, section 3.1) whose payload is a
//! set of claims (RFC 7519). Texts of faults are those of the JOSE library that SPIRE uses.

use std::time::{Duration, SystemTime};

use base64::{DecodeError, Engine};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jwk::BASE64URL;

/// The longest token that is looked at, in bytes.
pub(crate) const MAX_LEN: usize = 64 << 10;

/// How far clocks may be apart when the times of a token are checked.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// A token taken apart; nothing is verified.
pub(crate) struct Compact<'a> {
    /// Without what stands behind it.
    pub token: &'a str,
    /// What the signature is over.
    pub signing_input: &'a str,
    pub header: Header,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// The members of a JOSE header that matter. Others are ignored.
#[derive(Deserialize)]
pub(crate) struct Header {
    #[serde(default)]
    pub alg: String,
    pub kid: Option<String>,
    /// Any value: what is no text is no type that anybody knows.
    pub typ: Option<Value>,
    pub crit: Option<Value>,
}

impl<'a> Compact<'a> {
    /// # Errors
    /// What is wrong with the form.
    pub(crate) fn read(token: &'a str) -> Result<Self, String> {
        if token.len() > MAX_LEN {
            return Err("token is too long".into());
        }
        // Tokens are handed around in files that end with a newline.
        let token = token.trim_end_matches(['\r', '\n']);
        let parts = || {
            let (signing_input, signature) = token.rsplit_once('.')?;
            let (header, payload) = signing_input.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
            Some((signing_input, header, payload, signature))
        };
        let (signing_input, header, payload, signature) =
            parts().ok_or("go-jose/go-jose: compact JWS format must have three parts")?;
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
        Ok(Self { token, signing_input, header, payload, signature })
    }

    /// # Errors
    /// The payload is no JSON object.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, String> {
        serde_json::from_slice(&self.payload).map_err(|error| error.to_string())
    }
}

/// The `kid` of a token of which nothing else is looked at.
pub(crate) fn key_id(token: &str) -> Option<String> {
    let (header, _) = token.get(..MAX_LEN.min(token.len()))?.split_once('.')?;
    serde_json::from_slice::<Header>(&decode(header).ok()?).ok()?.kid
}

fn decode(part: &str) -> Result<Vec<u8>, String> {
    BASE64URL.decode(part).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length - length % 4,
            DecodeError::InvalidPadding => part.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

/// A claim that is a string; an empty one counts as absent.
pub(crate) fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, String> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("claim {name:?} is not a string")),
    }
}

/// A NumericDate (RFC 7519, section 2), cut to the second; what lies before 1970 or behind the year 9999 counts as
/// that end of time.
pub(crate) fn numeric_date(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, String> {
    const END_OF_9999: u64 = 253_402_300_799;
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err("go-jose/go-jose/jwt: expected number value to unmarshal NumericDate".into()),
    };
    // The cast from a float is the saturating one.
    let seconds = number.as_u64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as u64);
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(END_OF_9999))))
}

/// Whether `a` is later than `b` by more than the leeway.
pub(crate) fn is_later(a: SystemTime, b: SystemTime) -> bool {
    a.duration_since(b).is_ok_and(|ahead| ahead > LEEWAY)
}
