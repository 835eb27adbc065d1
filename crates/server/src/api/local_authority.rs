//! `spire.api.server.localauthority.v1.LocalAuthority`: what operators do to this server's own authorities by hand, and
//! to those above them. WIT authorities cannot be changed by hand, as in the reference.

use steeple_proto::spire::api::server::localauthority::v1::local_authority_server::{
    LocalAuthority, LocalAuthorityServer,
};
use steeple_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, ActivateWitAuthorityRequest,
    ActivateWitAuthorityResponse, ActivateX509AuthorityRequest, ActivateX509AuthorityResponse, AuthorityState,
    GetJwtAuthorityStateRequest, GetJwtAuthorityStateResponse, GetWitAuthorityStateRequest,
    GetWitAuthorityStateResponse, GetX509AuthorityStateRequest, GetX509AuthorityStateResponse,
    PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse, PrepareWitAuthorityRequest, PrepareWitAuthorityResponse,
    PrepareX509AuthorityRequest, PrepareX509AuthorityResponse, RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse,
    RevokeWitAuthorityRequest, RevokeWitAuthorityResponse, RevokeX509AuthorityRequest, RevokeX509AuthorityResponse,
    RevokeX509UpstreamAuthorityRequest, RevokeX509UpstreamAuthorityResponse, TaintJwtAuthorityRequest,
    TaintJwtAuthorityResponse, TaintWitAuthorityRequest, TaintWitAuthorityResponse, TaintX509AuthorityRequest,
    TaintX509AuthorityResponse, TaintX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityResponse,
};
use steeple_transport::rpc::Call;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, error_span, info};

use super::{Parts, status};
use crate::ca::orders::{Described, Of, OrderError, Place, State};
use crate::freshness::come_again;

struct Service(Parts);

/// The service.
pub(crate) fn service(parts: Parts) -> LocalAuthorityServer<impl LocalAuthority> {
    LocalAuthorityServer::new(Service(parts))
}

