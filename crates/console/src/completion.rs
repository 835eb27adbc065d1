//! `completion`: what shells complete a command line with. Commands stand in the script; flags are asked of the command
//! itself, by `-h`, so that they are those of the program that is installed.

use std::fmt::Write as _;
use std::process::ExitCode;

use steeple_config::commands::Commands;
use steeple_config::flags::FlagSet;

use crate::program::{Program, Run};
use crate::{print, usage};

/// Prints the script for the shell that the argument names.
pub fn run(program: &Program, args: &[String], commands: &Commands<Run>) -> ExitCode {
    if let Err(misused) = usage::parse(FlagSet::new("completion"), args) {
        return misused.tell();
    }
    let script = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bash"] => bash(program.name(), &commands.groups()),
        // It understands what is written for the other one.
        ["zsh"] => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(program.name(), &commands.groups())),
        ["fish"] => fish(program.name(), &commands.groups()),
        _ => {
            print::err("Say for which shell: completion bash, completion zsh or completion fish\n");
            return ExitCode::FAILURE;
        }
    };
    print::out(&script);
    ExitCode::SUCCESS
}

/// Words on the way to a group, and the names below it.
type Groups = Vec<(String, Vec<&'static str>)>;

/// A name that shells take for one of a function.
fn function(program: &str) -> String {
    program.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn bash(program: &str, groups: &Groups) -> String {
    let function = function(program);
    let mut cases = String::new();
    for (path, names) in groups {
        // Writing to a string does not fail.
        let _ = writeln!(cases, "        '{path}') COMPREPLY=($(compgen -W '{}' -- \"$current\")) ;;", names.join(" "));
    }
    format!(
        r#"_{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} word path=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word == -* ]] && break
        path+=("$word")
    done
    case "${{path[*]}}" in
{cases}        *)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W "$({program} "${{path[@]}}" -h 2>&1 | sed -n 's/^  \(-[A-Za-z0-9]*\).*/\1/p')" -- "$current"))
            else
                COMPREPLY=($(compgen -f -- "$current"))
            fi
            ;;
    esac
}}
complete -o filenames -F _{function} {program}
"#
    )
}

fn fish(program: &str, groups: &Groups) -> String {
    let function = function(program);
    let mut cases = String::new();
    for (path, names) in groups {
        let _ = writeln!(cases, "        case '{path}'\n            printf '%s\\n' {}", names.join(" "));
    }
    format!(
        r#"function __{function}_words
    set -l path
    for word in (commandline -opc)[2..]
        string match -q -- '-*' $word; and break
        set -a path $word
    end
    switch "$path"
{cases}        case '*'
            {program} $path -h 2>&1 | string replace -rf '^  (-[A-Za-z0-9]+).*' '$1'
    end
end
complete -c {program} -a '(__{function}_words)'
"#
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command as Process;

    use steeple_config::commands::Command;

    use super::*;

    fn groups() -> Groups {
        let leaf = |name| Command::new(name, name, "Does it", ());
        let commands = vec![
            leaf("run"),
            Command::group("entry", vec![leaf("show"), leaf("create")]),
            Command::group("localauthority", vec![Command::group("x509", vec![leaf("taint")])]),
        ];
        Commands::new("steeple-server", commands).groups()
    }

    #[test]
    fn bash_completes_commands_and_the_flags_that_a_command_tells() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("steeple-server");
        fs::write(
            &program,
            "#!/bin/sh\nprintf 'Usage of %s %s:\\n  -output format\\n    \\tHow\\n  -spiffeID id\\n' $1 $2 >&2\n",
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let script = dir.path().join("script");
        fs::write(&script, bash("steeple-server", &groups())).unwrap();
        let completed = |line: &str| {
            let words: Vec<_> = line.split(' ').map(|word| format!("'{word}'")).collect();
            let ask = format!(
                "PATH={}:$PATH; . {}; COMP_WORDS=({}); COMP_CWORD={}; _steeple_server; echo \"${{COMPREPLY[*]}}\"",
                dir.path().display(),
                script.display(),
                words.join(" "),
                words.len() - 1
            );
            let output = Process::new("bash").args(["-c", &ask]).output().unwrap();
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(completed("steeple-server "), "entry localauthority run");
        assert_eq!(completed("steeple-server en"), "entry");
        assert_eq!(completed("steeple-server entry "), "create show");
        assert_eq!(completed("steeple-server localauthority x509 t"), "taint");
        assert_eq!(completed("steeple-server entry create -"), "-output -spiffeID");
        assert_eq!(completed("steeple-server entry create -output json -s"), "-spiffeID");
    }

    #[test]
    fn fish_has_the_same_words() {
        let script = fish("steeple-server", &groups());
        assert!(script.contains("case 'localauthority x509'\n            printf '%s\\n' taint\n"), "{script}");
        assert!(script.ends_with("complete -c steeple-server -a '(__steeple_server_words)'\n"), "{script}");
    }
}
