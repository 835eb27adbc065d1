//! The file of passwords (PostgreSQL's documentation, section "The Password File"): `host:port:database:user:password` a
//! line, the first one that fits.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Larger files are read up to here.
const MOST: u64 = 1 << 20;

/// Whose password is looked for.
pub(super) struct Login<'a> {
    /// The name or the address; for a socket `localhost`.
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The file of an account that has named none.
pub(super) fn default_path() -> Option<PathBuf> {
    std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pgpass")))
}

/// The password, if the file has one. A file that others may read is passed over, as PostgreSQL's own programs do.
pub(super) fn password(path: &Path, login: &Login<'_>) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mode = file.metadata().ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            target: "sql", path = %path.display(),
            "Password file has group or world access; permissions should be u=rw (0600) or less"
        );
        return None;
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).ok()?;
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| in_line(line, login))
}

fn in_line(line: &str, login: &Login<'_>) -> Option<String> {
    let Login { host, port, database, user } = *login;
    let mut rest = line;
    for wanted in [host, port, database, user] {
        let (field, after) = field(rest);
        if rest.len() == after.len() || (field != wanted && !rest.starts_with("*:")) {
            return None;
        }
        rest = after;
    }
    Some(field(rest).0)
}

/// The text before the next colon, and what follows it. A backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut field = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => field.extend(characters.next().map(|(_, escaped)| escaped)),
            ':' => return (field, &text[place + 1..]),
            other => field.push(other),
        }
    }
    (field, "")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    const LOGIN: Login<'_> = Login { host: "db.test", port: "5432", database: "spire", user: "me" };

    #[test]
    fn takes_the_first_line_that_fits() {
        for (line, password) in [
            ("db.test:5432:spire:me:secret", Some("secret")),
            ("*:*:*:me:secret", Some("secret")),
            (r"db.test:5432:*:me:s\:e\\c", Some(r"s:e\c")),
            ("db.test:5432:spire:me:", Some("")),
            ("db.test:5433:spire:me:secret", None),
            ("db.test:5432:spire:you:secret", None),
            (r"\*:5432:spire:me:secret", None),
            ("db.test:5432:spire", None),
            ("", None),
        ] {
            assert_eq!(in_line(line, &LOGIN).as_deref(), password, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        std::fs::write(&path, "# a comment\nother:*:*:*:no\n*:*:*:*:secret\n*:*:*:*:later\n").unwrap();
        for (mode, found) in [(0o600, Some("secret")), (0o640, None), (0o604, None)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(password(&path, &LOGIN).as_deref(), found, "{mode:o}");
        }
        assert_eq!(password(&dir.path().join("none"), &LOGIN), None);
    }
}