#[tonic::async_trait]
impl LocalAuthority for Service {
    async fn get_x509_authority_state(
        &self,
        _: Request<GetX509AuthorityStateRequest>,
    ) -> Result<Response<GetX509AuthorityStateResponse>, Status> {
        let Shown { active, prepared, old } = self.show(Of::X509).await?;
        Ok(Response::new(GetX509AuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_x509_authority(
        &self,
        _: Request<PrepareX509AuthorityRequest>,
    ) -> Result<Response<PrepareX509AuthorityResponse>, Status> {
        let prepared_authority = Some(self.prepare(Of::X509).await?);
        Ok(Response::new(PrepareX509AuthorityResponse { prepared_authority }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<ActivateX509AuthorityRequest>,
    ) -> Result<Response<ActivateX509AuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let activated_authority = Some(self.activate(&call, Of::X509, id).await?);
        Ok(Response::new(ActivateX509AuthorityResponse { activated_authority }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<TaintX509AuthorityRequest>,
    ) -> Result<Response<TaintX509AuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let tainted_authority = Some(self.taint(&call, Of::X509, id).await?);
        Ok(Response::new(TaintX509AuthorityResponse { tainted_authority }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<TaintX509UpstreamAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().subject_key_id;
        let span = upstream(&call, &id);
        async {
            self.0.orders.taint_upstream(id.clone()).await.map_err(|error| match error {
                OrderError::Ca(error) => status::internal("failed to taint upstream authority", error),
                other => of_upstream("provided subject key id is not valid", &other),
            })?;
            info!(target: "api", "X.509 upstream authority tainted successfully");
            let upstream_authority_subject_key_id = id.to_lowercase();
            Ok(Response::new(TaintX509UpstreamAuthorityResponse { upstream_authority_subject_key_id }))
        }
        .instrument(span)
        .await
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<RevokeX509AuthorityRequest>,
    ) -> Result<Response<RevokeX509AuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let revoked_authority = Some(self.revoke(&call, Of::X509, id).await?);
        Ok(Response::new(RevokeX509AuthorityResponse { revoked_authority }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<RevokeX509UpstreamAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().subject_key_id;
        let span = upstream(&call, &id);
        async {
            self.0.orders.revoke_upstream(id.clone()).await.map_err(|error| match error {
                OrderError::Ca(error) => status::internal("failed to revoke X.509 upstream authority", error),
                other => of_upstream("invalid subject key ID", &other),
            })?;
            info!(target: "api", "X.509 upstream authority successfully revoked");
            let upstream_authority_subject_key_id = id.to_lowercase();
            Ok(Response::new(RevokeX509UpstreamAuthorityResponse { upstream_authority_subject_key_id }))
        }
        .instrument(span)
        .await
    }

    async fn get_jwt_authority_state(
        &self,
        _: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        let Shown { active, prepared, old } = self.show(Of::Jwt).await?;
        Ok(Response::new(GetJwtAuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_jwt_authority(
        &self,
        _: Request<PrepareJwtAuthorityRequest>,
    ) -> Result<Response<PrepareJwtAuthorityResponse>, Status> {
        let prepared_authority = Some(self.prepare(Of::Jwt).await?);
        Ok(Response::new(PrepareJwtAuthorityResponse { prepared_authority }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<ActivateJwtAuthorityRequest>,
    ) -> Result<Response<ActivateJwtAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let activated_authority = Some(self.activate(&call, Of::Jwt, id).await?);
        Ok(Response::new(ActivateJwtAuthorityResponse { activated_authority }))
    }

    /// Unlike for X.509, the reference does not say when the tainted authority ends.
    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let AuthorityState { authority_id, .. } = self.taint(&call, Of::Jwt, id).await?;
        let tainted_authority = Some(AuthorityState { authority_id, ..AuthorityState::default() });
        Ok(Response::new(TaintJwtAuthorityResponse { tainted_authority }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().authority_id;
        let revoked_authority = Some(self.revoke(&call, Of::Jwt, id).await?);
        Ok(Response::new(RevokeJwtAuthorityResponse { revoked_authority }))
    }

    async fn get_wit_authority_state(
        &self,
        _: Request<GetWitAuthorityStateRequest>,
    ) -> Result<Response<GetWitAuthorityStateResponse>, Status> {
        Err(no_wit())
    }

    async fn prepare_wit_authority(
        &self,
        _: Request<PrepareWitAuthorityRequest>,
    ) -> Result<Response<PrepareWitAuthorityResponse>, Status> {
        Err(no_wit())
    }

    async fn activate_wit_authority(
        &self,
        _: Request<ActivateWitAuthorityRequest>,
    ) -> Result<Response<ActivateWitAuthorityResponse>, Status> {
        Err(no_wit())
    }

    async fn taint_wit_authority(
        &self,
        _: Request<TaintWitAuthorityRequest>,
    ) -> Result<Response<TaintWitAuthorityResponse>, Status> {
        Err(no_wit())
    }

    async fn revoke_wit_authority(
        &self,
        _: Request<RevokeWitAuthorityRequest>,
    ) -> Result<Response<RevokeWitAuthorityResponse>, Status> {
        Err(no_wit())
    }
}

/// The authorities of a kind, in the fields of either answer.
struct Shown {
    active: Option<AuthorityState>,
    prepared: Option<AuthorityState>,
    old: Option<AuthorityState>,
}

impl Service {
    async fn show(&self, of: Of) -> Result<Shown, Status> {
        self.check(of)?;
        let State { active, next } = self.0.orders.show(of).await.map_err(|error| refused(&error))?;
        let (prepared, old) = match next {
            Some((Place::Prepared, next)) => (Some(next), None),
            Some((Place::Old, next)) => (None, Some(next)),
            None => (None, None),
        };
        Ok(Shown { active: Some(shown(active)), prepared: prepared.map(shown), old: old.map(shown) })
    }

    async fn prepare(&self, of: Of) -> Result<AuthorityState, Status> {
        self.check(of)?;
        let prepared = self.0.orders.prepare(of).await.map_err(|error| match error {
            OrderError::Ca(error) => status::internal(&format!("failed to prepare {of} authority"), error),
            other => refused(&other),
        });
        Ok(shown(prepared?))
    }

    async fn activate(&self, call: &Call, of: Of, id: String) -> Result<AuthorityState, Status> {
        let span = named(call, &id);
        async {
            self.check(of)?;
            let activated = self.0.orders.activate(of, id).await.map_err(|error| match error {
                OrderError::Status(_) => status::internal("only Prepared authorities can be activated", error),
                other => refused(&other),
            });
            Ok(shown(activated?))
        }
        .instrument(span)
        .await
    }

    async fn taint(&self, call: &Call, of: Of, id: String) -> Result<AuthorityState, Status> {
        let span = named(call, &id);
        async {
            self.check(of)?;
            let tainted = self.0.orders.taint(of, id).await.map_err(|error| match error {
                OrderError::HasUpstream => not_a_root("tainted"),
                OrderError::Active => status::invalid_argument("unable to taint current local authority"),
                OrderError::Status(_) => status::invalid("only Old local authorities can be tainted", error),
                OrderError::Ca(error) => status::internal(&format!("failed to taint {of} authority"), error),
                other => refused(&other),
            })?;
            info!(target: "api", "{of} authority tainted successfully");
            Ok(shown(tainted))
        }
        .instrument(span)
        .await
    }

    async fn revoke(&self, call: &Call, of: Of, id: String) -> Result<AuthorityState, Status> {
        let span = named(call, &id);
        async {
            self.check(of)?;
            self.0.orders.revoke(of, id.clone()).await.map_err(|error| match error {
                OrderError::HasUpstream => not_a_root("revoked"),
                OrderError::NotRunning => refused(&error),
                OrderError::Ca(error) => status::internal(&format!("failed to revoke {of} authority"), error),
                other => status::invalid("invalid authority ID", other),
            })?;
            info!(target: "api", "{of} authority revoked successfully");
            Ok(AuthorityState { authority_id: id, ..AuthorityState::default() })
        }
        .instrument(span)
        .await
    }

    fn check(&self, of: Of) -> Result<(), Status> {
        if of == Of::Jwt && !self.0.ca.signs_jwt() {
            return Err(status::log(Status::unimplemented("JWT functionality is disabled")));
        }
        Ok(())
    }
}

/// What is wrong without a word of what was being done.
fn refused(error: &OrderError) -> Status {
    match error {
        OrderError::NotRunning => status::log(Status::unavailable(error.to_string())),
        OrderError::Ca(error) if error.is_away() => status::log(come_again(&error.to_string())),
        OrderError::Ca(error) => status::log(Status::internal(error.to_string())),
        other => status::invalid_argument(&other.to_string()),
    }
}

fn not_a_root(verb: &str) -> Status {
    let message = format!("local authority can't be {verb} if there is an upstream authority");
    status::log(Status::failed_precondition(message))
}

fn shown(authority: Described) -> AuthorityState {
    let Described { authority_id, expires_at, upstream_id } = authority;
    AuthorityState { authority_id, expires_at, upstream_authority_subject_key_id: upstream_id }
}

/// What lines about an authority say of it.
fn named(call: &Call, id: &str) -> Span {
    call.audit("local_authority_id", id);
    error_span!(target: "api", "authority", local_authority_id = id)
}

/// What lines about an authority above say of it.
fn upstream(call: &Call, id: &str) -> Span {
    call.audit("subject_key_id", id);
    error_span!(target: "api", "authority", subject_key_id = id)
}

/// Why an authority above is left as it is.
fn of_upstream(message: &str, error: &OrderError) -> Status {
    match error {
        OrderError::NotRunning => refused(error),
        OrderError::NoUpstream => status::log(Status::failed_precondition(error.to_string())),
        other => status::invalid(message, other),
    }
}

fn no_wit() -> Status {
    status::log(Status::unimplemented("WIT-SVID functionality is not yet implemented"))
}
