//! `entry explain`, asked of a server with an agent.

use anyhow::{Result, ensure};
use serde_json::json;
use steeple_tests::{Domain, case, skipped_on_the_reference};

#[test]
fn an_entry_that_a_workload_matches_is_told_and_what_others_want_beside() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("explain", "it has no such command");
            return Ok(());
        }
        let agent = domain.agent("node").await?;
        let [web, db, far] = ["/web", "/db", "/far"].map(|path| domain.id(path));
        let entry = async |id: &str, parent: &str, selectors: &[&str]| {
            let selectors: Vec<_> = selectors.iter().flat_map(|selector| ["-selector", selector]).collect();
            domain.server.create_entry(&[&["-spiffeID", id, "-parentID", parent], &selectors[..]].concat()).await
        };
        let matching = entry(&web, &agent.id, &["unix:uid:1"]).await?;
        let lacking = entry(&db, &agent.id, &["unix:uid:1", "unix:gid:2"]).await?;
        let elsewhere = entry(&far, &domain.id("/other"), &["unix:uid:1"]).await?;

        let asked = ["entry", "explain", "-agent", &agent.id, "-selector", "unix:uid:1"];
        let pretty = domain.server.command(&asked).await?.ok()?;
        ensure!(pretty.contains(&format!("Matching: 1\n  {web} (entry {matching})\n")), "{pretty}");
        let told = domain.server.command(&[&asked[..], &["-output", "json"]].concat()).await?.json()?;
        let mut nearly = told["nearly"].as_array().cloned().unwrap_or_default();
        nearly.sort_by_key(|near| near["spiffe_id"].to_string());
        let expected = [
            json!({"id": lacking, "spiffe_id": db, "missing": [{"selectors": ["unix:gid:2"]}]}),
            json!({"id": elsewhere, "spiffe_id": far, "missing": [{"parent_id": domain.id("/other")}]}),
        ];
        ensure!(nearly == expected, "{told}");
        Ok(())
    })
}
