//! Values of flags that have a form of their own.

use std::ops::RangeInclusive;
use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_config::flags::FlagValue;
use steeple_spiffe::SpiffeId;
use steeple_transport::dial::Place;

use super::By;

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

/// `host:port`; an IPv6 address stands in brackets. The flag may be given again for further places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) places: Vec<Place>,
    is_default: bool,
}

impl Places {
    pub(super) fn by_default(place: Place) -> Self {
        Self { places: vec![place], is_default: true }
    }
}

impl FlagValue for Places {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let place = text.parse::<Place>().map_err(|error| error.to_string())?;
        if std::mem::take(&mut self.is_default) {
            self.places.clear();
        }
        self.places.push(place);
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        self.places.first().map(ToString::to_string)
    }
}

/// Numbers of processes; the flag may be given again for further ones.
pub(super) struct Pids(pub(super) Vec<i32>);

impl FlagValue for Pids {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let pid = text.parse().ok().filter(|pid| *pid > 0);
        self.0.push(pid.ok_or("it must be the number of a process")?);
        Ok(())
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

impl FlagValue for By {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let by = BYS.iter().find(|(name, _)| *name == text).map(|(_, by)| *by);
        *self = by.ok_or("it must be page, parent, id or selector")?;
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        BYS.iter().find(|(_, by)| by == self).map(|(name, _)| (*name).to_owned())
    }
}

const BYS: [(&str, By); 4] = [("page", By::Page), ("parent", By::Parent), ("id", By::Id), ("selector", By::Selector)];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
