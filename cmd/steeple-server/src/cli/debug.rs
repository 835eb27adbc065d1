//! `debug getinfo`

use anyhow::anyhow;
use jiff::Timestamp;
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use steeple_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response::Cert};

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, id, json, usage};

/// Prints how much the server has to do with.
pub(crate) async fn get_info(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("debug getinfo").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = DebugClient::new(server.channel()).get_info(GetInfoRequest {}).await;
    let info = response.map_err(|status| anyhow!("{}", server.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::info(&info)),
        Format::Pretty => console::out(&pretty(&info)),
    }
    Ok(())
}

fn pretty(info: &GetInfoResponse) -> String {
    let GetInfoResponse { svid_chain, uptime, agents_count, federated_bundles_count, entries_count } = info;
    let mut text = format!(
        "Server Debug Info:\n  \
         Uptime:                  {}\n  \
         Registered Agents:       {agents_count}\n  \
         Registration Entries:    {entries_count}\n  \
         Federated Bundles:       {federated_bundles_count}\n",
        Duration::from_secs((*uptime).into())
    );
    if !svid_chain.is_empty() {
        text.push_str("  SVID Chain:\n");
    }
    for (i, Cert { id, expires_at, subject }) in svid_chain.iter().enumerate() {
        let id = id.as_ref().map_or_else(|| "(none)".to_owned(), |id| id::text(Some(id)));
        let expires_at = Timestamp::from_second(*expires_at).unwrap_or_default();
        text.push_str(&format!(
            "    [{i}] SPIFFE ID:  {id}\n        Subject:    {subject}\n        Expires At: {expires_at}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_how_long_it_has_run_and_a_certificate_may_have_no_id() {
        let root = Cert { id: None, expires_at: 1_795_623_858, subject: "O=SPIFFE".to_owned() };
        let info =
            GetInfoResponse { uptime: 3725, agents_count: 2, svid_chain: vec![root], ..GetInfoResponse::default() };
        let expected = "Server Debug Info:\n  Uptime:                  1h2m5s\n  Registered Agents:       2\n  \
                        Registration Entries:    0\n  Federated Bundles:       0\n  SVID Chain:\n    \
                        [0] SPIFFE ID:  (none)\n        Subject:    O=SPIFFE\n        Expires At: 2026-11-25T16:24:18Z\n";
        assert_eq!(pretty(&info), expected);
        assert!(!pretty(&GetInfoResponse::default()).contains("SVID Chain"));
    }
}
