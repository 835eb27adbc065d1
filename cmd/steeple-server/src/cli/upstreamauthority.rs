//! `upstreamauthority taint` and `upstreamauthority revoke`: authorities above the server's own.

use anyhow::{anyhow, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use steeple_proto::spire::api::server::localauthority::v1::{
    RevokeX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityRequest,
};

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, json, usage};

/// What is signed below the authority is replaced.
pub(crate) async fn taint(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, format, subject_key_id } = asked("upstreamauthority taint", args)?;
    let server = server.server()?;
    let request = TaintX509UpstreamAuthorityRequest { subject_key_id };
    let response = LocalAuthorityClient::new(server.channel()).taint_x509_upstream_authority(request).await;
    let failed = |status| anyhow!("could not taint X.509 upstream authority: {}", server.failed(&status));
    print(format, "Tainted", &response.map_err(failed)?.into_inner().upstream_authority_subject_key_id);
    Ok(())
}

/// Nobody believes the tainted authority any more.
pub(crate) async fn revoke(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, format, subject_key_id } = asked("upstreamauthority revoke", args)?;
    let server = server.server()?;
    let request = RevokeX509UpstreamAuthorityRequest { subject_key_id };
    let response = LocalAuthorityClient::new(server.channel()).revoke_x509_upstream_authority(request).await;
    let failed = |status| anyhow!("could not revoke X.509 upstream authority: {}", server.failed(&status));
    print(format, "Revoked", &response.map_err(failed)?.into_inner().upstream_authority_subject_key_id);
    Ok(())
}

struct Asked {
    server: ServerFlags,
    format: Format,
    subject_key_id: String,
}

fn asked(command: &str, args: &[String]) -> anyhow::Result<Asked> {
    let (mut server, mut output, mut subject_key_id) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new(command).flag("output", &mut output, Output::HELP).flag(
        "subjectKeyID",
        &mut subject_key_id,
        "The subject key `ID` of the authority, in hexadecimal",
    );
    usage::parse(server.add_to(flags), args)?;
    ensure!(!subject_key_id.is_empty(), "the Subject Key ID of the X.509 upstream authority is required");
    Ok(Asked { server, format: output.format(), subject_key_id })
}

fn print(format: Format, done: &str, id: &str) {
    match format {
        Format::Json => print_json(&json::upstream_authority(id)),
        Format::Pretty => console::out(&format!("{done} X.509 upstream authority:\n  Subject Key ID: {id}\n")),
    }
}
