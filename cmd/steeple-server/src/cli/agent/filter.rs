//! The flags of `agent list` and `agent count` that say which agents are meant.

use anyhow::{Context, bail};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::{count_agents_request, list_agents_request};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::selector_match::MatchBehavior;

use super::date;
use crate::cli::id;

pub(super) struct FilterFlags {
    selectors: Vec<String>,
    match_selectors_on: String,
    attestation_type: String,
    can_reattest: String,
    banned: String,
    expires_before: String,
}

impl Default for FilterFlags {
    fn default() -> Self {
        Self {
            selectors: Vec::new(),
            match_selectors_on: "superset".into(),
            attestation_type: String::new(),
            can_reattest: String::new(),
            banned: String::new(),
            expires_before: String::new(),
        }
    }
}

impl FilterFlags {
    pub(super) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { selectors, match_selectors_on, attestation_type, can_reattest, banned, expires_before } = self;
        flags
            .flag("selector", selectors, "A selector, `type:value`, of the agents; repeatable")
            .flag("matchSelectorsOn", match_selectors_on, "How selectors match: exact, any, superset or subset")
            .flag("attestationType", attestation_type, "How agents were attested, like join_token")
            .flag("canReattest", can_reattest, "true or false: whether agents can attest again; anything else: all")
            .flag("banned", banned, "true or false: whether agents are banned; anything else: all")
            .flag("expiresBefore", expires_before, "When SVIDs have ended, as `2006-01-02 15:04:05 -0700 -07`")
    }

    /// # Errors
    /// A selector, the word for how they match or the moment is malformed.
    pub(super) fn filter(self) -> anyhow::Result<list_agents_request::Filter> {
        let Self { selectors, match_selectors_on, attestation_type, can_reattest, banned, expires_before } = self;
        let mut by_selector_match = None;
        // Without selectors it does not matter how they match, not even whether the word means anything.
        if !selectors.is_empty() {
            let r#match = match match_selectors_on.as_str() {
                "exact" => MatchBehavior::MatchExact,
                "any" => MatchBehavior::MatchAny,
                "superset" => MatchBehavior::MatchSuperset,
                "subset" => MatchBehavior::MatchSubset,
                _ => bail!("unsupported match behavior"),
            };
            let parsed = |text: &String| id::selector(text).with_context(|| format!("error parsing selector {text:?}"));
            let selectors = selectors.iter().map(parsed).collect::<Result<_, _>>()?;
            by_selector_match = Some(types::SelectorMatch { selectors, r#match: r#match.into() });
        }
        if !expires_before.is_empty() {
            date::check(&expires_before).context("date is not valid")?;
        }
        Ok(list_agents_request::Filter {
            by_attestation_type: attestation_type,
            by_selector_match,
            by_banned: yes_or_no(&banned),
            by_can_reattest: yes_or_no(&can_reattest),
            by_expires_before: expires_before,
        })
    }
}

/// The same filter as a request to count carries it.
pub(super) fn for_count(filter: list_agents_request::Filter) -> count_agents_request::Filter {
    let list_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    } = filter;
    count_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    }
}

fn yes_or_no(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
