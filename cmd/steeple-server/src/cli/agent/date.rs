//! The moment of `-expiresBefore`. It travels as text and is only checked here, so that a slip is told in Go's words
//! before anybody is asked.

use std::ops::RangeInclusive;

use anyhow::{Result, bail, ensure};
use jiff::civil::Date;

/// By the example that Go's programmers know.
const LAYOUT: &str = "2006-01-02 15:04:05 -0700 -07";

/// Whether the text is a moment in the [`LAYOUT`].
///
/// # Errors
/// Where it leaves the layout, or which number is too large.
pub(crate) fn check(text: &str) -> Result<()> {
    let mut reader = Reader { text, rest: text };
    let year = reader.number("2006", 4..=4, "year", 0..=9999)?;
    reader.literal("-")?;
    let month = reader.number("01", 2..=2, "month", 1..=12)?;
    reader.literal("-")?;
    let day = reader.number("02", 2..=2, "day", 1..=31)?;
    reader.spaces()?;
    reader.number("15", 1..=2, "hour", 0..=23)?;
    reader.literal(":")?;
    reader.number("04", 2..=2, "minute", 0..=59)?;
    reader.literal(":")?;
    reader.number("05", 2..=2, "second", 0..=59)?;
    reader.fraction();
    reader.spaces()?;
    reader.offset("-0700", 4)?;
    reader.spaces()?;
    reader.offset("-07", 2)?;
    ensure!(reader.rest.is_empty(), "parsing time {text:?}: extra text: {:?}", reader.rest);
    // Each of the three fits its type; whether the month has that day is the question.
    let date = Date::new(i16::try_from(year)?, i8::try_from(month)?, i8::try_from(day)?);
    ensure!(date.is_ok(), "parsing time {text:?}: day out of range");
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn number(
        &mut self,
        element: &str,
        digits: RangeInclusive<usize>,
        what: &str,
        range: RangeInclusive<u32>,
    ) -> Result<u32> {
        let found = self.rest.bytes().take(*digits.end()).take_while(u8::is_ascii_digit).count();
        if !digits.contains(&found) {
            return self.unlike(element);
        }
        let (number, rest) = self.rest.split_at(found);
        let number = number.parse()?;
        ensure!(range.contains(&number), "parsing time {:?}: {what} out of range", self.text);
        self.rest = rest;
        Ok(number)
    }

    fn literal(&mut self, element: &str) -> Result<()> {
        let Some(rest) = self.rest.strip_prefix(element) else { return self.unlike(element) };
        self.rest = rest;
        Ok(())
    }

    /// Any number of spaces will do; at the end of the text none, since the next element misses anyway.
    fn spaces(&mut self) -> Result<()> {
        if !self.rest.is_empty() && !self.rest.starts_with(' ') {
            return self.unlike(" ");
        }
        self.rest = self.rest.trim_start_matches(' ');
        Ok(())
    }

    /// Seconds may have one, though the layout does not show it.
    fn fraction(&mut self) {
        if let Some(digits) = self.rest.strip_prefix(['.', ','])
            && digits.starts_with(|c: char| c.is_ascii_digit())
        {
            self.rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }

    fn offset(&mut self, element: &str, digits: usize) -> Result<()> {
        let unsigned = self.rest.strip_prefix(['+', '-']).unwrap_or_default();
        let Some((offset, rest)) = unsigned.split_at_checked(digits) else { return self.unlike(element) };
        if !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.unlike(element);
        }
        let (hours, minutes) = offset.split_at(2);
        let too_large = |what| format!("parsing time {:?}: time zone offset {what} out of range", self.text);
        ensure!(hours.parse::<u32>()? <= 24, too_large("hour"));
        ensure!(minutes.is_empty() || minutes.parse::<u32>()? < 60, too_large("minute"));
        self.rest = rest;
        Ok(())
    }

    fn unlike<T>(&self, element: &str) -> Result<T> {
        bail!("parsing time {:?} as {LAYOUT:?}: cannot parse {:?} as {element:?}", self.text, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_go_takes() {
        for text in [
            "2006-01-02 15:04:05 -0700 -07",
            "2000-12-02 5:04:05 +0000 +00",
            "2000-12-02  15:04:05 -0700 -07",
            "2000-02-29 15:04:05.5 -0700 -07",
        ] {
            check(text).unwrap();
        }
    }

    #[test]
    fn tells_a_slip_in_gos_words() {
        for (text, expected) in [
            ("yesterday", "cannot parse \"yesterday\" as \"2006\""),
            (" 2000-12-02 15:04:05 -0700 -07", "cannot parse \" 2000-12-02 15:04:05 -0700 -07\" as \"2006\""),
            ("2000-1-02 15:04:05 -0700 -07", "cannot parse \"1-02 15:04:05 -0700 -07\" as \"01\""),
            ("2000-12-02T15:04:05 -0700 -07", "cannot parse \"T15:04:05 -0700 -07\" as \" \""),
            ("2000-12-02 15:04:05 Z -07", "cannot parse \"Z -07\" as \"-0700\""),
            ("2000-12-02 15:04:05 -07é0 -07", "cannot parse \"-07é0 -07\" as \"-0700\""),
            ("2000-12-02 15:04:05 -0700", "cannot parse \"\" as \"-07\""),
            ("2000-12-02 15:04:05 -0700 MST", "cannot parse \"MST\" as \"-07\""),
        ] {
            let expected = format!("parsing time {text:?} as \"2006-01-02 15:04:05 -0700 -07\": {expected}");
            assert_eq!(check(text).unwrap_err().to_string(), expected);
        }
        for (text, expected) in [
            ("2000-13-02 15:04:05 -0700 -07", "month out of range"),
            ("2000-02-30 15:04:05 -0700 -07", "day out of range"),
            ("2000-12-02 25:04:05 -0700 -07", "hour out of range"),
            ("2000-12-02 15:04:65 -0700 -07", "second out of range"),
            ("2000-12-02 15:04:05 -9900 -07", "time zone offset hour out of range"),
            ("2000-12-02 15:04:05 -0700 -07 x", "extra text: \" x\""),
        ] {
            assert_eq!(check(text).unwrap_err().to_string(), format!("parsing time {text:?}: {expected}"));
        }
    }
}
