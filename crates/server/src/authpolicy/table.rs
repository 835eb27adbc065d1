//! The default policy, method by method.

use std::collections::HashMap;

use steeple_transport::rpc::ServiceName;

/// Classes of callers, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classes(u8);

impl Classes {
    pub(super) const ANY: Self = Self(1);
    pub(super) const LOCAL: Self = Self(2);
    pub(super) const ADMIN: Self = Self(4);
    pub(super) const AGENT: Self = Self(8);
    pub(super) const DOWNSTREAM: Self = Self(16);

    pub(super) const NONE: Self = Self(0);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn has(self, class: Self) -> bool {
        self.0 & class.0 != 0
    }
}

const ANY: Classes = Classes::ANY;
const LOCAL: Classes = Classes::LOCAL;
const OPERATOR: Classes = LOCAL.and(Classes::ADMIN);
const AGENT: Classes = Classes::AGENT;
const DOWNSTREAM: Classes = Classes::DOWNSTREAM;

/// The methods of a service that the same classes may call.
struct Rule(&'static ServiceName, Classes, &'static [&'static str]);

const RULES: &[Rule] = &[
    Rule(&SVID, OPERATOR, &["MintX509SVID", "MintJWTSVID", "MintWITSVID"]),
    Rule(&SVID, AGENT, &["BatchNewX509SVID", "NewJWTSVID", "BatchNewWITSVID"]),
    Rule(&SVID, DOWNSTREAM, &["NewDownstreamX509CA"]),
    Rule(&BUNDLE, ANY, &["GetBundle"]),
    Rule(
        &BUNDLE,
        OPERATOR,
        &[
            "AppendBundle",
            "CountBundles",
            "ListFederatedBundles",
            "BatchCreateFederatedBundle",
            "BatchUpdateFederatedBundle",
            "BatchSetFederatedBundle",
            "BatchDeleteFederatedBundle",
        ],
    ),
    Rule(&BUNDLE, OPERATOR.and(AGENT), &["GetFederatedBundle"]),
    Rule(&BUNDLE, DOWNSTREAM, &["PublishJWTAuthority", "PublishWITAuthority"]),
    Rule(
        &ENTRY,
        OPERATOR,
        &["CountEntries", "ListEntries", "GetEntry", "BatchCreateEntry", "BatchUpdateEntry", "BatchDeleteEntry"],
    ),
    Rule(&ENTRY, AGENT, &["GetAuthorizedEntries", "SyncAuthorizedEntries"]),
    Rule(&AGENTS, OPERATOR, &["CountAgents", "ListAgents", "GetAgent", "DeleteAgent", "BanAgent", "CreateJoinToken"]),
    Rule(&AGENTS, ANY, &["AttestAgent"]),
    Rule(&AGENTS, AGENT, &["RenewAgent", "PostStatus"]),
    Rule(&TRUST_DOMAIN, OPERATOR, TRUST_DOMAIN.methods),
    Rule(&LOCAL_AUTHORITY, OPERATOR, LOCAL_AUTHORITY.methods),
    Rule(&SYNC, AGENT, SYNC.methods),
    Rule(&LOGGER, LOCAL, LOGGER.methods),
    Rule(&DEBUG, LOCAL, DEBUG.methods),
    Rule(&CONFIGURATION, LOCAL, CONFIGURATION.methods),
    Rule(&STORE, LOCAL, STORE.methods),
    Rule(&HEALTH, LOCAL, HEALTH.methods),
];

/// A policy: who may call which method.
#[derive(Debug)]
pub struct Table(HashMap<String, Classes>);

impl Table {
    /// The default policy.
    pub fn standard() -> Self {
        let paths = RULES.iter().flat_map(|Rule(service, classes, methods)| {
            methods.iter().map(move |method| (format!("/{}/{method}", service.full), *classes))
        });
        Self(paths.collect())
    }

    /// Nobody may call anything.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        Self(HashMap::new())
    }

    /// Who may call the method at `path`; one that no rule names, nobody.
    pub(super) fn classes_of(&self, path: &str) -> Classes {
        self.0.get(path).copied().unwrap_or(Classes::NONE)
    }
}

/// The services of the TCP port.
pub(crate) fn network_services() -> Vec<ServiceName> {
    vec![SVID, BUNDLE, ENTRY, AGENTS, TRUST_DOMAIN, LOCAL_AUTHORITY, SYNC]
}

/// The services of the admin socket.
pub(crate) fn local_services() -> Vec<ServiceName> {
    [network_services(), vec![LOGGER, CONFIGURATION, DEBUG, STORE, HEALTH]].concat()
}

const SVID: ServiceName = ServiceName {
    full: "spire.api.server.svid.v1.SVID",
    log: "svid.v1.SVID",
    metric: "svid.v1.svid",
    connections: None,
    methods: &[
        "MintX509SVID",
        "MintJWTSVID",
        "MintWITSVID",
        "BatchNewX509SVID",
        "NewJWTSVID",
        "BatchNewWITSVID",
        "NewDownstreamX509CA",
    ],
};

const BUNDLE: ServiceName = ServiceName {
    full: "spire.api.server.bundle.v1.Bundle",
    log: "bundle.v1.Bundle",
    metric: "bundle.v1.bundle",
    connections: None,
    methods: &[
        "CountBundles",
        "GetBundle",
        "AppendBundle",
        "PublishJWTAuthority",
        "PublishWITAuthority",
        "ListFederatedBundles",
        "GetFederatedBundle",
        "BatchCreateFederatedBundle",
        "BatchUpdateFederatedBundle",
        "BatchSetFederatedBundle",
        "BatchDeleteFederatedBundle",
    ],
};

const ENTRY: ServiceName = ServiceName {
    full: "spire.api.server.entry.v1.Entry",
    log: "entry.v1.Entry",
    metric: "entry.v1.entry",
    connections: None,
    methods: &[
        "CountEntries",
        "ListEntries",
        "GetEntry",
        "BatchCreateEntry",
        "BatchUpdateEntry",
        "BatchDeleteEntry",
        "GetAuthorizedEntries",
        "SyncAuthorizedEntries",
    ],
};

const AGENTS: ServiceName = ServiceName {
    full: "spire.api.server.agent.v1.Agent",
    log: "agent.v1.Agent",
    metric: "agent.v1.agent",
    connections: None,
    methods: &[
        "CountAgents",
        "ListAgents",
        "GetAgent",
        "DeleteAgent",
        "BanAgent",
        "AttestAgent",
        "RenewAgent",
        "CreateJoinToken",
        "PostStatus",
    ],
};

const TRUST_DOMAIN: ServiceName = ServiceName {
    full: "spire.api.server.trustdomain.v1.TrustDomain",
    log: "trustdomain.v1.TrustDomain",
    metric: "trustdomain.v1.trust_domain",
    connections: None,
    methods: &[
        "ListFederationRelationships",
        "GetFederationRelationship",
        "BatchCreateFederationRelationship",
        "BatchUpdateFederationRelationship",
        "BatchDeleteFederationRelationship",
        "RefreshBundle",
    ],
};

const LOCAL_AUTHORITY: ServiceName = ServiceName {
    full: "spire.api.server.localauthority.v1.LocalAuthority",
    log: "localauthority.v1.LocalAuthority",
    metric: "localauthority.v1.local_authority",
    connections: None,
    methods: &[
        "GetJWTAuthorityState",
        "PrepareJWTAuthority",
        "ActivateJWTAuthority",
        "TaintJWTAuthority",
        "RevokeJWTAuthority",
        "GetX509AuthorityState",
        "PrepareX509Authority",
        "ActivateX509Authority",
        "TaintX509Authority",
        "TaintX509UpstreamAuthority",
        "RevokeX509Authority",
        "RevokeX509UpstreamAuthority",
        "GetWITAuthorityState",
        "PrepareWITAuthority",
        "ActivateWITAuthority",
        "TaintWITAuthority",
        "RevokeWITAuthority",
    ],
};

/// Our own: changes pushed to agents.
const SYNC: ServiceName = ServiceName {
    full: "steeple.agent.sync.v1.Sync",
    log: "agent.sync.v1.Sync",
    metric: "steeple.agent.sync.v1.sync",
    connections: None,
    methods: &["Follow"],
};

const LOGGER: ServiceName = ServiceName {
    full: "spire.api.server.logger.v1.Logger",
    log: "Logger",
    // Without the version, as the reference names it.
    metric: "logger",
    connections: None,
    methods: &["GetLogger", "SetLogLevel", "ResetLogLevel"],
};

const DEBUG: ServiceName = ServiceName {
    full: "spire.api.server.debug.v1.Debug",
    log: "debug.v1.Debug",
    metric: "debug.v1.debug",
    connections: None,
    methods: &["GetInfo"],
};

/// Our own: how far the server is in reading its database.
const STORE: ServiceName = ServiceName {
    full: "steeple.server.store.v1.Store",
    log: "server.store.v1.Store",
    metric: "steeple.server.store.v1.store",
    connections: None,
    methods: &["GetStatus"],
};

/// Our own: the configuration of a server that runs.
const CONFIGURATION: ServiceName = ServiceName {
    full: "steeple.server.configuration.v1.Configuration",
    log: "server.configuration.v1.Configuration",
    metric: "steeple.server.configuration.v1.configuration",
    connections: None,
    methods: &["Reload"],
};

const HEALTH: ServiceName = ServiceName {
    full: "grpc.health.v1.Health",
    log: "Health",
    metric: "health",
    connections: None,
    methods: &["Check", "List", "Watch"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_of_a_listener_has_exactly_one_rule() {
        for service in local_services() {
            for method in service.methods {
                let rules = RULES.iter().filter(|rule| rule.0.full == service.full && rule.2.contains(method));
                assert_eq!(rules.count(), 1, "{}/{method}", service.full);
            }
        }
    }

    #[test]
    fn a_method_that_no_rule_names_is_nobodys() {
        let table = Table::standard();
        assert_eq!(table.classes_of("/spire.api.server.entry.v1.Entry/Nothing"), Classes::NONE);
        assert!(table.classes_of("/spire.api.server.bundle.v1.Bundle/GetBundle").has(ANY));
    }
}
