//! URLs as Go's `net/url` reads them: which ones it refuses, in its words, and how it writes them back.

use std::fmt;
use std::net::Ipv6Addr;

use crate::quote::Quoted;

/// A URL with its parts unescaped no further than one needs to see which host it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// In lower case; empty if there is none.
    pub scheme: String,
    /// The host and its port, as they are written; empty if there is none.
    pub host: String,
    /// Whether a user stands before the host. Who it is is not kept.
    pub has_user: bool,
    /// Path, query and fragment, escaped where they have to be.
    rest: String,
}

/// Why a text is no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse {}: {reason}", Quoted(.url))]
pub struct UrlError {
    url: String,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("net/url: invalid control character in URL")]
    Control,
    #[error("missing protocol scheme")]
    NoScheme,
    #[error("first path segment in URL cannot contain colon")]
    Colon,
    #[error("net/url: invalid userinfo")]
    User,
    #[error("missing ']' in host")]
    OpenBracket,
    #[error("invalid IP-literal")]
    IpLiteral,
    /// Go tells more of what is wrong with it.
    #[error("invalid host: ParseAddr({}): unable to parse IP", Quoted(.0))]
    Ip(String),
    #[error("invalid port {} after host", Quoted(.0))]
    Port(String),
    #[error("invalid character {} in host name", Quoted(.0))]
    HostCharacter(String),
    #[error("invalid URL escape {}", Quoted(.0))]
    Escape(String),
}

/// The part of a URL that a character is in.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    User,
    Host,
    Zone,
    Path,
    Fragment,
}

impl Url {
    /// # Errors
    /// The text is no URL. Relative ones are URLs.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let parsed = Self::without_fragment(url).map_err(|reason| UrlError { url: url.to_owned(), reason })?;
        let fragment = rewritten(fragment, Part::Fragment);
        let fragment = fragment.map_err(|reason| UrlError { url: text.to_owned(), reason })?;
        if fragment.is_empty() {
            return Ok(parsed);
        }
        Ok(Self { rest: format!("{}#{fragment}", parsed.rest), ..parsed })
    }

    fn without_fragment(url: &str) -> Result<Self, Reason> {
        if url.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Reason::Control);
        }
        let (scheme, rest) = scheme(url)?;
        let scheme = scheme.to_ascii_lowercase();
        let (before, query) = match rest.split_once('?') {
            Some((before, _)) => (before, &rest[before.len()..]),
            None => (rest, ""),
        };
        if !before.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Self { scheme, host: String::new(), has_user: false, rest: rest.to_owned() });
            }
            if before.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err(Reason::Colon);
            }
        }
        let authority = before.strip_prefix("//").filter(|_| !scheme.is_empty() || !before.starts_with("///"));
        let (authority, path) = match authority {
            Some(behind) => behind.split_at(behind.find('/').unwrap_or(behind.len())),
            None => ("", before),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let host = self::host(host)?;
        if let Some(user) = user {
            check_user(user)?;
        }
        let rest = rewritten(path, Part::Path)? + query;
        Ok(Self { scheme, host, has_user: user.is_some(), rest })
    }
}

/// As Go writes it back, but without the user.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, has_user: _, rest } = self;
        if !scheme.is_empty() {
            write!(f, "{scheme}:")?;
        }
        if !host.is_empty() {
            write!(f, "//{host}")?;
        }
        f.write_str(rest)
    }
}

/// The scheme, and what is behind its colon.
fn scheme(url: &str) -> Result<(&str, &str), Reason> {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let end = url.bytes().position(|byte| !is_scheme(byte)).unwrap_or(url.len());
    match (&url[..end], url[end..].strip_prefix(':')) {
        ("", Some(_)) => Err(Reason::NoScheme),
        (scheme, Some(rest)) if scheme.starts_with(|first: char| first.is_ascii_alphabetic()) => Ok((scheme, rest)),
        _ => Ok(("", url)),
    }
}

fn host(host: &str) -> Result<String, Reason> {
    let Some(bracket) = host.rfind('[') else {
        if let Some(port) = host.find(':').map(|at| &host[at..]) {
            check_port(port)?;
        }
        return Ok(escaped(&unescaped(host, Part::Host)?, Part::Host));
    };
    if bracket > 0 {
        return Err(Reason::IpLiteral);
    }
    let (literal, port) = host[1..].rsplit_once(']').ok_or(Reason::OpenBracket)?;
    check_port(port)?;
    let (address, zone) = literal.split_at(literal.find("%25").unwrap_or(literal.len()));
    let address = unescaped(address, Part::Host)?;
    let zone = unescaped(zone, Part::Zone)?;
    let text = String::from_utf8_lossy(&address);
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(Reason::IpLiteral);
    }
    // A zone is more than its sign.
    if text.parse::<Ipv6Addr>().is_err() || zone.len() == 1 {
        return Err(Reason::Ip(format!("{text}{}", String::from_utf8_lossy(&zone))));
    }
    Ok(format!("[{text}{}]{port}", escaped(&zone, Part::Zone)))
}

/// Nothing, or a colon and digits, which may be none, or more than a port has.
fn check_port(port: &str) -> Result<(), Reason> {
    let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "?" });
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { Ok(()) } else { Err(Reason::Port(port.to_owned())) }
}

fn check_user(user: &str) -> Result<(), Reason> {
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)) {
        return Err(Reason::User);
    }
    unescaped(user, Part::User).map(drop)
}

