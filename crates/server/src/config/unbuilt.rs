//! What a file may ask for and this server does not do yet. It is accepted, since a configuration of the reference must
//! start, and named in the log, since nobody should rely on what is not there.

use super::file::File;

/// In words for the log.
pub(super) fn of(file: &File) -> Vec<String> {
    let File { server, plugins: _, telemetry: _, health_checks: _ } = file;
    let federation = server.federation.as_ref();
    [
        (federation.is_some_and(|it| it.bundle_endpoint.is_some()), "federation.bundle_endpoint"),
        (federation.is_some_and(|it| !it.federates_with.0.is_empty()), "federation.federates_with"),
    ]
    .into_iter()
    .filter(|(asked, _)| *asked)
    .map(|(_, what)| what.to_owned())
    .collect()
}
