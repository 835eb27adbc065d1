//! Go's integer literals: `strconv.ParseInt` with base 0 and 64 bits. Configuration values and flags are read so.

/// Why a text is no integer. The texts are Go's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntegerError {
    /// It is none.
    #[error("invalid syntax")]
    Syntax,
    /// It is more than 64 bits hold.
    #[error("value out of range")]
    Range,
}

/// Reads decimal, `0x` hexadecimal, `0o` or `0` octal and `0b` binary, with a sign and with underscores between
/// digits or behind the prefix.
///
/// # Errors
/// See [`IntegerError`].
pub fn parse(text: &str) -> Result<i64, IntegerError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = split_radix(unsigned);
    // An underscore stands between digits; the radix counts as one.
    let bare = if digits.len() < unsigned.len() { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    if bare.is_empty() || bare.starts_with('_') || bare.ends_with('_') || bare.contains("__") {
        return Err(IntegerError::Syntax);
    }
    let mut value = Some(0_i64);
    for c in bare.chars().filter(|c| *c != '_') {
        let digit = i64::from(c.to_digit(radix).ok_or(IntegerError::Syntax)?);
        let digit = if negative { -digit } else { digit };
        value = value.and_then(|value| value.checked_mul(radix.into())?.checked_add(digit));
    }
    value.ok_or(IntegerError::Range)
}

fn split_radix(text: &str) -> (u32, &str) {
    let Some(rest) = text.strip_prefix('0') else { return (10, text) };
    match rest.as_bytes().first() {
        Some(b'x' | b'X') => (16, &rest[1..]),
        Some(b'o' | b'O') => (8, &rest[1..]),
        Some(b'b' | b'B') => (2, &rest[1..]),
        Some(_) => (8, rest),
        None => (10, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_base() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("8081", 8081),
            ("+5", 5),
            ("-5", -5),
            ("0x1F91", 8081),
            ("-0X1f", -31),
            ("017", 15),
            ("00", 0),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("0_7", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn tells_a_wrong_text_from_a_large_number() {
        for text in ["", "-", "abc", "08", "1.5", "1e3", " 1", "1 ", "0x", "1__0", "_1", "1_", "--1", "+-1", "é"] {
            assert_eq!(parse(text), Err(IntegerError::Syntax), "{text}");
        }
        for text in ["9223372036854775808", "-9223372036854775809", "0xffffffffffffffffff"] {
            assert_eq!(parse(text), Err(IntegerError::Range), "{text}");
        }
    }
}
