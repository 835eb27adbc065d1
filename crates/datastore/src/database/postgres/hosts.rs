//! Several servers in one string, and which of them is wanted.

use std::path::Path;

use sqlx::postgres::PgConnection;

use super::{PostgresServer, not_a_number};
use crate::Error;

/// One of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// What it is called; where passwords are looked for.
    pub(super) name: String,
    /// Where it is reached: its name, its address, or the directory of its socket.
    pub(super) place: String,
    pub(super) port: u16,
}

impl Host {
    pub(super) fn is_socket(&self) -> bool {
        Path::new(&self.place).is_absolute()
    }

    /// As the system's errors have it.
    pub(super) fn address(&self) -> String {
        let Self { name: _, place, port } = self;
        if self.is_socket() { format!("unix {place}/.s.PGSQL.{port}") } else { format!("tcp {place}:{port}") }
    }

    /// Which of several it is.
    pub(super) fn label(&self) -> String {
        format!("{}:{}", self.place, self.port)
    }
}

/// Lists that are separated by commas: as many names as addresses, and one port for all or one for each.
pub(super) fn listed(names: &str, addresses: Option<&str>, ports: Option<&str>) -> Result<Vec<Host>, Error> {
    let names: Vec<&str> = names.split(',').collect();
    let places: Vec<&str> = addresses.map_or_else(|| names.clone(), |addresses| addresses.split(',').collect());
    let ports = ports.unwrap_or("5432").split(',').map(|text| {
        let text = if text.is_empty() { "5432" } else { text };
        text.parse().map_err(|_| not_a_number("port", "Uint", text))
    });
    let ports: Vec<u16> = ports.collect::<Result<_, Error>>()?;
    if ports.len() > 1 && ports.len() != places.len() {
        let text = format!("pq: could not match {} port numbers to {} hosts", ports.len(), places.len());
        return Err(Error::ConnectionString(text));
    }
    let host = |(i, place): (usize, &&str)| Host {
        name: names.get(i).unwrap_or(place).to_string(),
        place: place.to_string(),
        port: ports.get(i).or_else(|| ports.first()).copied().unwrap_or(5432),
    };
    Ok(places.iter().enumerate().map(host).collect())
}

/// `load_balance_hosts`: whether the servers come in any order.
pub(super) fn is_balanced(server: &PostgresServer) -> Result<bool, Error> {
    match server.get_or("load_balance_hosts", "PGLOADBALANCEHOSTS").as_deref() {
        None | Some("disable") => Ok(false),
        Some("random") => Ok(true),
        Some(other) => Err(unknown("load_balance_hosts", other, &["disable", "random"])),
    }
}

/// `target_session_attrs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Wanted {
    pub(super) fn of(server: &PostgresServer) -> Result<Self, Error> {
        Ok(match server.get_or("target_session_attrs", "PGTARGETSESSIONATTRS").as_deref() {
            None | Some("any") => Self::Any,
            Some("read-write") => Self::ReadWrite,
            Some("read-only") => Self::ReadOnly,
            Some("primary") => Self::Primary,
            Some("standby") => Self::Standby,
            Some("prefer-standby") => Self::PreferStandby,
            Some(other) => {
                let known = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"];
                return Err(unknown("target_session_attrs", other, &known));
            }
        })
    }

    /// What to ask for first, and then.
    pub(super) fn in_turn(self) -> Vec<Self> {
        if self == Self::PreferStandby { vec![Self::Standby, Self::Any] } else { vec![self] }
    }

    /// An error if the server is not one that is wanted.
    pub(super) async fn fits(self, connection: &mut PgConnection) -> Result<(), Error> {
        let (question, wanted, otherwise) = match self {
            Self::Any | Self::PreferStandby => return Ok(()),
            Self::ReadWrite => ("SHOW transaction_read_only", "off", "session is read-only"),
            Self::ReadOnly => ("SHOW transaction_read_only", "on", "session is not read-only"),
            Self::Primary => ("SELECT pg_is_in_recovery()::text", "false", "server is in hot standby mode"),
            Self::Standby => ("SELECT pg_is_in_recovery()::text", "true", "server is not in hot standby mode"),
        };
        let answer: String = sqlx::query_scalar(question).fetch_one(connection).await?;
        if answer == wanted { Ok(()) } else { Err(Error::Unavailable(otherwise.to_owned())) }
    }
}

/// In the words of the reference's driver.
pub(super) fn unknown(key: &str, value: &str, known: &[&str]) -> Error {
    let (last, others) = known.split_last().unwrap_or((&"", &[]));
    Error::ConnectionString(format!(
        "pq: wrong value for {key:?}: {value:?} is not supported; supported values are {}, or {last}",
        others.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_as_many_as_addresses_and_have_a_port_each_or_one_for_all() {
        let listed = |names, addresses, ports| {
            listed(names, addresses, ports)
                .unwrap()
                .iter()
                .map(|it| format!("{} {}", it.name, it.label()))
                .collect::<Vec<_>>()
        };
        assert_eq!(listed("a,b", None, Some("1,2")), ["a a:1", "b b:2"]);
        assert_eq!(listed("a,b", None, Some("7")), ["a a:7", "b b:7"]);
        assert_eq!(listed("a,b", None, Some("7,")), ["a a:7", "b b:5432"]);
        assert_eq!(listed("a", Some("127.0.0.1"), None), ["a 127.0.0.1:5432"]);
        let socket = &super::listed("/run/pg", None, None).unwrap()[0];
        assert_eq!((socket.is_socket(), socket.address().as_str()), (true, "unix /run/pg/.s.PGSQL.5432"));
    }
}
