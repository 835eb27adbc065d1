//! Times as columns hold them that have no zone of their own; PostgreSQL's have.
//!
//! On SQLite the reference's driver writes a `datetime` column as text in the local zone of the process,
//! `2026-11-24 21:58:10.697076343+05:30`: nanoseconds, trailing zeros cut off, UTC as `+00:00`. It reads more forms than
//! it writes. Texts of different zones do not sort by time, so that nothing here or in SQL may compare them as text.
//!
//! On MySQL a column has whole seconds, to which the server rounds, in the zone that the connection string names.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;
use sqlx::types::time::PrimitiveDateTime;
use steeple_runtime::clock::{from_unix_seconds, unix_seconds};

/// The text of `at` in `zone`.
pub(crate) fn text(at: SystemTime, zone: &TimeZone) -> String {
    // The calendar ends with the year 9999, and the reference's SVIDs long before it.
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::MAX);
    PRINTER.timestamp_with_offset_to_string(&at, zone.to_offset(at))
}

const PRINTER: DateTimePrinter = DateTimePrinter::new().separator(b' ');

/// The civil time of `at` in `zone`, with microseconds.
pub(crate) fn civil_text(at: SystemTime, zone: &TimeZone) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::MAX);
    CIVIL_PRINTER.datetime_to_string(&zone.to_datetime(at))
}

const CIVIL_PRINTER: DateTimePrinter = DateTimePrinter::new().separator(b' ').precision(Some(6));

/// The moment at which clocks of `zone` show `civil`; the earlier one where they show it twice.
pub(crate) fn from_civil(civil: PrimitiveDateTime, zone: &TimeZone) -> SystemTime {
    let utc = SystemTime::from(civil.assume_utc());
    let Ok(shown) = Timestamp::try_from(utc) else { return utc };
    match zone.to_timestamp(TimeZone::UTC.to_datetime(shown)) {
        Ok(at) => at.into(),
        Err(_) => utc,
    }
}

/// `at` as PostgreSQL keeps it.
pub(crate) fn microseconds(at: SystemTime) -> SystemTime {
    let Ok(precise) = Timestamp::try_from(at) else { return at };
    // Rounded down, also before 1970.
    let nanoseconds = precise.as_nanosecond().div_euclid(1_000) * 1_000;
    Timestamp::from_nanosecond(nanoseconds).map_or(at, SystemTime::from)
}

/// `at` as MySQL keeps it: whole seconds, and of two that a zone's clocks show alike the earlier one.
pub(crate) fn seconds_in(at: SystemTime, zone: &TimeZone) -> SystemTime {
    let at = from_unix_seconds(rounded_seconds(at));
    let Ok(shown) = Timestamp::try_from(at) else { return at };
    zone.to_timestamp(zone.to_datetime(shown)).map_or(at, SystemTime::from)
}

