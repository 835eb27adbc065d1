//! The flags of `entry show` and `entry count` that say which entries are meant.

use anyhow::{Context, bail};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::entry::v1::{count_entries_request, list_entries_request};
use steeple_proto::spire::api::types::{self, federates_with_match, selector_match};

use crate::cli::id;

pub(super) struct FilterFlags {
    pub(super) parent_id: String,
    pub(super) spiffe_id: String,
    pub(super) selectors: Vec<String>,
    federates_with: Vec<String>,
    downstream: bool,
    hint: String,
    match_selectors_on: String,
    match_federates_with_on: String,
}

impl Default for FilterFlags {
    fn default() -> Self {
        Self {
            parent_id: String::new(),
            spiffe_id: String::new(),
            selectors: Vec::new(),
            federates_with: Vec::new(),
            downstream: false,
            hint: String::new(),
            match_selectors_on: "superset".into(),
            match_federates_with_on: "superset".into(),
        }
    }
}

impl FilterFlags {
    pub(super) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self {
            parent_id,
            spiffe_id,
            selectors,
            federates_with,
            downstream,
            hint,
            match_selectors_on,
            match_federates_with_on,
        } = self;
        flags
            .flag("parentID", parent_id, "The SPIFFE ID of the entries' parent")
            .flag("spiffeID", spiffe_id, "The SPIFFE ID that the entries give")
            .flag("selector", selectors, "A selector, `type:value`, of the entries; repeatable")
            .flag("federatesWith", federates_with, "A trust `domain` that they federate with; repeatable")
            .flag("downstream", downstream, "Only the entries of servers below this one")
            .flag("hint", hint, "The entries' hint")
            .flag("matchSelectorsOn", match_selectors_on, "How selectors match: exact, any, superset or subset")
            .flag("matchFederatesWithOn", match_federates_with_on, "How trust domains match: as selectors do")
    }

    /// # Errors
    /// An ID, a selector or the word for how they match is malformed.
    pub(super) fn filter(self) -> anyhow::Result<list_entries_request::Filter> {
        let Self {
            parent_id,
            spiffe_id,
            selectors,
            federates_with,
            downstream,
            hint,
            match_selectors_on,
            match_federates_with_on,
        } = self;
        let by_parent_id = optional_id("parent ID", &parent_id)?;
        let by_spiffe_id = optional_id("SPIFFE ID", &spiffe_id)?;
        // Without values it does not matter how they match, not even whether the word means anything.
        let mut by_selectors = None;
        if !selectors.is_empty() {
            let selectors = selectors.iter().map(|text| id::selector(text)).collect::<Result<_, _>>();
            let selectors = selectors.context("error parsing selectors")?;
            by_selectors = Some(types::SelectorMatch { selectors, r#match: behavior(&match_selectors_on)?.into() });
        }
        let mut by_federates_with = None;
        if !federates_with.is_empty() {
            // The two enums have the same numbers.
            let r#match = behavior(&match_federates_with_on)?.into();
            by_federates_with = Some(types::FederatesWithMatch { trust_domains: federates_with, r#match });
        }
        Ok(list_entries_request::Filter {
            by_spiffe_id,
            by_parent_id,
            by_selectors,
            by_federates_with,
            by_hint: Some(hint).filter(|hint| !hint.is_empty()),
            // `false` means no filter to the server, not entries that are not downstream.
            by_downstream: Some(downstream),
        })
    }
}

/// The same filter as a request to count carries it.
pub(super) fn for_count(filter: list_entries_request::Filter) -> count_entries_request::Filter {
    let list_entries_request::Filter {
        by_spiffe_id,
        by_parent_id,
        by_selectors,
        by_federates_with,
        by_hint,
        by_downstream,
    } = filter;
    count_entries_request::Filter {
        by_spiffe_id,
        by_parent_id,
        by_selectors,
        by_federates_with,
        by_hint,
        by_downstream,
    }
}

fn optional_id(what: &str, text: &str) -> anyhow::Result<Option<types::Spiffeid>> {
    if text.is_empty() {
        return Ok(None);
    }
    id::parse(what, text).map(Some).with_context(|| format!("error parsing {what} {text:?}"))
}

fn behavior(word: &str) -> anyhow::Result<selector_match::MatchBehavior> {
    use selector_match::MatchBehavior::{MatchAny, MatchExact, MatchSubset, MatchSuperset};
    Ok(match word {
        "exact" => MatchExact,
        "any" => MatchAny,
        "superset" => MatchSuperset,
        "subset" => MatchSubset,
        _ => bail!("match behavior {word:?} unknown"),
    })
}

const _: () = assert!(
    selector_match::MatchBehavior::MatchAny as i32 == federates_with_match::MatchBehavior::MatchAny as i32
        && selector_match::MatchBehavior::MatchExact as i32 == federates_with_match::MatchBehavior::MatchExact as i32
        && selector_match::MatchBehavior::MatchSubset as i32 == federates_with_match::MatchBehavior::MatchSubset as i32
);
