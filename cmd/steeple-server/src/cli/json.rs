//! The API's messages as JSON in the reference's mapping: names as in the .proto files, whatever is unset with its default
//! but for messages, which are left out, integers of 64 bits as text, bytes as base64.

use serde_json::Value;
use steeple_console::json::{bytes, list, long, message, object, text};
use steeple_proto::spire::api::server::agent::v1::ListAgentsResponse;
use steeple_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleResponse, ListFederatedBundlesResponse,
    batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
};
use steeple_proto::spire::api::server::debug::v1::{GetInfoResponse, get_info_response};
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryResponse, BatchDeleteEntryResponse, BatchUpdateEntryResponse, ListEntriesResponse,
    batch_create_entry_response, batch_delete_entry_response, batch_update_entry_response,
};
use steeple_proto::spire::api::server::localauthority::v1::AuthorityState;
use steeple_proto::spire::api::server::svid::v1::MintJwtsvidResponse;
use steeple_proto::spire::api::server::trustdomain::v1::{
    BatchDeleteFederationRelationshipResponse, ListFederationRelationshipsResponse,
    batch_delete_federation_relationship_response,
};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile;

/// `ListEntriesResponse`
pub(crate) fn entries(response: &ListEntriesResponse) -> Value {
    let ListEntriesResponse { entries, next_page_token } = response;
    object([("entries", list(entries, entry)), ("next_page_token", text(next_page_token))])
}

/// `CountEntriesResponse`, `CountAgentsResponse` and `CountBundlesResponse`
pub(crate) fn count(count: i32) -> Value {
    object([("count", count.into())])
}

/// `google.protobuf.Empty`
pub(crate) fn empty() -> Value {
    object([])
}