/// As it was, if all of it may stand there; else escaped anew, whatever was escaped before.
fn rewritten(text: &str, part: Part) -> Result<String, Reason> {
    let plain = unescaped(text, part)?;
    let may_stand = |byte: u8| b"!$&'()*+,;=:@[]%".contains(&byte) || !is_escaped(byte, part);
    Ok(if text.bytes().all(may_stand) { text.to_owned() } else { escaped(&plain, part) })
}

fn unescaped(text: &str, part: Part) -> Result<Vec<u8>, Reason> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        if *first != b'%' {
            let is_host = matches!(part, Part::Host | Part::Zone);
            if is_host && first.is_ascii() && is_escaped(*first, part) {
                return Err(Reason::HostCharacter(char::from(*first).to_string()));
            }
            plain.push(*first);
            bytes = rest;
            continue;
        }
        let sequence = &bytes[..bytes.len().min(3)];
        let byte = std::str::from_utf8(&sequence[1..])
            .ok()
            .filter(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| match part {
            _ if *byte == b'%' => true,
            Part::Host => !byte.is_ascii(),
            Part::Zone => *byte == b' ' || !is_escaped(*byte, Part::Host),
            Part::User | Part::Path | Part::Fragment => true,
        });
        plain.push(byte.ok_or_else(|| Reason::Escape(String::from_utf8_lossy(sequence).into_owned()))?);
        bytes = &bytes[3..];
    }
    Ok(plain)
}

fn escaped(plain: &[u8], part: Part) -> String {
    let mut text = String::with_capacity(plain.len());
    for byte in plain {
        if is_escaped(*byte, part) {
            text.push_str(&format!("%{byte:02X}"));
        } else {
            text.push(char::from(*byte));
        }
    }
    text
}

/// Whether a byte is written by its number in this part.
fn is_escaped(byte: u8, part: Part) -> bool {
    let stands = match part {
        Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"".contains(&byte),
        Part::Path => b"$&+,/:;=@".contains(&byte),
        Part::Fragment => b"$&+,/:;=?@!()*".contains(&byte),
        Part::User => b"$&+,;=".contains(&byte),
    };
    !stands && !byte.is_ascii_alphanumeric() && !b"-_.~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_back_as_go_writes_it() {
        let cases = [
            ("https://host.test", "https://host.test"),
            ("HTTPS://Host.Test/", "https://Host.Test/"),
            ("https://host:99999/x?y=1#z", "https://host:99999/x?y=1#z"),
            ("https://[fe80::1%25en0]:8080/", "https://[fe80::1%25en0]:8080/"),
            ("https://h/a b", "https://h/a%20b"),
            ("https://h/a%2fb", "https://h/a%2fb"),
            ("https://h/a%2Fb c", "https://h/a/b%20c"),
            ("https://h/(a)[b]{c}|d", "https://h/%28a%29%5Bb%5D%7Bc%7D%7Cd"),
            ("https://é.test/é", "https://%C3%A9.test/%C3%A9"),
            ("https://h?", "https://h?"),
            ("https://h/?#", "https://h/?"),
            ("https://h/a#b#c", "https://h/a#b%23c"),
            ("https:///x", "https:/x"),
            ("https:abc", "https:abc"),
            ("x/a:b", "x/a:b"),
        ];
        for (text, written) in cases {
            assert_eq!(Url::parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn scheme_host_and_user_are_told() {
        let url = Url::parse("HTTPS://u:p@Host:8443/x").unwrap();
        assert_eq!((url.scheme.as_str(), url.host.as_str(), url.has_user), ("https", "Host:8443", true));
        for (text, host) in [("https:///x", ""), ("https:abc", ""), ("host.test", ""), ("//host/path", "host")] {
            assert_eq!(Url::parse(text).unwrap().host, host, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_as_go_refuses_it() {
        let cases = [
            ("https://a\u{1}b/", r#"parse "https://a\x01b/": net/url: invalid control character in URL"#),
            ("://x", r#"parse "://x": missing protocol scheme"#),
            ("1http://x#y", r#"parse "1http://x": first path segment in URL cannot contain colon"#),
            ("https://u é@h/", r#"parse "https://u é@h/": net/url: invalid userinfo"#),
            ("https://u%zz@h/", r#"parse "https://u%zz@h/": invalid URL escape "%zz""#),
            ("https://[::1", r#"parse "https://[::1": missing ']' in host"#),
            ("https://[1.2.3.4]/", r#"parse "https://[1.2.3.4]/": invalid IP-literal"#),
            ("https://a[b]/", r#"parse "https://a[b]/": invalid IP-literal"#),
            ("https://[zz]/", r#"parse "https://[zz]/": invalid host: ParseAddr("zz"): unable to parse IP"#),
            ("https://[::1]:a", r#"parse "https://[::1]:a": invalid port ":a" after host"#),
            ("https://h:80:90/", r#"parse "https://h:80:90/": invalid port ":80:90" after host"#),
            ("https://a b/", r#"parse "https://a b/": invalid character " " in host name"#),
            ("https://h%41/", r#"parse "https://h%41/": invalid URL escape "%41""#),
            ("https://h/%2", r#"parse "https://h/%2": invalid URL escape "%2""#),
            ("https://h/#%zz", r#"parse "https://h/#%zz": invalid URL escape "%zz""#),
        ];
        for (text, told) in cases {
            assert_eq!(Url::parse(text).unwrap_err().to_string(), told, "{text}");
        }
    }
}
