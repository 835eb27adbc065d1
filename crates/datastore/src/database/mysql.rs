//! MySQL's connection strings, as the reference's driver (go-sql-driver) reads them:
//! `user:password@tcp(host:3306)/database?parseTime=true`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::{PasswordFile, percent_decoded, roots};
use crate::Error;

/// A MySQL or MariaDB server.
#[derive(Clone, Debug)]
pub struct MySqlServer(Arc<Settings>);

#[derive(Clone, Debug)]
struct Settings {
    user: String,
    password: String,
    /// In place of `password`.
    password_file: Option<PasswordFile>,
    address: Address,
    database: String,
    tls: MySqlSslMode,
    charset: Option<String>,
    collation: Option<String>,
    zone: TimeZone,
    /// Variables of the session, in the order of the string.
    variables: Vec<(String, String)>,
    files: TlsFiles,
    log_statements: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

/// Parameters that are the reference's driver's own and have no meaning here: bounds of time and size, and ways of doing
/// things. Ours has its own.
const OF_THE_DRIVER: [&str; 19] = [
    "allowAllFiles",
    "allowCleartextPasswords",
    "allowFallbackToPlaintext",
    "allowNativePasswords",
    "allowOldPasswords",
    "checkConnLiveness",
    "clientFoundRows",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "maxAllowedPacket",
    "multiStatements",
    "readTimeout",
    "rejectReadOnly",
    "serverPubKey",
    "timeTruncate",
    "timeout",
    "writeTimeout",
];

/// Files for TLS, which stand beside the connection string. Authorities switch TLS on, and so do certificate and key
/// together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities of the server's certificate.
    pub root_ca: Option<PathBuf>,
    /// The client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// The client's key.
    pub client_key: Option<PathBuf>,
}

impl MySqlServer {
    /// The server that `connection_string` names.
    ///
    /// # Errors
    /// The string cannot be read ([`Error::ConnectionString`]), or times would not be read as times
    /// ([`Error::ParseTimeMissing`]).
    pub fn parse(connection_string: &str, files: TlsFiles) -> Result<Self, Error> {
        // The password may hold any of the other marks, so that the string is read from its end.
        let wrong = Error::ConnectionString;
        let invalid = |text: &str| wrong(format!("invalid DSN: {text}"));
        let (before, after) = connection_string
            .rsplit_once('/')
            .ok_or_else(|| invalid("missing the slash separating the database name"))?;
        let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
        let (user, address) = before.rsplit_once('@').map_or(("", before), |(user, address)| (user, address));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let mut settings = Settings {
            user: user.to_owned(),
            password: password.to_owned(),
            password_file: None,
            address: Address::parse(address).map_err(wrong)?,
            database: percent_decoded(database),
            tls: MySqlSslMode::Disabled,
            charset: None,
            collation: None,
            zone: TimeZone::UTC,
            variables: Vec::new(),
            files,
            log_statements: false,
        };
        let mut parse_time = false;
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            // What has no value says nothing.
            let Some((key, value)) = pair.split_once('=') else { continue };
            let value = percent_decoded(value);
            match key {
                "parseTime" => {
                    parse_time = boolean(&value).ok_or_else(|| wrong(format!("invalid bool value: {value}")))?
                }
                "loc" => settings.zone = zone(&value).ok_or_else(|| wrong(format!("unknown time zone {value}")))?,
                "tls" => {
                    settings.tls =
                        tls(&value).ok_or_else(|| wrong(format!("invalid value / unknown config name: {value}")))?
                }
                // Texts are UTF-8 here. Another character set would have the server change them.
                "charset" => settings.charset = value.split(',').find(|it| it.starts_with("utf8")).map(str::to_owned),
                "collation" => settings.collation = Some(value),
                key if OF_THE_DRIVER.contains(&key) => {}
                key => settings.variables.push((key.to_owned(), value)),
            }
        }
        if !parse_time {
            return Err(Error::ParseTimeMissing);
        }
        let TlsFiles { root_ca, client_certificate, client_key } = &settings.files;
        if client_certificate.is_some() != client_key.is_some() {
            tracing::warn!(target: "sql", "client_cert_path and client_key_path have no effect without each other");
        }
        if root_ca.is_some() || (client_certificate.is_some() && client_key.is_some()) {
            settings.tls = MySqlSslMode::VerifyIdentity;
        }
        Ok(Self(Arc::new(settings)))
    }

    /// The same with the password that is in this file, in place of the string's.
    #[must_use]
    pub fn with_password_of(&self, file: PasswordFile) -> Self {
        Self(Arc::new(Settings { password_file: Some(file), ..(*self.0).clone() }))
    }

    pub(crate) fn logging(&self, log_statements: bool) -> Self {
        Self(Arc::new(Settings { log_statements, ..(*self.0).clone() }))
    }

    /// Whether the log tells each statement.
    pub(crate) fn is_logged(&self) -> bool {
        self.0.log_statements
    }

    /// The zone in which time columns are written.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// What is to be done on each new connection, if anything is.
    pub(crate) fn session(&self) -> Option<String> {
        let set: Vec<_> = self.0.variables.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        (!set.is_empty()).then(|| format!("SET {}", set.join(", ")))
    }

    /// What it is called in errors.
    pub(crate) fn address(&self) -> String {
        match &self.0.address {
            Address::Tcp { host, port } => format!("tcp {host}:{port}"),
            Address::Socket(path) => format!("unix {}", path.display()),
        }
    }

    /// How to connect, with the password as its file has it now.
    pub(crate) fn options(&self) -> Result<MySqlConnectOptions, Error> {
        let Settings {
            user,
            password,
            password_file,
            address,
            database,
            tls,
            charset,
            collation,
            zone: _,
            variables: _,
            files,
            log_statements: _,
        } = &*self.0;
        let mut options = MySqlConnectOptions::new().username(user).ssl_mode(*tls).pipes_as_concat(false);
        options = match address {
            Address::Tcp { host, port } => options.host(host).port(*port),
            Address::Socket(path) => options.socket(path),
        };
        let password = password_file.as_ref().map_or_else(|| Ok(password.clone()), PasswordFile::read)?;
        if !password.is_empty() {
            options = options.password(&password);
        }
        if !database.is_empty() {
            options = options.database(database);
        }
        if let Some(charset) = charset {
            options = options.charset(charset);
        }
        if let Some(collation) = collation {
            options = options.collation(collation);
        }
        let TlsFiles { root_ca, client_certificate, client_key } = files;
        if let Some(root_ca) = root_ca {
            readable(root_ca)?;
            options = options.ssl_ca(root_ca);
        } else if matches!(tls, MySqlSslMode::VerifyIdentity) {
            options = options.ssl_ca_from_pem(roots::of_this_host()?);
        }
        if let (Some(certificate), Some(key)) = (client_certificate, client_key) {
            if [certificate, key].iter().any(|path| std::fs::read(path).is_err()) {
                let what = "failed to load client certificate defined in client_cert_path and client_key_path";
                return Err(Error::ConnectionString(format!("invalid mysql config: {what}")));
            }
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        Ok(options.disable_statement_logging())
    }
}