/// Reads every form that the reference's driver reads: a space or `T` between date and time, with or without fraction,
/// seconds, time and zone (none means UTC), and whole seconds or milliseconds since 1970.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    if let Ok(number) = text.parse::<i64>() {
        // The driver's own bound between the two units.
        const MILLISECONDS_FROM: u64 = 1_000_000_000_000;
        let at = if number.unsigned_abs() > MILLISECONDS_FROM {
            Timestamp::from_millisecond(number).ok()?.into()
        } else {
            from_unix_seconds(number)
        };
        return Some(at);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.into());
    }
    let utc = text.trim_end_matches(['Z', 'z']).parse::<DateTime>().ok()?;
    Some(utc.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

/// Seconds since 1970, rounded to the nearest: the form in which an entry's creation time is shown.
pub(crate) fn rounded_seconds(at: SystemTime) -> i64 {
    unix_seconds(at + std::time::Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    fn zone(minutes: i32) -> TimeZone {
        jiff::tz::Offset::from_seconds(minutes * 60).unwrap().to_time_zone()
    }

    #[test]
    fn writes_local_text_with_its_offset_and_no_trailing_zeros() {
        let moment = at(1_795_537_690, 697_076_340);
        assert_eq!(text(moment, &zone(330)), "2026-11-24 21:58:10.69707634+05:30");
        assert_eq!(text(moment, &TimeZone::UTC), "2026-11-24 16:28:10.69707634+00:00");
        assert_eq!(text(moment, &zone(-150)), "2026-11-24 13:58:10.69707634-02:30");
        assert_eq!(text(at(1_795_537_690, 0), &TimeZone::UTC), "2026-11-24 16:28:10+00:00");
        assert_eq!(text(at(0, 1), &TimeZone::UTC), "1970-01-01 00:00:00.000000001+00:00");
    }

    #[test]
    fn reads_every_form_of_the_driver() {
        let moment = Some(at(1_795_537_690, 0));
        for form in [
            "2026-11-24 21:58:10+05:30",
            "2026-11-24T21:58:10+05:30",
            "2026-11-24 16:28:10+00:00",
            "2026-11-24 16:28:10.000",
            "2026-11-24T16:28:10Z",
            "2026-11-24 16:28:10",
            "2026-11-24T16:28:10",
            "1795537690",
            "1795537690000",
        ] {
            assert_eq!(parse(form), moment, "{form}");
        }
        assert_eq!(parse("2026-11-24 16:28"), Some(at(1_795_537_680, 0)));
        assert_eq!(parse("2026-11-24"), Some(at(1_795_478_400, 0)));
        assert_eq!(parse("2026-11-24 16:28:10.123456789"), Some(at(1_795_537_690, 123_456_789)));
        assert!(parse("0001-01-01 00:00:00+00:00").is_some(), "the zero time of the reference's language");
        assert_eq!(parse("-9223372036854775808"), None, "no year of the calendar");
        assert_eq!(parse(""), None);
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn reads_what_it_wrote() {
        for nanoseconds in [0, 1, 10, 999_999_999, 500_000_000] {
            for zone in [TimeZone::UTC, zone(330), zone(-720), zone(840)] {
                let moment = at(1_795_537_690, nanoseconds);
                assert_eq!(parse(&text(moment, &zone)), Some(moment));
            }
        }
    }

    #[test]
    fn civil_times_are_those_of_their_zone() {
        let moment = at(1_795_537_690, 697_076_340);
        assert_eq!(civil_text(moment, &TimeZone::UTC), "2026-11-24 16:28:10.697076");
        assert_eq!(civil_text(moment, &zone(330)), "2026-11-24 21:58:10.697076");
        assert_eq!(civil_text(at(0, 0), &TimeZone::UTC), "1970-01-01 00:00:00.000000");
        let civil = |seconds| {
            let utc = sqlx::types::time::OffsetDateTime::from(at(seconds, 0));
            PrimitiveDateTime::new(utc.date(), utc.time())
        };
        assert_eq!(from_civil(civil(1_795_537_690), &TimeZone::UTC), at(1_795_537_690, 0));
        assert_eq!(from_civil(civil(1_795_537_690 + 330 * 60), &zone(330)), at(1_795_537_690, 0));
    }

    #[test]
    fn servers_keep_what_their_columns_hold() {
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_nanos(1_500);
        assert_eq!(microseconds(before_1970), SystemTime::UNIX_EPOCH - Duration::from_nanos(2_000));
        assert_eq!(microseconds(at(7, 999_999_999)), at(7, 999_999_000));
        assert_eq!(seconds_in(at(1_795_537_690, 697_076_340), &zone(330)), at(1_795_537_691, 0));
        // The last Sunday of October 2026 has an hour twice: the second 02:30 reads as the first one.
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(seconds_in(at(1_792_891_800, 0), &berlin), at(1_792_888_200, 0));
        assert_eq!(seconds_in(at(1_792_888_200, 0), &berlin), at(1_792_888_200, 0));
    }

    #[test]
    fn rounds_half_a_second_up() {
        assert_eq!(rounded_seconds(at(7, 499_999_999)), 7);
        assert_eq!(rounded_seconds(at(7, 500_000_000)), 8);
    }
}
