use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, anyhow, ensure};
use steeple_config::flags::{FlagSet, FlagValue};
use steeple_proto::workload::{JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse};

use super::json;
use crate::cli::client::{AgentFlags, Timeout};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Prints a JWT-SVID for each identity that the agent has for this process, or for one of them, and the bundles that
/// validate such tokens.
pub(crate) async fn fetch_jwt(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut timeout) = (AgentFlags::default(), Timeout::default());
    let (mut audience, mut spiffe_id) = (Audience::default(), String::new());
    let output = RefCell::new(Output::default());
    let (mut output_flag, mut format_flag) = (Shared(&output), Shared(&output));
    let flags = FlagSet::new("fetch jwt")
        .flag("output", &mut output_flag, Output::HELP)
        .flag("format", &mut format_flag, "The old name of -output")
        .flag("timeout", &mut timeout, Timeout::HELP)
        .flag("audience", &mut audience, "Whom the token is for; several `names` have commas between")
        .flag("spiffeID", &mut spiffe_id, "The one SPIFFE ID to get a token for");
    usage::parse(agent.add_to(flags), args)?;

    let Audience(audience) = audience;
    ensure!(!audience.is_empty(), "audience must be specified");
    let agent = agent.agent()?;
    let bundles = timeout.limit(async {
        let stream = agent.workload().stub().fetch_jwt_bundles(JwtBundlesRequest {}).await?;
        stream.into_inner().message().await
    });
    let bundles = match bundles.await {
        Ok(bundles) => bundles.ok_or_else(|| anyhow!("EOF"))?,
        // As in the reference, what an agent answers is told bare.
        Err(status) if steeple_console::dialling::answered(&status) => return Err(agent.failed(&status)),
        Err(status) => return Err(agent.failed(&status)).context("failed to receive JWT bundles"),
    };
    let mut calls = agent.workload().stub();
    let svids = timeout.limit(calls.fetch_jwtsvid(JwtsvidRequest { audience, spiffe_id })).await;
    let svids = svids.map_err(|status| agent.failed(&status))?.into_inner();
    match output.borrow().format() {
        Format::Json => print_json(&[json::jwt_svids(&svids), json::jwt_bundles(&bundles)].into_iter().collect()),
        Format::Pretty => console::out(&pretty(svids, bundles)?),
    }
    Ok(())
}

/// For people.
pub(super) fn pretty(svids: JwtsvidResponse, bundles: JwtBundlesResponse) -> anyhow::Result<String> {
    let mut text = String::new();
    for Jwtsvid { spiffe_id, svid, hint } in svids.svids {
        text.push_str(&format!("token({spiffe_id}):\n\t{svid}\n"));
        if !hint.is_empty() {
            text.push_str(&format!("hint({spiffe_id}):\n\t{hint}\n"));
        }
    }
    for (trust_domain, bundle) in bundles.bundles.into_iter().collect::<BTreeMap<_, _>>() {
        let bundle = String::from_utf8(bundle.into())?;
        text.push_str(&format!("bundle({trust_domain}):\n\t{bundle}\n"));
    }
    Ok(text)
}

/// `-audience`: several at once. Given again, it replaces what was given before.
#[derive(Default)]
struct Audience(Vec<String>);

impl FlagValue for Audience {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = text.split(',').map(String::from).collect();
        Ok(())
    }
}

/// Two names of one flag.
struct Shared<'a>(&'a RefCell<Output>);

impl FlagValue for Shared<'_> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0.borrow_mut().set(text)
    }

    fn type_name(&self) -> &'static str {
        self.0.borrow().type_name()
    }

    fn default_text(&self) -> Option<String> {
        self.0.borrow().default_text()
    }
}
