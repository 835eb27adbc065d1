//! Values of flags that have a form of their own.

use std::ops::RangeInclusive;
use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_config::flags::FlagValue;
use steeple_spiffe::SpiffeId;

/// A whole number with bounds.
pub(super) struct Number {
    pub(super) value: u64,
    pub(super) range: RangeInclusive<u64>,
}

impl FlagValue for Number {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let (least, most) = (self.range.start(), self.range.end());
        let value = text.parse().ok().filter(|value| self.range.contains(value));
        self.value = value.ok_or_else(|| format!("it must be a number from {least} to {most}"))?;
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        (self.value != 0).then(|| self.value.to_string())
    }
}

/// A length of time, at most a day.
pub(super) struct Length(pub(super) Duration);

impl FlagValue for Length {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let length = text.parse::<GoDuration>().map_err(|error| error.to_string())?.to_std();
        self.0 = length.filter(|length| *length <= DAY).ok_or("it must lie between 0 and 24h")?;
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        let length = GoDuration::from_nanos(i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX));
        (!self.0.is_zero()).then(|| length.to_string())
    }
}

/// `host:port`; an IPv6 address stands in brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) String, pub(super) u16);

impl FlagValue for Address {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = parts.filter(|(host, _)| !host.is_empty()).ok_or("it must have the form host:port")?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        *self = Self(inner.unwrap_or(host).to_owned(), port);
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        Some(format!("{}:{}", self.0, self.1))
    }
}

/// A SPIFFE ID.
pub(super) struct Id(pub(super) Option<SpiffeId>);

impl FlagValue for Id {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = Some(SpiffeId::parse(text).map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// How the result is printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
}

impl FlagValue for Output {
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = match text {
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return Err("it must be text or json".into()),
        };
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        Some("text".into())
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
