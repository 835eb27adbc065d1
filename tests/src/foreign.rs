//! Workloads in the languages of others, with the libraries that others use: `tests/go`, `tests/java`, `tests/python` and
//! `tests/rust`. Their commands, flags and events are the same; `tests/go/main.go` says which.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::{Agent, Daemon, Scratch, cannot_run_here};

/// A language, and its library of the SPIFFE standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// go-spiffe.
    Go,
    /// java-spiffe.
    Java,
    /// py-spiffe: the packages `spiffe` and `spiffe-tls`.
    Python,
    /// The crate `spiffe`.
    Rust,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Go, Self::Java, Self::Python, Self::Rust];

    /// In lower case, for logs and names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Java => "java",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// The workloads in this language, built once a run; `None` where this machine lacks what builds them, which is then
    /// said under `case`.
    ///
    /// # Errors
    /// They do not build, or what builds them is missing where everything must run.
    pub fn workloads(self, case: &str) -> Result<Option<ForeignWorkloads>> {
        static BUILT: [OnceLock<Result<Option<Vec<String>>, String>>; 4] = [const { OnceLock::new() }; 4];
        let build = || match self.missing_tool() {
            Some(_) => Ok(None),
            None => self.build().map(Some).map_err(|error| format!("{error:#}")),
        };
        match BUILT[self as usize].get_or_init(build) {
            Ok(Some(words)) => Ok(Some(ForeignWorkloads { language: self, words })),
            Ok(None) => {
                let missing = self.missing_tool().unwrap_or("what builds it");
                let reason = format!("there is no `{missing}` for workloads in {self:?}");
                cannot_run_here(case, &reason).map(|()| None)
            }
            Err(error) => Err(anyhow!("workloads in {self:?}: {error}")),
        }
    }

    fn missing_tool(self) -> Option<&'static str> {
        let tools: &[&str] = match self {
            Self::Go => &["go"],
            Self::Java => &["javac", "java", "mvn"],
            Self::Python => &["python3"],
            Self::Rust => &["cargo"],
        };
        tools.iter().copied().find(|tool| is_missing(tool))
    }

    /// Builds into cargo's directory, and returns the words that start a workload.
    fn build(self) -> Result<Vec<String>> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.name());
        // Tests run from `target/PROFILE/deps`.
        let test = env::current_exe()?;
        let deps = test.parent().context("this test has no directory")?;
        let into = deps.join(format!("steeple-{}-workloads", self.name()));
        match self {
            Self::Go => go(&source, &into),
            Self::Java => java(&source, &into),
            Self::Python => python(&source, &into),
            Self::Rust => rust(&source, deps),
        }
    }
}

/// The program with the workloads of one language.
#[derive(Debug, Clone, Copy)]
pub struct ForeignWorkloads {
    language: Language,
    words: &'static [String],
}

impl ForeignWorkloads {
    /// Starts the sub-command `args` on the node of `agent`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, agent: &Agent, args: &[&str], scratch: &Scratch) -> Result<ForeignWorkload> {
        let (command, flags) = args.split_first().context("no sub-command")?;
        let name = format!("{} {command}", self.language.name());
        // Several of one case may run the same command.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = scratch.path().join(format!("{}-{command}-{number}.log", self.language.name()));
        let socket = format!("unix://{}", agent.socket.display());
        let (program, first) = self.words.split_first().context("no program")?;
        let first = first.iter().map(String::as_str);
        let args: Vec<&str> = first.chain([*command, "-socket", &socket]).chain(flags.iter().copied()).collect();
        Ok(ForeignWorkload { process: Daemon::start(&name, Path::new(program), &args, &log)?, name })
    }
}

/// A workload that runs. It prints one JSON object a line, each with an `event`; other lines are its library's.
pub struct ForeignWorkload {
    process: Daemon,
    name: String,
}

