//! `debug getinfo`

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::Value;
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_console::json::{list, long, message, object, text};
use steeple_console::output::print_json;
use steeple_proto::spire::agent::debug::v1::debug_client::DebugClient;
use steeple_proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response::Cert};
use steeple_proto::spire::api::types::Spiffeid;

use super::client::AdminFlags;
use super::output::{Format, Output};
use super::{console, usage};

/// Prints how the agent is, in figures.
pub(crate) async fn get_info(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output) = (AdminFlags::default(), Output::default());
    let flags = FlagSet::new("debug getinfo").flag("output", &mut output, Output::HELP);
    usage::parse(agent.add_to(flags), args)?;

    let agent = agent.agent();
    let response = DebugClient::new(agent.channel()).get_info(GetInfoRequest {}).await;
    let info = response.map_err(|status| anyhow!("{}", agent.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json(&info)),
        Format::Pretty => console::out(&pretty(&info)),
    }
    Ok(())
}

fn pretty(info: &GetInfoResponse) -> String {
    let GetInfoResponse {
        svid_chain,
        uptime,
        cached_x509_svids_count,
        cached_jwt_svids_count,
        cached_svidstore_x509_svids_count,
        last_sync_success,
        ..
    } = info;
    let synced = match last_sync_success {
        0 => "(never)".to_owned(),
        at => moment(*at),
    };
    let mut text = format!(
        "Agent Debug Info:\n  \
         Uptime:                          {}\n  \
         Last Sync Success:               {synced}\n  \
         Cached X.509 SVIDs:              {cached_x509_svids_count}\n  \
         Cached JWT SVIDs:                {cached_jwt_svids_count}\n  \
         Cached SVID Store X.509 SVIDs:   {cached_svidstore_x509_svids_count}\n",
        Duration::from_secs((*uptime).into())
    );
    if !svid_chain.is_empty() {
        text.push_str("  SVID Chain:\n");
    }
    for (i, Cert { id, expires_at, subject }) in svid_chain.iter().enumerate() {
        let id = match id {
            Some(Spiffeid { trust_domain, path }) => format!("spiffe://{trust_domain}{path}"),
            None => "(none)".to_owned(),
        };
        let expires_at = moment(*expires_at);
        text.push_str(&format!(
            "    [{i}] SPIFFE ID:  {id}\n        Subject:    {subject}\n        Expires At: {expires_at}\n"
        ));
    }
    text
}

fn moment(unix_seconds: i64) -> String {
    Timestamp::from_second(unix_seconds).unwrap_or_default().to_string()
}

/// `GetInfoResponse`
#[expect(deprecated, reason = "the reference prints `svids_count`")]
fn json(info: &GetInfoResponse) -> Value {
    let GetInfoResponse {
        svid_chain,
        uptime,
        svids_count,
        cached_x509_svids_count,
        cached_jwt_svids_count,
        cached_svidstore_x509_svids_count,
        last_sync_success,
    } = info;
    let id = |id: &Spiffeid| object([("trust_domain", text(&id.trust_domain)), ("path", text(&id.path))]);
    let certificate = |Cert { id: of, expires_at, subject }: &Cert| {
        object([("id", message(of, id)), ("expires_at", long(*expires_at)), ("subject", text(subject))])
    };
    object([
        ("svid_chain", list(svid_chain, certificate)),
        ("uptime", (*uptime).into()),
        ("svids_count", (*svids_count).into()),
        ("last_sync_success", long(*last_sync_success)),
        ("cached_x509_svids_count", (*cached_x509_svids_count).into()),
        ("cached_jwt_svids_count", (*cached_jwt_svids_count).into()),
        ("cached_svidstore_x509_svids_count", (*cached_svidstore_x509_svids_count).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_has_never_synced_says_so() {
        let root = Cert { id: None, expires_at: 1_795_623_858, subject: "O=SPIFFE".to_owned() };
        let info = GetInfoResponse { uptime: 3725, svid_chain: vec![root], ..GetInfoResponse::default() };
        let expected = "Agent Debug Info:\n  Uptime:                          1h2m5s\n  \
                        Last Sync Success:               (never)\n  Cached X.509 SVIDs:              0\n  \
                        Cached JWT SVIDs:                0\n  Cached SVID Store X.509 SVIDs:   0\n  SVID Chain:\n    \
                        [0] SPIFFE ID:  (none)\n        Subject:    O=SPIFFE\n        Expires At: 2026-11-25T16:24:18Z\n";
        assert_eq!(pretty(&info), expected);
    }
}
