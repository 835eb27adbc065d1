//! The methods of a listener: names for the log and for metrics, made once.

use std::collections::HashMap;

/// One service, as the log and the metrics call it.
#[derive(Clone, Copy, Debug)]
pub struct ServiceName {
    /// `spire.api.server.entry.v1.Entry`
    pub full: &'static str,
    /// Field `service` of log lines: `entry.v1.Entry`
    pub log: &'static str,
    /// Middle of metric names: `entry.v1.entry`
    pub metric: &'static str,
    /// What the names of the figures of its connections begin with, if there are any: `workload_api`.
    pub connections: Option<&'static str>,
    /// `CountEntries`, …
    pub methods: &'static [&'static str],
}

/// One method of a listener.
#[derive(Debug)]
pub struct Method {
    /// `/spire.api.server.entry.v1.Entry/CountEntries`
    pub path: String,
    /// Field `service` of log lines.
    pub service: &'static str,
    /// Field `method` of log lines.
    pub name: &'static str,
    /// `rpc.entry.v1.entry.count_entries`
    pub metric: &'static str,
    /// `rateLimit.agent.v1.agent.attest_agent`
    pub limit_metric: &'static str,
    /// What counts its connections, if anything does.
    pub(super) connections: Option<Connections>,
}

/// Names of the figures of connections. The reference takes each call for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connections {
    /// `workload_api.connection`: how many there have been.
    pub(super) made: &'static str,
    /// `workload_api.connections`: how many there are.
    pub(super) open: &'static str,
}

/// The methods of a listener by path.
#[derive(Debug)]
pub struct Methods(HashMap<&'static str, &'static Method>);

impl Methods {
    /// The methods of these services. They live as long as the process: a daemon makes one or two such tables.
    pub fn new(services: &[ServiceName]) -> Self {
        let methods = services.iter().flat_map(|service| service.methods.iter().map(|name| method(service, name)));
        Self(methods.map(|method| (method.path.as_str(), method)).collect())
    }

    /// The method at a path, if this listener has it.
    pub fn find(&self, path: &str) -> Option<&'static Method> {
        self.0.get(path).copied()
    }

    /// Whether a service, by its full name, has any of them.
    pub fn have_service(&self, service: &str) -> bool {
        self.0.keys().any(|path| path.rsplit_once('/').is_some_and(|(of, _)| of.trim_start_matches('/') == service))
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &'static Method> + '_ {
        self.0.values().copied()
    }
}

fn method(service: &ServiceName, name: &'static str) -> &'static Method {
    let kept = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let metric = |family| kept(format!("{family}.{}.{}", service.metric, snake_case(name)));
    let connections = service
        .connections
        .map(|of| Connections { made: kept(format!("{of}.connection")), open: kept(format!("{of}.connections")) });
    Box::leak(Box::new(Method {
        path: format!("/{}/{name}", service.full),
        service: service.log,
        name,
        metric: metric("rpc"),
        limit_metric: metric("rateLimit"),
        connections,
    }))
}

/// The reference's rule: an underscore before an upper-case letter that is neither first nor last and has a lower-case
/// neighbour (`MintX509SVID` is `mint_x509svid`, `NewDownstreamX509CA` is `new_downstream_x509ca`).
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 8);
    for (i, c) in letters.iter().enumerate() {
        let inside = i > 0 && i + 1 < letters.len();
        let beside_lower = inside && (letters[i - 1].is_lowercase() || letters[i + 1].is_lowercase());
        if c.is_uppercase() && beside_lower && !snake.ends_with('_') {
            snake.push('_');
        }
        if c.is_alphanumeric() { snake.extend(c.to_lowercase()) } else { snake.push('_') }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_become_the_references_metric_names() {
        for (name, expected) in [
            ("CountAgents", "count_agents"),
            ("MintX509SVID", "mint_x509svid"),
            ("MintJWTSVID", "mint_jwtsvid"),
            ("NewDownstreamX509CA", "new_downstream_x509ca"),
            ("PublishJWTAuthority", "publish_jwt_authority"),
            ("TaintX509UpstreamAuthority", "taint_x509_upstream_authority"),
            ("BatchNewWITSVID", "batch_new_witsvid"),
            ("FetchJWTSVIDs", "fetch_jwtsvi_ds"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }
}