/// `BatchCreateEntryResponse`
pub(crate) fn created(response: &BatchCreateEntryResponse) -> Value {
    let BatchCreateEntryResponse { results } = response;
    let result = |result: &batch_create_entry_response::Result| {
        let batch_create_entry_response::Result { status, entry: created } = result;
        object([("entry", message(created, entry)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `BatchUpdateEntryResponse`
pub(crate) fn updated(response: &BatchUpdateEntryResponse) -> Value {
    let BatchUpdateEntryResponse { results } = response;
    let result = |result: &batch_update_entry_response::Result| {
        let batch_update_entry_response::Result { status, entry: updated } = result;
        object([("entry", message(updated, entry)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `BatchDeleteEntryResponse`
pub(crate) fn deleted(response: &BatchDeleteEntryResponse) -> Value {
    let BatchDeleteEntryResponse { results } = response;
    let result = |result: &batch_delete_entry_response::Result| {
        let batch_delete_entry_response::Result { status, id } = result;
        object([("id", text(id)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `ListAgentsResponse`
pub(crate) fn agents(response: &ListAgentsResponse) -> Value {
    let ListAgentsResponse { agents, next_page_token } = response;
    object([("agents", list(agents, agent)), ("next_page_token", text(next_page_token))])
}

/// `JoinToken`
pub(crate) fn join_token(token: &types::JoinToken) -> Value {
    let types::JoinToken { value, expires_at } = token;
    object([("expires_at", long(*expires_at)), ("value", text(value))])
}

/// `Bundle`
pub(crate) fn bundle(bundle: &types::Bundle) -> Value {
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities,
    } = bundle;
    let certificate = |certificate: &types::X509Certificate| {
        let types::X509Certificate { asn1, tainted } = certificate;
        object([("asn1", bytes(asn1)), ("tainted", (*tainted).into())])
    };
    let jwt_key = |key: &types::JwtKey| {
        let types::JwtKey { public_key, key_id, expires_at, tainted } = key;
        named_key(public_key, key_id, *expires_at, *tainted)
    };
    let wit_key = |key: &types::WitKey| {
        let types::WitKey { public_key, key_id, expires_at, tainted } = key;
        named_key(public_key, key_id, *expires_at, *tainted)
    };
    object([
        ("trust_domain", text(trust_domain)),
        ("x509_authorities", list(x509_authorities, certificate)),
        ("jwt_authorities", list(jwt_authorities, jwt_key)),
        ("refresh_hint", long(*refresh_hint)),
        ("sequence_number", sequence_number.to_string().into()),
        ("wit_authorities", list(wit_authorities, wit_key)),
    ])
}

fn named_key(public_key: &[u8], key_id: &str, expires_at: i64, tainted: bool) -> Value {
    object([
        ("public_key", bytes(public_key)),
        ("key_id", text(key_id)),
        ("expires_at", long(expires_at)),
        ("tainted", tainted.into()),
    ])
}

/// `ListFederatedBundlesResponse`
pub(crate) fn bundles(response: &ListFederatedBundlesResponse) -> Value {
    let ListFederatedBundlesResponse { bundles, next_page_token } = response;
    object([("bundles", list(bundles, bundle)), ("next_page_token", text(next_page_token))])
}

/// `BatchSetFederatedBundleResponse`
pub(crate) fn bundles_set(response: &BatchSetFederatedBundleResponse) -> Value {
    let BatchSetFederatedBundleResponse { results } = response;
    let result = |result: &batch_set_federated_bundle_response::Result| {
        let batch_set_federated_bundle_response::Result { status, bundle: set } = result;
        object([("bundle", message(set, bundle)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `BatchDeleteFederatedBundleResponse`
pub(crate) fn bundles_deleted(response: &BatchDeleteFederatedBundleResponse) -> Value {
    let BatchDeleteFederatedBundleResponse { results } = response;
    let result = |result: &batch_delete_federated_bundle_response::Result| {
        let batch_delete_federated_bundle_response::Result { status, trust_domain } = result;
        object([("trust_domain", text(trust_domain)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `ListFederationRelationshipsResponse`
pub(crate) fn federation_relationships(response: &ListFederationRelationshipsResponse) -> Value {
    let ListFederationRelationshipsResponse { federation_relationships, next_page_token } = response;
    object([
        ("federation_relationships", list(federation_relationships, federation_relationship)),
        ("next_page_token", text(next_page_token)),
    ])
}

/// `BatchCreateFederationRelationshipResponse` and `BatchUpdateFederationRelationshipResponse`
pub(crate) fn federation_relationships_written(
    results: &[(Option<types::Status>, Option<types::FederationRelationship>)],
) -> Value {
    let result = |(status, written): &(Option<types::Status>, Option<types::FederationRelationship>)| {
        object([
            ("federation_relationship", message(written, federation_relationship)),
            ("status", message(status, self::status)),
        ])
    };
    object([("results", list(results, result))])
}

/// `BatchDeleteFederationRelationshipResponse`
pub(crate) fn federation_relationships_deleted(response: &BatchDeleteFederationRelationshipResponse) -> Value {
    let BatchDeleteFederationRelationshipResponse { results } = response;
    let result = |result: &batch_delete_federation_relationship_response::Result| {
        let batch_delete_federation_relationship_response::Result { status, trust_domain } = result;
        object([("trust_domain", text(trust_domain)), ("status", message(status, self::status))])
    };
    object([("results", list(results, result))])
}

/// `FederationRelationship`
pub(crate) fn federation_relationship(relationship: &types::FederationRelationship) -> Value {
    let types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        trust_domain_bundle,
        bundle_endpoint_profile,
    } = relationship;
    let profile = match bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(_)) => ("https_web", object([])),
        Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })) => {
            ("https_spiffe", object([("endpoint_spiffe_id", text(endpoint_spiffe_id))]))
        }
        None => ("https_web", Value::Null),
    };
    object([
        ("trust_domain", text(trust_domain)),
        ("bundle_endpoint_url", text(bundle_endpoint_url)),
        profile,
        ("trust_domain_bundle", message(trust_domain_bundle, bundle)),
    ])
}

/// Authorities by the names of their fields, in any of `LocalAuthority`'s responses.
pub(crate) fn authorities<const N: usize>(authorities: &[(&str, Option<AuthorityState>); N]) -> Value {
    let authority = |authority: &AuthorityState| {
        let AuthorityState { authority_id, expires_at, upstream_authority_subject_key_id } = authority;
        object([
            ("authority_id", text(authority_id)),
            ("expires_at", long(*expires_at)),
            ("upstream_authority_subject_key_id", text(upstream_authority_subject_key_id)),
        ])
    };
    object(authorities.each_ref().map(|(name, of)| (*name, message(of, authority))))
}

/// `TaintX509UpstreamAuthorityResponse` and `RevokeX509UpstreamAuthorityResponse`
pub(crate) fn upstream_authority(subject_key_id: &str) -> Value {
    object([("upstream_authority_subject_key_id", text(subject_key_id))])
}

/// `GetInfoResponse`
pub(crate) fn info(response: &GetInfoResponse) -> Value {
    let GetInfoResponse { svid_chain, uptime, agents_count, federated_bundles_count, entries_count } = response;
    let certificate = |certificate: &get_info_response::Cert| {
        let get_info_response::Cert { id, expires_at, subject } = certificate;
        object([("id", message(id, spiffe_id)), ("expires_at", long(*expires_at)), ("subject", text(subject))])
    };
    object([
        ("svid_chain", list(svid_chain, certificate)),
        ("uptime", (*uptime).into()),
        ("agents_count", (*agents_count).into()),
        ("entries_count", (*entries_count).into()),
        ("federated_bundles_count", (*federated_bundles_count).into()),
    ])
}

/// `MintJWTSVIDResponse`
pub(crate) fn minted_jwt(response: &MintJwtsvidResponse) -> Value {
    let MintJwtsvidResponse { svid } = response;
    let svid_of = |svid: &types::Jwtsvid| {
        let types::Jwtsvid { token, id, expires_at, issued_at, hint } = svid;
        object([
            ("token", text(token)),
            ("id", message(id, spiffe_id)),
            ("expires_at", long(*expires_at)),
            ("issued_at", long(*issued_at)),
            ("hint", text(hint)),
        ])
    };
    object([("svid", message(svid, svid_of))])
}

/// `Agent`
pub(crate) fn agent(agent: &types::Agent) -> Value {
    let types::Agent {
        id,
        attestation_type,
        x509svid_serial_number,
        x509svid_expires_at,
        selectors,
        banned,
        can_reattest,
        agent_version,
    } = agent;
    object([
        ("id", message(id, spiffe_id)),
        ("attestation_type", text(attestation_type)),
        ("x509svid_serial_number", text(x509svid_serial_number)),
        ("x509svid_expires_at", long(*x509svid_expires_at)),
        ("selectors", list(selectors, selector)),
        ("banned", (*banned).into()),
        ("can_reattest", (*can_reattest).into()),
        ("agent_version", text(agent_version)),
    ])
}

fn entry(entry: &types::Entry) -> Value {
    let types::Entry {
        id,
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at,
        additional_attributes,
    } = entry;
    let attributes = |attributes: &types::entry::AdditionalAttributes| {
        let types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti } = attributes;
        object([
            ("disable_x509_svid_prefetch", (*disable_x509_svid_prefetch).into()),
            ("jwt_svid_include_jti", (*jwt_svid_include_jti).into()),
        ])
    };
    object([
        ("id", text(id)),
        ("spiffe_id", message(spiffe_id, self::spiffe_id)),
        ("parent_id", message(parent_id, self::spiffe_id)),
        ("selectors", list(selectors, selector)),
        ("x509_svid_ttl", (*x509_svid_ttl).into()),
        ("federates_with", list(federates_with, |name| text(name))),
        ("admin", (*admin).into()),
        ("downstream", (*downstream).into()),
        ("expires_at", long(*expires_at)),
        ("dns_names", list(dns_names, |name| text(name))),
        ("revision_number", long(*revision_number)),
        ("store_svid", (*store_svid).into()),
        ("jwt_svid_ttl", (*jwt_svid_ttl).into()),
        ("hint", text(hint)),
        ("created_at", long(*created_at)),
        ("additional_attributes", message(additional_attributes, attributes)),
    ])
}

fn spiffe_id(id: &types::Spiffeid) -> Value {
    let types::Spiffeid { trust_domain, path } = id;
    object([("trust_domain", text(trust_domain)), ("path", text(path))])
}

fn selector(selector: &types::Selector) -> Value {
    let types::Selector { r#type, value } = selector;
    object([("type", text(r#type)), ("value", text(value))])
}

pub(crate) fn status(status: &types::Status) -> Value {
    let types::Status { code, message } = status;
    object([("code", (*code).into()), ("message", text(message))])
}
