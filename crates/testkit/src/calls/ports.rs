//! Ports that a configuration and the calls about it name alike.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

static GIVEN: Mutex<BTreeMap<String, u16>> = Mutex::new(BTreeMap::new());

/// A text with a free port of this host in the place of each `${port:NAME}`, the same one for the same name.
pub fn with_ports(text: &str) -> String {
    let mut parts = text.split("${port:");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("the name of a port has an end");
        filled.push_str(&named(name).to_string());
        filled.push_str(rest);
    }
    filled
}

fn named(name: &str) -> u16 {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    *GIVEN.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_insert_with(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_port() {
        let text = with_ports("a ${port:one} b ${port:other} ${port:one}");
        let ports: Vec<&str> = text.split(' ').collect();
        assert_eq!((ports[0], ports[2], ports[1]), ("a", "b", ports[4]));
        assert_ne!(ports[1], ports[3]);
        assert_eq!(with_ports(&format!("{} ${{port:one}}", ports[1])), format!("{0} {0}", ports[1]));
    }
}
