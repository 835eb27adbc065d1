//! Command line flags in the syntax of Go's `flag` package.
//!
//! A flag writes into a variable, whose value before is the default:
//!
//! ```
//! use steeple_config::flags::FlagSet;
//!
//! let args: Vec<String> = ["-ttl", "60", "-dns=a", "-dns=b"].map(String::from).to_vec();
//! let (mut ttl, mut dns, mut download, mut id) = (600, Vec::new(), false, None);
//! FlagSet::new("token generate")
//!     .flag("ttl", &mut ttl, "Token TTL in seconds")
//!     .flag("dns", &mut dns, "A DNS name. Can be used more than once")
//!     .flag("download", &mut download, "Print more")
//!     .flag("spiffeID", &mut id, "SPIFFE ID of the agent")
//!     .parse(&args)?;
//! # let _: &Option<String> = &id;
//! assert_eq!((ttl, dns, download, id), (60, vec!["a".into(), "b".into()], false, None));
//! # Ok::<(), steeple_config::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::duration::Duration;
use crate::quote::Quoted;
use crate::{Error, integer};

/// The flags of one command.
pub struct FlagSet<'a> {
    name: &'a str,
    flags: BTreeMap<&'a str, Flag<'a>>,
}

struct Flag<'a> {
    value: &'a mut dyn FlagValue,
    /// As the usage shows it.
    default: Option<String>,
    help: &'a str,
}

/// A variable that a flag can fill: `bool`, `i64`, `String`, [`Duration`], a `Vec<String>` that takes the flag any
/// number of times, or an `Option` of one of these, which is `None` if the flag was not given. What takes a text of
/// its own form implements it.
pub trait FlagValue {
    /// Takes the text of the flag, each time the flag is given. The error is the reason only.
    fn set(&mut self, text: &str) -> Result<(), String>;

    /// What the usage calls the value: `int`.
    fn type_name(&self) -> &'static str {
        "value"
    }

    /// How the usage shows the value before it is set; `None` if there is nothing worth showing.
    fn default_text(&self) -> Option<String> {
        None
    }

    /// Whether the flag stands alone: `-x` means `-x=true`, and the next argument is never its value.
    fn is_switch(&self) -> bool {
        false
    }
}

impl<'a> FlagSet<'a> {
    /// No flags yet. `name` heads the usage.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self { name, flags: BTreeMap::new() }
    }

    /// One flag more. A word of `help` in backquotes names the value in the usage.
    #[must_use]
    pub fn flag(mut self, name: &'a str, value: &'a mut dyn FlagValue, help: &'a str) -> Self {
        let default = value.default_text();
        self.flags.insert(name, Flag { value, default, help });
        self
    }

    /// Fills the variables from the arguments up to the first that is no flag, or to `--`. Returns what is left;
    /// the reference's commands ignore it. Flags before a wrong one are filled.
    ///
    /// # Errors
    ///
    /// [`Error::HelpRequested`] if `-h` or `-help` comes and there is no such flag, and the other errors of flags.
    /// The usage belongs below each.
    pub fn parse<'b>(&mut self, args: &'b [String]) -> Result<&'b [String], Error> {
        let mut rest = args;
        while let [first, behind @ ..] = rest {
            if first == "--" {
                return Ok(behind);
            }
            let Some(flag) = first.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.starts_with(['-', '=']) {
                return Err(Error::FlagSyntax(first.clone()));
            }
            rest = self.set(flag, behind)?;
        }
        Ok(rest)
    }

    /// Sets a flag, written without its dashes, and returns the arguments behind it.
    fn set<'b>(&mut self, flag: &str, behind: &'b [String]) -> Result<&'b [String], Error> {
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some(Flag { value, .. }) = self.flags.get_mut(name) else {
            return Err(match name {
                "h" | "help" => Error::HelpRequested,
                _ => Error::FlagUndefined(name.to_owned()),
            });
        };
        if value.is_switch() {
            let text = inline.unwrap_or("true");
            let error = |reason| Error::SwitchValue { flag: name.to_owned(), value: text.to_owned(), reason };
            value.set(text).map_err(error)?;
            return Ok(behind);
        }
        let (text, behind) = match (inline, behind) {
            (Some(text), behind) => (text, behind),
            (None, [text, behind @ ..]) => (text.as_str(), behind),
            (None, []) => return Err(Error::FlagNeedsArgument(name.to_owned())),
        };
        let error = |reason| Error::FlagValue { flag: name.to_owned(), value: text.to_owned(), reason };
        value.set(text).map_err(error)?;
        Ok(behind)
    }

    /// All flags in alphabetical order, each with what it takes, what it is for and its default. Ends with a newline.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut usage = format!("Usage of {}:\n", self.name);
        for (name, Flag { value, default, help }) in &self.flags {
            let (type_name, help) = match help.split('`').collect::<Vec<_>>().as_slice() {
                [before, word, behind] => ((*word).to_owned(), format!("{before}{word}{behind}")),
                _ => (value.type_name().to_owned(), (*help).to_owned()),
            };
            let space = if type_name.is_empty() { "" } else { " " };
            let default = default.as_ref().map_or_else(String::new, |default| format!(" (default {default})"));
            // A switch of one letter leaves room for its help on the same line.
            let separator = if name.len() == 1 && type_name.is_empty() { "\t" } else { "\n    \t" };
            let help = help.replace('\n', "\n    \t");
            // Writing to a string does not fail.
            let _infallible = writeln!(usage, "  -{name}{space}{type_name}{separator}{help}{default}");
        }
        usage
    }
}

/// Go does not say what it expected of a number.
const PARSE_ERROR: &str = "parse error";

impl FlagValue for bool {
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(PARSE_ERROR.into()),
        };
        Ok(())
    }

    fn type_name(&self) -> &'static str {
        ""
    }

    fn default_text(&self) -> Option<String> {
        self.then(|| "true".into())
    }

    fn is_switch(&self) -> bool {
        true
    }
}

/// In any base: `10`, `0xA`, `012`.
impl FlagValue for i64 {
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = integer::parse(text).map_err(|error| match error {
            integer::IntegerError::Syntax => PARSE_ERROR.to_owned(),
            integer::IntegerError::Range => error.to_string(),
        })?;
        Ok(())
    }

    fn type_name(&self) -> &'static str {
        "int"
    }

    fn default_text(&self) -> Option<String> {
        (*self != 0).then(|| self.to_string())
    }
}

impl FlagValue for Duration {
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|_| PARSE_ERROR.to_owned())?;
        Ok(())
    }

    fn type_name(&self) -> &'static str {
        "duration"
    }

    fn default_text(&self) -> Option<String> {
        (*self != Self::ZERO).then(|| self.to_string())
    }
}

impl FlagValue for String {
    fn set(&mut self, text: &str) -> Result<(), String> {
        text.clone_into(self);
        Ok(())
    }

    fn type_name(&self) -> &'static str {
        "string"
    }

    fn default_text(&self) -> Option<String> {
        (!self.is_empty()).then(|| Quoted(self).to_string())
    }
}

/// One element each time the flag is given.
impl FlagValue for Vec<String> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.push(text.to_owned());
        Ok(())
    }
}

/// `None` until the flag is given.
impl<T: FlagValue + Default> FlagValue for Option<T> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.get_or_insert_default().set(text)
    }

    fn type_name(&self) -> &'static str {
        T::default().type_name()
    }

    fn is_switch(&self) -> bool {
        T::default().is_switch()
    }
}

#[cfg(test)]
mod tests;
