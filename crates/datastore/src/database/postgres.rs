//! PostgreSQL's connection strings, as the reference's driver (lib/pq) reads them: `key=value` pairs or a URL.
//!
//! What a string leaves out comes from the environment (`PGHOST`, `PGUSER` and so on), the password last of all from the
//! file that `PGPASSFILE` names, unless it has a file of its own. All are asked at each new connection, so that a password
//! that was changed is found.

mod hosts;
mod passfile;
mod strings;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use steeple_runtime::Clock;

use self::hosts::{Host, Wanted, is_balanced};
use super::{CONNECT, PasswordFile, TLS_OF_POSTGRES, unreachable, within};
use crate::Error;
use crate::connection::Lent;

/// A PostgreSQL server, or several of which one is to be found that fits.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// By key, as the string gave them.
    settings: Arc<BTreeMap<String, String>>,
    /// In place of what `settings` and the environment say.
    password_file: Option<PasswordFile>,
    log_statements: bool,
    lent: Lent,
}

/// Keys that say how to connect, some of which have no meaning here. Any other is a parameter of the session.
const CONNECTING: [&str; 31] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "sslmode",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslinline",
    "sslsni",
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "application_name",
    "fallback_application_name",
    "options",
    "client_encoding",
    "datestyle",
    "krbsrvname",
    "krbspn",
    "binary_parameters",
    "disable_prepared_binary_result",
    "min_protocol_version",
    "max_protocol_version",
];

/// Keys that have one value here, which is the default.
const FIXED: [(&str, &str); 2] = [("client_encoding", "UTF8"), ("datestyle", "ISO, MDY")];

impl PostgresServer {
    /// The server that `connection_string` names.
    ///
    /// # Errors
    /// The string cannot be read ([`Error::ConnectionString`]).
    pub fn parse(connection_string: &str) -> Result<Self, Error> {
        let settings = match connection_string.split_once("://") {
            Some(("postgres" | "postgresql", _)) => strings::from_url(connection_string)?,
            _ => strings::from_pairs(connection_string).map_err(Error::ConnectionString)?,
        };
        // What people tell the reference's driver when such a thing is there.
        let told = settings.get("binary_parameters").is_some_and(|value| value == "yes");
        let settings = Arc::new(settings);
        let server = Self { settings, password_file: None, log_statements: false, lent: Lent::new(told) };
        // What is wrong with it is said now and not at the first connection.
        for (key, only) in FIXED {
            if let Some(other) = server.get(key).filter(|value| *value != only) {
                let text = format!("pq: unsupported {key} {other:?}: must be absent or {only:?}");
                return Err(Error::ConnectionString(text));
            }
        }
        if server.get("service").is_some() {
            return Err(Error::ConnectionString("service files are not supported; name the host".to_owned()));
        }
        server.timeout()?;
        is_balanced(&server)?;
        Wanted::of(&server)?;
        server.hosts()?;
        server.check_tls()?;
        server.session_options()?;
        Ok(server)
    }

    /// The same with the password that is in this file, in place of what else there may be.
    #[must_use]
    pub fn with_password_of(self, file: PasswordFile) -> Self {
        Self { password_file: Some(file), ..self }
    }

    pub(crate) fn logging(self, log_statements: bool) -> Self {
        Self { log_statements, ..self }
    }

    /// Whether the log tells each statement.
    pub(crate) fn is_logged(&self) -> bool {
        self.log_statements
    }

