//! `entry explain`: why a workload has an identity, or what is missing that it has not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::GetAgentRequest;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::entry::v1::list_entries_request;
use steeple_proto::spire::api::types;
use steeple_spiffe::SpiffeId;

use super::show;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, id, usage};

/// So many entries that nearly match are shown.
const SHOWN: usize = 10;

/// Prints which entries a workload matches, and which nearly.
pub(crate) async fn explain(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut parent, mut agent, mut selectors) = (String::new(), String::new(), Vec::<String>::new());
    let flags = FlagSet::new("entry explain")
        .flag("output", &mut output, Output::HELP)
        .flag("parentID", &mut parent, "The SPIFFE ID that stands above the workload")
        .flag("agent", &mut agent, "The SPIFFE ID of the agent that the workload is on, in place of its parent")
        .flag("selector", &mut selectors, "A selector, `type:value`, of the workload; repeatable");
    usage::parse(server.add_to(flags), args)?;

    ensure!(parent.is_empty() != agent.is_empty(), "either -parentID or -agent is required");
    let above = id::parse("-parentID or -agent", if agent.is_empty() { &parent } else { &agent })?;
    for selector in &selectors {
        id::selector(selector)?;
    }
    let server = server.server()?;
    let entries = show::all(&server, list_entries_request::Filter::default()).await;
    let entries: Vec<_> = entries.context("error fetching entries")?.iter().map(Candidate::of).collect();
    let above = id::text(Some(&above));
    let parents = if agent.is_empty() {
        BTreeMap::from([(above, "as given".to_owned())])
    } else {
        let of_agent = selectors_of(&server, &above).await.context("error fetching the agent")?;
        parents_of(&above, &of_agent, &entries)
    };
    let workload = Workload { parents, selectors: selectors.into_iter().collect() };
    let explained = workload.explain(&entries);
    match output.format() {
        Format::Json => print_json(&explained.as_json(&workload)),
        Format::Pretty => console::out(&explained.pretty(&workload)),
    }
    Ok(())
}

/// The selectors that an agent was attested with.
async fn selectors_of(server: &Server, agent: &str) -> anyhow::Result<BTreeSet<String>> {
    let request = GetAgentRequest { id: Some(id::parse("-agent", agent)?), output_mask: None };
    let response = AgentClient::new(server.channel()).get_agent(request).await;
    let agent = response.map_err(|status| server.failed(&status))?.into_inner();
    Ok(texts(&agent.selectors))
}

/// The IDs that may stand above a workload of an agent, each with what it is: its own, its aliases', and those of the entries
/// below them.
fn parents_of(agent: &str, of_agent: &BTreeSet<String>, entries: &[Candidate]) -> BTreeMap<String, String> {
    let is_alias = |entry: &&Candidate| entry.is_alias() && entry.selectors.is_subset(of_agent);
    let aliases = entries.iter().filter(is_alias).map(|entry| (entry.spiffe_id.clone(), format!("alias {}", entry.id)));
    let mut found = BTreeMap::from([(agent.to_owned(), "the agent".to_owned())]);
    let mut left: Vec<_> = aliases.collect();
    left.push((agent.to_owned(), String::new()));
    let mut visited = BTreeSet::new();
    while let Some((parent, what)) = left.pop() {
        if !visited.insert(parent.clone()) {
            continue;
        }
        for below in entries.iter().filter(|entry| entry.parent_id == parent && !entry.is_alias()) {
            left.push((below.spiffe_id.clone(), format!("entry {}", below.id)));
        }
        found.entry(parent).or_insert(what);
    }
    found
}

/// An entry, as far as matching goes.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: BTreeSet<String>,
}

impl Candidate {
    fn of(entry: &types::Entry) -> Self {
        let types::Entry { id: entry_id, spiffe_id, parent_id, selectors, .. } = entry;
        Self {
            id: entry_id.clone(),
            spiffe_id: id::text(spiffe_id.as_ref()),
            parent_id: id::text(parent_id.as_ref()),
            selectors: texts(selectors),
        }
    }

