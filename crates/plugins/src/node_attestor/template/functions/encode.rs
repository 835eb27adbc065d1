//! Encodings and digests.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use steeple_pki::{sha1, sha256};
use steeple_spiffe::x509::hex;

use super::super::Value;
use super::{Function, function, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    function("sha1sum", 1, 1, |args| Ok(Value::Text(hex(&sha1(text_of(&args[0])?.as_bytes()))))),
    function("sha256sum", 1, 1, |args| Ok(Value::Text(hex(&sha256(text_of(&args[0])?.as_bytes()))))),
    function("adler32sum", 1, 1, |args| Ok(Value::Text(adler32(text_of(&args[0])?.as_bytes()).to_string()))),
    function("b64enc", 1, 1, |args| Ok(Value::Text(BASE64_STANDARD.encode(text_of(&args[0])?)))),
    function("b64dec", 1, 1, |args| {
        let bytes = BASE64_STANDARD.decode(text_of(&args[0])?).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map(Value::Text).map_err(|error| error.to_string())
    }),
    function("b32enc", 1, 1, |args| Ok(Value::Text(base32(text_of(&args[0])?.as_bytes())))),
    function("b32dec", 1, 1, |args| {
        let bytes = from_base32(text_of(&args[0])?).ok_or("illegal base32 data")?;
        String::from_utf8(bytes).map(Value::Text).map_err(|error| error.to_string())
    }),
];

/// RFC 1950, section 9.
fn adler32(bytes: &[u8]) -> u32 {
    const BASE: u32 = 65521;
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % BASE;
        (a, (b + a) % BASE)
    });
    b << 16 | a
}

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let mut padded = [0; 8];
        padded[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(padded);
        let digits = (group.len() * 8).div_ceil(5);
        text.extend((0..8).map(|n| match n < digits {
            true => char::from(BASE32[(bits >> (35 - 5 * n) & 31) as usize]),
            false => '=',
        }));
    }
    text
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(8) || ![0, 1, 3, 4, 6].contains(&padding) {
        return None;
    }
    let mut bytes = Vec::new();
    for group in digits.as_bytes().chunks(8) {
        let mut bits = 0_u64;
        for n in 0..8 {
            let digit = group.get(n).map_or(Some(0), |digit| BASE32.iter().position(|known| known == digit));
            bits = bits << 5 | digit? as u64;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[3..3 + group.len() * 5 / 8]);
    }
    Some(bytes)
}