impl Address {
    /// `tcp(host:port)`, `unix(/path)`, or what stands for `tcp(127.0.0.1:3306)`.
    fn parse(text: &str) -> Result<Self, String> {
        let (network, address) = match text.split_once('(') {
            Some((network, rest)) => {
                let address = rest
                    .strip_suffix(')')
                    .ok_or("invalid DSN: network address not terminated (missing closing brace)")?;
                (network, address)
            }
            None => (text, ""),
        };
        match network {
            "" | "tcp" | "tcp6" => {
                let address = if address.is_empty() { "127.0.0.1" } else { address };
                let (host, port) = match address.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
                    Some((host, port)) => (host, port.strip_prefix(':')),
                    None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
                };
                let port = port
                    .map_or(Ok(3306), str::parse)
                    .map_err(|_| format!("invalid DSN: invalid port in {address:?}"))?;
                Ok(Self::Tcp { host: host.to_owned(), port })
            }
            "unix" => Ok(Self::Socket(if address.is_empty() { "/tmp/mysql.sock" } else { address }.into())),
            "cloudsql" => {
                let instead = "name the address of its Auth Proxy, as tcp(host:port) or unix(/path)";
                Err(format!("network 'cloudsql' is not dialled from here: {instead}"))
            }
            other => Err(format!("default addr for network '{other}' unknown")),
        }
    }
}