impl ForeignWorkload {
    /// Waits for the first event of this name.
    ///
    /// # Errors
    /// The workload ends without it.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        let line = self.process.line(&format!(r#""event":"{name}""#)).await?;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    /// The events up to now.
    ///
    /// # Errors
    /// A line looks like one, and is none.
    pub fn events(&self) -> Result<Vec<Value>> {
        let log = self.process.log()?;
        let lines = log.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
    }

    /// Waits until it has ended well and returns its events.
    ///
    /// # Errors
    /// It fails.
    pub async fn finish(mut self) -> Result<Vec<Value>> {
        let status = self.process.exit().await?;
        ensure!(status.success(), "{} failed ({status}): {}", self.name, self.process.log()?);
        self.events()
    }
}

fn go(source: &Path, into: &Path) -> Result<Vec<String>> {
    run(Command::new("go").arg("build").arg("-o").arg(into).arg(".").current_dir(source))?;
    Ok(vec![word(into)])
}

/// The libraries are fetched once, and each is what `jars.sha256` says.
fn java(source: &Path, into: &Path) -> Result<Vec<String>> {
    let (libraries, classes, sums) = (into.join("lib"), into.join("classes"), source.join("jars.sha256"));
    fs::create_dir_all(&libraries)?;
    let check = || {
        let known = fs::read_to_string(&sums)?.lines().count();
        ensure!(fs::read_dir(&libraries)?.count() == known, "libraries that jars.sha256 does not name, or not all");
        run(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&sums).current_dir(&libraries))
    };
    if check().is_err() {
        fs::remove_dir_all(&libraries)?;
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--quiet", "--strict-checksums", "--file"]).arg(source.join("pom.xml"));
        copy.arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies");
        copy.args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", libraries.display())]);
        run(&mut copy)?;
        check()?;
    }
    let libraries = format!("{}/*", libraries.display());
    let program = source.join("Workload.java");
    run(Command::new("javac").args(["-Xlint:all", "-Werror", "-cp", &libraries, "-d"]).arg(&classes).arg(program))?;
    let path = format!("{libraries}:{}", classes.display());
    // It lives for seconds: what the second compiler gains is not worth its time.
    Ok(["java", "-XX:TieredStopAtLevel=1", "-Xmx96m", "-cp", &path, "Workload"].map(str::to_owned).to_vec())
}

/// A virtual environment with what `requirements.txt` names, made anew when that has changed.
fn python(source: &Path, into: &Path) -> Result<Vec<String>> {
    let (wanted, made) = (source.join("requirements.txt"), into.join("requirements.txt"));
    let interpreter = into.join("bin/python");
    if fs::read(&made).ok() != Some(fs::read(&wanted)?) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(into))?;
        let mut install = Command::new(&interpreter);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        // No package is built here: what is fetched has the hash of what was looked at, and runs nothing on the way.
        install.args(["--require-hashes", "--only-binary", ":all:", "--requirement"]).arg(&wanted);
        run(&mut install)?;
        // Last, since it says that all is there.
        fs::copy(&wanted, &made)?;
    }
    // Nothing is written into the source.
    Ok(vec![word(&interpreter), "-B".to_owned(), word(&source.join("workload.py"))])
}

/// In the target directory of the project: what both use is built once.
fn rust(source: &Path, deps: &Path) -> Result<Vec<String>> {
    let profile = deps.parent().context("this test does not run from cargo's directory")?;
    let target = profile.parent().context("this test does not run from cargo's directory")?;
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
    build.arg("--target-dir").arg(target);
    // Cargo's own variables for this test are none of its business.
    env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")).for_each(|(name, _)| {
        build.env_remove(name);
    });
    run(&mut build)?;
    Ok(vec![word(&target.join("debug/steeple-rust-workload"))])
}

/// Whether this machine lacks a program.
pub(crate) fn is_missing(tool: &str) -> bool {
    // One that knows no such flag is there none the less.
    let started = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Runs a command to its end; an error has all that it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    Ok(())
}

fn word(path: &Path) -> String {
    PathBuf::from(path).to_string_lossy().into_owned()
}
