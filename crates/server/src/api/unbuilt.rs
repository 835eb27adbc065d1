//! Services whose methods are not built yet: each answers UNIMPLEMENTED, after the same authorization as later.

use steeple_proto::spire::api::server::trustdomain::v1::trust_domain_server::{TrustDomain, TrustDomainServer};

struct Unbuilt;

#[tonic::async_trait]
impl TrustDomain for Unbuilt {}

pub(crate) fn trust_domain() -> TrustDomainServer<impl TrustDomain> {
    TrustDomainServer::new(Unbuilt)
}
