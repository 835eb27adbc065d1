//! What of SPIRE's families is not there: the beginnings of their names, and the reasons.

/// Differences on purpose, each of which is in `docs/differences.md`.
pub(super) const ON_PURPOSE: &[(&str, &str)] = &[
    ("go_", "there is no Go in these programs"),
    ("spire_server_runtime_gc_", GARBAGE),
    ("spire_server_runtime_total_gc_", GARBAGE),
    ("spire_agent_runtime_gc_", GARBAGE),
    ("spire_agent_runtime_total_gc_", GARBAGE),
    ("spire_server_datastore_join_token_fetch", "a token is looked for and used up in one step"),
    ("spire_server_datastore_node_selectors_", "selectors are read and written with their nodes"),
];

/// Families of what is not built yet.
pub(super) const NOT_BUILT_YET: &[(&str, &str)] = &[
    ("spire_server_bundle_manager_", FEDERATION),
    ("spire_agent_delegated_identity_api_", DELEGATED),
    ("spire_agent_rpc_delegated_identity_", DELEGATED),
    ("spire_agent_sds_api_", "SDS"),
    ("spire_agent_rpc_sds_", "SDS"),
    ("spire_agent_cache_manager_expiring_svids_svid_store", STORES),
    ("spire_agent_cache_manager_svid_store_", STORES),
    ("spire_agent_store_", STORES),
];

const DELEGATED: &str = "the Delegated Identity API";
const FEDERATION: &str = "federation";
const GARBAGE: &str = "there is no garbage collector";
const STORES: &str = "SVID stores";
