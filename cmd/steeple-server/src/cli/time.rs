//! Moments as Go prints them by default: `2006-01-02 15:04:05 -0700 MST`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// In UTC, however the machine is set.
pub(crate) fn utc(unix_seconds: i64) -> String {
    shown(unix_seconds, TimeZone::UTC)
}

/// In the zone of the machine, or of the variable `TZ`.
pub(crate) fn local(unix_seconds: i64) -> String {
    shown(unix_seconds, TimeZone::system())
}

fn shown(unix_seconds: i64, zone: TimeZone) -> String {
    match Timestamp::from_second(unix_seconds) {
        Ok(moment) => moment.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        // Behind the year 9999, mostly because somebody gave milliseconds.
        Err(_) => format!("{unix_seconds} seconds after 1970"),
    }
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
        assert_eq!(utc(4_102_444_800_000), "4102444800000 seconds after 1970");
    }
}
