//! What a sound file may say and its author should think over once more. The words are the reference's.

use steeple_config::sections::EXPERIMENTAL;

use super::file::Experimental;

/// For the log.
pub(super) fn of(experimental: &Experimental) -> Vec<String> {
    [
        (
            experimental.use_sync_authorized_entries.is_some(),
            "The 'use_sync_authorized_entries' configuration is deprecated. The option to disable it will be removed in \
             SPIRE 1.13.",
        ),
        (
            !experimental.jwt_svid_cache_hit_timeout.is_empty(),
            "The use of 'jwt_svid_cache_hit_timeout' is experimental",
        ),
        (*experimental != Experimental::default(), EXPERIMENTAL),
    ]
    .into_iter()
    .filter(|(says, _)| *says)
    .map(|(_, warning)| warning.to_owned())
    .collect()
}
