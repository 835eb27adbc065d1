//! How one process tells another which trace a call belongs to: the header of W3C Trace Context, level 1.

/// The header's name.
pub const HEADER: &str = "traceparent";

/// The length of what version 00 of the header has.
const LENGTH: usize = 55;

/// What a call was made for, as its caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    /// Whether the caller writes it down.
    pub sampled: bool,
}

impl Parent {
    /// Reads a header; None where it is none, which then counts as not there.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let (trace, span) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let [flags] = hex(parts.next()?)?;
        // Later versions may have more at the end.
        let is_whole = match version {
            [0] => text.len() == LENGTH,
            [0xff] => false,
            _ => true,
        };
        (is_whole && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// The header.
    pub fn header(&self) -> String {
        let Self { trace, span, sampled } = self;
        format!("00-{:032x}-{:016x}-{:02x}", u128::from_be_bytes(*trace), u64::from_be_bytes(*span), u8::from(*sampled))
    }
}

/// Digits and small letters alone, twice as many as bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (mut bytes, digits) = ([0; N], text.as_bytes());
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_as_it_was() {
        let parent = Parent::parse(EXAMPLE).unwrap();
        assert_eq!((parent.span, parent.sampled), ([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7], true));
        assert_eq!(parent.header(), EXAMPLE);
        assert!(!Parent::parse(&EXAMPLE.replace("-01", "-00")).unwrap().sampled);
        // A later version, other flags, and more of it.
        assert!(Parent::parse(&EXAMPLE.replacen("00", "cc", 1).replace("-01", "-09-more")).unwrap().sampled);
    }

    #[test]
    fn what_is_no_header_is_not_there() {
        for text in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}0"),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &EXAMPLE.replace('4', "ü"),
        ] {
            assert_eq!(Parent::parse(text), None, "{text:?}");
        }
    }
}
