//! What a connection string says, by key.

use std::collections::BTreeMap;

use super::super::percent_decoded;
use crate::Error;

/// `host=localhost user='a b'`: spaces around the `=` are allowed, a backslash takes the next character as it is.
pub(super) fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
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
pub(super) fn from_url(text: &str) -> Result<BTreeMap<String, String>, Error> {
    // The text may hold a password.
    let unreadable = |what: &str| Error::ConnectionString(format!("unable to read the URL: {what}"));
    let (_, rest) = text.split_once("://").ok_or_else(|| unreadable("no scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, at)| (Some(user), at));
    let mut settings = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            settings.insert(key.to_owned(), percent_decoded(value));
        }
    };
    if let Some(user) = user {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        set("user", user);
        set("password", password);
    }
    let (hosts, ports): (Vec<_>, Vec<_>) = address.split(',').map(host_and_port).unzip();
    set("host", &hosts.join(","));
    // One port behind the last host is for all of them.
    match ports.as_slice() {
        [others @ .., last] if others.iter().all(|port| port.is_empty()) => set("port", last),
        ports => set("port", &ports.join(",")),
    }
    set("dbname", database);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(key, &value.replace('+', " "));
    }
    Ok(settings)
}

/// `-c name=value` and `--name=value`, separated by spaces; a backslash takes the next character as it is.
pub(super) fn session_options(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, words.last_mut()) {
            ('\\', Some(word)) => word.extend(characters.next()),
            (space, _) if space.is_whitespace() => words.push(String::new()),
            (other, Some(word)) => word.push(other),
            (_, None) => {}
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let pair = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(pair), _) => pair.to_owned(),
            (_, Some("")) => words.next().unwrap_or_default(),
            (_, Some(pair)) => pair.to_owned(),
            _ => word,
        };
        let (name, value) =
            pair.split_once('=').filter(|(name, _)| !name.is_empty() && !name.starts_with('-')).ok_or_else(|| {
                format!("pq: unsupported option {pair:?} in \"options\": only -c name=value and --name=value are")
            })?;
        options.push((name.to_owned(), value.to_owned()));
    }
    Ok(options)
}

/// `host:port`; an address with colons stands in brackets.
fn host_and_port(address: &str) -> (&str, &str) {
    match address.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
        None => address.rsplit_once(':').unwrap_or((address, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_session_are_spelled_in_three_ways() {
        let read = session_options(r"-c geqo=off  -cwork_mem=8MB --search_path=a\ b,c\\d -c x=").unwrap();
        let expected = [("geqo", "off"), ("work_mem", "8MB"), ("search_path", r"a b,c\d"), ("x", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(session_options(" ").unwrap(), []);
        for wrong in ["geqo=off x", "-d 5", "-c", "-c =1", "--", "-c -c a=b"] {
            assert!(session_options(wrong).is_err(), "{wrong}");
        }
    }
}
