//! Which command a command line means.
//!
//! [`Commands::resolve`] looks at the words up to the command and at the flags for help and version. The flags of a
//! command are its own ([`crate::flags`]).

use std::fmt::Write as _;

/// A program's commands.
pub struct Commands<T> {
    program: String,
    commands: Vec<Command<T>>,
}

/// A command, a group of commands, or both.
pub struct Command<T> {
    name: &'static str,
    leaf: Option<Leaf<T>>,
    children: Vec<Command<T>>,
}

struct Leaf<T> {
    usage_name: &'static str,
    synopsis: &'static str,
    run: T,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolution<'a, T> {
    /// Run this command with the arguments behind its name. Who asks for help of a command gets the command with the
    /// single argument `-h`, because only it knows its flags; the exit code then is 0.
    Run(&'a T, Vec<String>),
    /// Print the version.
    Version,
    /// Print this text, which ends with a newline, to standard error, and leave.
    Answer {
        /// What to print.
        text: String,
        /// 0 for help that was asked for, 1 for a group without a command and for flags before one, 127 if there is
        /// no such command.
        exit_code: u8,
    },
}

impl<T> Command<T> {
    /// A command. `usage_name` is its name in [`crate::flags::FlagSet::usage`]; what runs it is up to the caller.
    pub fn new(name: &'static str, usage_name: &'static str, synopsis: &'static str, run: T) -> Self {
        Self { name, leaf: Some(Leaf { usage_name, synopsis, run }), children: Vec::new() }
    }

    /// A name that means nothing without one of the commands below it.
    pub fn group(name: &'static str, children: Vec<Self>) -> Self {
        Self { name, leaf: None, children }
    }

    /// Commands below this one.
    #[must_use]
    pub fn with(mut self, children: Vec<Self>) -> Self {
        self.children = children;
        self
    }

    fn synopsis(&self) -> &'static str {
        self.leaf.as_ref().map_or("", |leaf| leaf.synopsis)
    }

    /// What a group prints for itself: the commands below.
    fn help(&self) -> String {
        let mut text = String::new();
        let children = sorted(&self.children);
        // Writing to a string does not fail.
        for Leaf { usage_name, synopsis, run: _ } in children.iter().filter_map(|child| child.leaf.as_ref()) {
            let _infallible = writeln!(text, "Usage of {usage_name}:\n  {synopsis}");
        }
        text.push_str("This command is accessed by using one of the subcommands below.\n\nSubcommands:\n");
        list(&children, &mut text);
        text
    }
}

impl<T> Commands<T> {
    /// The commands of `program`, which is the name that its help shows.
    pub fn new(program: impl Into<String>, commands: Vec<Command<T>>) -> Self {
        Self { program: program.into(), commands }
    }

    /// Finds the command of a command line, given without the program's name.
    ///
    /// `-h`, `-help` and `--help` count at any place before `--`, `-v`, `-version` and `--version` only before the
    /// command. The first word that is no flag begins the command.
    pub fn resolve(&self, args: &[String]) -> Resolution<'_, T> {
        let options = args.split(|arg| arg == "--").next().unwrap_or_default();
        let start = options.iter().position(|arg| !arg.starts_with('-') && !arg.is_empty());
        let before = &options[..start.unwrap_or(options.len())];
        if before.iter().any(|arg| matches!(arg.as_str(), "-v" | "-version" | "--version")) {
            return Resolution::Version;
        }
        let help = options.iter().any(|arg| is_help(arg));
        let Some(start) = start else {
            return Resolution::Answer { text: self.help(), exit_code: if help { 0 } else { 127 } };
        };
        let Some((command, rest)) = self.find(&args[start..]) else {
            return Resolution::Answer { text: self.help(), exit_code: 127 };
        };
        if !help && let Some(flag) = before.iter().find(|arg| !arg.is_empty()) {
            let text = format!(
                "Invalid flags before the subcommand. If these flags are for\n\
                 the subcommand, please put them after the subcommand.\n\n\
                 {flag} stands before {}.\n",
                command.name
            );
            return Resolution::Answer { text, exit_code: 1 };
        }
        match &command.leaf {
            Some(leaf) if help => Resolution::Run(&leaf.run, vec!["-h".into()]),
            Some(leaf) => Resolution::Run(&leaf.run, rest.to_vec()),
            None => Resolution::Answer { text: command.help(), exit_code: if help { 0 } else { 1 } },
        }
    }

    /// The longest command that the words begin with, and what is behind it.
    fn find<'b>(&self, words: &'b [String]) -> Option<(&Command<T>, &'b [String])> {
        let mut found = None;
        let (mut commands, mut rest) = (&self.commands, words);
        while let [word, behind @ ..] = rest
            && let Some(command) = commands.iter().find(|command| command.name == word)
        {
            found = Some((command, behind));
            (commands, rest) = (&command.children, behind);
        }
        found
    }

    /// Each group by the words that lead to it, none for the program itself, and the names below it, sorted.
    pub fn groups(&self) -> Vec<(String, Vec<&'static str>)> {
        let mut groups = Vec::new();
        group(String::new(), &self.commands, &mut groups);
        groups
    }

    fn help(&self) -> String {
        let usage = format!("Usage: {} [--version] [--help] <command> [<args>]", self.program);
        let mut text = format!("{usage}\n\nAvailable commands are:\n");
        list(&sorted(&self.commands), &mut text);
        text.push('\n');
        text
    }
}

