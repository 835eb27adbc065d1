use proptest::prelude::*;

use super::*;

/// Flags of every kind.
#[derive(Debug, Default, PartialEq)]
struct Flags {
    ttl: i64,
    id: String,
    admin: bool,
    expired_for: Duration,
    selector: Vec<String>,
    level: Option<String>,
    output: Output,
}

/// A flag that may not change its mind.
#[derive(Debug, Default, PartialEq)]
struct Output(Option<String>);

impl FlagValue for Output {
    fn set(&mut self, text: &str) -> Result<(), String> {
        match &self.0 {
            Some(format) if format != text => {
                Err(format!("the output format has already been set to {}", Quoted(format)))
            }
            _ if text == "pretty" || text == "json" => {
                self.0 = Some(text.into());
                Ok(())
            }
            _ => Err(format!("bad formatter flag: unknown format option: {}", Quoted(text))),
        }
    }

    fn default_text(&self) -> Option<String> {
        Some("pretty".into())
    }
}

impl Flags {
    fn set(&mut self) -> FlagSet<'_> {
        let Self { ttl, id, admin, expired_for, selector, level, output } = self;
        FlagSet::new("entry create")
            .flag("ttl", ttl, "Lifetime in seconds")
            .flag("spiffeID", id, "The `SPIFFE ID` of the entry")
            .flag("admin", admin, "Gives access\nto the server")
            .flag("expiredFor", expired_for, "How long ago")
            .flag("selector", selector, "May be repeated")
            .flag("level", level, "A level")
            .flag("output", output, "Format")
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(String::from).to_vec()
}

/// The flags and what is left of the arguments.
fn parse<const N: usize>(args: [&str; N]) -> Result<(Flags, Vec<String>), Error> {
    let args = words(args);
    let mut flags = Flags::default();
    let rest = flags.set().parse(&args)?.to_vec();
    Ok((flags, rest))
}

fn flags<const N: usize>(args: [&str; N]) -> Flags {
    parse(args).unwrap().0
}

fn error<const N: usize>(args: [&str; N]) -> String {
    parse(args).unwrap_err().to_string()
}

#[test]
fn takes_a_value_in_every_way() {
    for args in [["-ttl", "60"], ["--ttl", "60"], ["-ttl=60", ""], ["--ttl=60", ""], ["-ttl", "0x3c"], ["-ttl=074", ""]]
    {
        assert_eq!(flags(args).ttl, 60, "{args:?}");
    }
    assert_eq!(flags(["-spiffeID=a=b"]).id, "a=b");
    assert_eq!(flags(["-spiffeID="]).id, "");
    assert_eq!(flags(["-spiffeID", "-ttl", "-ttl", "-1"]), Flags { id: "-ttl".into(), ttl: -1, ..Flags::default() });
    assert_eq!(flags(["-expiredFor", "1h30m"]).expired_for, Duration::from_secs(5400));
}

#[test]
fn a_switch_takes_no_argument() {
    assert!(flags(["-admin"]).admin);
    for (text, expected) in [("true", true), ("T", true), ("1", true), ("f", false), ("FALSE", false), ("0", false)] {
        assert_eq!(flags([&format!("-admin={text}")]).admin, expected, "{text}");
    }
    let (flags, rest) = parse(["-admin", "false", "-ttl", "1"]).unwrap();
    assert_eq!((flags.admin, flags.ttl), (true, 0));
    assert_eq!(rest, ["false", "-ttl", "1"]);
}

#[test]
fn stops_at_the_first_word_and_at_two_dashes() {
    assert_eq!(parse(["-ttl=1", "x", "-ttl=2"]).unwrap().1, ["x", "-ttl=2"]);
    assert_eq!(parse(["-ttl=1", "--", "-ttl=2"]).unwrap().1, ["-ttl=2"]);
    assert_eq!(parse(["-"]).unwrap().1, ["-"]);
    assert_eq!(parse([""]).unwrap().1, [""]);
    assert_eq!(parse([]).unwrap(), (Flags::default(), Vec::new()));
}

#[test]
fn a_repeated_flag_appends_or_replaces() {
    assert_eq!(flags(["-selector", "a", "-selector=b,c"]).selector, ["a", "b,c"]);
    assert_eq!(flags(["-ttl", "1", "-ttl", "2"]).ttl, 2);
}

#[test]
fn an_option_tells_whether_the_flag_was_given() {
    assert_eq!(flags([]).level, None);
    assert_eq!(flags(["-level="]).level, Some(String::new()));
}

#[test]
fn answers_mistakes_as_the_reference_does() {
    assert_eq!(error(["-nope"]), "flag provided but not defined: -nope");
    assert_eq!(error(["--nope=1"]), "flag provided but not defined: -nope");
    assert_eq!(error(["-spiffeID"]), "flag needs an argument: -spiffeID");
    assert_eq!(error(["-ttl", "abc"]), "invalid value \"abc\" for flag -ttl: parse error");
    assert_eq!(
        error(["-ttl", "9223372036854775808"]),
        "invalid value \"9223372036854775808\" for flag -ttl: value out of range"
    );
    assert_eq!(error(["-expiredFor", "5"]), "invalid value \"5\" for flag -expiredFor: parse error");
    assert_eq!(error(["-admin=maybe"]), "invalid boolean value \"maybe\" for -admin: parse error");
    assert_eq!(
        error(["-output="]),
        "invalid value \"\" for flag -output: bad formatter flag: unknown format option: \"\""
    );
    assert_eq!(
        error(["-output", "json", "-output", "pretty"]),
        "invalid value \"pretty\" for flag -output: the output format has already been set to \"json\""
    );
    for text in ["---x", "-=", "--=x"] {
        assert_eq!(error([text]), format!("bad flag syntax: {text}"));
    }
    for text in ["-h", "--help", "-help=x"] {
        assert_eq!(error([text]), "flag: help requested");
    }
}

#[test]
fn prints_the_usage_in_alphabetical_order() {
    let mut flags = Flags { ttl: 600, id: "a\"".into(), expired_for: Duration::from_secs(3600), ..Flags::default() };
    let mut quiet = true;
    let usage = flags.set().flag("q", &mut quiet, "Says nothing").usage();
    let expected = "Usage of entry create:
  -admin
    \tGives access
    \tto the server
  -expiredFor duration
    \tHow long ago (default 1h0m0s)
  -level string
    \tA level
  -output value
    \tFormat (default pretty)
  -q\tSays nothing (default true)
  -selector value
    \tMay be repeated
  -spiffeID SPIFFE ID
    \tThe SPIFFE ID of the entry (default \"a\\\"\")
  -ttl int
    \tLifetime in seconds (default 600)
";
    assert_eq!(usage, expected);
}

proptest! {
    #[test]
    fn survives_any_arguments(args in proptest::collection::vec("-{0,3}[a-z=]{0,3}|-ttl|-admin=.?|é", 0..6)) {
        let mut flags = Flags::default();
        let _whatever = flags.set().parse(&args);
    }
}
