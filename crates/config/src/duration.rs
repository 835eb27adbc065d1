//! Go's durations, as configurations and flags write them.

use std::fmt;
use std::str::FromStr;

use crate::Error;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A length of time in whole nanoseconds, up to about 292 years in either direction.
///
/// It is written as a sign and numbers with units: `1h30m`, `-1.5s`, `100ms`, or `0`. Units are `ns`, `us` (or `µs`),
/// `ms`, `s`, `m` and `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(i64);

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// So many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// So many seconds, or the nearest length that can be expressed.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The standard library's type; `None` if it is negative.
    #[must_use]
    pub fn to_std(self) -> Option<std::time::Duration> {
        u64::try_from(self.0).ok().map(std::time::Duration::from_nanos)
    }
}

/// A length as Go prints it, `2m0s`; one that Go cannot express, as Rust does.
#[must_use]
pub fn printed(length: std::time::Duration) -> String {
    Duration::try_from(length).map_or_else(|_| format!("{length:?}"), |length| length.to_string())
}

/// Fails if it is longer than 292 years.
impl TryFrom<std::time::Duration> for Duration {
    type Error = std::num::TryFromIntError;

    fn try_from(duration: std::time::Duration) -> Result<Self, Self::Error> {
        i64::try_from(duration.as_nanos()).map(Self)
    }
}

/// Fails with [`Error::InvalidDuration`], [`Error::MissingUnit`] or [`Error::UnknownUnit`].
impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidDuration(text.to_owned());
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (whole, behind) = split_digits(rest);
            let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), split_digits);
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let unit_length = behind.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(behind.len());
            let (name, behind) = behind.split_at(unit_length);
            if name.is_empty() {
                return Err(Error::MissingUnit(text.to_owned()));
            }
            let unit =
                unit(name).ok_or_else(|| Error::UnknownUnit { unit: name.to_owned(), duration: text.to_owned() })?;
            let nanos = nanos(whole, fraction, unit).ok_or_else(invalid)?;
            total = total.checked_add(nanos).ok_or_else(invalid)?;
            rest = behind;
        }
        let signed = if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
        signed.map(Self).ok_or_else(invalid)
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{B5}s" | "\u{3BC}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// `whole.fraction` units; what is less than a nanosecond is dropped. `None` on overflow.
fn nanos(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // Floating point, because the reference's rounding is: 0.3333333333333333333h are 20 minutes. Digits that do not
    // fit are dropped.
    let (mut digits, mut scale) = (0_u64, 1_f64);
    for digit in fraction.chars().filter_map(|c| c.to_digit(10)) {
        let longer = digits.checked_mul(10).and_then(|digits| digits.checked_add(digit.into()));
        let Some(longer) = longer.filter(|longer| i64::try_from(*longer).is_ok()) else { break };
        (digits, scale) = (longer, scale * 10.0);
    }
    let part = (digits as f64 * (unit as f64 / scale)) as u64;
    whole.checked_mul(unit)?.checked_add(part)
}

/// Hours, minutes and seconds (`1h0m0s`, `1m30.5s`), or below one second the largest fitting unit (`1.5ms`).
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match self.0.unsigned_abs() {
            0 => f.write_str("0s"),
            nanos @ ..MICROSECOND => write!(f, "{nanos}ns"),
            nanos @ ..MILLISECOND => write_decimal(f, nanos, MICROSECOND, "µs"),
            nanos @ ..SECOND => write_decimal(f, nanos, MILLISECOND, "ms"),
            nanos => {
                let (hours, minutes) = (nanos / HOUR, nanos / MINUTE % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if nanos >= MINUTE {
                    write!(f, "{minutes}m")?;
                }
                write_decimal(f, nanos % MINUTE, SECOND, "s")
            }
        }
    }
}

/// `nanos` in units of `unit`, without zeros at the end.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let fraction = nanos % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(name)
}

/// Go's quotes in the error texts of durations: what is not printable ASCII is shown byte by byte.
pub(crate) struct QuotedBytes<'a>(pub(crate) &'a str);

impl fmt::Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=0x7F => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> i64 {
        text.parse::<Duration>().unwrap().as_nanos()
    }

    fn error(text: &str) -> String {
        text.parse::<Duration>().unwrap_err().to_string()
    }

    #[test]
    fn reads_numbers_with_units() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("-5s", -5_000_000_000),
            ("+5s", 5_000_000_000),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{B5}s", 12_000),
            ("12\u{3BC}s", 12_000),
            ("13ms", 13_000_000),
            ("15m", 900_000_000_000),
            ("16h", 57_600_000_000_000),
            ("3h30m", 12_600_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("-2m3.4s", -123_400_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9007199254740993ns", (1 << 53) + 1),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775.807us", i64::MAX),
            ("9223372036s854ms775us807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("0.100000000000000000000h", 360_000_000_000),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_with_its_texts() {
        for text in [
            "",
            "b",
            "-",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "--5s",
            " 5s",
            "3000000h",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "9223372036854775.808us",
            "2562047h47m16.854775808s",
            "99999999999999999999s",
        ] {
            assert_eq!(error(text), format!("time: invalid duration \"{text}\""));
        }
        assert_eq!(error("5"), "time: missing unit in duration \"5\"");
        assert_eq!(error("1h5"), "time: missing unit in duration \"1h5\"");
        assert_eq!(error("1d"), "time: unknown unit \"d\" in duration \"1d\"");
        assert_eq!(error("5 s"), "time: unknown unit \" s\" in duration \"5 s\"");
        assert_eq!(error("1h-5m"), "time: unknown unit \"h-\" in duration \"1h-5m\"");
        assert_eq!(error("\u{85}\"\\"), r#"time: invalid duration "\xc2\x85\"\\""#);
    }

    #[test]
    fn prints_as_go_does() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (100_000_000, "100ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
            (-1_500, "-1.5µs"),
        ] {
            assert_eq!(Duration::from_nanos(nanos).to_string(), expected);
        }
    }

    #[test]
    fn converts_from_and_to_the_standard_library() {
        let hour = std::time::Duration::from_secs(3600);
        assert_eq!(Duration::from_secs(3600).to_std(), Some(hour));
        assert_eq!(Duration::try_from(hour), Ok(Duration::from_secs(3600)));
        assert_eq!(Duration::from_nanos(-1).to_std(), None);
        assert!(Duration::try_from(std::time::Duration::MAX).is_err());
    }

    proptest! {
        #[test]
        fn reads_back_what_it_prints(nanos in any::<i64>()) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn survives_any_text(text in "[-+]?[0-9.smhnu µd]{0,12}", any in any::<String>()) {
            let _whatever = text.parse::<Duration>();
            let _whatever = any.parse::<Duration>();
        }
    }
}
