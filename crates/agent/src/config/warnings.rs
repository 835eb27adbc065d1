//! What a sound file may say and its author should think over once more. The words are the reference's.

use steeple_config::sections::{self, EXPERIMENTAL, Warning};

use super::file::{Agent, Experimental, Sds};

const HIT_TIMEOUT: &str = "The use of 'jwt_svid_cache_hit_timeout' is experimental";
const SYNC: &str = "The 'use_sync_authorized_entries' configuration is deprecated. The option to disable it will be removed in \
                    SPIRE 1.13.";
const SAME_NAMES: &str = "The \"default_bundle_name\" and \"default_all_bundles_name\" configurables have the same value. \
                          \"default_all_bundles_name\" will be ignored. Please configure distinct values or use the defaults. \
                          This will be a configuration error in a future release.";

/// For the log.
pub(super) fn of(agent: &Agent) -> Vec<Warning> {
    let experimental = &agent.experimental;
    let warnings = [
        (!experimental.jwt_svid_cache_hit_timeout.is_empty(), Warning::from(HIT_TIMEOUT)),
        (experimental.use_sync_authorized_entries.is_some(), Warning::deprecation(SYNC)),
        (agent.sds.as_ref().is_some_and(Sds::has_one_name_for_both), SAME_NAMES.into()),
        (*experimental != Experimental::default(), EXPERIMENTAL.into()),
    ];
    let warnings = warnings.into_iter().filter(|(says, _)| *says).map(|(_, warning)| warning);
    warnings.chain(sections::feature_flags(&experimental.feature_flags)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_experimental_is_told_what_is_deprecated_is_marked_and_flags_come_last() {
        let experimental = Experimental {
            jwt_svid_cache_hit_timeout: "10s".into(),
            use_sync_authorized_entries: Some(true),
            feature_flags: vec!["wit-svid".into(), "i_am_a_test_flag".into()],
            ..Experimental::default()
        };
        let told = of(&Agent { experimental, ..Agent::default() });
        let flag = |name| Warning::from(format!("Developer feature flag \"{name}\" has been enabled"));
        let expected = [
            HIT_TIMEOUT.into(),
            Warning::deprecation(SYNC),
            EXPERIMENTAL.into(),
            flag("wit-svid"),
            flag("i_am_a_test_flag"),
        ];
        assert_eq!(told, expected);
        assert_eq!(of(&Agent::default()), []);
    }

    #[test]
    fn one_name_for_two_bundles_of_envoy_is_told_whether_it_is_written_or_a_default() {
        for (own, all, is_told) in
            [("", "", false), ("x", "x", true), ("ALL", "", true), ("", "ROOTCA", true), ("ALL", "ROOTCA", false)]
        {
            let (default_bundle_name, default_all_bundles_name) = (own.into(), all.into());
            let sds = Some(Sds { default_bundle_name, default_all_bundles_name, ..Sds::default() });
            let told = of(&Agent { sds, ..Agent::default() });
            assert_eq!(told == [SAME_NAMES.into()], is_told, "{own:?} {all:?}");
        }
    }
}
