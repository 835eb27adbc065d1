//! PostgreSQL's connection strings, as the reference's driver (lib/pq) reads them: `key=value` pairs or a URL.
//!
//! What a string leaves out comes from the environment (`PGHOST`, `PGUSER` and so on), the password last of all from the
//! file that `PGPASSFILE` names. Both are asked at each new connection, so that a password that was changed is found.

mod passfile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::Error;
use crate::connection::Lent;

/// A PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// By key, as the string gave them.
    settings: Arc<BTreeMap<String, String>>,
    log_statements: bool,
    lent: Lent,
}

/// Keys that say how to connect. Any other is a parameter of the session.
const CONNECTING: [&str; 19] = [
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
    "connect_timeout",
    "application_name",
    "fallback_application_name",
    "options",
    "binary_parameters",
];

impl PostgresServer {
    /// The server that `connection_string` names.
    ///
    /// # Errors
    /// The string cannot be read ([`Error::ConnectionString`]).
    pub fn parse(connection_string: &str) -> Result<Self, Error> {
        let settings = match connection_string.split_once("://") {
            Some(("postgres" | "postgresql", _)) => from_url(connection_string)?,
            _ => from_pairs(connection_string).map_err(Error::ConnectionString)?,
        };
        // What people tell the reference's driver when such a thing is there.
        let told = settings.get("binary_parameters").is_some_and(|value| value == "yes");
        let server = Self { settings: Arc::new(settings), log_statements: false, lent: Lent::new(told) };
        // What is wrong with it is said now and not at the first connection.
        server.options()?;
        Ok(server)
    }

    pub(crate) fn logging(self, log_statements: bool) -> Self {
        Self { log_statements, ..self }
    }

    /// Whether something lends connections to it.
    pub(crate) fn lent(&self) -> &Lent {
        &self.lent
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How to connect, as the environment has it now.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, Error> {
        // Reads the environment, but not the file of passwords: that is for the host that is meant in the end.
        let mut options = at(PgConnectOptions::new_without_pgpass(), &self.host());
        if let Some(port) = self.get("port") {
            let port = port.parse().map_err(|_| Error::ConnectionString(format!("invalid port {port:?}")))?;
            options = options.port(port);
        }
        if let Some(user) = self.get("user") {
            options = options.username(user);
        }
        if let Some(database) = self.get("dbname") {
            options = options.database(database);
        }
        if let Some(password) = self.password(&options) {
            options = options.password(&password);
        }
        if let Some(name) = self.get("application_name").or_else(|| self.get("fallback_application_name")) {
            options = options.application_name(name);
        }
        options = self.tls(options)?;
        let mut parameters = self.settings.iter().filter(|(key, _)| !CONNECTING.contains(&key.as_str())).peekable();
        // Not sent where there are none: what stands between need not let them through.
        if parameters.peek().is_some() {
            options = options.options(parameters);
        }
        Ok(if self.log_statements { options } else { options.disable_statement_logging() })
    }

    /// Where the server is: a name, an address, or the directory of a socket.
    fn host(&self) -> String {
        let given = self.get("hostaddr").or_else(|| self.get("host")).map(str::to_owned);
        let given = given.or_else(|| std::env::var("PGHOST").ok()).filter(|host| !host.is_empty());
        given.unwrap_or_else(|| "localhost".to_owned())
    }

    /// None where there is none, and where the environment has one, which has been read.
    fn password(&self, options: &PgConnectOptions) -> Option<String> {
        if let Some(password) = self.get("password") {
            return Some(password.to_owned());
        }
        if std::env::var_os("PGPASSWORD").is_some() {
            return None;
        }
        let path = self.get("passfile").map(PathBuf::from).or_else(passfile::default_path)?;
        let name = self.get("host").map_or_else(|| self.host(), str::to_owned);
        let login = passfile::Login {
            host: if Path::new(&name).is_absolute() { "localhost" } else { &name },
            port: &options.get_port().to_string(),
            database: options.get_database().unwrap_or_else(|| options.get_username()),
            user: options.get_username(),
        };
        passfile::password(&path, &login)
    }

    /// What it is called in errors.
    pub(crate) fn address(&self) -> String {
        let port = self.options().map_or(0, |options| options.get_port());
        match self.host() {
            directory if Path::new(&directory).is_absolute() => format!("unix {directory}/.s.PGSQL.{port}"),
            host => format!("tcp {host}:{port}"),
        }
    }

    fn tls(&self, options: PgConnectOptions) -> Result<PgConnectOptions, Error> {
        let from_environment = std::env::var("PGSSLMODE").ok();
        let root = self.get("sslrootcert");
        let mode = match self.get("sslmode").or(from_environment.as_deref()).unwrap_or("require") {
            "disable" => PgSslMode::Disable,
            "allow" => PgSslMode::Allow,
            "prefer" => PgSslMode::Prefer,
            // With an authority to compare with, a certificate that is not compared would be a surprise.
            "require" if root.is_some() => PgSslMode::VerifyCa,
            "require" => PgSslMode::Require,
            "verify-ca" => PgSslMode::VerifyCa,
            "verify-full" => PgSslMode::VerifyFull,
            other => {
                return Err(Error::ConnectionString(format!(
                    "unsupported sslmode {other:?}; only \"require\" (default), \"verify-full\", \"verify-ca\", \
                     \"prefer\", \"allow\" and \"disable\" are supported"
                )));
            }
        };
        let mut options = options.ssl_mode(mode);
        if matches!(mode, PgSslMode::Disable) {
            return Ok(options);
        }
        let inline = matches!(self.get("sslinline"), Some("true" | "yes" | "1" | "on"));
        if let Some(root) = root.filter(|root| *root != "system") {
            options = if inline { options.ssl_root_cert_from_pem(root.into()) } else { options.ssl_root_cert(root) };
        }
        if let (Some(certificate), Some(key)) = (self.get("sslcert"), self.get("sslkey")) {
            options = if inline {
                options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key)
            } else {
                options.ssl_client_cert(certificate).ssl_client_key(key)
            };
        }
        Ok(options)
    }
}

