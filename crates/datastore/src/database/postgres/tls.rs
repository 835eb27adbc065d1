//! TLS as the reference's driver has it: which mode is meant, and whose certificates are believed.

use std::path::PathBuf;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use steeple_runtime::os::reason;

use super::hosts::Host;
use super::{PostgresServer, hosts};
use crate::Error;
use crate::database::roots;

/// The modes, as the reference's driver lists them.
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-full", "verify-ca"];
/// In place of a file, the authorities of the host.
const SYSTEM: &str = "system";

/// The authorities that a string names.
enum Roots {
    /// Those of the host, by name.
    System,
    Inline(String),
    File(PathBuf),
}

impl PostgresServer {
    /// Whether the mode is one, and fits the authorities; no file is looked at.
    pub(super) fn check_tls(&self) -> Result<(), Error> {
        self.mode().map(drop)
    }

    /// The mode, before it is known which files there are.
    fn mode(&self) -> Result<String, Error> {
        let given = self.get_or("sslmode", "PGSSLMODE");
        let is_system = self.named_root().is_some_and(|root| root == SYSTEM);
        let mode = given.unwrap_or_else(|| if is_system { "verify-full" } else { "require" }.to_owned());
        if !MODES.contains(&mode.as_str()) {
            return Err(hosts::unknown("sslmode", &mode, &MODES));
        }
        if is_system && mode != "verify-full" {
            let text =
                format!("pq: weak sslmode {mode:?} may not be used with sslrootcert=system (use \"verify-full\")");
            return Err(Error::ConnectionString(text));
        }
        Ok(mode)
    }

    fn named_root(&self) -> Option<String> {
        self.get_or("sslrootcert", "PGSSLROOTCERT")
    }

    /// Certificates and keys stand in the string itself, in place of paths.
    fn is_inline(&self) -> bool {
        matches!(self.get("sslinline"), Some("true" | "yes" | "1" | "on"))
    }

    fn roots(&self) -> Option<Roots> {
        match self.named_root() {
            Some(root) if root == SYSTEM => Some(Roots::System),
            Some(root) if self.is_inline() => Some(Roots::Inline(root)),
            Some(root) => Some(Roots::File(root.into())),
            None if self.is_inline() => None,
            None => of_account("root.crt").map(Roots::File),
        }
    }

    /// The certificate and the key that a server is shown.
    fn own(&self) -> Option<(PathBuf, PathBuf)> {
        let file = |key, variable, name| self.get_or(key, variable).map(PathBuf::from).or_else(|| of_account(name));
        let certificate = file("sslcert", "PGSSLCERT", "postgresql.crt")?;
        let key = file("sslkey", "PGSSLKEY", "postgresql.key")?;
        Some((certificate, key))
    }

    /// `options` with TLS to a server.
    ///
    /// # Errors
    /// A file that is named cannot be read, which the driver would not say; or nothing could verify what is to be verified.
    pub(super) fn with_tls(&self, host: &Host, options: PgConnectOptions) -> Result<PgConnectOptions, Error> {
        let mode = self.mode()?;
        // Whoever can read along there can read everything else, too.
        if host.is_socket() || mode == "disable" {
            return Ok(options.ssl_mode(PgSslMode::Disable));
        }
        let roots = self.roots();
        let mode = match mode.as_str() {
            "allow" => PgSslMode::Allow,
            "prefer" => PgSslMode::Prefer,
            "require" if roots.is_none() => PgSslMode::Require,
            // With an authority to compare with, a certificate that is not compared would be a surprise.
            "require" | "verify-ca" => PgSslMode::VerifyCa,
            // The driver compares with what it connects to.
            _ if host.name != host.place => {
                let why = "sslmode=verify-full cannot compare the certificate with the name of the host while hostaddr is given; \
                           leave hostaddr out";
                return Err(Error::ConnectionString(why.to_owned()));
            }
            _ => PgSslMode::VerifyFull,
        };
        let mut options = options.ssl_mode(mode);
        if matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            options = options.ssl_root_cert_from_pem(match roots {
                Some(Roots::File(path)) => read(path)?,
                Some(Roots::Inline(text)) => text.into_bytes(),
                Some(Roots::System) | None => roots::of_this_host()?,
            });
        }
        if self.is_inline() {
            if let (Some(certificate), Some(key)) = (self.get("sslcert"), self.get("sslkey")) {
                options =
                    options.ssl_client_cert_from_pem(certificate.as_bytes()).ssl_client_key_from_pem(key.as_bytes());
            }
        } else if let Some((certificate, key)) = self.own() {
            options = options.ssl_client_cert_from_pem(read(certificate)?).ssl_client_key_from_pem(read(key)?);
        }
        Ok(options)
    }
}

/// The file of an account that has named none, if there is one.
fn of_account(name: &str) -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".postgresql").join(name)).filter(|path| path.exists())
}

fn read(path: PathBuf) -> Result<Vec<u8>, Error> {
    std::fs::read(&path).map_err(|error| Error::Unavailable(format!("open {}: {}", path.display(), reason(&error))))
}
