use anyhow::{Context, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::workload::{ValidateJwtsvidRequest, ValidateJwtsvidResponse};
use tonic::Code;

use super::json;
use crate::cli::client::{AgentFlags, Timeout};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Has the agent validate a token with the bundles that it has for this process.
pub(crate) async fn validate_jwt(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output, mut timeout) = (AgentFlags::default(), Output::default(), Timeout::default());
    let (mut audience, mut svid) = (String::new(), String::new());
    let flags = FlagSet::new("validate jwt")
        .flag("output", &mut output, Output::HELP)
        .flag("timeout", &mut timeout, Timeout::HELP)
        .flag("audience", &mut audience, "Whom the token must be for")
        .flag("svid", &mut svid, "The token");
    usage::parse(agent.add_to(flags), args)?;

    ensure!(!audience.is_empty(), "audience must be specified");
    ensure!(!svid.is_empty(), "svid must be specified");
    let agent = agent.agent()?;
    let mut calls = agent.workload().stub();
    let request = ValidateJwtsvidRequest { audience, svid };
    let response = match timeout.limit(calls.validate_jwtsvid(request)).await {
        Ok(response) => response.into_inner(),
        Err(status) if status.code() == Code::InvalidArgument => bail!("SVID is not valid: {}", status.message()),
        Err(status) => return Err(agent.failed(&status)).context("unable to validate JWT SVID"),
    };
    match output.format() {
        Format::Json => print_json(&json::validated(&response)),
        Format::Pretty => {
            let ValidateJwtsvidResponse { spiffe_id, claims } = response;
            let claims = claims.map_or_else(|| "{}".into(), |claims| json::claims(&claims).to_string());
            console::out(&format!("SVID is valid.\nSPIFFE ID : {spiffe_id}\nClaims    : {claims}\n"));
        }
    }
    Ok(())
}
