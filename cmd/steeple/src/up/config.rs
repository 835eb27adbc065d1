//! The configuration files of the two daemons: what a newcomer would write by hand, as short as it can be.

use std::path::Path;
use std::time::Duration;

use super::place::Place;
use steeple_spiffe::TrustDomain;

/// What the caller chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    /// The trust domain.
    pub(super) trust_domain: TrustDomain,
    /// How long the SVIDs of workloads live: whole seconds.
    pub(super) ttl: Duration,
}

impl Domain {
    /// How long the agent's own SVID lives. The agent looks every five seconds whether half of that is over, so that it
    /// needs some length to be renewed in time.
    fn agent_ttl(&self) -> Duration {
        (self.ttl * 2).max(Duration::from_secs(60))
    }

    /// How long the server's authorities live: long enough for whole SVIDs (a sixth of it is guaranteed to an SVID), and
    /// short enough that their rotation is seen, the first one after half of this.
    fn ca_ttl(&self) -> Duration {
        self.agent_ttl() * 10
    }
}

/// The server's file. It listens on loopback alone.
pub(super) fn server(place: &Place, domain: &Domain, port: u16) -> String {
    let Domain { trust_domain, ttl } = domain;
    format!(
        r#"server {{
    trust_domain          = "{trust_domain}"
    bind_address          = "127.0.0.1"
    bind_port             = {port}
    socket_path           = {socket}
    data_dir              = {data}
    default_x509_svid_ttl = "{ttl}s"
    default_jwt_svid_ttl  = "{ttl}s"
    agent_ttl             = "{agent_ttl}s"
    ca_ttl                = "{ca_ttl}s"
}}

plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type     = "sqlite3"
            connection_string = {database}
        }}
    }}
    KeyManager "disk" {{
        plugin_data {{
            keys_path = {keys}
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
}}
"#,
        socket = quoted(&place.server_socket()),
        data = quoted(&place.server_data()),
        ttl = ttl.as_secs(),
        agent_ttl = domain.agent_ttl().as_secs(),
        ca_ttl = domain.ca_ttl().as_secs(),
        database = quoted(&place.server_data().join("datastore.sqlite3")),
        keys = quoted(&place.server_data().join("keys.json")),
    )
}

/// The agent's file. The token stands in it and not among the arguments, which every user of the machine can read.
pub(super) fn agent(place: &Place, domain: &Domain, port: u16, join_token: &str) -> String {
    format!(
        r#"agent {{
    trust_domain      = "{trust_domain}"
    server_address    = "127.0.0.1"
    server_port       = {port}
    socket_path       = {socket}
    data_dir          = {data}
    trust_bundle_path = {bundle}
    join_token        = "{join_token}"
}}

plugins {{
    KeyManager "disk" {{
        plugin_data {{
            directory = {data}
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
    WorkloadAttestor "unix" {{
        plugin_data {{}}
    }}
}}
"#,
        trust_domain = domain.trust_domain,
        socket = quoted(&place.agent_socket()),
        data = quoted(&place.agent_data()),
        bundle = quoted(&place.bundle()),
    )
}

/// A path as an HCL string. A [`Place`] has only characters that mean nothing to HCL.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

#[cfg(test)]
mod tests {
    use steeple_config::hcl;

    use super::*;

    fn domain(seconds: u64) -> Domain {
        Domain { trust_domain: "example.org".parse().unwrap(), ttl: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_server_listens_on_loopback_with_the_chosen_lifetimes() {
        let place = Place::create_in(&std::env::temp_dir()).unwrap();
        let text = server(&place, &domain(30), 4711);
        for line in [
            "    trust_domain          = \"example.org\"\n",
            "    bind_address          = \"127.0.0.1\"\n",
            "    bind_port             = 4711\n",
            "    default_x509_svid_ttl = \"30s\"\n",
            "    default_jwt_svid_ttl  = \"30s\"\n",
            "    agent_ttl             = \"60s\"\n",
            "    ca_ttl                = \"600s\"\n",
            &format!("    data_dir              = \"{}/server\"\n", place.path().display()),
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_agent_finds_its_server_by_port_bundle_and_token() {
        let place = Place::create_in(&std::env::temp_dir()).unwrap();
        let text = agent(&place, &domain(30), 4711, "0f-token");
        for line in [
            "    server_port       = 4711\n",
            "    join_token        = \"0f-token\"\n",
            &format!("    trust_bundle_path = \"{}/bundle.pem\"\n", place.path().display()),
            &format!("    socket_path       = \"{}/agent.sock\"\n", place.path().display()),
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn both_files_are_hcl() {
        let place = Place::create_in(&std::env::temp_dir()).unwrap();
        for text in [server(&place, &domain(30), 4711), agent(&place, &domain(30), 4711, "token")] {
            let keys = hcl::parse(text.as_bytes()).map(|body| body.items.len());
            assert_eq!(keys, Ok(2), "{text}");
        }
    }

    #[test]
    fn a_sixth_of_the_authority_is_never_shorter_than_an_svid() {
        for seconds in [10, 30, 31, 60, 3600, 86_400] {
            let domain = domain(seconds);
            assert!(domain.ca_ttl() / 6 >= domain.ttl && domain.ca_ttl() / 6 >= domain.agent_ttl(), "{seconds}");
        }
    }
}
