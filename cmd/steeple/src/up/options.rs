//! The flags of `steeple up`.

use std::ffi::OsString;
use std::time::Duration;

use steeple_config::Error;
use steeple_config::duration::Duration as GoDuration;
use steeple_config::flags::{FlagSet, FlagValue};
use steeple_spiffe::TrustDomain;

use super::config::Domain;

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To print this text.
    Help(String),
    Run(Domain),
}

/// Reads the arguments.
///
/// # Errors
/// A text for the person who typed them.
pub(super) fn parse(args: &[OsString]) -> Result<Wish, String> {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut trust_domain = Name(TrustDomain::parse("example.org").map_err(|error| error.to_string())?);
    let mut ttl = Ttl(Duration::from_secs(30));
    let mut flags = FlagSet::new("steeple up")
        .flag("trustDomain", &mut trust_domain, "The trust domain's `name`")
        .flag("ttl", &mut ttl, "How long an SVID lives, a `duration` from 10s to 24h");
    let usage = flags.usage();
    match flags.parse(&args) {
        Ok([]) => {}
        Ok([first, ..]) => return Err(format!("there is no argument {first}\n{usage}")),
        Err(Error::HelpRequested) => return Ok(Wish::Help(format!("{INTRODUCTION}\n{usage}\n{ENVIRONMENT}"))),
        Err(error) => return Err(format!("{error}\n{usage}")),
    }
    Ok(Wish::Run(Domain { trust_domain: trust_domain.0, ttl: ttl.0 }))
}

struct Name(TrustDomain);

impl FlagValue for Name {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = TrustDomain::parse(text).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// A lifetime of whole seconds that the daemons can keep: they look at what they hold every few seconds, so that a
/// shorter SVID would end before it is renewed.
struct Ttl(Duration);

impl FlagValue for Ttl {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let length = text.parse::<GoDuration>().map_err(|error| error.to_string())?.to_std().unwrap_or_default();
        let length = Duration::from_secs(length.as_secs());
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err("it must lie between 10s and 24h".into());
        }
        self.0 = length;
        Ok(())
    }

    fn default_text(&self) -> Option<String> {
        Some(format!("{}s", self.0.as_secs()))
    }
}

const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const INTRODUCTION: &str = "\
Starts a server and an agent on this machine's loopback, gives your user an identity, shows it, and shows each of its
rotations. Ctrl-C stops everything and leaves nothing behind.
";

const ENVIRONMENT: &str = "\
The environment variable TMPDIR says where the temporary directory is made; NO_COLOR=1 turns colours off.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Wish, String> {
        parse(&args.iter().map(Into::into).collect::<Vec<_>>())
    }

    fn run(trust_domain: &str, seconds: u64) -> Result<Wish, String> {
        let ttl = Duration::from_secs(seconds);
        Ok(Wish::Run(Domain { trust_domain: trust_domain.parse().unwrap(), ttl }))
    }

    #[test]
    fn takes_flags_as_go_programs_do() {
        assert_eq!(parsed(&[]), run("example.org", 30));
        assert_eq!(parsed(&["-ttl", "1m30s"]), run("example.org", 90));
        assert_eq!(parsed(&["--ttl=24h", "-trustDomain=a.test"]), run("a.test", 86_400));
    }

    #[test]
    fn help_lists_the_flags_with_their_defaults() {
        let Ok(Wish::Help(text)) = parsed(&["-ttl", "20s", "-h"]) else { panic!("no help") };
        for part in ["-trustDomain name\n", "(default example.org)", "-ttl duration\n", "(default 30s)"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_an_argument() {
        for (args, part) in [
            (&["-x"][..], "-x"),
            (&["here"], "there is no argument here"),
            (&["-ttl"], "flag needs an argument: -ttl"),
            (&["-ttl", "9s"], "invalid value \"9s\" for flag -ttl: it must lie between 10s and 24h"),
            (&["-ttl", "-1m"], "it must lie between 10s and 24h"),
            (&["-ttl=30"], "missing unit in duration"),
            (&["-trustDomain", "Example.org"], "trust domain characters are limited to lowercase letters"),
        ] {
            let error = parsed(args).unwrap_err();
            assert!(error.contains(part) && error.contains("Usage of steeple up"), "{part} in\n{error}");
        }
    }
}
