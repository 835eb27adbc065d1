//! Moments as Go prints them by default: `2006-01-02 15:04:05 -0700 MST`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// In UTC, however the machine is set.
pub fn utc(unix_seconds: i64) -> String {
    shown(unix_seconds, TimeZone::UTC)
}

/// In the zone of the machine, or of the variable `TZ`.
pub fn local(unix_seconds: i64) -> String {
    shown(unix_seconds, TimeZone::system())
}

fn shown(unix_seconds: i64, zone: TimeZone) -> String {
    // The calendar repeats itself every 400 years. So a year behind 9999 is shown, too, which is what becomes of a moment
    // that somebody gave in milliseconds.
    const CYCLE: i64 = 146_097 * 24 * 60 * 60;
    let (cycles, seconds) = match Timestamp::from_second(unix_seconds) {
        Ok(_) => (0, unix_seconds),
        Err(_) => (unix_seconds.div_euclid(CYCLE), unix_seconds.rem_euclid(CYCLE)),
    };
    let moment = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone);
    format!("{:04}{}", i64::from(moment.year()) + 400 * cycles, moment.strftime("-%m-%d %H:%M:%S %z %Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_zone_and_offset_as_go_does() {
        let zone = |name| TimeZone::get(name).unwrap();
        assert_eq!(utc(4_102_444_800), "2100-01-01 00:00:00 +0000 UTC");
        assert_eq!(utc(-5), "1969-12-31 23:59:55 +0000 UTC");
        assert_eq!(shown(1_795_538_677, zone("America/New_York")), "2026-11-24 11:44:37 -0500 EST");
        assert_eq!(shown(1_795_538_677, zone("America/Sao_Paulo")), "2026-11-24 13:44:37 -0300 -03");
    }

    #[test]
    fn knows_years_behind_9999() {
        assert_eq!(utc(999_999_999_999), "33658-09-27 01:46:39 +0000 UTC");
        assert_eq!(utc(4_102_444_800_000), "131971-04-21 00:00:00 +0000 UTC");
    }
}