fn group<T>(path: String, commands: &[Command<T>], groups: &mut Vec<(String, Vec<&'static str>)>) {
    let commands = sorted(commands);
    groups.push((path.clone(), commands.iter().map(|command| command.name).collect()));
    for command in commands.iter().filter(|command| !command.children.is_empty()) {
        let words = if path.is_empty() { command.name.to_owned() } else { format!("{path} {}", command.name) };
        group(words, &command.children, groups);
    }
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "-h" | "-help" | "--help")
}

fn sorted<T>(commands: &[Command<T>]) -> Vec<&Command<T>> {
    let mut commands: Vec<_> = commands.iter().collect();
    commands.sort_by_key(|command| command.name);
    commands
}

fn list<T>(commands: &[&Command<T>], text: &mut String) {
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or_default();
    for command in commands {
        // Writing to a string does not fail.
        let _infallible = writeln!(text, "    {:width$}    {}", command.name, command.synopsis());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Commands<&'static str> {
        let leaf = |name, path| Command::new(name, path, "Does it", path);
        Commands::new(
            "spire-server",
            vec![
                leaf("run", "run"),
                leaf("healthcheck", "healthcheck"),
                Command::group("token", vec![leaf("generate", "generate")]),
                Command::group("entry", vec![leaf("show", "entry show"), leaf("count", "entry count")]),
                Command::group(
                    "localauthority",
                    vec![
                        Command::group("x509", vec![leaf("activate", "localauthority x509 activate")]),
                        Command::group("jwt", vec![leaf("activate", "localauthority jwt activate")]),
                    ],
                ),
                Command::group("api", vec![leaf("fetch", "fetch x509").with(vec![leaf("jwt", "fetch jwt")])]),
            ],
        )
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    /// The command that runs and its arguments, or the exit code and the first line of the answer.
    fn resolve(line: &str) -> String {
        match server().resolve(&words(line)) {
            Resolution::Run(name, args) => format!("{name} {args:?}"),
            Resolution::Version => "version".into(),
            Resolution::Answer { text, exit_code } => format!("{exit_code} {}", text.lines().next().unwrap()),
        }
    }

    const USAGE: &str = "Usage: spire-server [--version] [--help] <command> [<args>]";

    #[test]
    fn finds_the_longest_command() {
        assert_eq!(resolve("run -config x"), r#"run ["-config", "x"]"#);
        assert_eq!(resolve("entry show show -id 1"), r#"entry show ["show", "-id", "1"]"#);
        assert_eq!(resolve("api fetch"), "fetch x509 []");
        assert_eq!(resolve("api fetch frobnicate"), r#"fetch x509 ["frobnicate"]"#);
        assert_eq!(resolve("api fetch jwt -audience a"), r#"fetch jwt ["-audience", "a"]"#);
        assert_eq!(resolve("localauthority jwt activate"), "localauthority jwt activate []");
    }

    #[test]
    fn an_unknown_command_exits_with_127() {
        for line in
            ["", "frobnicate", "wit mint", "-socketPath x healthcheck", "frobnicate -h", "-- run", "-socketPath"]
        {
            assert_eq!(resolve(line), format!("127 {USAGE}"), "{line}");
        }
    }

    #[test]
    fn a_group_without_a_command_exits_with_1_and_names_its_commands() {
        assert_eq!(resolve("entry"), "1 Usage of entry count:");
        assert_eq!(resolve("entry frobnicate"), "1 Usage of entry count:");
        assert_eq!(resolve("entry -x show"), "1 Usage of entry count:");
        assert_eq!(resolve("token"), "1 Usage of generate:");
        assert_eq!(resolve("api"), "1 Usage of fetch x509:");
        assert_eq!(resolve("localauthority jwt"), "1 Usage of localauthority jwt activate:");
        assert_eq!(resolve("localauthority"), "1 This command is accessed by using one of the subcommands below.");
    }

    #[test]
    fn help_counts_at_any_place() {
        for line in ["-h", "-help", "--help", "-x --help"] {
            assert_eq!(resolve(line), format!("0 {USAGE}"), "{line}");
        }
        assert_eq!(resolve("entry -h"), "0 Usage of entry count:");
        for line in ["entry show -h", "entry show -id 1 --help", "-h entry show"] {
            assert_eq!(resolve(line), r#"entry show ["-h"]"#, "{line}");
        }
        assert_eq!(resolve("entry show -- -h"), r#"entry show ["--", "-h"]"#);
    }

    #[test]
    fn version_counts_before_the_command() {
        for line in ["-v", "-version", "--version", "-version run", "-version -h"] {
            assert_eq!(resolve(line), "version", "{line}");
        }
        assert_eq!(resolve("run -version"), r#"run ["-version"]"#);
    }

    #[test]
    fn refuses_flags_before_the_command() {
        let refused = "1 Invalid flags before the subcommand. If these flags are for";
        assert_eq!(resolve("-socketPath healthcheck"), refused);
        assert_eq!(resolve("-x entry"), refused);
    }

    #[test]
    fn lists_commands_by_name() {
        let Resolution::Answer { text, .. } = server().resolve(&[]) else { panic!() };
        let expected = format!(
            "{USAGE}\n\nAvailable commands are:\n    api               \n    entry             \n    \
             healthcheck       Does it\n    localauthority    \n    run               Does it\n    token             \n\n"
        );
        assert_eq!(text, expected);
        let Resolution::Answer { text, .. } = server().resolve(&words("entry")) else { panic!() };
        assert_eq!(
            text,
            "Usage of entry count:\n  Does it\nUsage of entry show:\n  Does it\n\
             This command is accessed by using one of the subcommands below.\n\n\
             Subcommands:\n    count    Does it\n    show     Does it\n"
        );
    }
}
