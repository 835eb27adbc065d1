//! What a file may ask for and this agent does not do yet. It is accepted, since a configuration of the reference must
//! start, and named in the log, since nobody should rely on what is not there.

use super::file::File;

/// In words for the log.
pub(super) fn of(file: &File) -> Vec<String> {
    let File { agent, plugins: _, telemetry: _, health_checks: _ } = file;
    let experimental = &agent.experimental;
    [
        (!agent.authorized_delegates.is_empty(), "authorized_delegates"),
        (agent.sds.is_some(), "sds"),
        (experimental.broker.is_some(), "experimental.broker"),
    ]
    .into_iter()
    .filter(|(asked, _)| *asked)
    .map(|(_, what)| what.to_owned())
    .collect()
}
