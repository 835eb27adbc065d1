//! Command lines, one argument a line. Flags that were read and are written again are read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_config::commands::{Command, Commands, Resolution};
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;

#[derive(Debug, Default, PartialEq)]
struct Flags {
    number: i64,
    text: String,
    switch: bool,
    ttl: Option<Duration>,
    names: Vec<String>,
}

fuzz_target!(|text: &str| {
    let args: Vec<String> = text.split('\n').map(str::to_owned).collect();
    match commands().resolve(&args) {
        Resolution::Run(_, rest) => assert!(rest == ["-h"] || args.ends_with(&rest)),
        Resolution::Version => {}
        Resolution::Answer { text, exit_code } => assert!(text.ends_with('\n') && matches!(exit_code, 0 | 1 | 127)),
    }
    let Some((flags, rest)) = read(&args) else { return };
    assert!(args.ends_with(&rest));
    let Flags { number, text, switch, ttl, names } = &flags;
    let mut written = vec![format!("-number={number}"), format!("--text={text}"), format!("-switch={switch}")];
    written.extend(ttl.map(|ttl| format!("-ttl={ttl}")));
    written.extend(names.iter().flat_map(|name| ["-name".to_owned(), name.clone()]));
    written.push("--".to_owned());
    written.extend(rest.iter().cloned());
    assert_eq!(read(&written), Some((flags, rest)));
});

fn read(args: &[String]) -> Option<(Flags, Vec<String>)> {
    let mut flags = Flags::default();
    let Flags { number, text, switch, ttl, names } = &mut flags;
    let mut set = FlagSet::new("test")
        .flag("number", number, "A number")
        .flag("text", text, "A text")
        .flag("switch", switch, "A switch")
        .flag("ttl", ttl, "A `length` of time")
        .flag("name", names, "A name");
    assert!(set.usage().ends_with('\n'));
    let rest = set.parse(args).ok()?.to_vec();
    Some((flags, rest))
}

fn commands() -> Commands<()> {
    let children = vec![Command::new("create", "entry create", "Creates", ()), Command::group("more", Vec::new())];
    Commands::new("test", vec![Command::group("entry", children), Command::new("run", "run", "Runs", ())])
}
