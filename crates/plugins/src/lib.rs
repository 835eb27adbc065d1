//! The built-in plugins, one folder a type and one a plugin, and the tables that name them. A plugin page in `docs/`
//! has the same name: `docs/plugin_key_manager_disk.md`.

pub mod key_manager;
pub mod node_attestor;
pub mod workload_attestor;

use steeple_catalog::load::{AgentBuiltIns, BuiltIn, ServerBuiltIns};

/// What a server has built in.
pub const SERVER: ServerBuiltIns = ServerBuiltIns {
    key_managers: &[
        BuiltIn { name: "disk", build: key_manager::disk::server },
        BuiltIn { name: "memory", build: key_manager::memory::build },
    ],
    node_attestors: &[
        BuiltIn { name: "join_token", build: node_attestor::join_token::server },
        BuiltIn { name: "x509pop", build: node_attestor::x509pop::server },
    ],
};

/// What an agent has built in.
pub const AGENT: AgentBuiltIns = AgentBuiltIns {
    key_managers: &[
        BuiltIn { name: "disk", build: key_manager::disk::agent },
        BuiltIn { name: "memory", build: key_manager::memory::build },
    ],
    node_attestors: &[
        BuiltIn { name: "join_token", build: node_attestor::join_token::without_token },
        BuiltIn { name: "x509pop", build: node_attestor::x509pop::agent },
    ],
    workload_attestors: &[BuiltIn { name: "unix", build: workload_attestor::unix::build }],
};