/// A host that begins with a slash is the directory of a socket.
fn at(options: PgConnectOptions, host: &str) -> PgConnectOptions {
    if Path::new(host).is_absolute() { options.socket(host) } else { options.host(host) }
}

/// `host=localhost user='a b'`: spaces around the `=` are allowed, a backslash takes the next character as it is.
fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| format!("missing \"=\" after {:?} in connection info string", rest.trim_end()))?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("missing \"=\" after {:?} in connection info string", key));
        }
        let (value, after) = value(after.trim_start())?;
        settings.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(settings)
}

/// The value at the beginning of `text`, and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return Err("missing character after backslash".to_owned()),
            },
            '\'' if quoted => return Ok((value, &body[place + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[place..])),
            c => value.push(c),
        }
    }
    if quoted { Err("unterminated quoted string literal in connection string".to_owned()) } else { Ok((value, "")) }
}

/// `postgres://user:password@host:port/database?key=value`
fn from_url(text: &str) -> Result<BTreeMap<String, String>, Error> {
    // The text may hold a password.
    let unreadable = |what: &str| Error::ConnectionString(format!("unable to read the URL: {what}"));
    let (_, rest) = text.split_once("://").ok_or_else(|| unreadable("no scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, at)| (Some(user), at));
    let mut settings = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            settings.insert(key.to_owned(), super::percent_decoded(value));
        }
    };
    if let Some(user) = user {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        set("user", user);
        set("password", password);
    }
    let (host, port) = match address.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
        None => address.rsplit_once(':').unwrap_or((address, "")),
    };
    set("host", host);
    set("port", port);
    set("dbname", database);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(key, &value.replace('+', " "));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
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
            ("port=many", r#"invalid port "many""#),
        ] {
            let error = PostgresServer::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
        assert!(PostgresServer::parse("sslmode=never").unwrap_err().to_string().contains("unsupported sslmode"));
    }

    #[test]
    fn sockets_are_hosts_that_begin_with_a_slash() {
        let options = |text| PostgresServer::parse(text).unwrap().options().unwrap();
        assert_eq!(options("host=/run/postgresql").get_socket().unwrap(), Path::new("/run/postgresql"));
        assert_eq!(options("host=db.test port=1").get_port(), 1);
        assert!(matches!(options("host=db.test").get_ssl_mode(), PgSslMode::Require));
        assert!(matches!(options("sslrootcert=/ca.pem").get_ssl_mode(), PgSslMode::VerifyCa));
    }
}
