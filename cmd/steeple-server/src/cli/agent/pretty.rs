//! Agents for people to read.

use steeple_console::time;
use steeple_proto::spire::api::types;

use crate::cli::id;

/// An agent, a line a property, and an empty line.
pub(super) fn block(agent: &types::Agent) -> String {
    let types::Agent {
        id: agent_id,
        attestation_type,
        x509svid_serial_number,
        x509svid_expires_at,
        selectors: _,
        banned,
        can_reattest,
        agent_version,
    } = agent;
    let mut lines = vec![
        ("SPIFFE ID", id::text(agent_id.as_ref())),
        ("Attestation type", attestation_type.clone()),
        ("Expiration time", time::local(*x509svid_expires_at)),
    ];
    // A banned agent has no SVID that counts.
    lines.push(match banned {
        true => ("Banned", "true".into()),
        false => ("Serial number", x509svid_serial_number.clone()),
    });
    lines.push(("Can re-attest", can_reattest.to_string()));
    if !agent_version.is_empty() {
        lines.push(("Agent version", agent_version.clone()));
    }
    let lines: String = lines.into_iter().map(|(label, value)| line(label, &value)).collect();
    lines + "\n"
}

/// The selectors of an agent, one a line.
pub(super) fn selectors(agent: &types::Agent) -> String {
    agent.selectors.iter().map(|it| line("Selectors", &format!("{}:{}", it.r#type, it.value))).collect()
}

fn line(label: &str, value: &str) -> String {
    format!("{label:<18}: {value}\n")
}
