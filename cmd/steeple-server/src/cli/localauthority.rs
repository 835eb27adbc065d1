//! `localauthority x509` and `localauthority jwt`: the authorities of the server itself, by hand.

use anyhow::{anyhow, ensure};
use steeple_config::flags::FlagSet;
use steeple_console::time;
use steeple_proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use steeple_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest,
    GetJwtAuthorityStateResponse, GetX509AuthorityStateRequest, GetX509AuthorityStateResponse,
    PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest,
    TaintJwtAuthorityRequest, TaintX509AuthorityRequest,
};
use tonic::Status;

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, json, usage};

/// Which authorities a command is about.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Of {
    X509,
    Jwt,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        }
    }
}

/// Prints the authority that signs, and the one beside it.
pub(crate) async fn show(of: Of, args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let command = of.command("show");
    let flags = FlagSet::new(&command).flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let mut client = LocalAuthorityClient::new(server.channel());
    let shown = match of {
        Of::X509 => {
            let response = client.get_x509_authority_state(GetX509AuthorityStateRequest {}).await;
            let failed = |status| anyhow!("could not get X.509 authorities: {}", server.failed(&status));
            let GetX509AuthorityStateResponse { active, prepared, old } = response.map_err(failed)?.into_inner();
            [("active", active), ("prepared", prepared), ("old", old)]
        }
        Of::Jwt => {
            let response = client.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await;
            // As in the reference, which says no more here.
            let response = response.map_err(|status| server.failed(&status))?.into_inner();
            let GetJwtAuthorityStateResponse { active, prepared, old } = response;
            [("active", active), ("prepared", prepared), ("old", old)]
        }
    };
    match output.format() {
        Format::Json => print_json(&json::authorities(&shown)),
        Format::Pretty => {
            let blocks = shown.iter().map(|(which, authority)| {
                let name = of.name();
                let block = match authority {
                    Some(authority) => of.block(authority),
                    None => format!("  No {which} {name} authority found\n"),
                };
                format!("{} {name} authority:\n{block}", capital(which))
            });
            console::out(&blocks.collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(())
}

/// Makes the authority that is to sign next.
pub(crate) async fn prepare(of: Of, args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let command = of.command("prepare");
    let flags = FlagSet::new(&command).flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let mut client = LocalAuthorityClient::new(server.channel());
    let prepared = match of {
        Of::X509 => client
            .prepare_x509_authority(PrepareX509AuthorityRequest {})
            .await
            .map(|response| response.into_inner().prepared_authority),
        Of::Jwt => client
            .prepare_jwt_authority(PrepareJwtAuthorityRequest {})
            .await
            .map(|response| response.into_inner().prepared_authority),
    };
    let prepared =
        prepared.map_err(|status| anyhow!("could not prepare {} authority: {}", of.name(), server.failed(&status)))?;
    of.print(output.format(), "prepared", prepared);
    Ok(())
}

/// What is done to an authority that is named.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// The prepared one signs from now on.
    Activate,
    /// What the old one has signed is replaced.
    Taint,
    /// Nobody believes the tainted one any more.
    Revoke,
}

/// Activates, taints or revokes an authority.
pub(crate) async fn change(of: Of, change: Change, args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut authority_id) = (ServerFlags::default(), Output::default(), String::new());
    let (verb, done) = change.words();
    let command = of.command(verb);
    let flags = FlagSet::new(&command).flag("output", &mut output, Output::HELP).flag(
        "authorityID",
        &mut authority_id,
        "The `ID` of the authority, as `show` prints it",
    );
    usage::parse(server.add_to(flags), args)?;

    ensure!(!authority_id.is_empty(), "an authority ID is required");
    let server = server.server()?;
    let changed = change.ask(of, LocalAuthorityClient::new(server.channel()), authority_id).await;
    let changed =
        changed.map_err(|status| anyhow!("could not {verb} {} authority: {}", of.name(), server.failed(&status)))?;
    of.print(output.format(), done, changed);
    Ok(())
}

impl Change {
    /// What a command is called, and what it has done.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Activate => ("activate", "activated"),
            Self::Taint => ("taint", "tainted"),
            Self::Revoke => ("revoke", "revoked"),
        }
    }

    async fn ask(
        self,
        of: Of,
        mut client: LocalAuthorityClient<tonic::transport::Channel>,
        authority_id: String,
    ) -> Result<Option<AuthorityState>, Status> {
        Ok(match (self, of) {
            (Self::Activate, Of::X509) => {
                let request = ActivateX509AuthorityRequest { authority_id };
                client.activate_x509_authority(request).await?.into_inner().activated_authority
            }
            (Self::Activate, Of::Jwt) => {
                let request = ActivateJwtAuthorityRequest { authority_id };
                client.activate_jwt_authority(request).await?.into_inner().activated_authority
            }
            (Self::Taint, Of::X509) => {
                let request = TaintX509AuthorityRequest { authority_id };
                client.taint_x509_authority(request).await?.into_inner().tainted_authority
            }
            (Self::Taint, Of::Jwt) => {
                let request = TaintJwtAuthorityRequest { authority_id };
                client.taint_jwt_authority(request).await?.into_inner().tainted_authority
            }
            (Self::Revoke, Of::X509) => {
                let request = RevokeX509AuthorityRequest { authority_id };
                client.revoke_x509_authority(request).await?.into_inner().revoked_authority
            }
            (Self::Revoke, Of::Jwt) => {
                let request = RevokeJwtAuthorityRequest { authority_id };
                client.revoke_jwt_authority(request).await?.into_inner().revoked_authority
            }
        })
    }
}

impl Of {
    /// What the usage calls a command.
    fn command(self, verb: &str) -> String {
        let kind = match self {
            Self::X509 => "x509",
            Self::Jwt => "jwt",
        };
        format!("localauthority {kind} {verb}")
    }

    fn print(self, format: Format, done: &'static str, authority: Option<AuthorityState>) {
        match format {
            Format::Json => print_json(&json::authorities(&[(&format!("{done}_authority"), authority)])),
            Format::Pretty => {
                let block = authority.map(|authority| self.block(&authority)).unwrap_or_default();
                console::out(&format!("{} {} authority:\n{block}", capital(done), self.name()));
            }
        }
    }

    /// JWT authorities have none above them.
    fn block(self, authority: &AuthorityState) -> String {
        let AuthorityState { authority_id, expires_at, upstream_authority_subject_key_id: upstream } = authority;
        let expires_at = time::utc(*expires_at);
        let upstream = match self {
            Self::Jwt => String::new(),
            Self::X509 if upstream.is_empty() => "  Upstream authority ID: No upstream authority\n".to_owned(),
            Self::X509 => format!("  Upstream authority Subject Key ID: {upstream}\n"),
        };
        format!("  Authority ID: {authority_id}\n  Expires at: {expires_at}\n{upstream}")
    }
}

fn capital(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
