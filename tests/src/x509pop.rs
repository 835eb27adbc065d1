//! Nodes that attest with certificates.

/// The certificates of `crates/plugins`, good until 2098.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/plugins/src/node_attestor/x509pop/testdata");
/// The SPIFFE ID of the node that has this certificate.
pub const ID: &str = "spiffe://example.org/spire/agent/x509pop/node1";
/// One of its selectors.
pub const SELECTOR: &str = "x509pop:subject:cn:node1";
/// What configurations have for join tokens.
pub const JOIN_TOKEN: &str = "NodeAttestor \"join_token\" {\n        plugin_data {}\n    }";

/// The block of a server that takes nodes by their certificates' names.
pub fn of_server() -> String {
    attestor(&[
        ("ca_bundle_path", &format!("{TESTDATA}/ca.pem")),
        ("agent_path_template", "/{{ .PluginName }}/{{ .Subject.CommonName }}"),
    ])
}

/// The block of the node's agent.
pub fn of_agent() -> String {
    attestor(&[
        ("private_key_path", &format!("{TESTDATA}/node1.key")),
        ("certificate_path", &format!("{TESTDATA}/node1.pem")),
        ("intermediates_path", &format!("{TESTDATA}/intermediate.pem")),
    ])
}

/// The block of either side.
pub fn attestor(keys: &[(&str, &str)]) -> String {
    let keys: String = keys.iter().map(|(key, value)| format!("            {key} = \"{value}\"\n")).collect();
    format!("NodeAttestor \"x509pop\" {{\n        plugin_data {{\n{keys}        }}\n    }}")
}