/// What is wrong with the file is said in the reference's words before the driver says it in others.
fn readable(root_ca: &Path) -> Result<(), Error> {
    let wrong =
        |what: &str| Error::ConnectionString(format!("invalid mysql config: {what} Root CA defined in root_ca_path"));
    let text = std::fs::read_to_string(root_ca).map_err(|_| wrong("cannot find"))?;
    steeple_spiffe::x509::parse_pem(&text).map(drop).map_err(|_| wrong("failed to parse"))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "TRUE" | "True" => Some(true),
        "0" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn tls(text: &str) -> Option<MySqlSslMode> {
    Some(match text.to_ascii_lowercase().as_str() {
        "true" | "1" => MySqlSslMode::VerifyIdentity,
        "false" | "0" => MySqlSslMode::Disabled,
        "skip-verify" => MySqlSslMode::Required,
        "preferred" => MySqlSslMode::Preferred,
        _ => return None,
    })
}

fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" | "" => Some(TimeZone::UTC),
        "Local" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        (*MySqlServer::parse(text, TlsFiles::default()).unwrap().0).clone()
    }

    #[test]
    fn reads_the_drivers_strings() {
        let read =
            settings("spire:p@ss/w:rd@tcp(db.test:3307)/spire?parseTime=true&tls=skip-verify&loc=Asia%2FKolkata");
        assert_eq!(
            (read.user.as_str(), read.password.as_str(), read.database.as_str()),
            ("spire", "p@ss/w:rd", "spire")
        );
        assert_eq!(read.address, Address::Tcp { host: "db.test".into(), port: 3307 });
        assert!(matches!(read.tls, MySqlSslMode::Required));
        assert_eq!(read.zone, TimeZone::get("Asia/Kolkata").unwrap());

        for (text, host, port) in [
            ("/spire?parseTime=true", "127.0.0.1", 3306),
            ("u@tcp/spire?parseTime=1", "127.0.0.1", 3306),
            ("u@tcp(db)/spire?parseTime=1", "db", 3306),
            ("u@tcp([::1]:7)/spire?parseTime=1", "::1", 7),
            ("u@tcp([::1])/spire?parseTime=1", "::1", 3306),
        ] {
            assert_eq!(settings(text).address, Address::Tcp { host: host.into(), port }, "{text}");
        }
        assert_eq!(settings("/spire?parseTime=true&charset=latin1").charset, None);
        assert_eq!(settings("/spire?parseTime=true&flag").variables, []);
        let read = settings("u:p@unix(/run/my.sock)/spire?parseTime=true&charset=none,utf8mb4,utf8");
        assert_eq!(read.address, Address::Socket("/run/my.sock".into()));
        assert_eq!(read.charset.as_deref(), Some("utf8mb4"));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for (text, why) in [
            ("spire", "missing the slash separating the database name"),
            ("u@tcp(db/spire?parseTime=true", "missing closing brace"),
            ("u@tcp(db:x)/spire?parseTime=true", "invalid port"),
            ("u@pipe(db)/spire?parseTime=true", "default addr for network 'pipe' unknown"),
            ("u@cloudsql(p:r:i)/spire?parseTime=true", "network 'cloudsql' is not dialled from here"),
            ("u@tcp(db)/spire?parseTime=yes", "invalid bool value: yes"),
            ("u@tcp(db)/spire?parseTime=true&tls=maybe", "unknown config name: maybe"),
            ("u@tcp(db)/spire?parseTime=true&loc=Nowhere", "unknown time zone Nowhere"),
        ] {
            let error = MySqlServer::parse(text, TlsFiles::default()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        for text in ["u@tcp(db)/spire", "u@tcp(db)/spire?parseTime=false"] {
            let error = MySqlServer::parse(text, TlsFiles::default()).unwrap_err();
            assert!(matches!(error, Error::ParseTimeMissing), "{error}");
        }
    }

    #[test]
    fn files_switch_tls_on() {
        let files = TlsFiles { root_ca: Some("/ca.pem".into()), ..TlsFiles::default() };
        let server = MySqlServer::parse("u@tcp(db)/spire?parseTime=true", files).unwrap();
        assert!(matches!(server.0.tls, MySqlSslMode::VerifyIdentity));
        let files = TlsFiles { client_key: Some("/key.pem".into()), ..TlsFiles::default() };
        let server = MySqlServer::parse("u@tcp(db)/spire?parseTime=true", files.clone()).unwrap();
        assert!(matches!(server.0.tls, MySqlSslMode::Disabled), "half a pair, which SPIRE passes over too");
        let files = TlsFiles { client_certificate: Some("/certificate.pem".into()), ..files };
        let server = MySqlServer::parse("u@tcp(db)/spire?parseTime=true", files).unwrap();
        assert!(matches!(server.0.tls, MySqlSslMode::VerifyIdentity));
    }

    #[test]
    fn authorities_that_cannot_be_read_are_told_in_the_references_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let error = || {
            let files = TlsFiles { root_ca: Some(path.clone()), ..TlsFiles::default() };
            MySqlServer::parse("u@tcp(db)/spire?parseTime=true", files).unwrap().options().unwrap_err().to_string()
        };
        let text = "Root CA defined in root_ca_path";
        assert_eq!(error(), format!("datastore-sql: invalid mysql config: cannot find {text}"));
        std::fs::write(&path, "no PEM").unwrap();
        assert_eq!(error(), format!("datastore-sql: invalid mysql config: failed to parse {text}"));
    }

    #[test]
    fn what_is_not_the_drivers_is_a_variable_of_the_session() {
        let server = |text| MySqlServer::parse(text, TlsFiles::default()).unwrap();
        let text = "u@tcp(db)/spire?parseTime=true&timeout=5s&wsrep_sync_wait=1&sql_mode=%27ANSI%27&loc=UTC";
        assert_eq!(server(text).session().unwrap(), "SET wsrep_sync_wait = 1, sql_mode = 'ANSI'");
        assert_eq!(server("u@tcp(db)/spire?parseTime=true&readTimeout=5s").session(), None);
    }
}
