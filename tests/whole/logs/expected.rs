//! What of SPIRE's messages is not there, and what is there besides.

/// A program, a level, a text, and the reason.
type Missing = (&'static str, &'static str, &'static str, &'static str);

/// All messages that are not there.
pub(super) fn lists() -> impl Iterator<Item = &'static Missing> {
    ON_PURPOSE.iter().chain(NOT_BUILT_YET)
}

/// Differences on purpose, each of which is in `docs/differences.md`.
pub(super) const ON_PURPOSE: &[Missing] = &[];

/// Messages of what is not built yet.
pub(super) const NOT_BUILT_YET: &[Missing] = &[
    ("server", "info", "Serving bundle endpoint", FEDERATION),
    ("server", "info", "Trust domain is now managed", FEDERATION),
    ("server", "debug", "Polling for bundle update", FEDERATION),
    ("server", "info", "Bundle refreshed", FEDERATION),
    ("server", "debug", "Scheduling next bundle refresh", FEDERATION),
    ("server", "error", "Error updating bundle", FEDERATION),
    ("server", "debug", "Bundle refreshed", FEDERATION),
    ("server", "error", "Failed to refresh bundle", FEDERATION),
    ("server", "info", "Updated configuration for managed trust domain", FEDERATION),
    ("server", "info", "Trust domain no longer managed", FEDERATION),
    ("server", "debug", "Stopping stale updaters", FEDERATION),
    ("server", "info", "No longer polling for updates", FEDERATION),
    ("server", "debug", "Done stopping stale updaters", FEDERATION),
    ("server", "info", "Shutting down", FEDERATION),
    ("agent", "debug", "Sending FetchSecrets response", SDS),
    ("agent", "error", "Error building fetch secrets response", SDS),
    ("agent", "debug", "Received StreamSecrets request", SDS),
    ("agent", "debug", "Sending StreamSecrets response", SDS),
    ("agent", "debug", "Caller authorized as delegate", DELEGATED),
    ("agent", "debug", "Subscribing to cache changes", DELEGATED),
    ("agent", "debug", "Fetched X.509 SVID for delegated identity", DELEGATED),
    ("agent", "error", "Missing required audience parameter", DELEGATED),
];

const DELEGATED: &str = "the delegated identity API";
const FEDERATION: &str = "federation";
const SDS: &str = "SDS";

/// Fields of ours in lines that SPIRE has without: text, field, reason.
pub(super) const FIELDS: &[(&str, &str, &str)] = &[
    (
        "Failed to retrieve attestation result",
        "first_error",
        "a join token that has expired is told as such only once, because it is used up by then",
    ),
    (BANNED, "reason", REASON),
    (BANNED_AGENT, "reason", REASON),
];

const REASON: &str = "what the status tells to programs alone, for those who read logs";

/// The server's line of a call that it refuses.
pub(super) const BANNED: &str = "Agent is banned";
/// The agent's line of that refusal.
pub(super) const BANNED_AGENT: &str = "Agent is banned: removing SVID and shutting down";
