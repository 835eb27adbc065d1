//! The built-in plugins, one folder a type and one a plugin, and the tables that name them. A plugin page in `docs/`
//! has the same name: `docs/plugin_key_manager_disk.md`.

pub mod credential_composer;
pub mod key_manager;
pub mod node_attestor;
pub mod upstream_authority;
pub mod workload_attestor;

use std::path::Path;

use steeple_catalog::load::{AgentBuiltIns, BuiltIn, ServerBuiltIns};
use steeple_runtime::os::unread;

/// What a server has built in.
pub const SERVER: ServerBuiltIns = ServerBuiltIns {
    key_managers: &[
        BuiltIn { name: "disk", build: key_manager::disk::server, check: None },
        BuiltIn { name: "memory", build: key_manager::memory::build, check: None },
    ],
    node_attestors: &[
        BuiltIn { name: "join_token", build: node_attestor::join_token::server, check: None },
        BuiltIn { name: "x509pop", build: node_attestor::x509pop::server, check: None },
    ],
    upstream_authorities: &[BuiltIn {
        name: "disk",
        build: upstream_authority::disk::build,
        check: Some(upstream_authority::disk::check),
    }],
    credential_composers: &[BuiltIn { name: "uniqueid", build: credential_composer::uniqueid::build, check: None }],
    bundle_publishers: &[],
};

/// What an agent has built in.
pub const AGENT: AgentBuiltIns = AgentBuiltIns {
    key_managers: &[
        BuiltIn { name: "disk", build: key_manager::disk::agent, check: None },
        BuiltIn { name: "memory", build: key_manager::memory::build, check: None },
    ],
    node_attestors: &[
        BuiltIn { name: "join_token", build: node_attestor::join_token::without_token, check: None },
        BuiltIn { name: "x509pop", build: node_attestor::x509pop::agent, check: None },
    ],
    workload_attestors: &[BuiltIn { name: "unix", build: workload_attestor::unix::build, check: None }],
};

/// A file that an operator has named. The error names it too.
fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| unread(path, &error))
}
