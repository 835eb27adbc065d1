//! `jwt mint`

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::svid::v1::MintJwtsvidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_runtime::os::files::replace_private;

use super::client::ServerFlags;
use super::mint::{self, told};
use super::output::{Format, Output, print_json};
use super::{console, id, json, usage};

/// Makes a JWT-SVID without an entry.
pub(crate) async fn mint(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut spiffe_id, mut ttl) = (String::new(), Duration::ZERO);
    let (mut audience, mut file) = (Vec::<String>::new(), String::new());
    let flags = FlagSet::new("jwt mint")
        .flag("output", &mut output, Output::HELP)
        .flag("spiffeID", &mut spiffe_id, "The SPIFFE ID of the SVID")
        .flag("audience", &mut audience, "An `audience` that it is for; repeatable")
        .flag("ttl", &mut ttl, "How long it lives; 0: the server's default")
        .flag("write", &mut file, "The `file` to write it to");
    usage::parse(server.add_to(flags), args)?;

    ensure!(!spiffe_id.is_empty(), "spiffeID must be specified");
    ensure!(!audience.is_empty(), "at least one audience must be specified");
    let request =
        MintJwtsvidRequest { id: Some(id::parse("-spiffeID", &spiffe_id)?), audience, ttl: mint::seconds(ttl)? };
    let server = server.server()?;
    let response = SvidClient::new(server.channel()).mint_jwtsvid(request).await;
    let response = response.map_err(|status| anyhow!("unable to mint SVID: {}", server.failed(&status)))?.into_inner();
    let svid = response.svid.as_ref().context("server response missing SVID")?;

    mint::warn_if_cut("JWT-SVID", ttl, svid.expires_at);
    match (file.as_str(), output.format()) {
        ("", Format::Json) => print_json(&json::minted_jwt(&response)),
        ("", Format::Pretty) => console::out(&format!("{}\n", svid.token)),
        (file, _) => {
            let path = Path::new(file);
            told("JWT-SVID", "token", path, replace_private(path, svid.token.as_bytes()))?;
        }
    }
    Ok(())
}