    /// Whether it gives agents another ID, and workloads none.
    fn is_alias(&self) -> bool {
        SpiffeId::parse(&self.parent_id).is_ok_and(|id| id.path() == "/spire/server")
    }
}

/// What is known of a workload.
struct Workload {
    parents: BTreeMap<String, String>,
    selectors: BTreeSet<String>,
}

/// What an entry wants that the workload has not.
#[derive(Debug, PartialEq, Eq)]
enum Missing<'a> {
    Parent(&'a str),
    Selectors(Vec<&'a str>),
}

/// The entries that match, and those that nearly do, the nearest first.
struct Explained<'a> {
    matching: Vec<&'a Candidate>,
    nearly: Vec<(&'a Candidate, Vec<Missing<'a>>)>,
}

impl Workload {
    /// An entry is near when it has the workload's parent, or selectors of it.
    fn explain<'a>(&self, entries: &'a [Candidate]) -> Explained<'a> {
        let mut explained = Explained { matching: Vec::new(), nearly: Vec::new() };
        for entry in entries.iter().filter(|entry| !entry.is_alias()) {
            let missing = self.missing(entry);
            let is_near = self.parents.contains_key(&entry.parent_id) || !entry.selectors.is_disjoint(&self.selectors);
            if missing.is_empty() {
                explained.matching.push(entry);
            } else if is_near {
                explained.nearly.push((entry, missing));
            }
        }
        let distance = |missing: &Missing<'_>| match missing {
            Missing::Selectors(selectors) => selectors.len(),
            Missing::Parent(_) => 1,
        };
        explained.nearly.sort_by_key(|(entry, missing)| {
            (missing.iter().map(distance).sum::<usize>(), entry.spiffe_id.clone(), entry.id.clone())
        });
        explained
    }

    /// In the order in which it is looked at.
    fn missing<'a>(&self, entry: &'a Candidate) -> Vec<Missing<'a>> {
        let parent = (!self.parents.contains_key(&entry.parent_id)).then_some(Missing::Parent(&entry.parent_id));
        let lacking: Vec<_> =
            entry.selectors.iter().filter(|it| !self.selectors.contains(*it)).map(String::as_str).collect();
        let selectors = (!lacking.is_empty()).then_some(Missing::Selectors(lacking));
        [parent, selectors].into_iter().flatten().collect()
    }
}

impl Missing<'_> {
    fn text(&self) -> String {
        match self {
            Self::Parent(parent) => format!("its parent is {parent}"),
            Self::Selectors(selectors) => format!("selector {} is missing", selectors.join(", ")),
        }
    }

    fn as_json(&self) -> Value {
        match self {
            Self::Parent(parent) => json!({ "parent_id": parent }),
            Self::Selectors(selectors) => json!({ "selectors": selectors }),
        }
    }
}

impl Explained<'_> {
    fn pretty(&self, workload: &Workload) -> String {
        let mut text = String::from("Parents:\n");
        // Writing to a string does not fail.
        for (parent, what) in &workload.parents {
            let _ = writeln!(text, "  {parent} ({what})");
        }
        let _ = writeln!(text, "\nMatching: {}", self.matching.len());
        for entry in &self.matching {
            let _ = writeln!(text, "  {} (entry {})", entry.spiffe_id, entry.id);
        }
        let _ = writeln!(text, "\nNearly: {}", self.nearly.len());
        for (entry, missing) in self.nearly.iter().take(SHOWN) {
            let missing: Vec<_> = missing.iter().map(Missing::text).collect();
            let _ = writeln!(text, "  {} (entry {}): {}", entry.spiffe_id, entry.id, missing.join("; "));
        }
        if self.nearly.len() > SHOWN {
            let _ = writeln!(text, "  and {} more, which are farther off", self.nearly.len() - SHOWN);
        }
        text
    }

    fn as_json(&self, workload: &Workload) -> Value {
        let entry = |entry: &Candidate| json!({ "id": entry.id, "spiffe_id": entry.spiffe_id });
        let nearly = self.nearly.iter().map(|(near, missing)| {
            let mut near = entry(near);
            near["missing"] = missing.iter().map(Missing::as_json).collect();
            near
        });
        json!({
            "parents": workload.parents.keys().collect::<Vec<_>>(),
            "matching": self.matching.iter().map(|matching| entry(matching)).collect::<Vec<_>>(),
            "nearly": nearly.collect::<Vec<_>>(),
        })
    }
}

