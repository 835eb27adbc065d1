//! What the person in front of the terminal sees: steps as they happen, tables, times in the local zone.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The terminal, or whatever stdout is.
pub(super) struct Screen {
    has_colours: bool,
    /// A step has begun and its line has no end yet.
    is_mid_line: bool,
    zone: TimeZone,
}

impl Screen {
    /// Colours are for terminals alone, and not for those whose owner does not want them (`NO_COLOR`, `TERM=dumb`).
    pub(super) fn new() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            has_colours: io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            is_mid_line: false,
            zone: TimeZone::system(),
        }
    }

    /// One or more whole lines.
    pub(super) fn line(&mut self, text: impl Display) {
        let before = if self.is_mid_line { "\n" } else { "" };
        self.is_mid_line = false;
        self.write(&format!("{before}{text}\n"));
    }

    /// Begins a step: says what is being done and leaves the line open for [`Screen::end`].
    pub(super) fn begin(&mut self, label: &str, text: impl Display) {
        let label = self.paint(Colour::Cyan, &format!("{label:<LABEL$}"));
        let before = if self.is_mid_line { "\n" } else { "" };
        self.is_mid_line = true;
        self.write(&format!("{before}  {label}{text}"));
    }

    /// Ends the step's line.
    pub(super) fn end(&mut self, text: impl Display) {
        self.is_mid_line = false;
        self.write(&format!("{text}\n"));
    }

    /// A step that was done in no time.
    pub(super) fn step(&mut self, label: &str, text: impl Display) {
        self.begin(label, text);
        self.end("");
    }

    /// A heading with rows of a name and a value below it.
    pub(super) fn table(&mut self, heading: &str, rows: &[Row]) {
        self.heading(heading);
        for (name, value) in rows {
            let name = self.paint(Colour::Cyan, &format!("{name:<LABEL$}"));
            self.line(format!("  {name}{value}"));
        }
    }

    /// A line that begins a part, with an empty one above it.
    pub(super) fn heading(&mut self, text: &str) {
        let text = self.paint(Colour::Bold, text);
        self.line(format!("\n{text}"));
    }

    /// Why it failed: to stderr, behind what stands on stdout.
    pub(super) fn failure(&mut self, text: impl Display) {
        self.line("");
        let word = if io::stderr().is_terminal() { self.paint(Colour::Red, "Failed:") } else { "Failed:".into() };
        let _ = writeln!(io::stderr(), "{word} {text}");
    }

    /// The text in a colour, where there are colours.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    /// The zone in which times are shown.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// A reader that went away does not end the trust domain, so that `steeple up | head` stays useful in the background.
    fn write(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Name and value.
pub(super) type Row = (&'static str, String);

/// How a text stands out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// Day and time, as in `2026-11-24 18:02:11 CET`.
pub(super) fn date_and_time(at: SystemTime, zone: &TimeZone) -> String {
    formatted(at, zone, "%F %T %Z")
}

/// The time of day, as in `18:02:11`.
pub(super) fn time_of_day(at: SystemTime, zone: &TimeZone) -> String {
    formatted(at, zone, "%T")
}

fn formatted(at: SystemTime, zone: &TimeZone, format: &str) -> String {
    match Timestamp::try_from(at) {
        Ok(at) => at.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => "beyond all calendars".into(),
    }
}

/// How far a moment is from now: `24 s left`, `10 s ago`.
pub(super) fn distance(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(ahead) if ahead.is_zero() => "now".into(),
        Ok(ahead) => format!("{} left", length(ahead)),
        Err(behind) => format!("{} ago", length(behind.duration())),
    }
}

/// A length in the two units that matter, rounded to whole seconds.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs() + u64::from(length.subsec_millis() >= 500);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes} min {} s", seconds % 60),
        7200..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

const LABEL: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_two_units_that_matter() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min 0 s"),
            (7199, "119 min 59 s"),
            (7200, "2 h 0 min"),
            (172_799, "47 h 59 min"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
        assert_eq!(length(Duration::from_millis(29_500)), "30 s");
    }

    #[test]
    fn says_on_which_side_of_now_a_moment_lies() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(distance(now + Duration::from_secs(30), now), "30 s left");
        assert_eq!(distance(now - Duration::from_secs(10), now), "10 s ago");
        assert_eq!(distance(now, now), "now");
    }

    #[test]
    fn times_stand_in_the_zone_that_was_asked_for() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(date_and_time(at, &TimeZone::UTC), "1970-01-02 00:00:00 UTC");
        assert_eq!(time_of_day(at, &TimeZone::fixed(jiff::tz::offset(2))), "02:00:00");
    }

    #[test]
    fn colours_stay_away_from_pipes() {
        let screen = |has_colours| Screen { has_colours, is_mid_line: false, zone: TimeZone::UTC };
        assert_eq!(screen(false).paint(Colour::Red, "x"), "x");
        assert_eq!(screen(true).paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
