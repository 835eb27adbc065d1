//! An operator's own policy, in Rego.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use steeple_tests::{Domain, case, opa, say};

/// Policies, what they are asked, and what OPA answered when that was recorded.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/server/src/authpolicy/rego/testdata");
const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/server");

#[test]
fn opa_answers_what_was_recorded_of_it() -> Result<()> {
    let lines = |path: &str| -> Result<Vec<Value>> {
        let text = fs::read_to_string(Path::new(RECORDED).join(path))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    let inputs: Vec<Value> = lines("inputs.jsonl")?.into_iter().map(|mut line| line["input"].take()).collect();
    for (name, each) in [("namespaces", 1), ("language", 1), ("functions", 8), ("gaps", 1)] {
        let policy = Path::new(RECORDED).join(format!("policies/{name}.rego"));
        let asked: Vec<_> = inputs.iter().step_by(each).cloned().collect();
        let data = Path::new(CONF).join("policy_data.json");
        let Some(answers) = opa("policy::opa", &policy, &data, &asked)? else { return Ok(()) };
        ensure!(answers == lines(&format!("policies/{name}.jsonl"))?, "{name}: OPA has other answers than recorded");
        say(&format!("policy: OPA was asked {} times about {name}", answers.len()));
    }
    Ok(())
}

/// Entries may only be created below `/team`; all else as by default.
const NARROW: &str = r#"
local_entries if {
    every entry in input.req.entries {
        startswith(entry.spiffe_id.path, "/team/")
    }
}

local_entries if not endswith(input.full_method, "/BatchCreateEntry")
"#;

#[test]
fn a_policy_in_rego_holds_for_whole_daemons_which_sync_and_sign_by_it() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().default_intervals().write(scratch)?;
        let standard = fs::read_to_string(Path::new(CONF).join("policy.rego"))?;
        let narrow = standard.replace("\"local\" in callers,", "allow_if_local,")
            + NARROW
            + "\ndefault allow_if_local := false\n\nallow_if_local if {\n    \"local\" in callers\n    local_entries\n}\n";
        let policy = scratch.path().join("policy.rego");
        fs::write(&policy, narrow)?;
        let block = format!(
            "server {{\n    experimental {{\n        auth_opa_policy_engine {{\n            local {{\n                \
             rego_path = \"{}\"\n                policy_data_path = \"{CONF}/policy_data.json\"\n            \
             }}\n        }}\n    }}\n",
            policy.display()
        );
        domain.server.reconfigure(|conf| conf.replacen("server {\n", &block, 1))?;
        domain.server.start().await?;
        let agent = domain.agent("node").await?;
        let mut given = agent.workload().follow();
        domain.entry(&agent.id, "/team/web", &[]).await?;
        given.until_id("spiffe://example.org/team/web").await?;
        let refused = domain.entry(&agent.id, "/other/web", &[]).await;
        let Err(error) = refused else { anyhow::bail!("an entry was created against the policy") };
        let error = format!("{error:#}");
        let denied = "authorization denied for method /spire.api.server.entry.v1.Entry/BatchCreateEntry";
        ensure!(error.contains(denied), "{error}");
        Ok(())
    })
}