fn texts(selectors: &[types::Selector]) -> BTreeSet<String> {
    selectors.iter().map(|types::Selector { r#type, value }| format!("{type}:{value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, parent: &str, selectors: &[&str]) -> Candidate {
        Candidate {
            id: id.to_owned(),
            spiffe_id: format!("spiffe://example.org/{id}"),
            parent_id: format!("spiffe://example.org/{parent}"),
            selectors: selectors.iter().map(ToString::to_string).collect(),
        }
    }

    fn entries() -> Vec<Candidate> {
        vec![
            candidate("web", "node", &["unix:uid:1"]),
            candidate("db", "node", &["unix:uid:1", "unix:gid:2", "unix:path:/db"]),
            candidate("elsewhere", "other", &["unix:uid:1"]),
            candidate("stranger", "other", &["unix:uid:9"]),
            candidate("cluster", "spire/server", &["join:a"]),
            candidate("shared", "cluster", &["unix:uid:1"]),
            candidate("below", "web", &["unix:uid:1"]),
        ]
    }

    fn workload(parents: &[&str]) -> Workload {
        let parents = parents.iter().map(|id| (format!("spiffe://example.org/{id}"), "as given".to_owned()));
        Workload { parents: parents.collect(), selectors: BTreeSet::from(["unix:uid:1".to_owned()]) }
    }

    #[test]
    fn what_is_missing_is_told_nearest_first() {
        let (entries, workload) = (entries(), workload(&["node"]));
        let expected = "Parents:\n  spiffe://example.org/node (as given)\n\n\
             Matching: 1\n  spiffe://example.org/web (entry web)\n\n\
             Nearly: 4\n  spiffe://example.org/below (entry below): its parent is spiffe://example.org/web\n  \
             spiffe://example.org/elsewhere (entry elsewhere): its parent is spiffe://example.org/other\n  \
             spiffe://example.org/shared (entry shared): its parent is spiffe://example.org/cluster\n  \
             spiffe://example.org/db (entry db): selector unix:gid:2, unix:path:/db is missing\n";
        assert_eq!(workload.explain(&entries).pretty(&workload), expected);
    }

    #[test]
    fn an_agent_has_the_ids_of_its_aliases_and_of_what_is_below_it() {
        let entries = entries();
        let parents = parents_of("spiffe://example.org/node", &BTreeSet::from(["join:a".to_owned()]), &entries);
        let names: Vec<_> = parents.keys().map(|id| id.rsplit_once('/').map_or("", |(_, name)| name)).collect();
        assert_eq!(names, ["below", "cluster", "db", "node", "shared", "web"]);
        let workload = Workload { parents, ..workload(&[]) };
        let ids: Vec<_> = workload.explain(&entries).matching.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids, ["web", "shared", "below"]);
        let parents = parents_of("spiffe://example.org/node", &BTreeSet::new(), &entries);
        assert!(!parents.contains_key("spiffe://example.org/cluster"));
    }

    #[test]
    fn json_names_what_is_missing() {
        let (entries, workload) = (entries(), workload(&["node"]));
        let told = workload.explain(&entries).as_json(&workload);
        assert_eq!(told["matching"], json!([{"id": "web", "spiffe_id": "spiffe://example.org/web"}]));
        let missing: Vec<_> = told["nearly"].as_array().unwrap().iter().map(|near| &near["missing"]).collect();
        assert_eq!(missing[0], &json!([{"parent_id": "spiffe://example.org/web"}]));
        assert_eq!(missing[3], &json!([{"selectors": ["unix:gid:2", "unix:path:/db"]}]));
    }
}