    /// Whether something lends connections to it.
    pub(crate) fn lent(&self) -> &Lent {
        &self.lent
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What the string says, or else the environment.
    fn get_or(&self, key: &str, variable: &str) -> Option<String> {
        let given = self.get(key).map(str::to_owned);
        given.or_else(|| std::env::var(variable).ok().filter(|value| !value.is_empty()))
    }

    /// Connects to the first of the servers that fits.
    ///
    /// # Errors
    /// None does: what each of them said.
    pub(crate) async fn connect(&self, clock: &Clock) -> Result<PgConnection, Error> {
        self.find(clock).await.map(|(connection, _)| connection)
    }

    /// As [`Self::connect`], with what leads there again.
    pub(crate) async fn find(&self, clock: &Clock) -> Result<(PgConnection, PgConnectOptions), Error> {
        let (mut hosts, wanted, timeout) = (self.hosts()?, Wanted::of(self)?, self.timeout()?);
        if is_balanced(self)? {
            hosts.sort_by_cached_key(|_| uuid::Uuid::new_v4());
        }
        let mut refused = Vec::new();
        for wanted in wanted.in_turn() {
            for host in &hosts {
                let options = self.options(host)?;
                let connecting = within(clock, timeout, options.connect()).await;
                let connected = connecting.map_err(|it| unreachable(it, timeout, &host.address(), TLS_OF_POSTGRES));
                let fitting = match connected {
                    Ok(mut connection) => wanted.fits(&mut connection).await.map(|()| connection),
                    Err(error) => Err(error),
                };
                match fitting {
                    Ok(connection) => return Ok((connection, options)),
                    Err(error) if hosts.len() == 1 => return Err(error),
                    Err(error) => refused.push(format!("connecting to {}: {}", host.label(), error.without_room())),
                }
            }
        }
        Err(Error::Unavailable(format!("pq: could not connect to any of the hosts:\n{}", refused.join("\n"))))
    }

    /// What `options` sets for the session.
    fn session_options(&self) -> Result<Vec<(String, String)>, Error> {
        strings::session_options(self.get("options").unwrap_or_default()).map_err(Error::ConnectionString)
    }

    /// How long one server has to let us in.
    fn timeout(&self) -> Result<Duration, Error> {
        let Some(text) = self.get_or("connect_timeout", "PGCONNECT_TIMEOUT") else { return Ok(CONNECT) };
        let seconds: i64 = text.parse().map_err(|_| not_a_number("connect_timeout", "Int", &text))?;
        // Nothing waits for ever here.
        Ok(u64::try_from(seconds).ok().filter(|it| *it > 0).map_or(CONNECT, Duration::from_secs))
    }

    /// Where the servers are.
    fn hosts(&self) -> Result<Vec<Host>, Error> {
        let names = self.get_or("host", "PGHOST").unwrap_or_else(|| "localhost".to_owned());
        let addresses = self.get_or("hostaddr", "PGHOSTADDR");
        hosts::listed(&names, addresses.as_deref(), self.get_or("port", "PGPORT").as_deref())
    }

    /// How to connect to one of them, as the environment has it now.
    fn options(&self, host: &Host) -> Result<PgConnectOptions, Error> {
        // Reads the environment, but not the file of passwords: that is for the host that is meant in the end.
        // No number here has a fraction, and what lends connections need not know how they are to be written.
        let mut options = PgConnectOptions::new_without_pgpass().port(host.port).extra_float_digits(None);
        options = if host.is_socket() { options.socket(&host.place) } else { options.host(&host.place) };
        if let Some(user) = self.get("user") {
            options = options.username(user);
        }
        if let Some(database) = self.get("dbname") {
            options = options.database(database);
        }
        if let Some(password) = self.password(host, &options)? {
            options = options.password(&password);
        }
        if let Some(name) = self.get("application_name").or_else(|| self.get("fallback_application_name")) {
            options = options.application_name(name);
        }
        options = self.with_tls(host, options)?;
        // They follow those of the environment, and the last one counts.
        let mut parameters = self.session_options()?;
        let others = self.settings.iter().filter(|(key, _)| !CONNECTING.contains(&key.as_str()));
        parameters.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        // Not sent where there are none: what stands between need not let them through.
        if !parameters.is_empty() {
            options = options.options(parameters);
        }
        Ok(options.disable_statement_logging())
    }

    /// None where there is none, and where the environment has one, which has been read.
    fn password(&self, host: &Host, options: &PgConnectOptions) -> Result<Option<String>, Error> {
        if let Some(file) = &self.password_file {
            return file.read().map(Some);
        }
        if let Some(password) = self.get("password") {
            return Ok(Some(password.to_owned()));
        }
        if std::env::var_os("PGPASSWORD").is_some() {
            return Ok(None);
        }
        let path = self.get("passfile").map(PathBuf::from).or_else(passfile::default_path);
        let Some(path) = path else { return Ok(None) };
        let login = passfile::Login {
            host: if host.is_socket() { "localhost" } else { &host.name },
            port: &host.port.to_string(),
            database: options.get_database().unwrap_or_else(|| options.get_username()),
            user: options.get_username(),
        };
        Ok(passfile::password(&path, &login))
    }
}

/// In the words of the reference's language.
fn not_a_number(key: &str, kind: &str, text: &str) -> Error {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    Error::ConnectionString(format!("pq: wrong value for {key:?}: strconv.Parse{kind}: parsing {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::postgres::PgSslMode;

    use super::*;

    fn settings(text: &str) -> Vec<(String, String)> {
        PostgresServer::parse(text).unwrap().settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn reads_pairs() {
        let text = "dbname = spire user=postgres password='p\\'w d' host=127.0.0.1 port=5432 sslmode=disable";
        let expected = [
            ("dbname", "spire"),
            ("host", "127.0.0.1"),
            ("password", "p'w d"),
            ("port", "5432"),
            ("sslmode", "disable"),
            ("user", "postgres"),
        ];
        assert_eq!(settings(text), pairs(&expected));
        assert_eq!(settings(r"password=a\ b\\c  "), pairs(&[("password", r"a b\c")]));
        assert_eq!(settings("host='' dbname=a"), pairs(&[("dbname", "a"), ("host", "")]));
        assert_eq!(settings(""), []);
    }

    #[test]
    fn reads_urls() {
        let text =
            "postgres://sp%40re:p%2Fw@[::1]:5433/data?sslmode=verify-full&search_path=a%2Cb&application_name=x+y";
        let expected = [
            ("application_name", "x y"),
            ("dbname", "data"),
            ("host", "::1"),
            ("password", "p/w"),
            ("port", "5433"),
            ("search_path", "a,b"),
            ("sslmode", "verify-full"),
            ("user", "sp@re"),
        ];
        assert_eq!(settings(text), pairs(&expected));
        assert_eq!(settings("postgresql://localhost/spire"), pairs(&[("dbname", "spire"), ("host", "localhost")]));
        assert_eq!(settings("postgres:///spire?host=%2Frun"), pairs(&[("dbname", "spire"), ("host", "/run")]));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for (text, why) in [
            ("host", r#"missing "=" after "host" in connection info string"#),
            ("password='secret", "unterminated quoted string literal in connection string"),
            ("password=a\\", "missing character after backslash"),
            ("port=many", r#"pq: wrong value for "port": strconv.ParseUint: parsing "many": invalid syntax"#),
            ("port=99999", r#"pq: wrong value for "port": strconv.ParseUint: parsing "99999": value out of range"#),
            ("host=a,b port=1,2,3", "pq: could not match 3 port numbers to 2 hosts"),
            (
                "connect_timeout=x",
                r#"pq: wrong value for "connect_timeout": strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            ("client_encoding=latin1", r#"pq: unsupported client_encoding "latin1": must be absent or "UTF8""#),
            (
                "sslrootcert=system sslmode=verify-ca",
                "pq: weak sslmode \"verify-ca\" may not be used with sslrootcert=system (use \"verify-full\")",
            ),
            ("options='-d 5'", "pq: unsupported option \"-d\" in \"options\": only -c name=value and --name=value are"),
            ("options=-c", "pq: unsupported option \"\" in \"options\": only -c name=value and --name=value are"),
            ("service=db", "service files are not supported; name the host"),
            (
                "sslmode=never",
                "pq: wrong value for \"sslmode\": \"never\" is not supported; supported values are disable, allow, prefer, \
                 require, verify-full, or verify-ca",
            ),
            (
                "target_session_attrs=x",
                "pq: wrong value for \"target_session_attrs\": \"x\" is not supported; supported values are any, \
                 read-write, read-only, primary, standby, or prefer-standby",
            ),
        ] {
            let error = PostgresServer::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }

    fn options(text: &str) -> PgConnectOptions {
        let server = PostgresServer::parse(text).unwrap();
        server.options(&server.hosts().unwrap()[0]).unwrap()
    }

    #[test]
    fn options_of_the_string_reach_the_session_before_its_other_parameters() {
        let sent = options("host=db.test options='-c geqo=off --work_mem=8MB' search_path=a");
        let sent = sent.get_options().unwrap_or_default();
        assert!(sent.ends_with("-c geqo=off -c work_mem=8MB -c search_path=a"), "{sent}");
    }

    #[test]
    fn sockets_are_hosts_that_begin_with_a_slash() {
        assert_eq!(options("host=/run/postgresql").get_socket().unwrap(), Path::new("/run/postgresql"));
        assert!(
            matches!(options("host=/run/postgresql").get_ssl_mode(), PgSslMode::Disable),
            "nobody reads along there"
        );
        assert_eq!(options("host=db.test port=1").get_port(), 1);
        assert!(matches!(options("host=db.test").get_ssl_mode(), PgSslMode::Require));
    }

    #[test]
    fn whom_a_server_is_compared_with_makes_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "").unwrap();
        let mode = |text: &str| options(text).get_ssl_mode();
        assert!(matches!(mode(&format!("sslrootcert={}", file.display())), PgSslMode::VerifyCa));
        assert!(matches!(mode("sslrootcert=system"), PgSslMode::VerifyFull));
        assert!(matches!(mode("host=db.test hostaddr=127.0.0.1 sslmode=verify-ca"), PgSslMode::VerifyCa));
        let refused = |text: &str| {
            let server = PostgresServer::parse(text).unwrap();
            server.options(&server.hosts().unwrap()[0]).unwrap_err().to_string()
        };
        let error = refused("sslrootcert=/none.pem");
        assert!(error.ends_with("open /none.pem: no such file or directory"), "{error}");
        let error = refused("host=db.test hostaddr=127.0.0.1 sslmode=verify-full");
        assert!(error.ends_with("leave hostaddr out"), "{error}");
    }
}
